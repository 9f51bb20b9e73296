//! Consistent hashing with bounded loads: workers and keys stand on a ring, and a task goes to the next worker
//! clockwise that runs less than a quarter more than the mean. (Mirrokni, Thorup and Zadimoghaddam, SODA 2018, section
//! 1.1, with c = 1.25.) A worker has many points on it. Tasks with one `key`, or else of one name, are one key. The
//! same key goes to the same worker while it has room, and few move when one comes or goes.

use quorate_types::Epoch;

use crate::book::Wish;
use crate::book::fleet::{Fleet, Slot};

/// Points that are looked at one by one, before the index is asked which of those behind have room.
const LOOKS: usize = 8;

/// Where a name stands on the ring. By its name a worker keeps its place when it registers again.
pub(crate) fn point(text: &str) -> u64 {
    // FNV-1a (Fowler, Noll and Vo), then scattered: its own high bits are weak for short texts.
    let fnv = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    crate::book::treap::scatter(fnv)
}

pub(super) fn choose(fleet: &Fleet, wish: &Wish<'_>) -> Option<Slot> {
    let key = match (&wish.facts.key, &wish.facts.lineage) {
        (Some(key), _) => point(key.as_str()),
        (None, Some(lineage)) => point(&lineage.name),
        (None, None) => crate::book::treap::scatter(wish.queued.job.0),
    };
    let mean_of = fleet.ready_len().max(1) as u64;
    let bound = ((fleet.attempts() + 1) * 5).div_ceil(mean_of * 4) as u32;
    let may = |slot| fleet.is_ready(slot) && fleet.member(slot).attempts < bound && fleet.has_room(slot, wish);
    let mut next = fleet.ring.as_ref()?.from(key).take(LOOKS);
    if let Some(slot) = next.find(|slot| may(*slot)) {
        return Some(slot);
    }
    let from = ((key, Epoch(0)), 0);
    let clockwise = |bound| {
        let ahead = fleet.first_of(Some(&from), wish, bound);
        ahead.or_else(|| fleet.first_of(None, wish, bound))
    };
    clockwise(bound).or_else(|| clockwise(u32::MAX))
}
