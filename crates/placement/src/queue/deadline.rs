//! Earliest deadline first; tasks without a deadline come last. On one processor it meets all deadlines if any order
//! does (Liu and Layland, "Scheduling algorithms for multiprogramming", JACM 20(1), 1973, section 7).
//!
//! Bound: a task is overtaken only by what has an earlier deadline; one without may wait for ever.

use crate::book::Facts;

pub(super) fn rank(facts: &Facts) -> u64 {
    facts.deadline.map_or(u64::MAX, |deadline| deadline.0)
}
