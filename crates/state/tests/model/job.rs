//! A job of the model: every element has a record, and what a job is comes out of its elements when it is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_state::element::AfterStop;
use quorate_state::flow::{Run, Slot};
use quorate_types::job::OnFailure;
use quorate_types::status::{AttemptState, JobState, StopReason, TaskState};
use quorate_types::{End, Epoch, Fence, JobId, JobSpec, LogIndex, Name, Need, On, Span, Timestamp};

use crate::service::Member;

pub struct Job {
    pub id: JobId,
    pub spec: Arc<JobSpec>,
    /// What the idempotency key stands for; a schedule may have another specification since.
    pub submitted_spec: Arc<JobSpec>,
    pub submitted: LogIndex,
    pub submitted_at: Timestamp,
    pub tasks: Vec<Vec<Element>>,
    pub other_jobs: Vec<OtherJob>,
    pub paused: bool,
    pub frozen: bool,
    pub cancelling: bool,
    pub overdue: bool,
    pub started: bool,
    pub finished: Option<(Timestamp, JobState)>,
    /// The task whose failure was the first, since the submission or the retry.
    pub first_failed: Option<usize>,
    pub start_at: Option<Timestamp>,
    pub deadline: Option<Timestamp>,
    pub expires: Option<Timestamp>,
    pub slot: Slot,
    pub run: Option<Run>,
    pub follows: Option<JobId>,
    pub ledger: Option<Ledger>,
    /// The tasks whose successes added others, as they came.
    pub extended_by: Vec<usize>,
    /// Added after a failure, and there for it.
    pub handlers: BTreeSet<usize>,
    /// The elements that a service is to have.
    pub members: BTreeMap<usize, Member>,
}

/// Of a schedule.
#[derive(Default)]
pub struct Ledger {
    pub decided: Timestamp,
    pub active: BTreeSet<JobId>,
    pub queued: Option<Timestamp>,
    pub finished: BTreeSet<JobId>,
}

/// Another job that a task needs, and how it ended.
pub struct OtherJob {
    pub task: usize,
    pub job: JobId,
    pub end: Option<End>,
}

#[derive(Clone)]
pub struct Element {
    pub state: TaskState,
    /// It was cancelled because something went well.
    pub skipped: bool,
    pub failures: u32,
    pub losses: u32,
    pub unable: u32,
    pub attempts: Vec<Attempt>,
    pub wait: Option<Wait>,
    pub after_stop: AfterStop,
    pub result: Option<String>,
    /// Its last attempt could not be started.
    pub unable_last: bool,
}

/// A backoff. How long it is exactly is up to the state machine, within bounds.
#[derive(Clone, Copy)]
pub struct Wait {
    pub from: Timestamp,
    pub least: Span,
    pub until: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Attempt {
    pub number: u32,
    pub fence: Fence,
    pub worker: Name,
    pub epoch: Epoch,
    pub state: AttemptState,
    pub stopped: Option<StopReason>,
    pub assigned_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// The element behind which it was assigned.
    pub behind: Option<usize>,
}

/// What has become of a need.
#[derive(Clone, Copy, PartialEq)]
enum Met {
    Open,
    Yes,
    /// It can't come about any more, because something went well or not.
    No {
        skipped: bool,
    },
}

fn live(element: &Element) -> Option<&Attempt> {
    element.attempts.last().filter(|_| element.state.is_live())
}

impl Element {
    pub fn new() -> Self {
        Self {
            state: TaskState::Waiting,
            skipped: false,
            failures: 0,
            losses: 0,
            unable: 0,
            attempts: Vec::new(),
            wait: None,
            after_stop: AfterStop::Requeue,
            result: None,
            unable_last: false,
        }
    }

    fn end(&self) -> Option<End> {
        match self.state {
            TaskState::Succeeded => Some(End::Succeeded),
            TaskState::Failed => Some(End::Failed),
            TaskState::Cancelled => Some(End::Cancelled),
            _ => None,
        }
    }

    pub fn cancel(&mut self, skipped: bool) {
        (self.state, self.skipped, self.wait) = (TaskState::Cancelled, skipped, None);
    }
}

impl Job {
    pub fn is_schedule(&self) -> bool {
        self.spec.schedule.is_some()
    }

    pub fn state(&self) -> JobState {
        match self.finished {
            Some((_, state)) => state,
            None if self.paused => JobState::Paused,
            None if self.started => JobState::Running,
            None => JobState::Pending,
        }
    }

    pub fn elements(&self) -> impl Iterator<Item = (usize, usize, &Element)> {
        let tasks = self.tasks.iter().enumerate();
        tasks.flat_map(|(task, elements)| elements.iter().enumerate().map(move |(at, element)| (task, at, element)))
    }

    fn places(&self) -> Vec<(usize, usize)> {
        self.elements().map(|(task, at, _)| (task, at)).collect()
    }

