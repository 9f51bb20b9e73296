//! Workers for tests: in this process, or in one of their own.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use quorate_types::{Name, Resources};
use quorate_worker::{Limits, Options, WorkerError};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::replica::PATIENCE;

/// Runs an async test.
pub(crate) fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(test);
}

pub(crate) fn options(servers: &[&str], data_dir: &Path) -> Options {
    Options {
        servers: servers.iter().map(|server| (*server).to_owned()).collect(),
        name: Name::new("w1").unwrap(),
        labels: BTreeMap::new(),
        taints: Vec::new(),
        host: "h".to_owned(),
        capacity: Resources::new(4000, 1 << 30),
        data_dir: data_dir.to_owned(),
        token: Some("secret".into()),
        watchdog_command: vec!["/proc/self/exe".into(), "watchdog".into()],
        // Most tests don't commit the last reports, and need not wait for that.
        limits: Limits { leave_reports: Duration::from_millis(50), ..Limits::default() },
    }
}

/// A worker in this process.
pub(crate) struct Worker {
    pub(crate) data: TempDir,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), WorkerError>>,
}

impl Worker {
    pub(crate) fn start(servers: &[&str]) -> Self {
        Self::start_with(servers, |_| {})
    }

    pub(crate) fn start_with(servers: &[&str], change: impl FnOnce(&mut Options)) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut options = options(servers, data.path());
        change(&mut options);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(quorate_worker::run(options, shutdown.clone()));
        Self { data, shutdown, task }
    }

    /// Leaves; what a test's replica does not commit is not waited for longer than the worker does.
    pub(crate) async fn leave(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// A worker in a process of its own.
pub(crate) struct Agent {
    pub(crate) child: Child,
}

impl Agent {
    pub(crate) fn start(server: &str, data_dir: &Path, namespaced: bool) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("agent").arg(server).arg(data_dir).arg(namespaced.to_string());
        Self { child: command.stdin(Stdio::null()).spawn().unwrap() }
    }

    pub(crate) fn signal(&self, signal: i32) {
        signal_process(self.child.id(), signal);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process behind [`Agent`].
pub(crate) fn agent_main(arguments: &[String]) -> ExitCode {
    let [server, data_dir, namespaced] = arguments else { return ExitCode::FAILURE };
    let mut options = options(&[server], Path::new(data_dir));
    options.limits.pid_namespace = namespaced == "true";
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    match runtime.block_on(quorate_worker::run(options, CancellationToken::new())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("agent: {error}");
            ExitCode::FAILURE
        }
    }
}

pub(crate) fn signal_process(pid: u32, signal: i32) {
    let killed = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status().unwrap();
    assert!(killed.success());
}

pub(crate) fn watchdog_pid(data_dir: &Path) -> u32 {
    let record = fs::read_to_string(data_dir.join("watchdog")).unwrap();
    record.split(' ').next().unwrap().parse().unwrap()
}

pub(crate) fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}

/// Whether tests may make PID namespaces; says so if not.
pub(crate) fn may_namespace() -> bool {
    let root = is_root();
    if !root {
        println!("skipped: needs root");
    }
    root
}

/// A number that no other test and no other process has in its command line. `sleep` takes it.
pub(crate) fn marker() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("1000.{}{:04}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// How many processes with exactly `marker` as an argument live, in any namespace. Zombies have none.
pub(crate) fn alive(marker: &str) -> usize {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.filter(|line| line.split(|byte| *byte == 0).any(|argument| argument == marker.as_bytes())).count()
}

/// Waits until `condition` holds and returns how long that took.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "still not: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
    started.elapsed()
}
