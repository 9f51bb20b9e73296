//! Least work: the priority is 1 / (expected time + open dependencies), as textbooks have it, with the time in
//! seconds: a dependency weighs as much as a second.
//!
//! Bound: none, as with shortest job first.

use crate::book::Facts;

const DEPENDENCY_MS: u64 = 1_000;

pub(super) fn rank(facts: &Facts) -> u64 {
    let work = facts.expected.map_or(u64::MAX, |span| span.0);
    work.saturating_add(u64::from(facts.open_dependencies) * DEPENDENCY_MS)
}
