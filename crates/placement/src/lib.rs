//! Placement: which pending task goes to which worker. Pure; the leader's round calls it with a version
//! of the state and proposes what it decides, and apply checks every part of it again.
//!
//! Layout: `round` (one placement round: the queue's order, feasibility, holds), `candidates` (the
//! workers that could take something), `place/` (one file for each way to choose among them), `ahead` (a round
//! over the state as the next entry will leave it). `book` is the incremental core that drives the policy lab; the
//! leader goes by `round`.
//!
//! Invariants: the same state and the same [`Memory`] give the same plan; a plan never gives a worker
//! more than it has free in that state, and never names a task that could not be placed.

mod ahead;
pub mod book;
mod candidates;
mod place;
mod round;

pub use ahead::ahead;
pub use round::{Bounds, Memory, Plan, round};
