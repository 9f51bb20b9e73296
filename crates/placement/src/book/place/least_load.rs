//! Least load: the worker whose scarcest resource is used least; fewer attempts break ties.

use super::best_fit::share;
use crate::book::fleet::Member;

pub(super) fn rank(member: &Member) -> u64 {
    u64::MAX - free_share(member)
}

/// The scarcest resource's free share, in 1/2²⁰.
pub(crate) fn free_share(member: &Member) -> u64 {
    let lanes = member.room.lanes().iter().zip(member.size.lanes());
    let shares = lanes.filter(|(_, capacity)| **capacity > 0).map(|(free, capacity)| share(*free, *capacity));
    shares.min().unwrap_or(1 << 20)
}
