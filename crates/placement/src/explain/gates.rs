//! What an element has to get before it starts, besides room on a worker, and the locks that it waits for later.

use quorate_state::State;
use quorate_state::job::{ElementKey, Job};
use quorate_types::explain::Wait;
use quorate_types::{TaskIndex, Timestamp};

use super::HOLDERS_LISTED_MAX;
use super::line::Line;
use crate::book::{Gate, Surroundings};
use crate::sight::Sight;

/// The gates that the element finds closed: by what is held, by the elements of its task that come before it, or, if
/// its place in line is known, by what starts ahead of it.
pub(super) fn closed(
    state: &State,
    now: Timestamp,
    job: &Job,
    at: u32,
    index: TaskIndex,
    line: Option<&Line>,
) -> Vec<Wait> {
    let (Some(task), Some(spec)) = (job.task(at), job.task_spec(at)) else { return Vec::new() };
    let gates = Gate::all_of(&job.spec.namespace, spec);
    let before = task.pending_before(index);
    let is_closed = |gate: &&Gate| {
        let room = Sight(state).room(gate, now).left / gate.amount();
        room <= before || line.is_some_and(|line| line.is_closed(gate, &Sight(state), now))
    };
    gates.iter().flat_map(|gates| gates.iter()).filter(is_closed).map(|gate| wait(state, now, gate)).collect()
}

fn wait(state: &State, now: Timestamp, gate: &Gate) -> Wait {
    match gate {
        Gate::Resource { name, amount } => {
            let found = state.resource(name, HOLDERS_LISTED_MAX);
            let (total, held) = found.as_ref().map_or((0, 0), |found| (u64::from(found.total), found.held));
            let holders = found.into_iter().flat_map(|found| found.holders).map(|holder| holder.element).collect();
            Wait::ClusterResource { resource: name.clone(), amount: *amount, total, held, holders }
        }
        Gate::Rate { namespace, rate } => {
            let room = state.rate_room(namespace, rate, now);
            Wait::Rate { key: rate.key.clone(), limit: rate.limit, per: rate.per, out: room.out, next: room.next }
        }
    }
}

/// The locks that a live attempt waits for.
pub(super) fn locks(state: &State, at: &ElementKey) -> Vec<Wait> {
    let waits = state.lock_waits(at).into_iter();
    waits
        .map(|(place, lock)| Wait::Lock { lock: place.name, holder: lock.holder.element, place: place.place })
        .collect()
}
