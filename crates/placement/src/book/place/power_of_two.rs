//! Power of two choices: of two random workers with room the less loaded. (Mitzenmacher, "The power of two choices in
//! randomized load balancing", IEEE TPDS 12(10), 2001.)

use super::{least_load, random};
use crate::book::fleet::{Fleet, Slot};
use crate::book::{Memory, Wish};

pub(super) fn choose(fleet: &Fleet, wish: &Wish<'_>, memory: &mut Memory) -> Option<Slot> {
    let one = random::choose(fleet, wish, memory)?;
    let other = random::choose(fleet, wish, memory)?;
    let rank = |slot| least_load::rank(fleet.member(slot));
    Some(if rank(other) < rank(one) { other } else { one })
}
