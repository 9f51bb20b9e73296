//! The `quorate` executable: parse, call, print.
//!
//! Layout: `args` (the command line), `commands` (one file each), `output` (all that is printed),
//! `exit` (codes and hints), `runtime` (runtime, logging, signals), `cluster_process` (a cluster of
//! child processes) with `demo` and `bench` on top of it, `wfcommons` (recorded workflows as jobs).
//!
//! Invariants: data goes to standard output and everything else to standard error; a closed pipe ends
//! a command quietly; exit codes are those of the contract; no child process outlives its starter.

mod args;
mod bench;
mod cluster_process;
mod commands;
mod demo;
mod exit;
#[cfg(test)]
#[path = "../../types/tests/fuzz/mod.rs"]
mod fuzz;
#[cfg(test)]
#[path = "../../types/tests/fuzz/json.rs"]
mod fuzz_json;
mod output;
mod runtime;
mod wfcommons;

use std::process::ExitCode;

/// The argument by which an executable knows that it is a worker's second process.
pub const WATCHDOG: &str = "watchdog";

/// Runs the command of this process's arguments.
pub fn main() -> ExitCode {
    // The watchdog stays small: it parses nothing and starts no runtime.
    if std::env::args_os().nth(1).is_some_and(|first| first == WATCHDOG) {
        return quorate_worker::watchdog::main();
    }
    match commands::dispatch(args::Cli::of_this_process()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.explain();
            ExitCode::from(failure.exit_code())
        }
    }
}
