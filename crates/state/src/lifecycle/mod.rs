//! The transitions of elements, attempts and jobs that several commands share.

mod attempts;
mod ends;
mod gang;
mod rollout;
mod stopping;

pub(crate) use ends::Ended;

use std::collections::VecDeque;
use std::sync::Arc;

use quorate_types::event::EventType;
use quorate_types::job::OnFailure;
use quorate_types::status::{Ending, JobState, TaskState};
use quorate_types::{JobId, TaskIndex, Timestamp};

use crate::element::Element;
use crate::job::Job;
use crate::limits::FINISHED_IN_MEMORY;
use crate::outcome::{Applied, Event};
use crate::state::{Cluster, State};
use crate::timers::Timer;

/// One job under change, beside everything else.
pub(crate) struct Change<'a> {
    pub(crate) job: &'a mut Job,
    pub(crate) cluster: &'a mut Cluster,
    pub(crate) out: &'a mut Applied,
    /// What has ended and is to be followed.
    pub(crate) ended: VecDeque<Ended>,
}

impl State {
    /// Changes one job; `None` if it is not in memory.
    pub(crate) fn edit<R>(
        &mut self,
        id: JobId,
        out: &mut Applied,
        edit: impl FnOnce(&mut Change<'_>) -> R,
    ) -> Option<R> {
        let job = Arc::make_mut(self.jobs.get_mut(&id)?);
        let mut change = Change { job, cluster: &mut self.cluster, out, ended: VecDeque::new() };
        let result = edit(&mut change);
        assert!(change.ended.is_empty(), "ends of job {id} were not followed: {:?}", change.ended);
        Some(result)
    }
}

impl Change<'_> {
    pub(crate) fn now(&self) -> Timestamp {
        self.out.time
    }

    pub(crate) fn element(&self, task: u32, index: TaskIndex) -> Option<&Element> {
        self.job.task(task)?.element(index)
    }

    pub(crate) fn element_mut(&mut self, task: u32, index: TaskIndex) -> Option<&mut Element> {
        self.job.task_mut(task)?.element_mut(index)
    }

    /// Moves an element that has a record to another state; all sums and the queue follow.
    pub(crate) fn move_element(&mut self, task: u32, index: TaskIndex, to: TaskState) {
        let Some(found) = self.job.task_mut(task) else { return };
        let Some(element) = found.element_mut(index) else { return };
        let from = std::mem::replace(&mut element.state, to);
        match (from == TaskState::Pending, to == TaskState::Pending) {
            (true, false) => {
                found.ready.remove(&index.0);
            }
            (false, true) => {
                found.ready.insert(index.0);
            }
            (true, true) | (false, false) => {}
        }
        found.head.live += u32::from(to.is_live());
        found.head.live -= u32::from(from.is_live());
        if let Some(ended) = found.head.of_end(to) {
            *ended += 1;
        }
        self.count(from, to, 1);
        self.cluster.queue.update(self.job, task);
        if to.is_finished() {
            self.note_end(task, Some(index));
        }
    }

    fn count(&mut self, from: TaskState, to: TaskState, n: u64) {
        let counts = &mut self.job.header.counts;
        *counts.of(from) -= n;
        *counts.of(to) += n;
        self.job.header.changed = self.out.index;
        if to.is_finished() && !from.is_finished() {
            self.cluster.note_finished_elements(&self.job.spec.namespace, n);
        }
    }

    pub(crate) fn emit_job(&mut self, kind: EventType) {
        self.out.events.push(Event { job: Some(self.job.id()), ..Event::new(kind) });
    }

    /// An event about an element and, where there is one, its newest attempt.
    pub(crate) fn emit(&mut self, kind: EventType, task: u32, index: TaskIndex, reason: Option<&str>) {
        let mut event = Event::new(kind);
        event.job = Some(self.job.id());
        event.task = self.job.task_spec(task).map(|spec| spec.name.clone());
        event.index = Some(index);
        event.reason = reason.map(Arc::from);
        if let Some(attempt) = self.element(task, index).and_then(Element::current) {
            event.attempt = Some(attempt.number);
            event.fence = Some(attempt.fence);
            event.worker = Some(attempt.worker.clone());
            event.epoch = Some(attempt.epoch);
            event.exit_code = attempt.ending.as_ref().and_then(Ending::exit_code);
        }
        self.out.events.push(event);
    }

