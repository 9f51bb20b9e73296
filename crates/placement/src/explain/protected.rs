//! What a task may not end, although it may end others: what is within the quota of another namespace.

use std::collections::BTreeSet;

use quorate_state::State;
use quorate_state::job::{ElementKey, Job};
use quorate_state::queue::Queued;
use quorate_state::worker::Worker;
use quorate_types::job::Preempt;
use quorate_types::policy::QueueOrder;
use quorate_types::status::WorkerState;
use quorate_types::{Name, Resources, TaskSpec, Timestamp};

use super::line::{Line, Seat};
use super::obstacle;
use super::{PROTECTED_LISTED_MAX, PROTECTED_LOOKS_MAX};

/// On which grounds it may end others.
enum Claim<'a> {
    LowerPriority,
    LongerToGo(&'a Line, quorate_types::Span),
}

/// The first of those namespaces by name that have the room that the task needs on a worker which could take it.
pub(super) fn by_quota(state: &State, now: Timestamp, job: &Job, task: u32, line: &Line, seat: &Seat) -> Vec<Name> {
    let Some((spec, claim)) = job.task_spec(task).zip(claim(state, job, task, line, seat)) else { return Vec::new() };
    let queued = Queued { job: job.id(), task };
    let could_end = |key: &ElementKey, other: &Job| match claim {
        Claim::LowerPriority => other.spec.priority < job.spec.priority,
        Claim::LongerToGo(line, expected) => line.has_longer_to_go(*key, expected, now),
    };
    let mut names: BTreeSet<Name> = BTreeSet::new();
    let mut looks = 0;
    for worker in state.workers().filter(|worker| worker.state() == WorkerState::Ready) {
        looks += 1 + worker.attempts.len();
        if looks > PROTECTED_LOOKS_MAX || names.len() >= PROTECTED_LISTED_MAX {
            break;
        }
        if obstacle::is_able(spec, worker) && obstacle::of_others(state, queued, worker, &[]).is_empty() {
            names.extend(on_worker(state, job, spec, worker, &could_end));
        }
    }
    names.into_iter().take(PROTECTED_LISTED_MAX).collect()
}

/// A gang goes by priority only, as does who preempts under any order but `srtf`.
fn claim<'a>(state: &State, job: &Job, task: u32, line: &'a Line, seat: &Seat) -> Option<Claim<'a>> {
    if !state.rules().values().any(|rules| rules.quota.kinds().next().is_some()) {
        return None;
    }
    let by_time = state.policy().queue == QueueOrder::Srtf && job.gang(task).is_none();
    match seat.facts.expected.filter(|_| by_time) {
        Some(expected) => Some(Claim::LongerToGo(line, expected)),
        None => (job.spec.preempt == Preempt::Lower).then_some(Claim::LowerPriority),
    }
}

/// Whose attempts would make room there, if they were not within quotas.
fn on_worker(
    state: &State,
    job: &Job,
    spec: &TaskSpec,
    worker: &Worker,
    could_end: &dyn Fn(&ElementKey, &Job) -> bool,
) -> Vec<Name> {
    let (mut room, mut names) = (worker.free(), Vec::new());
    for (key, live) in worker.holders() {
        let Some(other) = state.job(key.job) else { continue };
        let Some(held) = other.task_spec(key.task) else { continue };
        if live.stopping || could_end(key, other) {
            room.add(&held.resources);
        }
        let namespace = &other.spec.namespace;
        let is_others = !live.stopping && *namespace != job.spec.namespace && could_end(key, other);
        if is_others
            && !names.contains(namespace)
            && state.is_covered_without(namespace, &held.resources, &Resources::default())
        {
            names.push(namespace.clone());
        }
    }
    if spec.resources.fits(&room) { names } else { Vec::new() }
}
