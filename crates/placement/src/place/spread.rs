//! Spread: over the values of a label, as evenly as the elements of one task can be; the least loaded worker among
//! equals. Workers without the label come last.

use std::collections::BTreeMap;

use quorate_types::Name;

use crate::book::Wish;
use crate::fleet::{Fleet, Slot};

/// Workers that are looked at for one task. They come in the order of their load, and a cluster has few zones.
const LOOKS_MAX: usize = 256;

pub(super) fn choose(fleet: &Fleet, wish: &Wish<'_>) -> Option<Slot> {
    let (request, wanted) = (&wish.facts.request, &wish.wanted);
    let first = fleet.first_with_room(None, request, wanted)?;
    let Some(label) = &wish.facts.spread else { return Some(first) };
    let rank = |slot: Slot| match domain(fleet, slot, label) {
        Some(value) => wish.placed.get(value).copied().unwrap_or(0),
        None => u64::MAX,
    };
    let (mut best, mut best_rank) = (first, rank(first));
    let mut at = fleet.next_with_room(first, request, wanted);
    for _ in 0..LOOKS_MAX {
        let (Some(slot), 1..) = (at, best_rank) else { break };
        if rank(slot) < best_rank {
            (best, best_rank) = (slot, rank(slot));
        }
        at = fleet.next_with_room(slot, request, wanted);
    }
    Some(best)
}

/// The value that the worker has of the label.
pub(crate) fn domain<'a>(fleet: &'a Fleet, slot: Slot, label: &Name) -> Option<&'a String> {
    fleet.member(slot).worker.labels.get(label)
}

/// How many elements of one task run under each value of its label.
pub(crate) type Placed = BTreeMap<String, u64>;
