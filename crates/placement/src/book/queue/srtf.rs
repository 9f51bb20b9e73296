//! Shortest remaining time first: the shortest expected comes first, as in [`sjf`](super::sjf), and ends what runs and
//! has longer to go (Schrage, "A proof of the optimality of the shortest remaining processing time discipline",
//! Operations Research 16(3), 1968). What was ended begins anew, so that its remaining time is all of it again.
//!
//! Bound: none. A long task waits while shorter ones keep coming, and is ended by them.

use crate::book::Facts;

pub(super) fn rank(facts: &Facts) -> u64 {
    super::sjf::rank(facts)
}
