//! Cancelling what has not started, and asking workers to end what runs.

use std::sync::Arc;

use quorate_types::event::EventType;
use quorate_types::session::Motion;
use quorate_types::status::{AttemptState, StopReason, TaskState};
use quorate_types::{Bug, TaskIndex, is_planted};

use super::{Change, Ended};
use crate::element::{AfterStop, Attempt, Element};
use crate::job::ElementKey;
use crate::outcome::{Notice, NoticeKind};
use crate::spaces::Hold;
use crate::timers::Timer;
use crate::worker::LiveAttempt;

impl Change<'_> {
    /// An element that runs no attempt will never run one.
    pub(crate) fn cancel_element(&mut self, at: &ElementKey) {
        self.drop_copies(at);
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
        // What waits in a gang that is live has started with it.
        if self.job.gang(task).is_some_and(|gang| self.job.live_members(gang) > 0) {
            return;
        }
        let Some(found) = self.job.task_mut(task) else { return };
        let waiting: Vec<u32> = found
            .elements
            .iter()
            .filter(|(_, e)| matches!(e.state, TaskState::Waiting | TaskState::Pending))
            .map(|(index, _)| *index)
            .collect();
        let in_line = self.waiting_in_line(task);
        self.cancel_fresh_of(task);
        for index in waiting {
            self.cancel_element(&ElementKey { job: self.job.id(), task, index: TaskIndex(index) });
        }
        in_line.iter().for_each(|at| self.stop(at, AfterStop::Cancel, StopReason::NotStarted));
        self.cluster.queue.update(self.job, task);
    }

    /// The elements of a task that a worker has, but won't start before others have ended.
    fn waiting_in_line(&self, task: u32) -> Vec<ElementKey> {
        let Some(found) = self.job.task(task).filter(|found| found.head.in_line > 0) else { return Vec::new() };
        let assigned = found.elements().filter(|(_, element)| element.current().is_some_and(Attempt::may_wait));
        let keys = assigned.map(|(index, _)| ElementKey { job: self.job.id(), task, index });
        keys.filter(|at| self.live_attempt(at).is_some_and(|live| !live.holds)).collect()
    }

    /// What the worker's record says of an element's live attempt.
    fn live_attempt(&self, at: &ElementKey) -> Option<&LiveAttempt> {
        let worker = &self.element(at.task, at.index)?.current()?.worker;
        self.cluster.workers.get(worker)?.attempts.get(at)
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
    pub(crate) fn stop_live(&mut self, after: AfterStop, why: StopReason) {
        for at in self.live() {
            // What waits in line and will be cancelled has not started: it does not fail either.
            if after != AfterStop::Fail || !self.is_leaving_line(&at) {
                self.stop(&at, after, why);
            }
        }
    }

    fn is_leaving_line(&self, at: &ElementKey) -> bool {
        let Some(element) = self.element(at.task, at.index) else { return false };
        let cancelled = element.state == TaskState::Stopping && element.after_stop == AfterStop::Cancel;
        cancelled && self.live_attempt(at).is_some_and(|live| !live.holds)
    }

    /// Asks the workers to stop all live attempts where they are, or to let them go on. What is ending goes on ending.
    pub(crate) fn set_motion(&mut self, motion: Motion) {
        for at in self.live() {
            let element = self.job.task(at.task).and_then(|task| task.element(at.index));
            let going = element.filter(|element| element.state != TaskState::Stopping);
            let Some(attempt) = going.and_then(Element::current) else { continue };
            let what = NoticeKind::Move(attempt.key(at), motion);
            self.out.notices.push(Notice { worker: attempt.worker.clone(), epoch: attempt.epoch, what });
        }
    }

    fn live(&self) -> Vec<ElementKey> {
        let job = self.job.id();
        let live = self.job.tasks().flat_map(|(task, found, _)| {
            let live = found.elements().filter(|(_, element)| element.state.is_live());
            live.map(move |(index, _)| ElementKey { job, task, index })
        });
        live.collect()
    }

    /// Asks the worker to end this live attempt. Only its word or the end of its lease moves on. The rest of its gang
    /// ends with it.
    pub(crate) fn stop(&mut self, at: &ElementKey, after: AfterStop, why: StopReason) {
        if self.stop_member(at, after, why).is_some() {
            self.stop_gang(at, after, why);
        }
    }

    /// Ends this attempt, and what waits for its end; `None` if it was asked to end before.
    pub(super) fn stop_member(&mut self, at: &ElementKey, after: AfterStop, why: StopReason) -> Option<()> {
        let mut next = self.next_in_line(at);
        self.stop_one(at, after, why)?;
        while let Some(waiting) = next {
            next = self.next_in_line(&waiting);
            self.stop_one(&waiting, AfterStop::Requeue, StopReason::Behind);
        }
        Some(())
    }

    /// Who takes over from this attempt.
    fn next_in_line(&self, at: &ElementKey) -> Option<ElementKey> {
        let index = self.live_attempt(at)?.next?;
        Some(ElementKey { index, ..*at })
    }

    fn stop_one(&mut self, at: &ElementKey, after: AfterStop, why: StopReason) -> Option<()> {
        let element = self.element_mut(at.task, at.index)?;
        // What ends the task for good overrides a pending move, never the other way round.
        if element.state != TaskState::Stopping || after != AfterStop::Requeue {
            element.after_stop = after;
        }
        if element.state == TaskState::Stopping {
            return None;
        }
        let attempt = element.current_mut()?;
        (attempt.state, attempt.stopped) = (AttemptState::Stopping, Some(why));
        let key = attempt.key(*at);
        let (worker, epoch) = (attempt.worker.clone(), attempt.epoch);
        if let Some(worker) = self.cluster.workers.get_mut(&worker)
            && let Some(live) = Arc::make_mut(worker).attempts.get_mut(at)
        {
            live.stopping = true;
            if live.holds {
                let resources = &self.job.spec.tasks[at.task as usize].resources;
                self.cluster.note_hold(&self.job.spec.namespace, Hold::Stopping, resources);
            }
        }
        self.out.notices.push(Notice { worker, epoch, what: NoticeKind::Stop(key) });
        self.move_element(at.task, at.index, TaskState::Stopping);
        if is_planted(Bug::LockFreedEarly) {
            self.cluster.release_locks(at, self.out);
        }
        self.set_available(at, false);
        self.emit(EventType::TaskStopping, at.task, at.index, Some(&why.to_string()));
        Some(())
    }
}
