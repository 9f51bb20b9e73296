//! Best fit: the worker on which the least is left over, so that large gaps stay large. (Johnson,
//! "Near-optimal bin packing algorithms", 1973, generalised to several kinds by summing the shares.)

use quorate_types::Resources;

use crate::candidates::Candidates;

pub(super) fn choose(candidates: &Candidates, request: &Resources) -> Option<usize> {
    let by_leftover = candidates.with_room(request).min_by_key(|(_, candidate)| candidate.leftover(request));
    by_leftover.map(|(at, _)| at)
}
