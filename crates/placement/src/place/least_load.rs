//! Least load: the worker whose scarcest resource is used least; fewer attempts break ties.

use std::cmp::Reverse;

use quorate_types::Resources;

use crate::candidates::Candidates;

pub(super) fn choose(candidates: &Candidates, request: &Resources) -> Option<usize> {
    let by_load = candidates
        .with_room(request)
        .min_by_key(|(at, candidate)| (Reverse(candidate.free_share()), candidate.attempts, *at));
    by_load.map(|(at, _)| at)
}
