//! The end of an attempt, and what becomes of its element.

use std::sync::Arc;

use quorate_types::event::EventType;
use quorate_types::job::OnFailure;
use quorate_types::limits::RESULT_BYTES_MAX as RESULT_BYTES_EACH_MAX;
use quorate_types::session::{AttemptKey, Finished, Stream};
use quorate_types::status::{AttemptState, Ending, StopReason, TaskState};
use quorate_types::{Span, Timestamp};

use super::Change;
use super::rollout::Gone;
use crate::archive;
use crate::element::{AfterStop, Attempt};
use crate::job::ElementKey;
use crate::limits::{
    OUTPUT_BYTES_MAX, OUTPUT_BYTES_PER_JOB_MAX, OUTPUT_BYTES_PER_SERVICE_MAX, RESULT_BYTES_MAX, UNABLE_MAX,
};
use crate::outcome::ArchiveKey;
use crate::timers::Timer;
use crate::view;

/// What an attempt's end means for its element.
enum Verdict {
    Succeeded,
    Failed,
    /// Its worker is at fault.
    Unable,
    Cancelled,
    /// It was asked to end, and is to be placed again.
    Stopped,
    /// It was asked to end because the job's time is over.
    Overdue,
}

impl Change<'_> {
    /// The worker reported the end of a live attempt.
    pub(crate) fn finish_attempt(&mut self, key: &AttemptKey, finished: &Finished) {
        let at = ElementKey::from(key);
        let now = self.now();
        // What an attempt adds to its job comes with its success, or neither does.
        let refused = match &finished.extension {
            Some(addition) if finished.ending.is_success() => self.extend(at.task, addition).err(),
            Some(_) | None => None,
        };
        let ending = refused.as_ref().unwrap_or(&finished.ending);
        let is_service = self.job.is_service();
        let Some(element) = self.element_mut(at.task, at.index) else { return };
        let stopped = (element.state == TaskState::Stopping).then_some(element.after_stop);
        let (state, verdict) = match (ending.is_success(), stopped) {
            // It was not to end by itself, however well it took it.
            (true, Some(_)) if is_service => (AttemptState::Cancelled, Verdict::Stopped),
            (true, _) => (AttemptState::Succeeded, Verdict::Succeeded),
            (false, Some(AfterStop::Cancel)) => (AttemptState::Cancelled, Verdict::Cancelled),
            (false, Some(AfterStop::Requeue)) => (AttemptState::Cancelled, Verdict::Stopped),
            (false, Some(AfterStop::Fail)) => (AttemptState::Cancelled, Verdict::Overdue),
            // The worker leaves, and has ended what it ran.
            (false, None) if *ending == Ending::Stopped => (AttemptState::Cancelled, Verdict::Stopped),
            (false, None) if matches!(ending, Ending::Unable(_)) => (AttemptState::Failed, Verdict::Unable),
            (false, None) => (AttemptState::Failed, Verdict::Failed),
        };
        let gave_back = stopped.is_none() && element.current().is_some_and(Attempt::may_wait);
        let unable = self.note_unable(&at, &verdict);
        self.end_attempt(&at, state, Some(ending.clone()), Some(finished.ran));
        self.keep_output(key, finished);
        self.mark_running(Timestamp(now.0.saturating_sub(finished.ran.0)));
        if is_service {
            let gone = match verdict {
                Verdict::Unable => Gone::Unable(ending),
                Verdict::Succeeded | Verdict::Failed => Gone::Ended(ending, finished.ran),
                Verdict::Cancelled | Verdict::Stopped | Verdict::Overdue => Gone::Stopped,
            };
            self.go_on(&at, &gone);
            return self.settle();
        }
        match verdict {
            Verdict::Succeeded => {
                if let Some(task) = self.job.task_mut(at.task) {
                    task.head.note_run(finished.ran);
                }
                self.keep_result(&at, finished.result.as_deref());
                self.succeed(&at);
            }
            Verdict::Failed => {
                if let Some(task) = self.job.task_mut(at.task) {
                    // What fails at once says nothing of those that will not.
                    task.head.pace = None;
                }
                self.fail(&at, ending);
            }
            Verdict::Unable if unable >= UNABLE_MAX || self.is_doomed(at.task) => {
                self.give_up(&at, &ending.to_string());
            }
            // Another worker may be able, or this one soon. Uses up no retry.
            Verdict::Unable => self.back_off(&at, unable, ending),
            Verdict::Cancelled => self.cancel_stopped(&at),
            Verdict::Stopped => {
                // It was given back by its worker, where those before it took longer than they used to.
                if let Some(task) = self.job.task_mut(at.task).filter(|_| gave_back) {
                    task.head.note_slow();
                }
                self.requeue(&at, "stopped");
            }
            Verdict::Overdue => self.give_up(&at, &StopReason::Overdue.to_string()),
        }
        self.resolve_gang(at.task);
        self.settle();
    }

    /// Attempts in a row that workers were unable to start. An attempt that ended otherwise begins a new row, also of
    /// lost workers; one of a gang does when all of them have ended.
    fn note_unable(&mut self, at: &ElementKey, verdict: &Verdict) -> u32 {
        let is_alone = self.job.gang(at.task).is_none();
        let Some(tally) = self.tally(at) else { return 0 };
        if is_alone {
            tally.losses = 0;
        }
        match verdict {
            Verdict::Unable => tally.unable += 1,
            Verdict::Succeeded | Verdict::Failed | Verdict::Cancelled | Verdict::Stopped | Verdict::Overdue => {
                tally.unable *= u32::from(!is_alone);
            }
        }
        tally.unable
    }

    /// The attempt's worker is gone, and the attempt with it. Uses up no retry.
    pub(crate) fn lose_attempt(&mut self, at: &ElementKey) {
        let Some(element) = self.element_mut(at.task, at.index) else { return };
        let stopped = (element.state == TaskState::Stopping).then_some(element.after_stop);
        // Who had not started has nothing to do with it.
        let counts = stopped.is_none() && !element.current().is_some_and(Attempt::may_wait);
        let Some(tally) = self.tally(at) else { return };
        if counts {
            tally.losses += 1;
        }
        let (losses, most) = (tally.losses, self.job.spec.tasks[at.task as usize].losses);
        self.end_attempt(at, AttemptState::Lost, None, None);
        if self.job.is_service() {
            self.go_on(at, &if stopped.is_some() { Gone::Stopped } else { Gone::Lost });
            return self.settle();
        }
        match stopped {
            Some(AfterStop::Cancel) => self.cancel_stopped(at),
            Some(AfterStop::Fail) => self.give_up(at, &StopReason::Overdue.to_string()),
            Some(AfterStop::Requeue) => self.requeue(at, "worker lost"),
            None if counts && losses >= most => self.give_up(at, &view::poisonous(losses)),
            None => self.requeue(at, "worker lost"),
        }
        self.resolve_gang(at.task);
        self.settle();
    }

    fn end_attempt(&mut self, at: &ElementKey, state: AttemptState, ending: Option<Ending>, ran: Option<Span>) {
        let now = self.now();
        let Some(element) = self.element_mut(at.task, at.index) else { return };
        element.progress = None;
        let Some(attempt) = element.current_mut() else { return };
        attempt.end(state, ending, ran, now);
        let worker = attempt.worker.clone();
        let left_line = self.cluster.vacate(&worker, at, &self.job.spec);
        if let Some(task) = self.job.task_mut(at.task).filter(|_| left_line) {
            task.head.in_line -= 1;
        }
        self.cluster.release_locks(at, self.out);
        if self.cluster.workers.get(&worker).is_some_and(|worker| worker.draining) {
            self.out.vacated.push(worker);
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
        let most = if self.job.is_service() { OUTPUT_BYTES_PER_SERVICE_MAX } else { OUTPUT_BYTES_PER_JOB_MAX };
        self.make_room_for_output((finished.stdout_tail.len() + finished.stderr_tail.len()) as u64);
        for (stream, tail) in [(Stream::Stdout, &finished.stdout_tail), (Stream::Stderr, &finished.stderr_tail)] {
            let bytes = tail.len() as u64;
            let fits = self.job.header.output_bytes + bytes <= most
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

    /// A service that has run for long begins anew with what is kept of its outputs. What one attempt leaves stays
    /// together.
    fn make_room_for_output(&mut self, bytes: u64) {
        let kept = self.job.header.output_bytes;
        if self.job.is_service() && kept + bytes > OUTPUT_BYTES_PER_SERVICE_MAX {
            archive::drop_job(self.job.id(), self.cluster, self.out);
            self.cluster.totals.output_bytes -= kept;
            self.job.header.output_bytes = 0;
        }
    }

    /// Drops the result of an attempt that does not count any more.
    pub(super) fn drop_result(&mut self, at: &ElementKey) {
        let result = self.element_mut(at.task, at.index).and_then(|element| element.result.take());
        let bytes = result.map_or(0, |result| result.len() as u64);
        self.cluster.totals.result_bytes -= bytes;
        self.job.header.result_bytes -= bytes;
    }

    fn succeed(&mut self, at: &ElementKey) {
        if self.job.gang(at.task).is_some() {
            return self.hold(at, "succeeded; its gang goes on");
        }
        self.move_element(at.task, at.index, TaskState::Succeeded);
        self.emit(EventType::TaskSucceeded, at.task, at.index, None);
    }

    fn fail(&mut self, at: &ElementKey, ending: &Ending) {
        let spec = &self.job.spec.tasks[at.task as usize];
        let (retries, may_retry) = (spec.retries, spec.may_retry(ending.exit_code()));
        let doomed = self.is_doomed(at.task);
        let Some(tally) = self.tally(at) else { return };
        tally.failures += 1;
        let failures = tally.failures;
        if failures <= retries && may_retry && !doomed {
            return self.back_off(at, failures, ending);
        }
        self.give_up(at, &ending.to_string());
    }

    /// The element has failed for good.
    fn give_up(&mut self, at: &ElementKey, reason: &str) {
        self.move_element(at.task, at.index, TaskState::Failed);
        self.emit(EventType::TaskFailed, at.task, at.index, Some(reason));
        self.abandon_gang(at);
        self.miss_success_of(at.task);
        // Those that fail later find nothing left to cancel.
        let first = self.job.header.counts.failed == self.job.header.flow().kept_failed + 1;
        match self.job.spec.on_failure {
            OnFailure::Cancel if first => {
                self.spare_handlers(at.task);
                self.cancel_doomed();
            }
            OnFailure::Cancel | OnFailure::Continue => {}
        }
    }

    fn back_off(&mut self, at: &ElementKey, failures: u32, ending: &Ending) {
        self.hold(at, &ending.to_string());
        if self.job.gang(at.task).is_some() {
            // The wait begins when all of them have ended.
            return self.stop_gang(at, AfterStop::Requeue, StopReason::Gang);
        }
        self.wait_before_retry(at, at.task, failures);
    }

    /// As the task says whose attempt has failed.
    pub(super) fn wait_before_retry(&mut self, at: &ElementKey, failed: u32, failures: u32) {
        let wait = self.job.spec.tasks[failed as usize].backoff.wait(failures);
        let until = self.now().plus(Span(wait.0 + jitter(at, failures, wait)));
        if let Some(element) = self.element_mut(at.task, at.index) {
            element.wait_until = Some(until);
        }
        self.cluster.timers.set(until, Timer::Backoff(*at));
    }

    /// It was to end for good.
    fn cancel_stopped(&mut self, at: &ElementKey) {
        self.cancel_element(at);
        self.abandon_gang(at);
    }

    fn requeue(&mut self, at: &ElementKey, reason: &str) {
        if self.is_doomed(at.task) {
            return self.cancel_stopped(at);
        }
        if self.job.gang(at.task).is_some() {
            self.hold(at, reason);
            return self.stop_gang(at, AfterStop::Requeue, StopReason::Gang);
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
