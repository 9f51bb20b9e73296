//! Round robin: each worker in turn, by registration, skipping those without room.

use quorate_types::{Epoch, Resources};

use crate::candidates::Candidates;
use crate::round::Memory;

pub(super) fn choose(candidates: &Candidates, request: &Resources, memory: &mut Memory) -> Option<usize> {
    let last = memory.last_worker;
    let in_turn = |epoch: Epoch| (epoch <= last, epoch);
    let (at, next) = candidates.with_room(request).min_by_key(|(_, candidate)| in_turn(candidate.epoch))?;
    memory.last_worker = next.epoch;
    Some(at)
}
