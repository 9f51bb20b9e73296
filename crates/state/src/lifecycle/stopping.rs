//! Cancelling what has not started, and asking workers to end what runs.

use std::sync::Arc;

use quorate_types::TaskIndex;
use quorate_types::event::EventType;
use quorate_types::session::AttemptKey;
use quorate_types::status::{AttemptState, TaskState};

use super::{Change, Ended};
use crate::element::AfterStop;
use crate::job::ElementKey;
use crate::outcome::{Notice, NoticeKind};
use crate::timers::Timer;

impl Change<'_> {
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

    /// The same, but for what a failure does not keep from starting.
    pub(super) fn cancel_doomed(&mut self) {
        for task in 0..self.job.spec.tasks.len() as u32 {
            if self.is_doomed(task) {
                self.cancel_unstarted_of(task);
            }
        }
    }

    pub(crate) fn cancel_unstarted_of(&mut self, task: u32) {
        let Some(found) = self.job.task_mut(task) else { return };
        let waiting: Vec<u32> = found
            .elements
            .iter()
            .filter(|(_, e)| matches!(e.state, TaskState::Waiting | TaskState::Pending))
            .map(|(index, _)| *index)
            .collect();
        self.cancel_fresh_of(task);
        for index in waiting {
            self.cancel_element(&ElementKey { job: self.job.id(), task, index: TaskIndex(index) });
        }
        self.cluster.queue.update(self.job, task);
    }

    /// Cancels the elements without a record.
    pub(super) fn cancel_fresh_of(&mut self, task: u32) {
        let Some(found) = self.job.task_mut(task) else { return };
        let (from, fresh, state) = (found.head.fresh, found.head.fresh_len(), found.head.fresh_state());
        if fresh > 0 && state != TaskState::Cancelled {
            found.head.fresh_cancelled = true;
            self.count(state, TaskState::Cancelled, u64::from(fresh));
            self.emit_range(EventType::TaskCancelled, task, from, fresh);
            if self.job.plan.feeds_elements(task) {
                self.ended.push_back(Ended::Fresh(task, from));
            }
            self.note_end(task, None);
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
        self.stop_because(at, after, None);
    }

    /// The same, with a reason for its event.
    pub(crate) fn stop_because(&mut self, at: &ElementKey, after: AfterStop, reason: Option<&str>) {
        let Some(element) = self.element_mut(at.task, at.index) else { return };
        // What ends the task for good overrides a pending move, never the other way round.
        if element.state != TaskState::Stopping || after != AfterStop::Requeue {
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
        self.emit(EventType::TaskStopping, at.task, at.index, reason);
    }
}
