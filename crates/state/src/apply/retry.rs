//! Running a finished job again.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use quorate_types::api::TaskCounts;
use quorate_types::event::EventType;
use quorate_types::status::{JobState, TaskState};
use quorate_types::{JobId, Name, TaskIndex, Timestamp};

use super::Result;
use crate::command::RetryScope;
use crate::flow::{Flow, Slot};
use crate::job::{Element, Job, Task, TaskHead};
use crate::lifecycle::{Change, Ended};
use crate::outcome::{Applied, Outcome, Rejection};
use crate::slots::SlotKey;
use crate::state::State;

/// What of a finished job runs again.
enum Scope {
    All,
    NotSucceeded,
    /// These tasks as a whole.
    Tasks(BTreeSet<u32>),
}

impl Scope {
    fn keeps(&self, task: u32, state: TaskState) -> bool {
        match self {
            Self::All => false,
            Self::NotSucceeded => state == TaskState::Succeeded,
            Self::Tasks(tasks) => state.is_finished() && !tasks.contains(&task),
        }
    }
}

impl State {
    pub(super) fn retry(&mut self, id: JobId, scope: RetryScope, out: &mut Applied) -> Result {
        let succeeded = self.job(id).is_some_and(|job| job.header.state == JobState::Succeeded);
        match scope {
            RetryScope::NotSucceeded if succeeded => Err(Rejection::JobState { job: id, state: JobState::Succeeded }),
            RetryScope::NotSucceeded => self.run_again(id, &Scope::NotSucceeded, out),
            RetryScope::All => self.run_again(id, &Scope::All, out),
        }
    }

    /// Runs a task again, and everything that needs it.
    pub(super) fn retry_from(&mut self, id: JobId, task: &Name, out: &mut Applied) -> Result {
        let Some(job) = self.jobs.get(&id) else { return self.control(id, out, |_| Ok(Outcome::Done)) };
        let no_such = || Rejection::NoSuchTask { job: id, task: task.clone(), index: TaskIndex(0) };
        let first = job.spec.position(task).ok_or_else(no_such)?;
        let (mut open, mut tasks) = (vec![first], BTreeSet::from([first]));
        while let Some(at) = open.pop() {
            open.extend(job.plan.dependents(at).iter().map(|edge| edge.task).filter(|at| tasks.insert(*at)));
        }
        self.run_again(id, &Scope::Tasks(tasks), out)
    }

    fn run_again(&mut self, id: JobId, scope: &Scope, out: &mut Applied) -> Result {
        let total = self.job(id).map_or(0, |job| job.header.counts.total + job.spec.elements_to_follow());
        let full = self.cluster.totals.unfinished_elements + total > crate::limits::UNFINISHED_ELEMENTS_MAX;
        // A time that is over would end the job at once.
        let ahead = |time: Option<Timestamp>| time.filter(|time| *time > out.time);
        let flow = self.job(id).map(|job| self.flow_of(&job.spec, out)).unwrap_or(Flow::PLAIN);
        let flow = Flow { deadline: ahead(flow.deadline), expires: ahead(flow.expires), ..flow };
        let result = self.control(id, out, |change| {
            let state = change.job.header.state;
            let Some(finished_at) = change.job.header.finished_at else {
                return Err(Rejection::JobState { job: id, state });
            };
            if change.job.is_schedule() {
                return Err(Rejection::Schedule(id));
            }
            if full {
                return Err(Rejection::QueueFull(change.cluster.totals.unfinished_elements));
            }
            change.cluster.unnote_finished(change.job, finished_at);
            change.cluster.unnote_submitted(change.job);
            reopen(change.job, scope, &flow);
            change.job.header.changed = change.out.index;
            change.cluster.note_submitted(change.job);
            change.cluster.enlist(change.job);
            change.cluster.queue.update_all(change.job);
            change.emit_job(EventType::JobRetried);
            change.follow_what_was_kept();
            Ok(Outcome::Done)
        });
        if let Some(key) = self.jobs.get(&id).and_then(|job| SlotKey::of(job)).filter(|_| result.is_ok()) {
            self.admit(&key, out);
        }
        result
    }
}

