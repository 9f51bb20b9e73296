//! Placement: which pending task goes to which worker. Pure; the leader's round calls it with a version
//! of the state and proposes what it decides, and apply checks every part of it again.
//!
//! Layout: `round` (one placement round: the queue's order, feasibility, holds), `candidates` (the
//! workers that could take something), `place/` (one file for each way to choose among them), `ahead` (a round
//! over the state as the next entry will leave it), `flow/` (a batch of tasks placed at once, as a flow of minimum cost).
//!
//! Invariants: the same state and the same [`Memory`] give the same plan; a plan never gives a worker
//! more than it has free in that state, and never names a task that could not be placed.

pub mod flow;

mod ahead;
mod candidates;
mod place;
mod round;

pub use ahead::ahead;
pub use round::{Bounds, Memory, Plan, round};
