//! Shortest job first, by what is expected; what nobody knows anything of comes last. It gives the shortest mean wait
//! of all orders (Conway, Maxwell and Miller, "Theory of scheduling", 1967, chapter 8).
//!
//! Bound: none. A long task waits while shorter ones keep coming.

use crate::book::Facts;

pub(super) fn rank(facts: &Facts) -> u64 {
    facts.expected.map_or(u64::MAX, |span| span.0)
}
