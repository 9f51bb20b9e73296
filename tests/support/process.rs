//! One child process with its log file.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::{sys, wait_until};

/// The binary under test: this build's, or the one that `QUORATE_TEST_BINARY` names.
pub(crate) fn quorate() -> OsString {
    std::env::var_os("QUORATE_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_quorate").into())
}

/// Lines of a log that a failure shows.
const TAIL_LINES: usize = 40;

/// A process that can be killed and started again with the same arguments.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: String,
    /// Goes before the binary, such as `strace` with its options.
    pub(crate) wrapper: Vec<OsString>,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) log: PathBuf,
    child: Option<Child>,
}

impl Process {
    pub(crate) fn new(name: &str, args: Vec<OsString>, log: PathBuf) -> Self {
        Self { name: name.to_owned(), wrapper: Vec::new(), args, env: Vec::new(), log, child: None }
    }

    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut words = self.wrapper.clone();
        words.push(quorate());
        words.extend(self.args.iter().cloned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::piped()).stdout(log.try_clone().unwrap()).stderr(log);
        command.process_group(0);
        clean(&mut command);
        command.envs(self.env.iter().cloned());
        self.child = Some(command.spawn().unwrap_or_else(|e| panic!("start {}: {e}", self.name)));
    }

    pub(crate) fn pid(&self) -> i32 {
        let child = self.child.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name));
        i32::try_from(child.id()).unwrap()
    }

    /// Whether it was started and was not killed or waited for since.
    pub(crate) fn is_started(&self) -> bool {
        self.child.is_some()
    }

    pub(crate) fn signal(&self, signal: i32) {
        assert!(sys::signal(self.pid(), signal), "{} is gone", self.name);
    }

    /// Kills it with -9 and returns when it is gone.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Fails only if it has ended by itself, which the caller sees in the log.
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// How it ended, if it did.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().unwrap()?;
        self.child = None;
        Some(status)
    }

    pub(crate) async fn wait_exit(&mut self, patience: Duration) -> ExitStatus {
        let what = format!("{} to end", self.name);
        let found = std::sync::Mutex::new(self);
        wait_until(&what, patience, || std::future::ready(found.lock().unwrap().exited())).await
    }

    pub(crate) fn log_text(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// What it has logged since the log had this length.
    pub(crate) fn log_since(&self, length: usize) -> String {
        self.log_text().get(length..).unwrap_or_default().to_owned()
    }

    pub(crate) fn log_tail(&self) -> String {
        let text = self.log_text();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The environment of whoever runs the tests is not the product's configuration.
pub(crate) fn clean(command: &mut Command) {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("QUORATE_")) {
        command.env_remove(name);
    }
    command.env("RUST_BACKTRACE", "1");
}

/// `--name value` pairs as arguments.
pub(crate) fn flags(pairs: &[(&str, &str)]) -> Vec<OsString> {
    pairs.iter().flat_map(|(flag, value)| [OsString::from(flag), OsString::from(value)]).collect()
}

pub(crate) fn path(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
