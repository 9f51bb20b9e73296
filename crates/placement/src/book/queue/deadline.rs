//! Earliest deadline first; jobs without one come last. On one machine it keeps all deadlines if any order does (Liu
//! and Layland, "Scheduling algorithms for multiprogramming in a hard-real-time environment", J. ACM 20(1), 1973,
//! section 7; without preemption, Jackson 1955 for the largest lateness).
//!
//! Bound: a task is overtaken only by those with an earlier deadline. Jobs without a deadline have no bound.

use crate::book::Facts;

pub(super) fn rank(facts: &Facts) -> u64 {
    facts.deadline.map_or(u64::MAX, |at| at.0)
}
