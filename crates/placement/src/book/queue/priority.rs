//! Priority with ageing: the highest first, and waiting raises it, so that nothing waits for ever. As all age alike,
//! the order of two tasks never changes, and the rank can be a point in time: when the task was submitted, later by
//! as much as it lacks in priority.
//!
//! Bound: a task is overtaken only by what was submitted less than a hundred times [`POINT_MS`] (16 hours 40
//! minutes) after it.

use crate::book::Facts;

/// Waiting for so long is worth one point of priority: ten minutes.
const POINT_MS: u64 = 600_000;

pub(super) fn rank(facts: &Facts) -> u64 {
    let lacking = u64::from(100_u8.saturating_sub(facts.priority));
    facts.submitted.0.saturating_add(lacking * POINT_MS)
}
