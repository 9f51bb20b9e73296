//! Best fit: the worker on which the least is left over, so that large gaps stay large. (Johnson, "Near-optimal bin
//! packing algorithms", 1973, generalised to several kinds by summing what is free of each, as a share of the
//! largest worker's. What a task takes away is the same on every worker, so that the order does not depend on it.)

use crate::book::member::Member;
use crate::book::vector::Vector;

pub(super) fn rank(member: &Member, scale: &Vector) -> u64 {
    let lanes = member.room.lanes().iter().zip(scale.lanes());
    lanes.map(|(free, largest)| share(*free, *largest)).sum()
}

/// The whole of something, as shares are counted.
pub(crate) const ALL: u64 = 1 << 20;

/// In 1/2²⁰; of nothing it is nothing.
pub(crate) fn share(part: u64, whole: u64) -> u64 {
    // Wide numbers divide slowly, and are rare.
    match part.checked_mul(ALL) {
        Some(parts) => parts.checked_div(whole).unwrap_or(0),
        None => (u128::from(part) << 20).checked_div(u128::from(whole)).unwrap_or(0) as u64,
    }
}
