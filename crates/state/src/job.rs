//! Jobs and their tasks.
//!
//! An array of a million elements must not cost a million records while they wait. Elements from
//! [`TaskHead::fresh`] on have never been touched, and nothing distinguishes them: one number stands for all.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use quorate_types::api::TaskCounts;
use quorate_types::service::Kind;
use quorate_types::session::AttemptKey;
use quorate_types::status::{JobState, TaskState};
use quorate_types::{AttemptNumber, End, JobId, JobSpec, LogIndex, Name, Need, Span, TaskIndex, TaskSpec, Timestamp};
use serde::{Deserialize, Serialize};

use crate::element::Element;
use crate::flow::Flow;
use crate::plan::{Plan, UNKNOWN_RUN, longest_paths};
use crate::service::Service;
use crate::tasks::Tasks;

#[derive(Clone, Debug)]
pub struct Job {
    pub header: Header,
    pub spec: Arc<JobSpec>,
    /// Derived from the specification.
    pub(crate) plan: Plan,
    /// By position in the specification.
    pub(crate) tasks: Tasks,
    /// Of a service or system job.
    pub(crate) service: Option<Arc<Service>>,
}

/// What a job is besides its specification and tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub id: JobId,
    pub state: JobState,
    pub paused: bool,
    /// Paused so that what runs is stopped where it is, instead of ended.
    pub frozen: bool,
    /// A user cancelled it; what is left of it is ending.
    pub cancelling: bool,
    pub submitted_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// The log index of the submission.
    pub submitted: LogIndex,
    /// The log index of the newest change.
    pub changed: LogIndex,
    pub counts: TaskCounts,
    /// The size of the specification, as counted against the limit.
    pub spec_bytes: u64,
    /// Bytes of output tails that the archive keeps for this job.
    pub output_bytes: u64,
    /// Bytes of results in memory.
    pub result_bytes: u64,
    /// What most jobs have nothing of.
    pub flow: Option<Box<Flow>>,
}

/// One task of a job: an array of elements, most often of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Task {
    pub head: TaskHead,
    /// Elements below `fresh`, each with a record.
    pub(crate) elements: OrdMap<u32, Arc<Element>>,
    /// Elements with a record that could be placed. Derived.
    pub(crate) ready: OrdSet<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskHead {
    /// What the task as a whole still waits for: tasks, other jobs, and the job's start time or key.
    pub open_needs: u32,
    /// From this element on no one has a record.
    pub fresh: u32,
    pub count: u32,
    /// The fresh elements were cancelled and will never run.
    pub fresh_cancelled: bool,
    pub succeeded: u32,
    pub failed: u32,
    pub cancelled: u32,
    /// Elements with a live attempt.
    pub live: u32,
    /// How many may be live at a time; 0: as many as there are.
    pub live_max: u32,
    /// Elements wait for single elements of other tasks: those without a record wait, whatever is open.
    pub each: bool,
    /// It is there for the failure of another task, which therefore does not cancel it.
    pub handler: bool,
    /// Cancelled elements whose condition did not come about: no sign of anything wrong.
    pub skipped: u32,
    /// Live elements that hold nothing yet: they wait for others on their worker.
    pub in_line: u32,
    /// How long its elements run, in microseconds: the mean of those that succeeded, the newest with a weight of an
    /// eighth.
    pub pace: Option<u32>,
}

/// One element of one task of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ElementKey {
    pub job: JobId,
    pub task: u32,
    pub index: TaskIndex,
}

impl From<&AttemptKey> for ElementKey {
    fn from(key: &AttemptKey) -> Self {
        Self { job: key.job, task: key.task, index: key.index }
    }
}

impl Job {
    pub(crate) fn new(id: JobId, spec: Arc<JobSpec>, spec_bytes: u64, at: LogIndex, now: Timestamp) -> Self {
        let plan = Plan::of(&spec);
        let mut counts = TaskCounts::default();
        let fresh = (0..).zip(&spec.tasks).filter(|_| spec.schedule.is_none()).map(|(at, task)| {
            let mut head = TaskHead::new(task, plan.needs(at));
            // An element comes with each worker.
            head.count *= u32::from(spec.kind() != Kind::System);
            counts.total += u64::from(head.count);
            *counts.of(head.fresh_state()) += u64::from(head.count);
            Task { head, ..Task::default() }
        });
        let tasks = fresh.collect();
        let header = Header {
            id,
            state: JobState::Pending,
            paused: false,
            frozen: false,
            cancelling: false,
            submitted_at: now,
            started_at: None,
            finished_at: None,
            submitted: at,
            changed: at,
            counts,
            spec_bytes,
            output_bytes: 0,
            result_bytes: 0,
            flow: None,
        };
        let service = spec.service.as_deref().map(|service| {
            let count = spec.tasks.get(service.newest as usize).map_or(0, |task| task.count);
            Arc::new(Service::of(service, count))
        });
        Self { header, spec, plan, tasks, service }
    }

