//! Lowest utilisation: the worker with the largest mean of the free shares of what it has. Unlike least load it
//! does not mind one scarce resource while the others are idle.

use crate::book::member::Member;
use crate::book::share::{WHOLE, share};

pub(super) fn rank(member: &Member) -> u64 {
    let lanes = member.room.lanes().iter().zip(member.size.lanes()).filter(|(_, capacity)| **capacity > 0);
    let (sum, kinds) = lanes.fold((0, 0), |(sum, kinds), (free, capacity)| (sum + share(*free, *capacity), kinds + 1));
    u64::MAX - u64::checked_div(sum, kinds).unwrap_or(WHOLE)
}
