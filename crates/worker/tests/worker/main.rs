//! The worker against a fake replica, with real processes. The executable itself acts as the watchdog
//! (`watchdog`) or as a worker of its own (`agent`), so that both can be killed and stopped.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

mod agent;
mod lease;
mod replica;
mod tasks;
mod worker;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::panic::catch_unwind;
use std::process::{Command, ExitCode};
use std::time::Instant;

/// A user who may do nothing special. The number needs no entry in /etc/passwd.
const NOBODY: u32 = 65534;

type Case = (&'static str, fn());

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("watchdog") => return quorate_worker::watchdog::main(),
        Some("agent") => return worker::agent_main(&arguments[1..]),
        _ => {}
    }
    let cases: Vec<Case> = [tasks::CASES, agent::CASES, lease::CASES].concat();
    if arguments.iter().any(|argument| argument == "--list") {
        cases.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let filters: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let chosen = cases.iter().filter(|(name, _)| filters.is_empty() || filters.iter().any(|f| name.contains(*f)));
    let (mut passed, mut failed) = (0, Vec::new());
    for (name, case) in chosen {
        let started = Instant::now();
        let outcome = catch_unwind(case);
        println!("test {name} ... {} ({:.2?})", if outcome.is_ok() { "ok" } else { "FAILED" }, started.elapsed());
        match outcome {
            Ok(()) => passed += 1,
            Err(_) => failed.push(*name),
        }
    }
    println!("\ntest result: {passed} passed; {} failed {failed:?}", failed.len());
    let unprivileged = if worker::is_root() { run_as_nobody(&arguments) } else { true };
    if failed.is_empty() && unprivileged { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The same cases without root: no namespaces, no signals to others' processes, files of one's own. The
/// executable is copied, since a build folder may be closed to other users.
fn run_as_nobody(arguments: &[String]) -> bool {
    println!("\nthe same as user {NOBODY}, without root:");
    let home = tempfile::tempdir().unwrap();
    let executable = home.path().join("worker");
    fs::copy(std::env::current_exe().unwrap(), &executable).unwrap();
    for path in [home.path(), &executable] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).unwrap();
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let mut command = Command::new(&executable);
    command
        .args(arguments)
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("TMPDIR", home.path())
        .env("HOME", home.path())
        .current_dir(home.path());
    command.uid(NOBODY).gid(NOBODY).status().unwrap().success()
}
