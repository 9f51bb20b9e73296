//! Random: any worker with room, each as likely. Draws until one has room, and looks at all of them when luck has run
//! out: reservoir sampling (Vitter 1985, algorithm R). The generator is a xorshift (Marsaglia 2003) that the book
//! carries along, so that a plan can be repeated.

use crate::book::fleet::{Fleet, Slot};
use crate::book::{Memory, Wish};

/// With a tenth of the workers having room one in a thousand tries ends here.
const DRAWS: usize = 64;

pub(super) fn choose(fleet: &Fleet, wish: &Wish<'_>, memory: &mut Memory) -> Option<Slot> {
    if !fleet.may_have_room(wish) {
        return None;
    }
    for _ in 0..DRAWS {
        let slot = (next(&mut memory.seed) % u64::from(fleet.slots())) as Slot;
        if fleet.is_ready(slot) && fleet.has_room(slot, wish) {
            return Some(slot);
        }
    }
    reservoir(fleet, wish, memory)
}

fn reservoir(fleet: &Fleet, wish: &Wish<'_>, memory: &mut Memory) -> Option<Slot> {
    let (mut chosen, mut seen) = (None, 0_u64);
    let mut at = fleet.first_with_room(None, wish);
    while let Some(slot) = at {
        seen += 1;
        if next(&mut memory.seed).is_multiple_of(seen) {
            chosen = Some(slot);
        }
        at = fleet.next_with_room(slot, wish);
    }
    chosen
}

fn next(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    // The low bits of xorshift are its weak ones.
    *seed >> 16
}