    pub fn id(&self) -> JobId {
        self.header.id
    }

    pub fn task(&self, at: u32) -> Option<&Task> {
        self.tasks.get(at).map(Arc::as_ref)
    }

    pub fn task_spec(&self, at: u32) -> Option<&TaskSpec> {
        self.spec.tasks.get(at as usize)
    }

    /// The tasks with their specifications, by position.
    pub fn tasks(&self) -> impl Iterator<Item = (u32, &Task, &TaskSpec)> {
        self.tasks.iter().zip(&self.spec.tasks).map(|((at, task), spec)| (at, task.as_ref(), spec))
    }

    /// Whether the worker has said that this attempt runs.
    pub fn has_started(&self, key: &AttemptKey) -> bool {
        let element = self.task(key.task).and_then(|task| task.element(key.index));
        let current = element.and_then(Element::current).filter(|attempt| attempt.number == key.attempt);
        current.is_some_and(|attempt| attempt.started_at.is_some())
    }

    /// The element behind whose attempt this one was assigned.
    pub fn behind(&self, key: &AttemptKey) -> Option<TaskIndex> {
        let element = self.task(key.task).and_then(|task| task.element(key.index));
        element.and_then(Element::current).filter(|attempt| attempt.number == key.attempt)?.behind
    }

    /// The position of the task called so.
    pub fn position_of(&self, name: &Name) -> Option<u32> {
        let first = self.plan.position(&self.spec, name)?;
        // All versions of a service have one name.
        Some(self.spec.service.as_ref().map_or(first, |service| service.newest))
    }

    /// How many tasks wait for this one.
    pub fn dependents(&self, task: u32) -> usize {
        self.plan.dependents(task).count()
    }

    /// How long a task and the longest chain of tasks behind it will run, as far as the specification says.
    pub fn path(&self, task: u32) -> Span {
        self.plan.path(&self.spec, task)
    }

    /// The same of all tasks, by what else is known of how long each will run.
    pub fn paths(&self, run: impl Fn(u32) -> Option<Span>) -> Vec<Span> {
        longest_paths(self.tasks.len(), |at| self.plan.dependents(at), |at| run(at).unwrap_or(UNKNOWN_RUN))
    }

    /// Whether tasks of this job may be placed.
    pub fn is_placeable(&self) -> bool {
        !self.header.paused && !self.header.cancelling && !self.header.state.is_finished()
    }

    /// Elements that have not finished, and those of jobs that may follow: their room is kept.
    pub(crate) fn unfinished_elements(&self) -> u64 {
        let counts = &self.header.counts;
        let follows = !self.header.state.is_finished() && !self.is_schedule();
        let to_follow = if follows { self.spec.elements_to_follow() } else { 0 };
        counts.total - counts.finished() + to_follow
    }

    /// Whether it never runs itself, but is submitted again and again.
    pub fn is_schedule(&self) -> bool {
        self.spec.schedule.is_some()
    }

    pub(crate) fn task_mut(&mut self, at: u32) -> Option<&mut Task> {
        self.tasks.get_mut(at)
    }
}

impl Header {
    /// What is special about when it runs.
    pub fn flow(&self) -> &Flow {
        static PLAIN: Flow = Flow::PLAIN;
        self.flow.as_deref().unwrap_or(&PLAIN)
    }

    pub(crate) fn flow_mut(&mut self) -> &mut Flow {
        self.flow.get_or_insert_default()
    }
}

impl TaskHead {
    pub(crate) fn new(spec: &TaskSpec, open_needs: u32) -> Self {
        let each = spec.needs.iter().any(|need| matches!(need, Need::Each { .. }));
        Self { open_needs, count: spec.count, live_max: spec.max_parallel.unwrap_or(0), each, ..Self::default() }
    }

    /// An element has succeeded after so long.
    pub(crate) fn note_run(&mut self, ran: Span) {
        let micros = u32::try_from(ran.0.saturating_mul(1_000)).unwrap_or(u32::MAX);
        self.pace = Some(self.pace.map_or(micros, |pace| pace - pace / 8 + micros / 8));
    }

    /// One took longer than its line could wait for: some will have to be quicker before there is another.
    pub(crate) fn note_slow(&mut self) {
        const SLOW: u32 = 20_000;
        self.pace = Some(self.pace.map_or(SLOW, |pace| pace.max(SLOW)));
    }

    /// How many more elements may be live.
    pub fn live_left(&self) -> usize {
        match self.live_max {
            0 => usize::MAX,
            most => most.saturating_sub(self.live) as usize,
        }
    }

    /// Whether all that was cancelled was left out on purpose.
    pub(crate) const fn is_skipped(&self) -> bool {
        let fresh = if self.fresh_cancelled { self.fresh_len() } else { 0 };
        self.skipped > 0 && self.skipped == self.cancelled + fresh
    }

