//! How a worker is chosen among those with room. To add one: a file here, a variant of
//! [`PlacementOrder`], an arm below, a golden test.

mod best_fit;
mod least_load;
mod random;
mod round_robin;

use quorate_state::command::PlacementOrder;
use quorate_types::Resources;

use crate::candidates::Candidates;
use crate::round::Memory;

/// The position of the worker that gets the task; `None` if none has room.
pub(crate) fn choose(
    order: PlacementOrder,
    candidates: &Candidates,
    request: &Resources,
    memory: &mut Memory,
) -> Option<usize> {
    match order {
        PlacementOrder::BestFit => best_fit::choose(candidates, request),
        PlacementOrder::LeastLoad => least_load::choose(candidates, request),
        PlacementOrder::RoundRobin => round_robin::choose(candidates, request, memory),
        PlacementOrder::Random => random::choose(candidates, request, memory),
    }
}
