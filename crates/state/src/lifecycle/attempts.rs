//! The end of an attempt, and what becomes of its element.

use std::sync::Arc;

use quorate_types::event::EventType;
use quorate_types::job::OnFailure;
use quorate_types::limits::RESULT_BYTES_MAX as RESULT_BYTES_EACH_MAX;
use quorate_types::session::{AttemptKey, Finished, Stream};
use quorate_types::status::{AttemptState, Ending, TaskState};
use quorate_types::{Bug, Resources, Span, TaskIndex, Timestamp, is_planted};

use super::Change;
use crate::archive;
use crate::job::{AfterStop, ElementKey};
use crate::limits::{LOSSES_MAX, OUTPUT_BYTES_MAX, OUTPUT_BYTES_PER_JOB_MAX, RESULT_BYTES_MAX};
use crate::outcome::ArchiveKey;
use crate::timers::Timer;

/// What an attempt's end means for its element.
enum Verdict {
    Succeeded,
    Failed,
    /// Its worker is at fault.
    Unable,
    Cancelled,
    /// It was asked to end, and is to be placed again.
    Stopped,
}

impl Change<'_> {
    /// The worker reported the end of a live attempt.
    pub(crate) fn finish_attempt(&mut self, key: &AttemptKey, finished: &Finished) {
        let at = ElementKey::from(key);
        let now = self.now();
        let Some(element) = self.element_mut(at.task, at.index) else { return };
        let stopped = (element.state == TaskState::Stopping).then_some(element.after_stop);
        let (state, verdict) = match (finished.ending.is_success(), stopped) {
            (true, _) => (AttemptState::Succeeded, Verdict::Succeeded),
            (false, Some(AfterStop::Cancel)) => (AttemptState::Cancelled, Verdict::Cancelled),
            (false, Some(AfterStop::Requeue)) => (AttemptState::Cancelled, Verdict::Stopped),
            // The worker leaves, and has ended what it ran.
            (false, None) if finished.ending == Ending::Stopped => (AttemptState::Cancelled, Verdict::Stopped),
            (false, None) if matches!(finished.ending, Ending::Unable(_)) => (AttemptState::Failed, Verdict::Unable),
            (false, None) => (AttemptState::Failed, Verdict::Failed),
        };
        element.losses = if matches!(verdict, Verdict::Unable) { element.losses + 1 } else { 0 };
        let losses = element.losses;
        self.end_attempt(&at, state, Some(finished.ending.clone()), Some(finished.ran));
        self.keep_output(key, finished);
        self.mark_running(Timestamp(now.0.saturating_sub(finished.ran.0)));
        match verdict {
            Verdict::Succeeded => {
                self.keep_result(&at, finished.result.as_deref());
                self.succeed(&at);
            }
            Verdict::Failed => self.fail(&at, &finished.ending),
            Verdict::Unable if losses >= LOSSES_MAX || self.is_doomed() => {
                self.give_up(&at, &finished.ending.to_string());
            }
            // Another worker may be able, or this one soon. Uses up no retry.
            Verdict::Unable => self.back_off(&at, losses, &finished.ending),
            Verdict::Cancelled => self.cancel_element(&at),
            Verdict::Stopped => self.requeue(&at, "stopped"),
        }
        self.settle();
    }

    /// The attempt's worker is gone, and the attempt with it. Uses up no retry.
    pub(crate) fn lose_attempt(&mut self, at: &ElementKey) {
        let Some(element) = self.element_mut(at.task, at.index) else { return };
        let stopping = element.state == TaskState::Stopping;
        let cancel = stopping && element.after_stop == AfterStop::Cancel;
        if !stopping {
            element.losses += 1;
        }
        let too_often = element.losses >= LOSSES_MAX;
        self.end_attempt(at, AttemptState::Lost, None, None);
        if cancel {
            self.cancel_element(at);
        } else if too_often {
            self.give_up(at, &format!("its workers were lost {LOSSES_MAX} times in a row"));
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

    fn keep_result(&mut self, at: &ElementKey, result: Option<&str>) {
        let Some(result) = result.filter(|result| result.len() <= RESULT_BYTES_EACH_MAX) else { return };
        let bytes = result.len() as u64;
        if self.cluster.totals.result_bytes + bytes > RESULT_BYTES_MAX {
            return;
        }
        self.cluster.totals.result_bytes += bytes;
        self.job.header.result_bytes += bytes;
        if let Some(element) = self.element_mut(at.task, at.index) {
            element.result = Some(Arc::from(result));
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

    pub(crate) fn release_dependents(&mut self, task: u32) {
        let plan = self.job.plan.clone();
        for dependent in plan.dependents(task) {
            let Some(found) = self.job.task_mut(*dependent) else { continue };
            if is_planted(Bug::NeedsOnlyStarted) && found.head.open_needs == 0 {
                continue;
            }
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
        self.give_up(at, &ending.to_string());
    }

    /// The element has failed for good.
    fn give_up(&mut self, at: &ElementKey, reason: &str) {
        self.move_element(at.task, at.index, TaskState::Failed);
        self.emit(EventType::TaskFailed, at.task, at.index, Some(reason));
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
