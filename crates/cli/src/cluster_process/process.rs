//! One child process with its log file.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How much of a log is shown when its process died.
const LOG_TAIL_BYTES: u64 = 2_000;
const POLL: Duration = Duration::from_millis(10);

/// A process that can be started again after its death.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    executable: PathBuf,
    args: Vec<OsString>,
    log: PathBuf,
    token: Option<String>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    child: Child,
    /// The child stops when this is dropped.
    _stdin: Option<ChildStdin>,
}

impl Process {
    pub(crate) fn new(name: &str, executable: &Path, args: Vec<OsString>, log: PathBuf, token: Option<String>) -> Self {
        Self { name: name.to_owned(), executable: executable.to_owned(), args, log, token, running: None }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.child.id())
    }

    pub(crate) fn start(&mut self) -> anyhow::Result<()> {
        let log = || -> anyhow::Result<File> {
            let file = OpenOptions::new().create(true).append(true).open(&self.log);
            file.with_context(|| format!("open {}", self.log.display()))
        };
        let mut command = Command::new(&self.executable);
        command.args(&self.args).stdin(Stdio::piped()).stdout(log()?).stderr(log()?);
        // Ctrl-C reaches the whole foreground group; when these stop is the starter's decision.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        scrub_environment(&mut command);
        if let Some(token) = &self.token {
            command.env("QUORATE_TOKEN", token);
        }
        let mut child = command.spawn().with_context(|| format!("start {}", self.name))?;
        let stdin = child.stdin.take();
        self.running = Some(Running { child, _stdin: stdin });
        Ok(())
    }

    /// How the process ended, if it did.
    pub(crate) fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.running.as_mut()?.child.try_wait().ok()??;
        self.running = None;
        Some(status)
    }

    /// An error with the end of its log if the process is not running.
    pub(crate) fn check_alive(&mut self) -> anyhow::Result<()> {
        let status = self.exited();
        if self.running.is_some() {
            return Ok(());
        }
        let how = status.map_or_else(|| "is not running".to_owned(), |status| format!("ended with {status}"));
        bail!("{} {how}; the end of {}:\n{}", self.name, self.log.display(), self.log_tail())
    }

    /// Kills with -9 and waits for the end.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut running) = self.running.take() {
            running.child.kill().with_context(|| format!("kill {}", self.name))?;
            running.child.wait().with_context(|| format!("wait for {}", self.name))?;
        }
        Ok(())
    }

    pub(crate) fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok());
        let pid = pid.with_context(|| format!("{} is not running", self.name))?;
        kill(Pid::from_raw(pid), signal).with_context(|| format!("send {signal} to {}", self.name))
    }

    fn terminate(&self) {
        // It may have ended in this instant, which is what is wanted.
        let _ = self.signal(Signal::SIGTERM);
    }

    fn log_tail(&self) -> String {
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.log)?;
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_or_else(|e| e.to_string(), |bytes| String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

/// The starter's settings are not the children's: `QUORATE_DATA` of a shell would give all of them one folder.
fn scrub_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("QUORATE_") && !text.starts_with("QUORATE_LOG") {
            command.env_remove(&name);
        }
    }
}

/// TERM to all, a bounded wait, then KILL.
pub(super) async fn stop_all<'a>(processes: impl Iterator<Item = &'a mut Process>, grace: Duration) {
    let mut left: Vec<&mut Process> = processes.collect();
    for process in &left {
        process.terminate();
    }
    let deadline = Instant::now() + grace;
    loop {
        left.retain_mut(|process| process.exited().is_none() && process.running.is_some());
        if left.is_empty() || Instant::now() >= deadline {
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    for process in left {
        if let Err(error) = process.kill() {
            tracing::warn!(process = process.name, %error, "a process could not be killed");
        }
    }
}

/// The same without a runtime to wait on; what is still there after the grace is killed as it is dropped.
pub(super) fn end_all(processes: &mut [Process], grace: Duration) {
    processes.iter().for_each(Process::terminate);
    let deadline = Instant::now() + grace;
    let ended = |process: &mut Process| process.exited().is_some() || process.running.is_none();
    while !processes.iter_mut().all(ended) && Instant::now() < deadline {
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, folder: &Path) -> Process {
        Process::new("child", Path::new("/bin/sh"), vec!["-c".into(), script.into()], folder.join("log"), None)
    }

    #[tokio::test]
    async fn a_child_that_ignores_term_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let mut stubborn = shell("trap '' TERM; echo up; while :; do sleep 1; done", folder.path());
        stubborn.start().unwrap();
        while !stubborn.log_tail().contains("up") {
            stubborn.check_alive().unwrap();
            tokio::time::sleep(POLL).await;
        }
        stop_all(std::iter::once(&mut stubborn), Duration::from_millis(50)).await;
        assert_eq!(stubborn.pid(), None);
    }

    #[tokio::test]
    async fn a_childs_death_shows_the_end_of_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = shell("echo the reason; exit 7", folder.path());
        child.start().unwrap();
        let error = loop {
            match child.check_alive() {
                Ok(()) => tokio::time::sleep(POLL).await,
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("the reason") && error.contains('7'), "{error}");
    }

    #[tokio::test]
    async fn a_child_sees_the_end_of_its_starter() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = shell("read line; echo ended", folder.path());
        child.start().unwrap();
        child.check_alive().unwrap();
        child.running.as_mut().unwrap()._stdin = None;
        while child.exited().is_none() {
            tokio::time::sleep(POLL).await;
        }
        assert!(child.log_tail().contains("ended"));
    }
}
