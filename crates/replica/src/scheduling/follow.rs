//! What happened between two versions of the state: found in what has changed, with the times that attempts carry.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::State;
use quorate_state::element::{Attempt, Element};
use quorate_state::job::{Job, Task};
use quorate_types::status::TaskState;
use quorate_types::{Epoch, Fence, Name, TaskSpec, Timestamp};

use super::kinds::{Kinds, Units, Work, add_work};
use super::scope::{End, Ended, Level};
use super::spaces::Change;

/// All that happened.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) spaces: BTreeMap<Name, Change>,
    /// By registration, what attempts held besides what was held before, times milliseconds.
    pub(super) workers: BTreeMap<Epoch, Work>,
}

/// From when to when, and in which units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'a> {
    pub(super) kinds: &'a Kinds,
    /// What was before does not count.
    pub(super) since: Timestamp,
    pub(super) now: Timestamp,
}

/// What waits and runs in each namespace.
pub(super) fn levels(kinds: &Kinds, state: &State) -> BTreeMap<Name, Level> {
    let mut levels: BTreeMap<Name, Level> = BTreeMap::new();
    for job in state.jobs() {
        let level = level_of(kinds, job);
        if level != Level::default() {
            levels.entry(job.spec.namespace.clone()).or_default().add(&level);
        }
    }
    levels
}

fn level_of(kinds: &Kinds, job: &Job) -> Level {
    let mut level = Level::default();
    job.tasks().for_each(|(_, task, spec)| level.add(&level_of_task(kinds, job, task, spec)));
    level
}

fn level_of_task(kinds: &Kinds, job: &Job, task: &Task, spec: &TaskSpec) -> Level {
    let queued = if job.is_placeable() { task.pending_len() } else { 0 };
    let running = u64::from(task.head.live - task.head.in_line);
    if queued + running == 0 {
        return Level::default();
    }
    let units = kinds.units(&spec.resources);
    let times = |count: u64| units.map(|unit| unit.saturating_mul(count));
    Level { queued, wanted: times(queued), running, held: times(running) }
}

/// When an attempt began to hold what its task asks for; of one that was assigned behind another, as far as is known.
fn began_to_hold(attempt: &Attempt) -> Option<Timestamp> {
    match attempt.behind {
        None => Some(attempt.assigned_at),
        Some(_) => attempt.started_at.or(attempt.finished_at),
    }
}

