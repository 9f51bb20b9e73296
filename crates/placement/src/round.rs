//! One placement round: tasks in the queue's order, each to the worker that the policy chooses.
//!
//! A task that fits no worker now, but would fit an empty one, *holds* the worker that is nearest to
//! having room: what stands behind it in the queue goes elsewhere. So a large task does not starve
//! behind small ones, and a task that waits for the one GPU does not block the rest of the cluster.

use quorate_state::State;
use quorate_state::command::Assignment;
use quorate_state::queue::Queued;
use quorate_types::{Epoch, Resources};

use crate::candidates::Candidates;
use crate::place;

/// How much one round may do, so that it stays short whatever waits.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Assignments of one plan: one log entry carries them.
    pub assignments_max: usize,
    /// Queued tasks that fit nowhere before the round gives up looking further.
    pub misses_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        // 4,096 assignments encode to about 50 KiB and apply within a few milliseconds.
        Self { assignments_max: 4_096, misses_max: 1_000 }
    }
}

/// What a policy remembers from one decision to the next. Lost with the leader, and no harm done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    pub(crate) last_worker: Epoch,
    pub(crate) seed: u64,
}

impl Memory {
    /// `seed` is where random placement starts.
    pub fn new(seed: u64) -> Self {
        Self { last_worker: Epoch(0), seed: seed.max(1) }
    }
}

/// What a round decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub assignments: Vec<Assignment>,
    /// The round stopped at its bounds; another one would find more.
    pub more: bool,
}

/// Decides what to start now.
pub fn round(state: &State, memory: &mut Memory, bounds: Bounds) -> Plan {
    let mut plan = Plan::default();
    if state.queue().is_empty() {
        return plan;
    }
    let mut candidates = Candidates::of(state);
    if candidates.0.is_empty() {
        return plan;
    }
    let policy = state.policy();
    let mut misses = 0;
    for queued in state.queue().iter(policy.queue) {
        let Some(request) = request_of(state, queued) else { continue };
        let mut choose = |candidates: &Candidates| place::choose(policy.placement, candidates, request, memory);
        if !place_elements(state, queued, &mut candidates, &mut choose, bounds, &mut plan) {
            misses += 1;
            candidates.hold_for(request);
        }
        if plan.assignments.len() >= bounds.assignments_max {
            plan.more = true;
            break;
        }
        if misses >= bounds.misses_max || candidates.0.iter().all(|candidate| candidate.held) {
            break;
        }
    }
    plan
}

fn request_of(state: &State, queued: Queued) -> Option<&Resources> {
    Some(&state.job(queued.job)?.task_spec(queued.task)?.resources)
}

/// Places elements of one task while there is room. `false`: an element was left over.
fn place_elements(
    state: &State,
    queued: Queued,
    candidates: &mut Candidates,
    choose: &mut dyn FnMut(&Candidates) -> Option<usize>,
    bounds: Bounds,
    plan: &mut Plan,
) -> bool {
    let Some(task) = state.job(queued.job).and_then(|job| job.task(queued.task)) else { return true };
    let Some(request) = request_of(state, queued) else { return true };
    for (index, attempt) in task.pending() {
        if plan.assignments.len() >= bounds.assignments_max {
            return true;
        }
        let Some(at) = choose(candidates) else { return false };
        let epoch = candidates.take(at, request);
        plan.assignments.push(Assignment { job: queued.job, task: queued.task, index, attempt, epoch });
    }
    true
}
