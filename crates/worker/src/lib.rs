//! The worker: an agent that holds one session with the cluster, and a watchdog process that runs the tasks.
//!
//! Layout: `session` (the connection), `lease` and `table` with `outbox` (the deciders: no clock, no IO),
//! `agent` (the shell around them), `keeper` (the agent's side of the watchdog), `watchdog` (the process),
//! `spool`, `disk`, `output` and `progress` (folders of attempts), `leftovers` (what an earlier worker on the
//! same folder left), `sys` (the only unsafe code), `host` (what a simulation replaces), `stand_in` (a worker that
//! runs nothing, for measurements).
//!
//! Invariants:
//! - Nothing runs past the lease. The agent ends it, and the watchdog does so by itself should the agent be
//!   stopped; when the agent dies, the watchdog ends everything at once and tells the cluster; when the
//!   watchdog dies, the kernel ends everything, or where it has no PID namespace, the agent does.
//! - An attempt has ended only when all of its processes have, also those that left its group.
//! - A registration is replaced only after everything of it has ended.
//! - A report is kept until it is committed, or until the cluster no longer counts its attempt as ours.
//!
//! What tasks can rely on: the attempt's first process adopts orphans among its descendants, as the first
//! process of a container does. It ends with all of them. Of the worker's environment it gets PATH, HOME,
//! USER, LOGNAME, SHELL, LANG, LC_ALL, TZ and TMPDIR, then its own variables, then QUORATE_*. As root it sees
//! the process numbers of the worker's PID namespace, which are not the host's.
//!
//! Outside the promise: agent and watchdog both stopped by hand while their tasks run on, and tasks that
//! escape as root.

mod agent;
mod capacity;
mod clock;
mod disk;
mod error;
#[cfg(test)]
#[path = "../../types/tests/fuzz/mod.rs"]
mod fuzz;
pub mod host;
mod keeper;
mod lease;
mod leftovers;
mod options;
mod outbox;
mod output;
mod progress;
mod session;
mod spool;
mod stand_in;
mod sys;
mod table;
pub mod watchdog;

pub use agent::run;
pub use capacity::{detect_capacity, detect_host};
pub use error::WorkerError;
pub use options::{Limits, Options};
pub use stand_in::stand_in;
