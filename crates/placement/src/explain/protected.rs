//! What a task may not end, although it may end others: what is within the quota of another namespace.

use std::collections::BTreeSet;

use quorate_state::State;
use quorate_state::command::Grounds;
use quorate_state::job::{ElementKey, Job};
use quorate_state::queue::Queued;
use quorate_state::worker::Worker;
use quorate_types::status::WorkerState;
use quorate_types::{Name, Resources, TaskSpec, Timestamp};

use super::line::{Line, Seat};
use super::obstacle;
use super::{PROTECTED_LISTED_MAX, PROTECTED_LOOKS_MAX};
use crate::preempt;

/// The first of those namespaces by name that have the room that the task needs on a worker which could take it.
pub(super) fn by_quota(state: &State, now: Timestamp, job: &Job, task: u32, line: &Line, seat: &Seat) -> Vec<Name> {
    let has_quota = state.rules().values().any(|rules| rules.quota.kinds().next().is_some());
    // A gang goes by priority only.
    let is_gang = job.gang(task).is_some();
    let grounds = preempt::grounds(state.policy().queue, &seat.facts);
    let grounds: Vec<Grounds> = grounds.filter(|it| !is_gang || *it == Grounds::LowerPriority).collect();
    let Some(spec) = job.task_spec(task).filter(|_| has_quota && !grounds.is_empty()) else { return Vec::new() };
    let queued = Queued { job: job.id(), task };
    let could_end = |key: &ElementKey, other: &Job| {
        grounds.iter().any(|grounds| match grounds {
            Grounds::LowerPriority => other.spec.priority < job.spec.priority,
            Grounds::LongerToGo => {
                seat.facts.expected.is_some_and(|expected| line.has_longer_to_go(*key, expected, now))
            }
            // Whose turn will be over when is not looked at.
            Grounds::TurnOver | Grounds::Borrowed | Grounds::Rebalance => false,
        })
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
        if !live.stopping && !could_end(key, other) {
            continue;
        }
        room.add(&held.resources);
        let namespace = &other.spec.namespace;
        if !live.stopping
            && *namespace != job.spec.namespace
            && !names.contains(namespace)
            && state.is_covered_without(namespace, &held.resources, &Resources::default())
        {
            names.push(namespace.clone());
        }
    }
    if spec.resources.fits(&room) { names } else { Vec::new() }
}
