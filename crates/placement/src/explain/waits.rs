//! What must come about before an element can be placed: needs and gates.

use quorate_state::State;
use quorate_state::flow::Slot;
use quorate_state::job::{ElementKey, Job, Task};
use quorate_state::queue::Queued;
use quorate_types::explain::Wait;
use quorate_types::resources::in_units;
use quorate_types::status::TaskState;
use quorate_types::{Name, Need, TaskIndex, TaskSpec};

use super::{HOLDERS_LISTED_MAX, WAITS_LISTED_MAX};
use crate::planner::waiting_facts_of;

/// What an element waits for, and how much of it is not listed.
pub(super) fn of(state: &State, job: &Job, at: u32, index: TaskIndex) -> (Vec<Wait>, u64) {
    let (Some(task), Some(spec)) = (job.task(at), job.task_spec(at)) else { return Default::default() };
    let mut waits = gates(state, job);
    waits.extend(backoff(job, spec, at, index));
    waits.extend(gang(job, at, spec));
    waits.extend(max_parallel(task, index));
    waits.extend(namespace_limit(state, job, at, index));
    let mut more = 0;
    for wait in spec.needs.iter().filter_map(|need| open_need(state, job, at, index, need)) {
        if waits.len() < WAITS_LISTED_MAX {
            waits.push(wait);
        } else {
            more += 1;
        }
    }
    (waits, more)
}

/// What keeps the job as a whole.
fn gates(state: &State, job: &Job) -> Vec<Wait> {
    let (header, mut waits) = (&job.header, Vec::new());
    if header.cancelling {
        waits.push(Wait::Cancelling);
    }
    if header.paused {
        waits.push(Wait::Paused);
    }
    if let Some(at) = header.flow().start_at {
        waits.push(Wait::StartTime { at });
    }
    if header.flow().slot == Slot::Waiting
        && let (Some(concurrency), Some(line)) = (&job.spec.concurrency, state.key_line(job, HOLDERS_LISTED_MAX))
    {
        waits.push(Wait::Concurrency {
            key: concurrency.key.clone(),
            limit: concurrency.limit,
            holders: line.holders,
            held: line.held,
            place: line.place,
            waiting: line.waiting,
        });
    }
    waits
}

/// A gang waits as one.
fn backoff(job: &Job, spec: &TaskSpec, task: u32, index: TaskIndex) -> Option<Wait> {
    let tally = job.tally_of(&ElementKey { job: job.id(), task, index });
    let element = job.task(tally.task)?.element(tally.index)?;
    let until = element.wait_until?;
    Some(Wait::Backoff { until, failures: element.failures, retries: spec.retries })
}

/// Others of its gang have not ended.
fn gang(job: &Job, task: u32, spec: &TaskSpec) -> Option<Wait> {
    let (gang, name) = (job.gang(task)?, spec.gang.clone()?);
    let live = job.live_members(gang);
    (live > 0).then_some(Wait::Gang { gang: name, live, size: gang.size() })
}

/// Elements go in their order: those ahead of this one use up what may still be live.
fn max_parallel(task: &Task, index: TaskIndex) -> Option<Wait> {
    if task.head.live_max == 0 || task.state_of(index) != Some(TaskState::Pending) {
        return None;
    }
    let ahead = task.pending_before(index);
    (ahead >= task.head.live_left() as u64).then_some(Wait::MaxParallel {
        limit: task.head.live_max,
        live: task.head.live,
        ahead,
    })
}

/// The first kind of which its namespace may not have as much more; of a gang, as much as all of it asks for.
fn namespace_limit(state: &State, job: &Job, at: u32, index: TaskIndex) -> Option<Wait> {
    let (task, namespace) = (job.task(at)?, &job.spec.namespace);
    let limit = &state.rules_of(namespace)?.limit;
    let held = &state.space(namespace)?.held;
    let (request, ahead) = match job.gang(at) {
        Some(gang) => {
            let queued = Queued { job: job.id(), task: gang.first_task() };
            (waiting_facts_of(state, queued)?.at_once().into_owned(), 0)
        }
        None => (job.task_spec(at)?.resources.clone(), task.pending_before(index)),
    };
    if task.state_of(index) != Some(TaskState::Pending) || limit.times(&request, held) > ahead {
        return None;
    }
    let full = |(kind, limit): &(&Name, u64)| {
        let asked = request.amount(kind);
        asked > 0 && limit.saturating_sub(held.amount(kind)) / asked <= ahead
    };
    let (kind, limit) = limit.kinds().find(full)?;
    let amount = |n| in_units(kind, n);
    let (asked, held, limit) = (amount(request.amount(kind)), amount(held.amount(kind)), amount(limit));
    Some(Wait::NamespaceLimit { namespace: namespace.clone(), resource: kind.clone(), asked, held, limit, ahead })
}

/// The need, if it has not come about.
fn open_need(state: &State, job: &Job, at: u32, index: TaskIndex, need: &Need) -> Option<Wait> {
    match need {
        Need::Task { task, on } => {
            let head = job.task(job.position_of(task)?)?.head;
            if head.end().is_some() {
                return None;
            }
            let dropped = if head.fresh_cancelled { head.fresh_len() } else { 0 };
            let left = u64::from(head.count - head.succeeded - head.failed - head.cancelled - dropped);
            Some(Wait::Task { task: task.clone(), on: *on, left, of: u64::from(head.count) })
        }
        Need::Each { task, on } => {
            let other = job.task(job.position_of(task)?)?.state_of(index)?;
            let wait = Wait::Element { task: task.clone(), index, on: *on, state: other };
            (!other.is_finished()).then_some(wait)
        }
        Need::Job { job: other, on } => {
            let awaited = job.header.flow().awaited.contains(&(at, *other));
            let state = state.job(*other).map(|job| job.header.state);
            awaited.then_some(Wait::Job { job: *other, on: *on, state })
        }
    }
}
