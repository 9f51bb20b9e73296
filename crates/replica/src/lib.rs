//! A replica: the process that serves HTTP, leads when it is elected, and talks to workers.
//!
//! Layout: `config` (every setting) and `run` (start and shutdown); `raft_runtime` (raft's own threads); `node` (what
//! works behind the listeners); `api/` (the HTTP routes); `leader/` (the duties of the leader: liveness, timers,
//! placement); `sessions/` (the workers' connections and the relay of their heartbeats); `events/` (the history that
//! `/v1/events` serves); `feed` (what comes out of apply) and `waiters` (long polls); `calls` (what replicas ask each
//! other); `limits` (every bound) and `memory` (the budget of all of them together); `telemetry` and `scheduling/` (how
//! well it schedules, in numbers).
//!
//! Invariants: a write is answered only after `consensus` committed it; a read goes through a barrier
//! unless it asks for `stale`; what decides is sans-IO (`leader::duties`, `sessions::desk`) and what waits is
//! a short shell around it; no queue, body or wait is without a bound.

mod api;
mod archived;
mod calendar;
mod calls;
pub mod config;
mod events;
mod feed;
#[cfg(test)]
#[path = "../../types/tests/fuzz/mod.rs"]
mod fuzz;
#[cfg(test)]
#[path = "../../types/tests/fuzz/json.rs"]
mod fuzz_json;
mod leader;
mod limits;
mod memory;
mod node;
mod raft_runtime;
mod run;
mod scheduling;
mod sessions;
mod telemetry;
mod waiters;

pub use feed::Feed;
pub use memory::Budget;
pub use node::{Node, Settings};
pub use run::run;
