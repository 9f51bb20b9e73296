//! Round robin: who has waited longest since it last ran. With a quantum, after which what runs goes to the end of
//! the queue if others wait.
//!
//! Bound: a task starts after at most a quantum for each one in front of it.

use crate::book::Facts;

pub(super) fn rank(facts: &Facts) -> u64 {
    facts.pending_since.0
}
