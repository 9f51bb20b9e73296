//! The replicated state machine: `State::apply(index, entry) -> Applied`.
//!
//! Layout: `command` (what stands in the log) and `outcome` (what applying it yields); `state` with its parts `job`
//! (with its `flow`, `plan`, `growth`, `gang`s and `service`), `element`, `worker`, `queue`, `slots`, `spaces`,
//! `past`, `pools`, `rates`, `locks`, `timers` and `dedup`; `apply/`, one file for each kind of command, over the
//! transitions in `lifecycle`; `snapshot` and `digest` (all of it as records), `archive` (finished jobs on disk), `changes` (what
//! is different from an earlier version), `view` (as the API shows it), `inputs` (as the tasks that need it do),
//! `check` (what must always hold) and `limits`; `crowds` and `company` (who is where, for those that must not be
//! together).
//!
//! Invariants: apply is a function of (state, index, entry): no IO, clock, randomness, threads, floating
//! point or iteration in hash order, so that two replicas that applied the same index have the same
//! digest. All maps are persistent: a clone is O(1), and readers never block apply. The queue, the
//! timers and what each worker and namespace holds are derived: rebuilt from the records, never stored.

mod apply;
pub mod archive;
pub mod changes;
pub mod check;
pub mod command;
pub mod company;
mod crowds;
pub mod decay;
mod dedup;
mod digest;
pub mod element;
pub mod flow;
pub mod gang;
mod growth;
mod inputs;
pub mod job;
mod lifecycle;
pub mod limits;
pub mod locks;
pub mod outcome;
pub mod past;
mod plan;
mod pools;
pub mod queue;
mod rates;
mod service;
mod slots;
pub mod snapshot;
pub mod spaces;
mod state;
mod tasks;
mod timers;
pub mod view;
pub mod worker;

pub use rates::RateRoom;
pub use slots::KeyLine;
pub use state::State;
