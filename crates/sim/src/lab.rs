//! The policy lab: recorded work, replayed in virtual time by the very placement code that runs the cluster.
//!
//! Layout: `job` (what goes in and what comes out), `engine` (virtual time), `error`; `input` (recorded work) and
//! `machines` (what it runs on); `metrics` (a schedule in numbers).
//!
//! Invariants: a replay is a function of its jobs, machines and options; its memory grows with what is queued and
//! running, not with the trace.

mod engine;
mod error;
pub mod input;
mod job;
pub mod machines;
mod metrics;

pub use engine::{Estimates, EventRule, Failures, Options, replay};
pub use error::LabError;
pub use job::{Job, Machine, Record, Totals};
pub use metrics::{Metrics, Summary};
