//! The policy lab: recorded work, replayed in virtual time by the book of the placement.
//!
//! Layout: `job` (what goes in and what comes out), `scene` (a cluster at one instant), `engine` (virtual time),
//! `error`; `input` (recorded work) and `machines` (what it runs on); `policy` (names), `runs` (many replays at once);
//! `metrics` (a schedule in numbers), `tables` (each job) and `plots` (what is drawn: `series`, `distribution`,
//! `gantt`), `report` (one HTML page); `decisions`, `churn` and `claims` (what deciding costs).
//!
//! Invariants: a replay is a function of its jobs, machines and options; its memory grows with what is queued and
//! running, not with the trace.

pub mod churn;
pub mod claims;
pub mod decisions;
mod distribution;
mod engine;
mod error;
mod gantt;
pub mod input;
mod job;
pub mod machines;
mod metrics;
mod plots;
pub mod policy;
pub mod report;
mod runs;
mod scene;
mod series;
mod tables;

pub use engine::{Estimates, EventRule, Failures, Options, replay, replay_from};
pub use error::LabError;
pub use gantt::Window;
pub use job::{Gang, Job, Kin, Machine, Record, Totals};
pub use metrics::{Metrics, Summary};
pub use policy::Variant;
pub use runs::{Experiment, Rules, Run, RunError, Wanted};
pub use scene::{Fate, Scene, Underway};
pub use tables::{JOBS_HEADING, STARTS_HEADING};
// Those who call the lab name policies and constraints, and have nothing else to do with placement.
pub use quorate_placement::book::Constraints;
pub use quorate_state::company::Company;
pub use quorate_types::policy::{Backfill, PlacementOrder, QueueOrder};
