//! Placement: which pending task goes to which worker. Pure; the leader's round calls it with a version
//! of the state and proposes what it decides, and apply checks every part of it again.
//!
//! Layout: `book` (what waits, what runs and what is free, kept up to date; one decision over it; the policies),
//! `planner` (a book that follows versions of the state) with `turn` (how long a task has been in line), `sight` (what
//! a decision asks of the state), `ahead` (when a plan is made for the state as the next entry will leave it), `lines`
//! (what waits behind others of its array),
//! `preempt` (what is ended for those that found no room), `rebalance` (what moves to workers with less to do),
//! `explain/` (why a task is where it is), `flow/` (a batch of tasks placed at once, as a flow of minimum cost).
//!
//! Invariants: the same history of versions gives the same plans; a plan never gives a worker more than it has free in
//! the version that it was made for, and never names a task that could not be placed there.

pub mod book;
pub mod explain;
pub mod flow;

mod ahead;
mod learn;
mod lines;
mod paths;
mod planner;
mod preempt;
mod rebalance;
mod sight;
mod turn;

pub use book::Bounds;
pub use planner::{Plan, Planner};