/// Makes the job what it would be if the tasks in scope had never been tried; attempts stay listed,
/// and their numbers go on. Other jobs that it needed have ended, and are not waited for again.
fn reopen(job: &mut Job, scope: &Scope, flow: &Flow) {
    let header = &mut job.header;
    (header.state, header.paused, header.cancelling) = (JobState::Pending, false, false);
    (header.started_at, header.finished_at, header.result_bytes) = (None, None, 0);
    if let Some(old) = header.flow.take() {
        let Flow { start_at, deadline, expires, .. } = *flow;
        let waits = job.spec.concurrency.is_some() && start_at.is_none();
        let slot = if waits { Slot::Waiting } else { Slot::None };
        let (run, follows) = (old.run, old.follows);
        header.flow = Some(Box::new(Flow { start_at, deadline, expires, slot, run, follows, ..Flow::PLAIN }));
    }
    let gate = u32::from(job.header.flow().is_gated());
    let mut counts = TaskCounts { total: job.header.counts.total, ..TaskCounts::default() };
    let mut skipped = 0;
    for at in 0..job.tasks.len() {
        let open_needs = job.plan.needs(at) + gate;
        let spec = job.spec.tasks[at as usize].clone();
        if let Some(task) = job.task_mut(at) {
            let kept = scope.keeps(at, TaskState::Cancelled) && task.head.end().is_some();
            let old = task.head;
            task.head = TaskHead { fresh: old.fresh, ..TaskHead::new(&spec, open_needs) };
            if kept {
                (task.head.fresh_cancelled, task.head.skipped) = (old.fresh_cancelled, old.skipped);
            }
            reopen_elements(at, task, scope, &mut counts);
            if task.head.skipped {
                skipped += u64::from(task.head.cancelled)
                    + if task.head.fresh_cancelled { u64::from(task.head.fresh_len()) } else { 0 };
            }
        }
    }
    if skipped > 0 || counts.failed > 0 {
        let flow = job.header.flow_mut();
        (flow.skipped, flow.kept_failed) = (skipped, counts.failed);
    }
    job.header.counts = counts;
    let elements = job.tasks.values().flat_map(|task| task.elements.values());
    let kept = elements.filter_map(|element| element.result.as_ref()).map(|result| result.len() as u64);
    job.header.result_bytes = kept.sum();
}

fn reopen_elements(at: u32, task: &mut Task, scope: &Scope, counts: &mut TaskCounts) {
    let state = task.head.fresh_state();
    let initial = if state == TaskState::Cancelled { TaskState::Waiting } else { state };
    let mut elements = OrdMap::new();
    let mut ready = OrdSet::new();
    for (index, element) in &task.elements {
        if scope.keeps(at, element.state) {
            *counts.of(element.state) += 1;
            if let Some(ended) = task.head.of_end(element.state) {
                *ended += 1;
            }
            elements.insert(*index, element.clone());
            continue;
        }
        let attempts = element.attempts.clone();
        elements.insert(*index, Arc::new(Element { attempts, ..Element::new(initial) }));
        *counts.of(initial) += 1;
        if initial == TaskState::Pending {
            ready.insert(*index);
        }
    }
    *counts.of(state) += u64::from(task.head.fresh_len());
    (task.elements, task.ready) = (elements, ready);
}

impl Change<'_> {
    /// What was kept has ended already: those that need it go on, or are left out, as then.
    fn follow_what_was_kept(&mut self) {
        let plan = self.job.plan.clone();
        for (at, task) in self.job.tasks.iter() {
            if plan.dependents(at).iter().any(|edge| edge.each) {
                let kept = task.elements().filter(|(_, element)| element.state.is_finished());
                self.ended.extend(kept.map(|(index, _)| Ended::Element(at, index)));
            }
            if task.head.end().is_some() {
                self.ended.push_back(Ended::Task(at));
            }
        }
        self.settle();
    }
}
