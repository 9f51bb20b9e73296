//! What each worker has for an element.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use quorate_state::State;
use quorate_state::queue::Queued;
use quorate_state::worker::Worker;
use quorate_types::explain::{Obstacle, ObstacleCount, ObstacleKind, WorkerOutlook, WorkerSurvey};
use quorate_types::{Name, TaskSpec};

use super::line::Line;
use super::obstacle;
use super::{KINDS_LISTED_MAX, Voice};

/// What besides the worker itself decides.
pub(super) struct Beyond<'a> {
    pub(super) line: &'a Line,
    pub(super) queued: Queued,
    pub(super) voice: Voice,
    /// Whether the element starts now.
    pub(super) starts: bool,
    /// Its gang, if there is no room for all of it.
    pub(super) gang: Option<Name>,
}

/// Looks at all workers; `listed_max` of them are listed.
pub(super) fn of(state: &State, task: &TaskSpec, beyond: Option<&Beyond<'_>>, listed_max: usize) -> WorkerSurvey {
    let mut survey = WorkerSurvey {
        total: 0,
        open: 0,
        able: 0,
        listed: Vec::new(),
        unlisted: 0,
        counts: Vec::new(),
        lacking: Vec::new(),
        kinds: Vec::new(),
    };
    let mut counts: BTreeMap<(ObstacleKind, Option<Name>), u64> = BTreeMap::new();
    let mut ranked = Vec::new();
    for worker in state.workers() {
        let obstacles = obstacles(state, task, worker, beyond);
        survey.total += 1;
        survey.open += u64::from(obstacles.is_empty());
        survey.able += u64::from(obstacle::is_able(task, worker));
        let of = |found: &Obstacle| (found.kind(), found.shortage().map(|shortage| shortage.resource.clone()));
        // A worker counts once, however many conditions it does not meet.
        for kind in obstacles.iter().map(of).collect::<BTreeSet<_>>() {
            *counts.entry(kind).or_default() += 1;
        }
        ranked.push((distance(task, worker, &obstacles), worker));
    }
    ranked.sort_by(|(a, one), (b, other)| (a, &one.name).cmp(&(b, &other.name)));
    survey.unlisted = (ranked.len() - listed_max.min(ranked.len())) as u64;
    survey.listed = ranked
        .into_iter()
        .take(listed_max)
        // Made again: those of all workers would take much memory.
        .map(|(_, worker)| WorkerOutlook {
            worker: worker.name.clone(),
            state: worker.state(),
            obstacles: obstacles(state, task, worker, beyond),
        })
        .collect();
    let counted = counts.into_iter().map(|((kind, resource), workers)| ObstacleCount { kind, resource, workers });
    survey.counts = counted.collect();
    survey.counts.sort_by_key(|count| Reverse(count.workers));
    survey.lacking = lacking(state, task);
    if !survey.lacking.is_empty() {
        survey.kinds = kinds(state);
    }
    survey
}

/// Everything between the element and one worker.
fn obstacles(state: &State, task: &TaskSpec, worker: &Worker, beyond: Option<&Beyond<'_>>) -> Vec<Obstacle> {
    let mut obstacles = obstacle::between(task, worker);
    if let Some(beyond) = beyond {
        let starting = beyond.line.starts(beyond.queued);
        let others = obstacle::of_others(state, beyond.queued, worker, starting);
        obstacles.extend(others.into_iter().filter(|_| worker.is_alive() && !beyond.starts));
        obstacles.extend(beyond.obstacle(state, task, worker, &obstacles));
    }
    obstacles
}

/// Kinds that no living worker has, if there is one: most likely they are mistyped.
fn lacking(state: &State, task: &TaskSpec) -> Vec<Name> {
    let mut missing: BTreeSet<&Name> = task.resources.other_millis.keys().collect();
    let mut alive = state.workers().filter(|worker| worker.is_alive()).peekable();
    if alive.peek().is_none() {
        return Vec::new();
    }
    for worker in alive {
        missing.retain(|kind| worker.capacity.other(kind) == 0);
        if missing.is_empty() {
            break;
        }
    }
    missing.into_iter().cloned().collect()
}

fn kinds(state: &State) -> Vec<Name> {
    let alive = state.workers().filter(|worker| worker.is_alive());
    let others: BTreeSet<&Name> = alive.flat_map(|worker| worker.capacity.other_millis.keys()).collect();
    let common = [obstacle::CPU.clone(), obstacle::MEMORY.clone()];
    common.into_iter().chain(others.into_iter().cloned()).take(KINDS_LISTED_MAX).collect()
}

/// How far a worker is from taking the task: first those that are most of what it requires, of these those that live,
/// that are large enough and that are ready, then by the largest part that is missing of anything.
fn distance(task: &TaskSpec, worker: &Worker, obstacles: &[Obstacle]) -> (usize, bool, bool, bool, u64, usize) {
    let unmet = task.requires.iter().filter(|condition| !condition.is_met_by(worker.labels())).count();
    let short = obstacles.iter().filter_map(Obstacle::shortage);
    let missing = short.map(|shortage| (shortage.missing / shortage.asked * 1_000.0) as u64).max();
    let waits = obstacles.iter().any(|found| found.kind() == ObstacleKind::NotReady);
    (unmet, !worker.is_alive(), !obstacle::is_able(task, worker), waits, missing.unwrap_or(0), obstacles.len())
}

impl Beyond<'_> {
    /// What the rest of the queue puts between the element and the worker.
    fn obstacle(&self, state: &State, task: &TaskSpec, worker: &Worker, others: &[Obstacle]) -> Option<Obstacle> {
        if self.starts || !worker.is_alive() {
            return None;
        }
        if let Some(other) = self.line.kept_on(worker.epoch, self.queued) {
            let job = state.job(other.job)?;
            // Of the job that only would be there, the number is not known.
            let number = if other.job == self.queued.job { self.voice.job(other.job) } else { Some(other.job) };
            return Some(Obstacle::Kept { job: number, task: job.task_spec(other.task)?.name.clone() });
        }
        let has_room_left = self.line.has_room_left(worker.epoch, &task.resources);
        match (others.is_empty(), has_room_left, &self.gang) {
            (true, false, _) => Some(Obstacle::TakenAhead),
            (true, true, Some(gang)) => Some(Obstacle::GangShort { gang: gang.clone() }),
            (true, true, None) => Some(Obstacle::NotReached),
            (false, ..) => None,
        }
    }
}
