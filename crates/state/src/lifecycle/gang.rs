//! What the end of one member means for its gang: all that was begun together ends together, and is placed again or
//! given up as one.

use quorate_types::event::EventType;
use quorate_types::status::{AttemptState, Ending, StopReason, TaskState};

use super::Change;
use crate::element::{AfterStop, Element};
use crate::gang::Gang;
use crate::job::ElementKey;

impl Change<'_> {
    fn members(&self, gang: &Gang) -> Vec<ElementKey> {
        let job = self.job.id();
        gang.elements().map(|(task, index)| ElementKey { job, task, index }).collect()
    }

    fn state_of(&self, at: &ElementKey) -> Option<TaskState> {
        self.job.task(at.task)?.state_of(at.index)
    }

    /// The record in which failures and losses are counted: that of a gang's first element counts for all.
    pub(super) fn tally(&mut self, at: &ElementKey) -> Option<&mut Element> {
        let at = self.job.tally_of(at);
        self.element_mut(at.task, at.index)
    }

    /// An element whose attempt has ended is not placed yet: it waits for a retry, or for the others of its gang.
    pub(super) fn hold(&mut self, at: &ElementKey, reason: &str) {
        self.move_element(at.task, at.index, TaskState::Waiting);
        self.emit(EventType::TaskWaiting, at.task, at.index, Some(reason));
    }

    /// Ends the attempts of all other members, because one has ended or has been asked to.
    pub(super) fn stop_gang(&mut self, at: &ElementKey, after: AfterStop, why: StopReason) {
        let Some(gang) = self.job.gang(at.task).cloned().filter(|gang| self.job.live_members(gang) > 0) else { return };
        for member in self.members(&gang) {
            if member != *at && self.element(member.task, member.index).is_some_and(is_going_on) {
                self.stop_member(&member, after, why);
            }
        }
    }

    /// A member will never run again, so none does.
    pub(super) fn abandon_gang(&mut self, at: &ElementKey) {
        let Some(gang) = self.job.gang(at.task).cloned() else { return };
        for member in self.members(&gang).into_iter().filter(|member| member != at) {
            match self.state_of(&member) {
                Some(TaskState::Waiting | TaskState::Pending) => {
                    self.drop_result(&member);
                    self.cancel_element(&member);
                }
                Some(TaskState::Assigned | TaskState::Running | TaskState::Stopping) => {
                    if self.element(member.task, member.index).is_some_and(|e| e.after_stop == AfterStop::Requeue) {
                        self.stop_member(&member, AfterStop::Cancel, StopReason::Gang);
                    }
                }
                Some(TaskState::Succeeded | TaskState::Failed | TaskState::Cancelled) | None => {}
            }
        }
    }

    /// Once no attempt of the gang is left, what waits for its end succeeds, is placed again, or is cancelled.
    pub(super) fn resolve_gang(&mut self, task: u32) {
        let Some(gang) = self.job.gang(task).cloned().filter(|gang| self.job.live_members(gang) == 0) else { return };
        let members = self.members(&gang);
        if members.iter().all(|at| self.has_succeeded(at)) {
            return members.iter().for_each(|at| self.succeed_member(at));
        }
        let waiting: Vec<ElementKey> =
            members.iter().filter(|at| self.state_of(at) == Some(TaskState::Waiting)).copied().collect();
        if waiting.len() < members.len() || self.is_doomed(task) {
            for at in waiting {
                self.drop_result(&at);
                self.cancel_element(&at);
            }
            return;
        }
        members.iter().for_each(|at| self.drop_result(at));
        let failed = members.iter().find(|at| self.ended_as(at) == Some(AttemptState::Failed)).copied();
        if failed.is_none() && members.iter().any(|at| self.ended_as(at) == Some(AttemptState::Lost)) {
            return self.requeue_gang(&gang, "worker lost");
        }
        let ending = failed.and_then(|at| Some((at.task, self.element(at.task, at.index)?.current()?.ending.clone()?)));
        let unable = matches!(ending, Some((_, Ending::Unable(_))));
        let Some(tally) = members.first().and_then(|at| self.tally(at)) else { return };
        tally.losses = 0;
        tally.unable *= u32::from(unable);
        let times = if unable { tally.unable } else { tally.failures };
        match (ending, members.first()) {
            (Some((failed, _)), Some(first)) => self.wait_before_retry(first, failed, times),
            (None, _) | (_, None) => self.requeue_gang(&gang, "stopped"),
        }
    }

    fn has_succeeded(&self, at: &ElementKey) -> bool {
        self.state_of(at) == Some(TaskState::Waiting) && self.ended_as(at) == Some(AttemptState::Succeeded)
    }

    fn ended_as(&self, at: &ElementKey) -> Option<AttemptState> {
        Some(self.element(at.task, at.index)?.current()?.state)
    }

    fn succeed_member(&mut self, at: &ElementKey) {
        self.move_element(at.task, at.index, TaskState::Succeeded);
        self.emit(EventType::TaskSucceeded, at.task, at.index, None);
    }

    /// All members can be placed again.
    pub(crate) fn requeue_gang(&mut self, gang: &Gang, reason: &str) {
        for at in self.members(gang) {
            self.move_element(at.task, at.index, TaskState::Pending);
            self.emit(EventType::TaskPending, at.task, at.index, Some(reason));
        }
    }
}

/// Whether it runs and has not been asked to end.
fn is_going_on(element: &Element) -> bool {
    matches!(element.state, TaskState::Assigned | TaskState::Running)
}
