//! The transitions of elements, attempts and jobs that several commands share.

use std::sync::Arc;

use quorate_types::event::EventType;
use quorate_types::job::OnFailure;
use quorate_types::session::{AttemptKey, Finished, Stream};
use quorate_types::status::{AttemptState, Ending, JobState, TaskState};
use quorate_types::{JobId, Resources, Span, TaskIndex, Timestamp};

use crate::archive;
use crate::job::{AfterStop, Element, ElementKey, Job};
use crate::limits::{FINISHED_IN_MEMORY, OUTPUT_BYTES_MAX, OUTPUT_BYTES_PER_JOB_MAX};
use crate::outcome::{Applied, ArchiveKey, Event, Notice, NoticeKind};
use crate::state::{Cluster, State};
use crate::timers::Timer;

/// One job under change, beside everything else.
pub(crate) struct Change<'a> {
    pub(crate) job: &'a mut Job,
    pub(crate) cluster: &'a mut Cluster,
    pub(crate) out: &'a mut Applied,
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
        Some(edit(&mut Change { job, cluster: &mut self.cluster, out }))
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
        let Some(found) = self.job.tasks.get_mut(&task).map(Arc::make_mut) else { return };
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
        if to == TaskState::Succeeded {
            found.head.succeeded += 1;
        }
        self.count(from, to, 1);
        self.cluster.queue.update(self.job, task);
    }

    fn count(&mut self, from: TaskState, to: TaskState, n: u64) {
        let counts = &mut self.job.header.counts;
        *counts.of(from) -= n;
        *counts.of(to) += n;
        self.job.header.changed = self.out.index;
        if to.is_finished() && !from.is_finished() {
            self.cluster.totals.unfinished_elements -= n;
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

    /// Nothing of this job may start any more.
    fn is_doomed(&self) -> bool {
        let failed = self.job.header.counts.failed > 0 && self.job.spec.on_failure == OnFailure::Cancel;
        failed || self.job.header.cancelling
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

    /// The worker reported the end of a live attempt.
    pub(crate) fn finish_attempt(&mut self, key: &AttemptKey, finished: &Finished) {
        let at = ElementKey::from(key);
        let now = self.now();
        let Some(element) = self.element_mut(at.task, at.index) else { return };
        let stopped = (element.state == TaskState::Stopping).then_some(element.after_stop);
        let (state, verdict) = match (finished.ending.is_success(), stopped) {
            (true, _) => (AttemptState::Succeeded, TaskState::Succeeded),
            (false, Some(AfterStop::Cancel)) => (AttemptState::Cancelled, TaskState::Cancelled),
            (false, Some(AfterStop::Requeue)) => (AttemptState::Cancelled, TaskState::Pending),
            (false, None) => (AttemptState::Failed, TaskState::Failed),
        };
        if verdict == TaskState::Succeeded {
            element.result = finished.result.as_deref().map(Arc::from);
        }
        self.end_attempt(&at, state, Some(finished.ending.clone()), Some(finished.ran));
        self.keep_output(key, finished);
        self.mark_running(Timestamp(now.0.saturating_sub(finished.ran.0)));
        match verdict {
            TaskState::Succeeded => self.succeed(&at),
            TaskState::Failed => self.fail(&at, &finished.ending),
            TaskState::Cancelled => self.cancel_element(&at),
            _ => self.requeue(&at, "stopped"),
        }
        self.settle();
    }

    /// The attempt's worker is gone, and the attempt with it. Uses up no retry.
    pub(crate) fn lose_attempt(&mut self, at: &ElementKey) {
        let Some(element) = self.element(at.task, at.index) else { return };
        let cancel = element.state == TaskState::Stopping && element.after_stop == AfterStop::Cancel;
        self.end_attempt(at, AttemptState::Lost, None, None);
        if cancel {
            self.cancel_element(at);
        } else {
            self.requeue(at, "worker lost");
        }
        self.settle();
    }

    fn end_attempt(&mut self, at: &ElementKey, state: AttemptState, ending: Option<Ending>, ran: Option<Span>) {
        let now = self.now();
        let Some(element) = self.element_mut(at.task, at.index) else { return };
        element.progress = None;
        let Some(attempt) = element.current_mut() else { return };
        attempt.end(state, ending, ran, now);
        let worker = attempt.worker.clone();
        let resources: &Resources = &self.job.spec.tasks[at.task as usize].resources;
        if let Some(worker) = self.cluster.workers.get_mut(&worker) {
            Arc::make_mut(worker).release(at, resources);
        }
    }

    fn keep_output(&mut self, key: &AttemptKey, finished: &Finished) {
        for (stream, tail) in [(Stream::Stdout, &finished.stdout_tail), (Stream::Stderr, &finished.stderr_tail)] {
            let bytes = tail.len() as u64;
            let fits = self.job.header.output_bytes + bytes <= OUTPUT_BYTES_PER_JOB_MAX
                && self.cluster.totals.output_bytes + bytes <= OUTPUT_BYTES_MAX;
            if tail.is_empty() || !fits {
                continue;
            }
            self.job.header.output_bytes += bytes;
            self.cluster.totals.output_bytes += bytes;
            let (job, task, index, attempt) = (key.job, key.task, key.index, key.attempt);
            let key = ArchiveKey::Output { job, task, index, attempt, stream };
            archive::put(key, tail.as_slice().into(), self.cluster, self.out);
        }
    }

    fn succeed(&mut self, at: &ElementKey) {
        self.move_element(at.task, at.index, TaskState::Succeeded);
        self.emit(EventType::TaskSucceeded, at.task, at.index, None);
        if self.job.task(at.task).is_some_and(|task| task.head.succeeded == task.head.count) {
            self.release_dependents(at.task);
        }
    }

    fn release_dependents(&mut self, task: u32) {
        let plan = self.job.plan.clone();
        for dependent in &plan.dependents[task as usize] {
            let Some(found) = self.job.task_mut(*dependent) else { continue };
            found.head.open_needs -= 1;
            if found.head.open_needs == 0 && !found.head.fresh_cancelled {
                self.open_task(*dependent);
            }
        }
    }

    /// All needs of the task have succeeded: its waiting elements could be placed now.
    pub(crate) fn open_task(&mut self, task: u32) {
        let Some(found) = self.job.task_mut(task) else { return };
        let (from, fresh) = (found.head.fresh, found.head.fresh_len());
        let tried: Vec<u32> = found
            .elements
            .iter()
            .filter(|(_, e)| e.state == TaskState::Waiting && e.wait_until.is_none())
            .map(|(index, _)| *index)
            .collect();
        if fresh > 0 {
            self.count(TaskState::Waiting, TaskState::Pending, u64::from(fresh));
            self.emit_range(EventType::TaskPending, task, from, fresh);
        }
        for index in tried {
            self.move_element(task, TaskIndex(index), TaskState::Pending);
            self.emit(EventType::TaskPending, task, TaskIndex(index), None);
        }
        self.cluster.queue.update(self.job, task);
    }

    fn fail(&mut self, at: &ElementKey, ending: &Ending) {
        let retries = self.job.spec.tasks[at.task as usize].retries;
        let doomed = self.is_doomed();
        let Some(element) = self.element_mut(at.task, at.index) else { return };
        element.failures += 1;
        let failures = element.failures;
        if failures <= retries && !doomed {
            return self.back_off(at, failures, ending);
        }
        self.move_element(at.task, at.index, TaskState::Failed);
        self.emit(EventType::TaskFailed, at.task, at.index, Some(&ending.to_string()));
        match self.job.spec.on_failure {
            OnFailure::Cancel => self.cancel_unstarted(),
            OnFailure::Continue => self.cancel_dependents(at.task),
        }
    }

    fn back_off(&mut self, at: &ElementKey, failures: u32, ending: &Ending) {
        let wait = self.job.spec.tasks[at.task as usize].backoff.wait(failures);
        let until = self.now().plus(Span(wait.0 + jitter(at, failures, wait)));
        if let Some(element) = self.element_mut(at.task, at.index) {
            element.wait_until = Some(until);
        }
        self.cluster.timers.set(until, Timer::Backoff(*at));
        self.move_element(at.task, at.index, TaskState::Waiting);
        self.emit(EventType::TaskWaiting, at.task, at.index, Some(&ending.to_string()));
    }

    fn requeue(&mut self, at: &ElementKey, reason: &str) {
        if self.is_doomed() {
            return self.cancel_element(at);
        }
        self.move_element(at.task, at.index, TaskState::Pending);
        self.emit(EventType::TaskPending, at.task, at.index, Some(reason));
    }

    /// An element that runs no attempt will never run one.
    pub(crate) fn cancel_element(&mut self, at: &ElementKey) {
        let Some(element) = self.element_mut(at.task, at.index) else { return };
        if let Some(until) = element.wait_until.take() {
            self.cluster.timers.cancel(until, Timer::Backoff(*at));
        }
        self.move_element(at.task, at.index, TaskState::Cancelled);
        self.emit(EventType::TaskCancelled, at.task, at.index, None);
    }

    /// Cancels everything of the job that has not started.
    pub(crate) fn cancel_unstarted(&mut self) {
        for task in 0..self.job.spec.tasks.len() {
            self.cancel_unstarted_of(task as u32);
        }
    }

    fn cancel_unstarted_of(&mut self, task: u32) {
        let Some(found) = self.job.task_mut(task) else { return };
        let waiting: Vec<u32> = found
            .elements
            .iter()
            .filter(|(_, e)| matches!(e.state, TaskState::Waiting | TaskState::Pending))
            .map(|(index, _)| *index)
            .collect();
        let (from, fresh, state) = (found.head.fresh, found.head.fresh_len(), found.head.fresh_state());
        if fresh > 0 && state != TaskState::Cancelled {
            found.head.fresh_cancelled = true;
            self.count(state, TaskState::Cancelled, u64::from(fresh));
            self.emit_range(EventType::TaskCancelled, task, from, fresh);
        }
        for index in waiting {
            self.cancel_element(&ElementKey { job: self.job.id(), task, index: TaskIndex(index) });
        }
        self.cluster.queue.update(self.job, task);
    }

    /// Cancels what can't run any more because `task` failed, directly or through others.
    fn cancel_dependents(&mut self, task: u32) {
        let plan = self.job.plan.clone();
        let mut open: Vec<u32> = plan.dependents[task as usize].clone();
        while let Some(dependent) = open.pop() {
            let doomed_already = self.job.task(dependent).is_none_or(|t| t.head.fresh_cancelled);
            if !doomed_already {
                self.cancel_unstarted_of(dependent);
                open.extend(&plan.dependents[dependent as usize]);
            }
        }
    }

    /// Asks the workers to end all live attempts.
    pub(crate) fn stop_live(&mut self, after: AfterStop) {
        let mut live: Vec<ElementKey> = Vec::new();
        let job = self.job.id();
        for (task, found, _) in self.job.tasks() {
            let of_task = found.elements().filter(|(_, e)| e.state.is_live());
            live.extend(of_task.map(|(index, _)| ElementKey { job, task, index }));
        }
        for at in live {
            self.stop(&at, after);
        }
    }

    /// Asks the worker to end this live attempt. Only its word or the end of its lease moves on.
    pub(crate) fn stop(&mut self, at: &ElementKey, after: AfterStop) {
        let Some(element) = self.element_mut(at.task, at.index) else { return };
        // A cancel overrides a pending move, never the other way round.
        if element.state != TaskState::Stopping || after == AfterStop::Cancel {
            element.after_stop = after;
        }
        if element.state == TaskState::Stopping {
            return;
        }
        let Some(attempt) = element.current_mut() else { return };
        attempt.state = AttemptState::Stopping;
        let key =
            AttemptKey { job: at.job, task: at.task, index: at.index, attempt: attempt.number, fence: attempt.fence };
        let (worker, epoch) = (attempt.worker.clone(), attempt.epoch);
        if let Some(worker) = self.cluster.workers.get_mut(&worker)
            && let Some(live) = Arc::make_mut(worker).attempts.get_mut(at)
        {
            live.stopping = true;
        }
        self.out.notices.push(Notice { worker, epoch, what: NoticeKind::Stop(key) });
        self.move_element(at.task, at.index, TaskState::Stopping);
        self.emit(EventType::TaskStopping, at.task, at.index, None);
    }

    /// Finishes the job when its last element is finished.
    pub(crate) fn settle(&mut self) {
        let counts = self.job.header.counts;
        if counts.finished() < counts.total || self.job.header.state.is_finished() {
            return;
        }
        let (state, event) = if self.job.header.cancelling && counts.cancelled > 0 {
            (JobState::Cancelled, EventType::JobCancelled)
        } else if counts.failed > 0 {
            (JobState::Failed, EventType::JobFailed)
        } else if counts.cancelled > 0 {
            (JobState::Cancelled, EventType::JobCancelled)
        } else {
            (JobState::Succeeded, EventType::JobSucceeded)
        };
        let now = self.now();
        self.job.header.state = state;
        self.job.header.finished_at = Some(now);
        self.job.header.changed = self.out.index;
        self.cluster.note_finished(self.job, now);
        self.emit_job(event);
    }
}

impl Cluster {
    /// Takes a finished job into the retention's books.
    pub(crate) fn note_finished(&mut self, job: &Job, at: Timestamp) {
        self.finished.insert((at, job.id()));
        self.timers.set(at.plus(FINISHED_IN_MEMORY), Timer::Archive(job.id()));
        self.totals.finished_elements += job.header.counts.total;
    }

    /// Takes it out again.
    pub(crate) fn unnote_finished(&mut self, job: &Job, at: Timestamp) {
        self.finished.remove(&(at, job.id()));
        self.timers.cancel(at.plus(FINISHED_IN_MEMORY), Timer::Archive(job.id()));
        self.totals.finished_elements -= job.header.counts.total;
    }
}

/// Up to a quarter of the wait, spread by a hash of what waits: the same on every replica.
fn jitter(at: &ElementKey, failures: u32, wait: Span) -> u64 {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&at.job.0.to_le_bytes());
    bytes[8..12].copy_from_slice(&at.task.to_le_bytes());
    bytes[12..16].copy_from_slice(&at.index.0.to_le_bytes());
    bytes[16..].copy_from_slice(&failures.to_le_bytes());
    let share = xxhash_rust::xxh3::xxh3_64(&bytes) % 1024;
    wait.0 / 4 * share / 1024
}
