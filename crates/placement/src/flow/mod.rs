//! A batch of tasks and workers as a flow of minimum cost, as in Quincy (Isard et al., SOSP 2009) and
//! Firmament (Gog et al., OSDI 2016): all tasks are placed at once, so that the sum of what the placements cost
//! is the least there is, where one after the other would take each other's best places.
//!
//! Layout: `problem` (groups, workers, offers), `solution` (who goes where), `paths/` (the solver, and how it goes on
//! from an earlier solution). The tests have a second solver without prices, brute force, and a check of the proof that
//! the prices are.
//!
//! Exactness: a solution is optimal for the *problem*, which counts slots. A worker's room for tasks that ask for
//! different amounts of several resources is not a number of slots: packing them is another, harder problem. So the
//! caller sets `fits` to how many tasks of a group alone fit, and `slots` to how many of the batch's smallest fit; the
//! round then takes the placements in order and checks each against what is free, and what does not fit waits for the
//! next round. Where all requests are alike, nothing is lost. Where slots are chosen from the largest request instead,
//! everything fits and some room stays empty.
//!
//! Invariants: no placement exceeds an offer or a worker's slots; the same problem and the same start give the same
//! solution.

mod paths;
mod problem;
mod solution;

pub(crate) use paths::widen;
pub use paths::{Solved, Start, resolve, solve};
pub use problem::{COST_MAX, Group, Offer, Problem, ProblemError, TASKS_MAX, UNPLACED_MAX, WORKERS_MAX, Worker};
pub use solution::{Placement, Solution};

#[cfg(test)]
mod tests;
