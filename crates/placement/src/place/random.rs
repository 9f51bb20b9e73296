//! Random: any worker with room, each as likely. Reservoir sampling (Vitter 1985, algorithm R) over a
//! xorshift generator (Marsaglia 2003) that the round carries along, so that a plan can be repeated.

use quorate_types::Resources;

use crate::candidates::Candidates;
use crate::round::Memory;

pub(super) fn choose(candidates: &Candidates, request: &Resources, memory: &mut Memory) -> Option<usize> {
    let mut chosen = None;
    for (seen, (at, _)) in (1u64..).zip(candidates.with_room(request)) {
        if next(&mut memory.seed).is_multiple_of(seen) {
            chosen = Some(at);
        }
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