    /// Those that could be placed now: no more than may be live besides those that are.
    pub fn pending(&self, task: usize) -> Vec<usize> {
        if self.paused || self.cancelling || self.finished.is_some() {
            return Vec::new();
        }
        let whole = |(task, at): (usize, usize)| self.tasks[task][at].state == TaskState::Pending;
        if !self.members(task).into_iter().all(whole) {
            return Vec::new();
        }
        let elements = &self.tasks[task];
        let live = elements.iter().filter(|element| element.state.is_live()).count();
        let most = self.spec.tasks[task].max_parallel.map_or(usize::MAX, |most| most as usize).saturating_sub(live);
        let pending = elements.iter().enumerate().filter(|(_, element)| element.state == TaskState::Pending);
        pending.map(|(at, _)| at).take(most).collect()
    }

    pub fn position(&self, name: &Name) -> Option<usize> {
        self.spec.tasks.iter().position(|task| task.name == *name)
    }

    /// How a task ended; `None` while it has not.
    pub fn task_end(&self, task: usize) -> Option<End> {
        let ends: Option<Vec<End>> = self.tasks[task].iter().map(Element::end).collect();
        let ends = ends?;
        Some(if ends.contains(&End::Failed) {
            End::Failed
        } else if ends.contains(&End::Cancelled) {
            End::Cancelled
        } else {
            End::Succeeded
        })
    }

    pub fn is_gated(&self) -> bool {
        self.start_at.is_some() || self.slot == Slot::Waiting
    }

    /// Nothing of the task may start any more.
    pub fn is_doomed(&self, task: usize) -> bool {
        let failed = self.spec.on_failure == OnFailure::Cancel && self.first_failed.is_some();
        self.cancelling || self.overdue || (failed && !self.is_spared(task))
    }

    /// It is there for the first failure, or for any end, or comes after what is.
    fn is_spared(&self, task: usize) -> bool {
        self.handlers.contains(&task)
            || self.spec.tasks[task].needs.iter().any(|need| {
                let Some(other) = need.task().and_then(|name| self.position(name)) else { return false };
                need.on() == On::Finish
                    || (need.on() == On::Failure && self.first_failed == Some(other))
                    || self.is_spared(other)
            })
    }

    /// The same, when something has failed.
    pub fn is_handler(&self, task: usize) -> bool {
        self.handlers.contains(&task) || (self.first_failed.is_some() && self.is_spared(task))
    }

    /// Whether a need of the task as a whole has come about.
    pub fn is_met(&self, need: &Need, task: usize) -> bool {
        self.met(need, task, 0) == Met::Yes
    }

    fn met(&self, need: &Need, task: usize, at: usize) -> Met {
        let decide = |end: Option<End>, on: On, well: bool| match end {
            None => Met::Open,
            Some(end) if on.is_met_by(end) => Met::Yes,
            Some(_) => Met::No { skipped: well },
        };
        match need {
            Need::Job { job, on } => {
                let known = self.other_jobs.iter().find(|other| other.task == task && other.job == *job);
                let end = known.and_then(|other| other.end);
                decide(end, *on, end == Some(End::Succeeded))
            }
            Need::Task { task: name, on } => {
                let other = self.position(name).unwrap();
                let elements = &self.tasks[other];
                if *on == On::Success && elements.iter().any(|element| element.state == TaskState::Failed) {
                    return Met::No { skipped: false };
                }
                let end = self.task_end(other);
                let left_out = elements.iter().all(|e| e.state != TaskState::Cancelled || e.skipped);
                decide(end, *on, end == Some(End::Succeeded) || (end == Some(End::Cancelled) && left_out))
            }
            Need::Each { task: name, on } => {
                let element = &self.tasks[self.position(name).unwrap()][at];
                decide(element.end(), *on, element.state == TaskState::Succeeded || element.skipped)
            }
        }
    }

    /// What the first of these needs that can't come about any more says.
    fn missed(&self, task: usize, at: usize, of_jobs: bool) -> Option<bool> {
        let needs = self.spec.tasks[task].needs.iter().filter(|need| need.task().is_none() == of_jobs);
        needs.map(|need| self.met(need, task, at)).find_map(|met| match met {
            Met::No { skipped } => Some(skipped),
            Met::Open | Met::Yes => None,
        })
    }

    fn waits(&self, task: usize, at: usize) -> bool {
        let element = &self.tasks[task][at];
        let rests = element.state == TaskState::Waiting && element.wait.is_none();
        rests && !self.has_live_gang(task) && !self.gang_backs_off(task)
    }

    /// Cancels what waits for other jobs that ended otherwise.
    pub fn look_at_jobs(&mut self) {
        for (task, at) in self.places() {
            if let Some(skipped) = self.missed(task, at, true).filter(|_| self.waits(task, at)) {
                self.tasks[task][at].cancel(skipped);
            }
        }
    }

