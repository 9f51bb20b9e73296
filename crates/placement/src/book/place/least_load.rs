//! Least load: the worker whose scarcest resource is used least; fewer attempts break ties.

use crate::book::member::Member;
use crate::book::share::{WHOLE, share};

pub(super) fn rank(member: &Member) -> u64 {
    ((WHOLE - free_share(member)) << 32) | u64::from(member.attempts)
}

/// The scarcest resource's free share, in 1/2²⁰.
pub(crate) fn free_share(member: &Member) -> u64 {
    let lanes = member.room.lanes().iter().zip(member.size.lanes());
    let shares = lanes.filter(|(_, capacity)| **capacity > 0).map(|(free, capacity)| share(*free, *capacity));
    shares.min().unwrap_or(WHOLE)
}
