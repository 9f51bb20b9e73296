//! Worst fit: the worker on which the most is left over, so that what grows has room to. The reverse of best fit.

use super::best_fit;
use crate::book::member::Member;
use crate::book::vector::Vector;

pub(super) fn rank(member: &Member, scale: &Vector) -> u64 {
    u64::MAX - best_fit::rank(member, scale)
}
