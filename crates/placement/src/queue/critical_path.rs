//! Critical path: the task with the longest remaining path through its job first. (Hu, "Parallel sequencing and
//! assembly line problems", Operations Research 9(6), 1961, weighted by expected times.)
//!
//! Bound: none. The short end of a workflow waits while longer ones keep coming.

use crate::book::Facts;

pub(super) fn rank(facts: &Facts) -> u64 {
    let path = facts.remaining_path.or(facts.expected);
    u64::MAX - path.map_or(0, |span| span.0)
}