impl Look<'_> {
    pub(super) fn changes(self, old: &State, new: &State) -> Changes {
        let mut changes = Changes::default();
        for (old, new) in new.changed_jobs(old) {
            self.job(&mut changes, old, new);
        }
        changes
    }

    fn job(self, changes: &mut Changes, old: Option<&Arc<Job>>, new: Option<&Arc<Job>>) {
        match (old, new) {
            (Some(old), Some(new)) => self.changed(changes, old, new),
            (None, Some(new)) => {
                changes.of(new).more.add(&level_of(self.kinds, new));
                for (_, task, spec) in new.tasks() {
                    self.elements(changes, new, spec, &Task::default(), task);
                }
            }
            (Some(old), None) => changes.of(old).less.add(&level_of(self.kinds, old)),
            (None, None) => {}
        }
    }

    fn changed(self, changes: &mut Changes, old: &Job, new: &Job) {
        // Paused, for one: what waits does so no more, though no task has changed.
        let as_a_whole = old.is_placeable() != new.is_placeable() || !Arc::ptr_eq(&old.spec, &new.spec);
        if as_a_whole {
            changes.of(old).less.add(&level_of(self.kinds, old));
            changes.of(new).more.add(&level_of(self.kinds, new));
        }
        for (at, before, after) in new.changed_tasks(old) {
            if let Some((task, spec)) = before.zip(old.task_spec(at)).filter(|_| !as_a_whole) {
                changes.of(old).less.add(&level_of_task(self.kinds, old, task, spec));
            }
            let Some((task, spec)) = after.zip(new.task_spec(at)) else { continue };
            if !as_a_whole {
                changes.of(new).more.add(&level_of_task(self.kinds, new, task, spec));
            }
            match before {
                Some(before) => self.elements(changes, new, spec, before, task),
                None => self.elements(changes, new, spec, &Task::default(), task),
            }
        }
    }

    fn elements(self, changes: &mut Changes, job: &Job, spec: &TaskSpec, before: &Task, after: &Task) {
        let units = self.kinds.units(&spec.resources);
        let mut held = Held { units, by_worker: None, ms: 0.0 };
        for (old, new) in after.changed_elements(before) {
            let seen = old.and_then(Element::current);
            let newest = seen.map_or(Fence(0), |attempt| attempt.fence);
            for attempt in new.attempts.iter().rev().take_while(|attempt| attempt.fence > newest) {
                if let Some(begin) = began_to_hold(attempt) {
                    held.add(changes, attempt.epoch, self.since(begin) - self.after_end(attempt));
                }
            }
            // One that lived has ended, unless it is too old to be remembered.
            let lived = seen.filter(|attempt| attempt.state.is_live());
            if let Some(attempt) = lived.and_then(|lived| new.attempts.iter().rev().find(|it| it.fence == lived.fence))
            {
                // What waited in line until then was not counted.
                let waited = seen.is_some_and(Attempt::may_wait);
                let before = began_to_hold(attempt).filter(|_| waited).map_or(0.0, |begin| self.since(begin));
                held.add(changes, attempt.epoch, before - self.after_end(attempt));
            }
            if let Some(ended) = self.ended(job, old, new) {
                changes.of(job).besides.end(&ended);
            }
        }
        held.settle(changes);
        let besides = &mut changes.of(job).besides;
        besides.running_ms += held.ms;
        add_work(&mut besides.held, &units, held.ms);
    }

    /// The end of the task, if it is a new one.
    fn ended(self, job: &Job, old: Option<&Element>, new: &Element) -> Option<Ended> {
        let end = match new.state {
            TaskState::Succeeded => End::Succeeded,
            TaskState::Failed => End::Failed,
            TaskState::Waiting
            | TaskState::Pending
            | TaskState::Assigned
            | TaskState::Running
            | TaskState::Stopping
            | TaskState::Cancelled => return None,
        };
        let last = new.current()?;
        let before = old.filter(|old| old.state.is_finished()).and_then(Element::current);
        let finished = last.finished_at.filter(|at| *at >= self.since)?;
        if before.is_some_and(|before| before.fence == last.fence) {
            return None;
        }
        let started = last.started_at.unwrap_or(finished);
        Some(Ended { end, submitted: job.header.submitted_at, started, finished })
    }

    /// How long ago that was, as far as it counts.
    fn since(self, at: Timestamp) -> f64 {
        self.now.since(at.max(self.since)).0 as f64
    }

    fn after_end(self, attempt: &Attempt) -> f64 {
        attempt.finished_at.map_or(0.0, |at| self.since(at))
    }
}

/// Milliseconds that attempts of one task held their resources, first added up for as long as the worker stays the
/// same: most often there are few.
struct Held {
    units: Units,
    by_worker: Option<(Epoch, f64)>,
    ms: f64,
}

impl Held {
    fn add(&mut self, changes: &mut Changes, epoch: Epoch, ms: f64) {
        match &mut self.by_worker {
            Some((same, sum)) if *same == epoch => *sum += ms,
            Some(_) | None => {
                self.settle(changes);
                self.by_worker = Some((epoch, ms));
            }
        }
        self.ms += ms;
    }

    fn settle(&mut self, changes: &mut Changes) {
        if let Some((epoch, ms)) = self.by_worker.take() {
            add_work(changes.workers.entry(epoch).or_default(), &self.units, ms);
        }
    }
}

impl Changes {
    fn of(&mut self, job: &Job) -> &mut Change {
        let namespace = &job.spec.namespace;
        if !self.spaces.contains_key(namespace) {
            self.spaces.insert(namespace.clone(), Change::default());
        }
        self.spaces.entry(namespace.clone()).or_default()
    }
}
