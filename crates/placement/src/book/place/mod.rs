//! How a worker is chosen among those with room. Each policy is either an order that the fleet keeps its workers in
//! ([`preference`]: the first with room gets the task), or a walk of its own over that order ([`choose`]).
//!
//! To add one: a file here, a variant of [`PlacementOrder`], an arm in each, a test.

mod best_fit;
mod consistent_hash;
mod least_jobs;
mod least_load;
mod lowest_utilisation;
mod power_of_two;
mod random;
mod round_robin;
mod spread;
mod weighted_round_robin;
mod worst_fit;

use quorate_types::Epoch;
use quorate_types::policy::PlacementOrder;

pub(crate) use consistent_hash::point;
pub(crate) use least_load::free_share;
pub(crate) use weighted_round_robin::stride;

use crate::book::fleet::{Fleet, Slot};
use crate::book::member::Member;
use crate::book::vector::Vector;
use crate::book::{Memory, Wish};

/// Where a worker stands in the order of a policy; ties end in its registration. Where it does not change as the worker
/// fills up, a decision costs half.
pub(crate) type Preference = (u64, Epoch);

/// Where the policy wants the worker.
pub(crate) fn preference(order: PlacementOrder, member: &Member, scale: &Vector) -> Preference {
    let rank = match order {
        PlacementOrder::BestFit => best_fit::rank(member, scale),
        PlacementOrder::WorstFit => worst_fit::rank(member, scale),
        PlacementOrder::LeastLoad | PlacementOrder::MinCostFlow => least_load::rank(member),
        PlacementOrder::LeastJobs => least_jobs::rank(member),
        PlacementOrder::LowestUtilisation => lowest_utilisation::rank(member),
        PlacementOrder::WeightedRoundRobin => member.pass,
        PlacementOrder::ConsistentHash => point(&member.worker.name),
        PlacementOrder::RoundRobin | PlacementOrder::Random | PlacementOrder::PowerOfTwo | PlacementOrder::Spread => 0,
    };
    (rank, member.worker.epoch)
}

/// Where `spread` wants the worker, of those with the same value of the label.
pub(crate) fn within_zone(member: &Member) -> Preference {
    (least_load::rank(member), member.worker.epoch)
}

/// How many weights of what a task prefers found nobody: in one decision room becomes less, and none finds anybody
/// later.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hopes {
    given_up: usize,
}

/// The worker that gets the task; none if none has room. What the task prefers comes before what the policy does.
pub(crate) fn choose(fleet: &Fleet, wish: &Wish<'_>, memory: &mut Memory, hopes: &mut Hopes) -> Option<Slot> {
    while let Some(sets) = wish.needs.preferred.get(hopes.given_up) {
        if let Some(slot) = choose_of_all(fleet, &wish.preferring(sets), memory) {
            return Some(slot);
        }
        hopes.given_up += 1;
    }
    choose_of_all(fleet, wish, memory)
}

fn choose_of_all(fleet: &Fleet, wish: &Wish<'_>, memory: &mut Memory) -> Option<Slot> {
    match fleet.order() {
        PlacementOrder::BestFit
        | PlacementOrder::WorstFit
        | PlacementOrder::LeastLoad
        | PlacementOrder::LeastJobs
        | PlacementOrder::LowestUtilisation
        | PlacementOrder::WeightedRoundRobin
        | PlacementOrder::MinCostFlow => fleet.first_with_room(None, wish),
        PlacementOrder::RoundRobin => round_robin::choose(fleet, wish, memory),
        PlacementOrder::Random => random::choose(fleet, wish, memory),
        PlacementOrder::PowerOfTwo => power_of_two::choose(fleet, wish, memory),
        PlacementOrder::ConsistentHash => consistent_hash::choose(fleet, wish),
        PlacementOrder::Spread => spread::choose(fleet, wish),
    }
}
