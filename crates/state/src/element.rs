//! The elements of a task, and their attempts.

use std::sync::Arc;

use quorate_types::limits::ATTEMPTS_KEPT_MAX;
use quorate_types::session::AttemptKey;
use quorate_types::status::{AttemptState, Ending, StopReason, TaskState};
use quorate_types::{AttemptNumber, Epoch, Fence, Name, Span, TaskIndex, Timestamp};
use serde::{Deserialize, Serialize};

use crate::job::ElementKey;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Element {
    pub state: TaskState,
    /// Failed attempts that counted against the retries.
    pub failures: u32,
    /// Attempts in a row that ended with their worker.
    pub losses: u32,
    /// Attempts in a row that their worker was unable to start.
    pub unable: u32,
    pub attempts: Vec<Attempt>,
    pub result: Option<Arc<str>>,
    pub progress: Option<Progress>,
    /// The end of the backoff.
    pub wait_until: Option<Timestamp>,
    /// What happens once a stopping attempt has ended.
    pub after_stop: AfterStop,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub millis: u16,
    pub message: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AfterStop {
    /// Place it again; a retry is not used up.
    Requeue,
    Cancel,
    /// The job's deadline is over.
    Fail,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub number: AttemptNumber,
    pub fence: Fence,
    pub worker: Name,
    pub epoch: Epoch,
    pub state: AttemptState,
    pub ending: Option<Ending>,
    /// Why it was told to stop, if it was.
    pub stopped: Option<StopReason>,
    /// The element behind whose attempt it was assigned, if it was to wait for that.
    pub behind: Option<TaskIndex>,
    pub assigned_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

impl Element {
    pub(crate) fn new(state: TaskState) -> Self {
        Self {
            state,
            failures: 0,
            losses: 0,
            unable: 0,
            attempts: Vec::new(),
            result: None,
            progress: None,
            wait_until: None,
            after_stop: AfterStop::Requeue,
        }
    }

    pub fn current(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    pub(crate) fn current_mut(&mut self) -> Option<&mut Attempt> {
        self.attempts.last_mut()
    }

    /// About how many bytes it takes when encoded.
    pub(crate) fn weight(&self) -> usize {
        const ATTEMPT: usize = 128;
        let result = self.result.as_ref().map_or(0, |result| result.len());
        let message = self.progress.as_ref().map_or(0, |progress| progress.message.len());
        let reasons = self.attempts.iter().filter_map(|attempt| attempt.ending.as_ref()).map(Ending::weight);
        result + message + reasons.sum::<usize>() + self.attempts.len() * ATTEMPT
    }

    /// The longest that an attempt was there which was asked to end, so that what it had done was lost: as far as
    /// attempts are remembered.
    pub fn longest_lost(&self) -> Span {
        let stopped = self.attempts.iter().filter(|attempt| attempt.state == AttemptState::Cancelled);
        // What waited for another had done nothing.
        let stopped = stopped.filter(|attempt| attempt.behind.is_none() || attempt.started_at.is_some());
        let there = stopped.filter_map(|attempt| Some(attempt.finished_at?.since(attempt.assigned_at)));
        there.max().unwrap_or_default()
    }

    pub fn next_attempt(&self) -> AttemptNumber {
        AttemptNumber(self.current().map_or(0, |attempt| attempt.number.0) + 1)
    }

    pub(crate) fn push_attempt(&mut self, attempt: Attempt) {
        if self.attempts.len() >= ATTEMPTS_KEPT_MAX {
            self.attempts.remove(0);
        }
        // Most elements have one: room for more is never used, and would be most of what a million of them take.
        self.attempts.reserve_exact(1);
        self.attempts.push(attempt);
    }
}

impl Attempt {
    /// Its key, as that of an element.
    pub(crate) fn key(&self, at: ElementKey) -> AttemptKey {
        AttemptKey { job: at.job, task: at.task, index: at.index, attempt: self.number, fence: self.fence }
    }

    /// Whether it may still wait for the one behind which it was assigned, as far as its worker has said.
    pub fn may_wait(&self) -> bool {
        self.behind.is_some() && self.state == AttemptState::Assigned
    }

    pub(crate) fn is(&self, key: &AttemptKey, epoch: Epoch) -> bool {
        self.number == key.attempt && self.fence == key.fence && self.epoch == epoch && self.state.is_live()
    }

    /// From its start to its end, as far as both are known.
    pub(crate) fn lasted(&self) -> Span {
        let (Some(from), Some(until)) = (self.started_at, self.finished_at) else { return Span(0) };
        Span(until.0.saturating_sub(from.0))
    }

    pub(crate) fn end(&mut self, state: AttemptState, ending: Option<Ending>, ran: Option<Span>, now: Timestamp) {
        self.state = state;
        self.ending = ending;
        self.finished_at = Some(now);
        // Its start may have been told together with its end, which says nothing of when that was.
        if let Some(ran) = ran.filter(|_| self.started_at.is_none_or(|at| at >= now)) {
            self.started_at = Some(Timestamp(now.0.saturating_sub(ran.0)).max(self.assigned_at));
        }
    }
}
