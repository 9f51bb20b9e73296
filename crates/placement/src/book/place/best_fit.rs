//! Best fit: the worker on which the least is left over, so that large gaps stay large. (Johnson, "Near-optimal bin
//! packing algorithms", 1973, generalised to several kinds by summing what is free of each, as a share of the
//! largest worker's. What a task takes away is the same on every worker, so that the order does not depend on it.)

use crate::book::member::Member;
use crate::book::share::share;
use crate::book::vector::Vector;

pub(super) fn rank(member: &Member, scale: &Vector) -> u64 {
    let lanes = member.room.lanes().iter().zip(scale.lanes());
    lanes.map(|(free, largest)| share(*free, *largest)).sum()
}
