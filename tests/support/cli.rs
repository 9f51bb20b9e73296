//! The binary as a user runs it.

use std::process::{Output, Stdio};
use std::time::Duration;

use super::process::{self, clean};

/// What a command did.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }
}

/// Runs `quorate ARGS --server SERVER` with `input` on standard input.
pub(crate) async fn quorate(server: &str, args: &[&str], input: &str) -> Ran {
    let mut command = std::process::Command::new(process::quorate());
    clean(&mut command);
    command.env("QUORATE_SERVER", server).args(args);
    run(command, input, Duration::from_secs(60)).await
}

/// Runs a command to its end, or kills it when it takes too long.
pub(crate) async fn run(command: std::process::Command, input: &str, patience: Duration) -> Ran {
    use tokio::io::AsyncWriteExt;
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let what = format!("{:?}", command.as_std());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that does not read its input may be gone already.
    let _ = stdin.write_all(input.as_bytes()).await;
    drop(stdin);
    let ended = tokio::time::timeout(patience, child.wait_with_output()).await;
    let Output { status, stdout, stderr } = ended.unwrap_or_else(|_| panic!("{what} took over {patience:?}")).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}
