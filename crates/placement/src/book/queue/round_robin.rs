//! Round robin: each task in its turn, in the order in which they came to the line; one that starts elements, as many
//! as there is room for, goes to its end, and so does one that comes back (Kleinrock, *Queueing systems*, volume 2,
//! 1976, chapter 4). What has had its slice of time is ended if others wait that could use its room. It begins anew, so
//! its next slice is twice as long as what it lost: as in a feedback queue (Corbató, Merwin-Daggett, Daley, "An
//! experimental time-sharing system", AFIPS SJCC 1962), it is ended no more often than its run time is double the
//! quantum, and loses less than it takes.
//!
//! Bound: a task waits for one slice of each of those that stand before it. A slice is at most as long as the larger of
//! the quantum and twice the run time.

use crate::book::Facts;

pub(super) fn rank(facts: &Facts) -> u64 {
    facts.turn.0
}
