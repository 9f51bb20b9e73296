//! Placement: which pending task goes to which worker. Pure; the leader's round and the policy lab drive it.
//!
//! Layout: `book` (what waits, what runs and the workers, and the decision over them), `queue/` (one file for each
//! order of tasks), `backfill/` (what may pass a task that does not fit), `place/` (one file for each way to choose a
//! worker), `estimate` (run times learned from history), `follow` (keeps a book in step with versions of the state),
//! over the indexes `fleet`, `treap` and `vector`.
//!
//! Invariants: the same history of a book gives the same plan; a plan never gives a worker more than it has free, and
//! never names a task that could not be placed.

mod backfill;
mod book;
mod estimate;
mod fleet;
mod place;
mod queue;
mod treap;
mod vector;

pub use book::{Book, Bounds, Decision, Facts, Lineage, Rules, Start};
pub use fleet::Worker;