    /// One event for all elements of a task from `from` on.
    pub(crate) fn emit_range(&mut self, kind: EventType, task: u32, from: u32, count: u32) {
        let mut event = Event::new(kind);
        event.job = Some(self.job.id());
        event.task = self.job.task_spec(task).map(|spec| spec.name.clone());
        event.index = Some(TaskIndex(from));
        event.count = (count > 1).then_some(count);
        self.out.events.push(event);
    }

    /// Nothing of this task may start any more.
    pub(crate) fn is_doomed(&self, task: u32) -> bool {
        let header = &self.job.header;
        let kept = header.flow().kept_failed;
        let failed = header.counts.failed > kept && self.job.spec.on_failure == OnFailure::Cancel;
        let spared = || self.job.task(task).is_some_and(|found| found.head.handler);
        header.cancelling || header.flow().overdue || (failed && !spared())
    }

    /// The job counts as running from the first sign of a running attempt.
    pub(crate) fn mark_running(&mut self, at: Timestamp) {
        let header = &mut self.job.header;
        if header.started_at.is_none() {
            header.started_at = Some(at);
        }
        if header.state == JobState::Pending {
            header.state = JobState::Running;
            self.emit_job(EventType::JobRunning);
        }
    }

    /// Follows what has ended, and finishes the job when its last element is finished.
    pub(crate) fn settle(&mut self) {
        self.follow_ends();
        if self.job.is_service() && !self.job.header.cancelling {
            return;
        }
        let counts = self.job.header.counts;
        if counts.finished() < counts.total || self.job.header.state.is_finished() {
            return;
        }
        let (state, event) = self.verdict();
        self.finish(state, event);
    }

    fn verdict(&self) -> (JobState, EventType) {
        let (counts, flow) = (self.job.header.counts, self.job.header.flow());
        // What was left out on purpose spoils nothing.
        let spoiled = counts.cancelled > flow.skipped;
        if self.job.header.cancelling && (spoiled || self.job.is_service()) {
            (JobState::Cancelled, EventType::JobCancelled)
        } else if counts.failed > 0 || (flow.overdue && spoiled) {
            (JobState::Failed, EventType::JobFailed)
        } else if spoiled {
            (JobState::Cancelled, EventType::JobCancelled)
        } else {
            (JobState::Succeeded, EventType::JobSucceeded)
        }
    }

    pub(crate) fn finish(&mut self, state: JobState, event: EventType) {
        let now = self.now();
        self.cluster.delist(self.job);
        let before = self.job.unfinished_elements();
        (self.job.header.state, self.job.header.frozen) = (state, false);
        self.cluster.note_finished_elements(&self.job.spec.namespace, before - self.job.unfinished_elements());
        self.job.header.finished_at = Some(now);
        self.job.header.changed = self.out.index;
        self.cluster.note_finished(self.job, now);
        self.emit_job(event);
        self.out.finished.push(self.job.id());
    }
}

impl Cluster {
    /// Takes a finished job into the retention's books.
    pub(crate) fn note_finished(&mut self, job: &Job, at: Timestamp) {
        self.finished.insert((at, job.id()));
        self.finished_by_size.insert((job.header.counts.total, job.id()));
        self.timers.set(at.plus(FINISHED_IN_MEMORY), Timer::Archive(job.id()));
        self.totals.finished_elements += job.header.counts.total;
    }

    /// Takes it out again.
    pub(crate) fn unnote_finished(&mut self, job: &Job, at: Timestamp) {
        self.finished.remove(&(at, job.id()));
        self.finished_by_size.remove(&(job.header.counts.total, job.id()));
        self.timers.cancel(at.plus(FINISHED_IN_MEMORY), Timer::Archive(job.id()));
        self.totals.finished_elements -= job.header.counts.total;
    }
}
