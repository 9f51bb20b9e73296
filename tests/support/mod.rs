//! The harness of the black-box tests: real processes on loopback, faults on purpose, checkers of what must hold.
//!
//! `cluster` starts replicas and workers and ends them, `http` talks to them, `cli` runs the binary as a user would,
//! `attempts` and `events` are the two checkers (what the tasks' own files say, what the event streams say), `sys`
//! and `namespaces` break things. Nothing here knows the product's insides: only contract.md and /proc.
//!
//! A [`Cluster`](cluster::Cluster) ends with `finish`, which looks for panics and errors in every log. After a
//! failure its folder stays, and the end of each log is printed.

pub(crate) mod attempts;
pub(crate) mod cli;
pub(crate) mod cluster;
pub(crate) mod events;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod namespaces;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod sys;

use std::future::Future;
use std::io::Write;
use std::time::{Duration, Instant};

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(crate) use attempts::Journal;
pub(crate) use cluster::{Cluster, Setup, WorkerSetup};
pub(crate) use http::{Answer, Api};

/// How long anything may take that has no bound of its own in the contract: two busy cores, a debug build.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a condition.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How much of an endurance test is done: the share that each test run has, or all of it.
pub(crate) fn share<T>(each_run: T, all: T) -> T {
    if std::env::var_os("QUORATE_ENDURANCE").is_some() { all } else { each_run }
}

/// Two clusters on two cores disturb each other's timing.
static MACHINE: RwLock<()> = RwLock::const_new(());

/// One cluster at a time.
pub(crate) async fn turn() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().await
}

/// The same where nothing is asynchronous.
pub(crate) fn blocking_turn() -> RwLockWriteGuard<'static, ()> {
    MACHINE.blocking_write()
}

/// For tests that mostly wait: several of them may run at once.
pub(crate) async fn shared() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().await
}

/// Looks again and again until there is something to see; `what` says in the failure what was waited for.
pub(crate) async fn wait_until<T, F>(what: &str, patience: Duration, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + patience;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain for: {what}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Says that a test could not run here. Straight to stderr: libtest swallows what a passing test prints.
pub(crate) fn skip(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "test {test} ... skipped: {why}");
}

/// What a test wants to be read although it passes, such as a measured time.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "note: {text}");
}
