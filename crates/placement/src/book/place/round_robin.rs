//! Round robin: each worker in turn, by registration, skipping those without room.

use crate::book::fleet::{Fleet, Slot};
use crate::book::{Memory, Wish};

pub(super) fn choose(fleet: &Fleet, wish: &Wish<'_>, memory: &mut Memory) -> Option<Slot> {
    let last = ((0, memory.last_worker), Slot::MAX);
    let next = fleet.first_with_room(Some(&last), wish);
    let slot = next.or_else(|| fleet.first_with_room(None, wish))?;
    memory.last_worker = fleet.member(slot).worker.epoch;
    Some(slot)
}
