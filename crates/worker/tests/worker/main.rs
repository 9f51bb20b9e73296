//! The worker against a fake replica, with real processes. The executable itself acts as the watchdog
//! (`watchdog`) or as a worker of its own (`agent`), so that both can be killed and stopped.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

mod agent;
mod lease;
mod replica;
mod tasks;
mod worker;

use std::panic::catch_unwind;
use std::process::ExitCode;
use std::time::Instant;

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
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