    /// Cancels what waits in vain, and lets go on what waits for nothing more, until nothing changes.
    pub fn look_at_tasks(&mut self) {
        let mut changed = true;
        while std::mem::take(&mut changed) {
            for (task, at) in self.places() {
                if !self.waits(task, at) {
                    continue;
                }
                let needs = &self.spec.tasks[task].needs;
                if let Some(skipped) = self.missed(task, at, false) {
                    self.tasks[task][at].cancel(skipped);
                    changed = true;
                } else if needs.iter().all(|need| self.met(need, task, at) == Met::Yes)
                    && !self.is_gated()
                    && !self.is_doomed(task)
                {
                    self.tasks[task][at].state = TaskState::Pending;
                    changed = true;
                }
            }
        }
    }

    /// Cancels what has not started, of those tasks.
    pub fn cancel_unstarted(&mut self, of: impl Fn(&Self, usize) -> bool) {
        for (task, at) in self.places() {
            let unstarted = matches!(self.tasks[task][at].state, TaskState::Waiting | TaskState::Pending);
            if unstarted && !self.has_live_gang(task) && of(self, task) {
                self.tasks[task][at].cancel(false);
            }
        }
        let assigned = |task: usize, at: usize| self.tasks[task][at].state == TaskState::Assigned;
        let in_line = self.places().into_iter().filter(|(task, at)| assigned(*task, *at) && of(self, *task));
        let in_line = in_line.filter(|(task, at)| self.waits_for(*task, *at).is_some()).collect::<Vec<_>>();
        in_line.into_iter().for_each(|(task, at)| self.stop(task, at, AfterStop::Cancel, StopReason::NotStarted));
    }

    /// The element for whose end the live attempt of this one waits.
    pub fn waits_for(&self, task: usize, at: usize) -> Option<usize> {
        let attempt = live(&self.tasks[task][at])?;
        self.last_in_line(task, attempt.behind?, at, attempt.fence)
    }

    /// The last before `at` of those live ones with this fence that are `first` or behind it.
    pub fn last_in_line(&self, task: usize, first: usize, at: usize, fence: Fence) -> Option<usize> {
        (first..at).rev().find(|before| {
            let found = self.tasks[task].get(*before).and_then(live).filter(|found| found.fence == fence);
            found.is_some_and(|found| (*before == first && found.behind.is_none()) || found.behind == Some(first))
        })
    }

    /// The elements with a live attempt that waits for nobody.
    pub fn holders(&self) -> impl Iterator<Item = (usize, usize, &Element)> {
        let waits = |task, at| self.waits_for(task, at).is_some();
        self.elements().filter(move |(task, at, element)| element.state.is_live() && !waits(*task, *at))
    }

    pub fn stop_live(&mut self, after: AfterStop, why: StopReason) {
        for (task, at) in self.places() {
            let element = &self.tasks[task][at];
            let cancelled = element.state == TaskState::Stopping && element.after_stop == AfterStop::Cancel;
            let in_line = cancelled && after == AfterStop::Fail && self.waits_for(task, at).is_some();
            if element.state.is_live() && !in_line {
                self.stop(task, at, after, why);
            }
        }
    }

    /// Asks an attempt to end, and with it the rest of its gang.
    pub fn stop(&mut self, task: usize, at: usize, after: AfterStop, why: StopReason) {
        let was_asked = self.tasks[task][at].state == TaskState::Stopping;
        self.stop_one(task, at, after, why);
        if !was_asked {
            self.stop_mates(task, at, after, why);
        }
    }

    pub fn stop_one(&mut self, task: usize, at: usize, after: AfterStop, why: StopReason) {
        let element = &mut self.tasks[task][at];
        if element.state != TaskState::Stopping || after != AfterStop::Requeue {
            element.after_stop = after;
        }
        element.state = TaskState::Stopping;
        self.members.get_mut(&at).into_iter().for_each(|member| member.available = false);
        let attempt = self.tasks[task][at].attempts.last_mut().unwrap();
        attempt.state = AttemptState::Stopping;
        attempt.stopped.get_or_insert(why);
        // What waits for it is not to start.
        let (fence, first) = (attempt.fence, attempt.behind.unwrap_or(at));
        for next in at + 1..self.tasks[task].len() {
            let element = &mut self.tasks[task][next];
            let waits = live(element).is_some_and(|it| it.fence == fence && it.behind == Some(first));
            if waits && element.state != TaskState::Stopping {
                (element.state, element.after_stop) = (TaskState::Stopping, AfterStop::Requeue);
                let attempt = element.attempts.last_mut().unwrap();
                (attempt.state, attempt.stopped) = (AttemptState::Stopping, Some(StopReason::Behind));
            }
        }
    }

    pub fn verdict(&self) -> JobState {
        let any = |of: fn(&Element) -> bool| self.elements().any(|(_, _, element)| of(element));
        let spoiled = any(|element| element.state == TaskState::Cancelled && !element.skipped);
        if self.cancelling && (spoiled || self.is_service()) {
            JobState::Cancelled
        } else if any(|element| element.state == TaskState::Failed) || (self.overdue && spoiled) {
            JobState::Failed
        } else if spoiled {
            JobState::Cancelled
        } else {
            JobState::Succeeded
        }
    }
}