    /// How the task ended, once all of its elements have.
    pub fn end(&self) -> Option<End> {
        let fresh_cancelled = if self.fresh_cancelled { self.fresh_len() } else { 0 };
        if self.succeeded + self.failed + self.cancelled + fresh_cancelled < self.count {
            return None;
        }
        Some(match (self.failed, self.cancelled + fresh_cancelled) {
            (0, 0) => End::Succeeded,
            (0, _) => End::Cancelled,
            (_, _) => End::Failed,
        })
    }

    pub(crate) fn of_end(&mut self, state: TaskState) -> Option<&mut u32> {
        match state {
            TaskState::Succeeded => Some(&mut self.succeeded),
            TaskState::Failed => Some(&mut self.failed),
            TaskState::Cancelled => Some(&mut self.cancelled),
            TaskState::Waiting
            | TaskState::Pending
            | TaskState::Assigned
            | TaskState::Running
            | TaskState::Stopping => None,
        }
    }

    /// The state of the elements without a record.
    pub const fn fresh_state(&self) -> TaskState {
        if self.fresh_cancelled {
            TaskState::Cancelled
        } else if self.open_needs > 0 || self.each {
            TaskState::Waiting
        } else {
            TaskState::Pending
        }
    }

    /// How many elements without a record could be placed.
    fn fresh_pending(&self) -> u32 {
        if self.fresh_state() == TaskState::Pending { self.fresh_len() } else { 0 }
    }

    /// How many elements have no record.
    pub const fn fresh_len(&self) -> u32 {
        self.count - self.fresh
    }
}

impl Task {
    pub fn has_pending(&self) -> bool {
        self.head.live_left() > 0 && (!self.ready.is_empty() || self.head.fresh_pending() > 0)
    }

    /// The elements that could be placed now, with the number of their next attempt: those that were
    /// tried before first, then the untouched ones; no more than may be live besides those that are.
    pub fn pending(&self) -> impl Iterator<Item = (TaskIndex, AttemptNumber)> + '_ {
        let fresh = self.head.fresh..self.head.fresh + self.head.fresh_pending();
        let tried =
            self.ready.iter().filter_map(|at| self.elements.get(at).map(|e| (TaskIndex(*at), e.next_attempt())));
        tried.chain(fresh.map(|at| (TaskIndex(at), AttemptNumber(1)))).take(self.head.live_left())
    }

    /// How many elements could be placed now.
    pub fn pending_len(&self) -> u64 {
        (u64::from(self.head.fresh_pending()) + self.ready.len() as u64).min(self.head.live_left() as u64)
    }

    /// How many elements that could be placed, but for the bound on live ones, come before this one, which could.
    pub fn pending_before(&self, index: TaskIndex) -> u64 {
        if index.0 < self.head.fresh {
            return self.ready.range(..index.0).count() as u64;
        }
        self.ready.len() as u64 + u64::from(index.0 - self.head.fresh)
    }

    /// The one that has so many before it.
    pub fn pending_at(&self, before: u64) -> Option<TaskIndex> {
        let before = usize::try_from(before).ok()?;
        let fresh = self.head.fresh..self.head.fresh + self.head.fresh_pending();
        self.ready.iter().copied().chain(fresh).nth(before).map(TaskIndex)
    }

    pub fn element(&self, index: TaskIndex) -> Option<&Element> {
        self.elements.get(&index.0).map(Arc::as_ref)
    }

    pub fn elements(&self) -> impl Iterator<Item = (TaskIndex, &Element)> {
        self.elements.iter().map(|(at, element)| (TaskIndex(*at), element.as_ref()))
    }

    /// The last elements with a record, the last one first.
    pub fn last_elements(&self, most: usize) -> impl Iterator<Item = &Element> {
        self.elements.values().rev().take(most).map(Arc::as_ref)
    }

    /// Whether any of its elements was ever assigned.
    pub(crate) fn has_begun(&self) -> bool {
        self.elements.values().any(|element| !element.attempts.is_empty())
    }

    /// The state of an element, with a record or without; `None` beyond the array.
    pub fn state_of(&self, index: TaskIndex) -> Option<TaskState> {
        match self.elements.get(&index.0) {
            Some(element) => Some(element.state),
            None => (index.0 < self.head.count).then(|| self.head.fresh_state()),
        }
    }

    pub(crate) fn element_mut(&mut self, index: TaskIndex) -> Option<&mut Element> {
        self.elements.get_mut(&index.0).map(Arc::make_mut)
    }

    /// Gives every element up to and including `index` a record.
    pub(crate) fn materialise(&mut self, index: TaskIndex) {
        let state = self.head.fresh_state();
        while self.head.fresh <= index.0 && self.head.fresh < self.head.count {
            self.elements.insert(self.head.fresh, Arc::new(Element::new(state)));
            if state == TaskState::Pending {
                self.ready.insert(self.head.fresh);
            }
            if let Some(ended) = self.head.of_end(state) {
                *ended += 1;
            }
            self.head.fresh += 1;
        }
    }
}
