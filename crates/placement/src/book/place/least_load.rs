//! Least load: the worker whose scarcest resource is used least; fewer attempts break ties.

use super::best_fit::{ALL, share};
use crate::book::member::Member;

pub(super) fn rank(member: &Member) -> u64 {
    ((ALL - free_share(member)) << 32) | u64::from(member.attempts)
}

/// The scarcest resource's free share, in 1/2²⁰.
pub(crate) fn free_share(member: &Member) -> u64 {
    let lanes = member.room.lanes().iter().zip(member.size.lanes());
    let shares = lanes.filter(|(_, capacity)| **capacity > 0).map(|(free, capacity)| share(*free, *capacity));
    shares.min().unwrap_or(ALL)
}
