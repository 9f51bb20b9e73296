//! Multifactor: a weighted sum of age, priority, size and fair share, as Slurm's priority/multifactor plugin has it.
//! Age is linear for all, which makes the sum of the first three a point in time, as in plain priority; what a
//! namespace has used is added when the queue is walked.
//!
//! Bound: a task is overtaken only by what was submitted less than the sum of the other weights, about 22 hours,
//! after it.

use super::priority::{self, POINT_MS};
use crate::book::Facts;

/// A task that asks for no cpu at all is ahead of one that asks for this much or more by [`SIZE_MS`]: short of
/// anything else small ones fill gaps.
const LARGE_CPU_MILLIS: u64 = 64_000;
const SIZE_MS: u64 = 16 * POINT_MS;
/// The namespace that has used everything is behind the one that has used nothing by this much.
pub(super) const SHARE_MS: u64 = 16 * POINT_MS;

pub(super) fn rank(facts: &Facts) -> u64 {
    let size_ms = facts.request.cpu_millis.min(LARGE_CPU_MILLIS) * SIZE_MS / LARGE_CPU_MILLIS;
    priority::rank(facts).saturating_add(size_ms)
}
