//! Jobs, their tasks, the tasks' elements and the elements' attempts.
//!
//! An array of a million elements must not cost a million records while they wait. Elements from
//! [`Task::fresh`] on have never been touched, and nothing distinguishes them: one number stands for all.

use std::sync::{Arc, LazyLock};

use imbl::{OrdMap, OrdSet};
use quorate_types::api::TaskCounts;
use quorate_types::limits::ATTEMPTS_KEPT_MAX;
use quorate_types::session::AttemptKey;
use quorate_types::status::{AttemptState, Ending, JobState, TaskState};
use quorate_types::{
    AttemptNumber, Epoch, Fence, JobId, JobSpec, LogIndex, Name, Span, TaskIndex, TaskSpec, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::tasks::Tasks;

#[derive(Clone, Debug)]
pub struct Job {
    pub header: Header,
    pub spec: Arc<JobSpec>,
    /// Derived from the specification.
    pub(crate) plan: Arc<Plan>,
    /// By position in the specification.
    pub(crate) tasks: Tasks,
}

/// What a job is besides its specification and tasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub id: JobId,
    pub state: JobState,
    pub paused: bool,
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
}

/// The dependencies by position. Derived, and shared by all versions of a job; by all jobs without any.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Empty if no task needs another.
    needs: Vec<u32>,
    dependents: Vec<Vec<u32>>,
}

static INDEPENDENT: LazyLock<Arc<Plan>> = LazyLock::new(Arc::default);

impl Plan {
    pub(crate) fn of(spec: &JobSpec) -> Arc<Self> {
        match spec.tasks.iter().all(|task| task.needs.is_empty()) {
            true => INDEPENDENT.clone(),
            false => Arc::new(Self::new(spec)),
        }
    }

    /// How many tasks it needs.
    pub(crate) fn needs(&self, task: u32) -> u32 {
        self.needs.get(task as usize).copied().unwrap_or(0)
    }

    /// The tasks that need it.
    pub(crate) fn dependents(&self, task: u32) -> &[u32] {
        self.dependents.get(task as usize).map_or(&[], Vec::as_slice)
    }

    fn new(spec: &JobSpec) -> Self {
        let positions: std::collections::BTreeMap<&str, usize> =
            spec.tasks.iter().enumerate().map(|(at, task)| (task.name.as_str(), at)).collect();
        let mut plan = Self { needs: vec![0; spec.tasks.len()], dependents: vec![Vec::new(); spec.tasks.len()] };
        for (at, task) in (0u32..).zip(&spec.tasks) {
            for need in &task.needs {
                if let Some(found) = positions.get(need.as_str()) {
                    plan.dependents[*found].push(at);
                    plan.needs[at as usize] += 1;
                }
            }
        }
        plan
    }
}

/// One task of a job: an array of elements, most often of one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Task {
    pub head: TaskHead,
    /// Elements below `fresh`, each with a record.
    pub(crate) elements: OrdMap<u32, Arc<Element>>,
    /// Elements with a record that could be placed. Derived.
    pub(crate) ready: OrdSet<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskHead {
    /// Tasks that this one needs and that have not succeeded as a whole.
    pub open_needs: u32,
    /// From this element on no one has a record.
    pub fresh: u32,
    pub count: u32,
    /// The fresh elements were cancelled and will never run.
    pub fresh_cancelled: bool,
    pub succeeded: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Element {
    pub state: TaskState,
    /// Failed attempts that counted against the retries.
    pub failures: u32,
    /// Attempts in a row that ended with their worker.
    pub losses: u32,
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
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    pub number: AttemptNumber,
    pub fence: Fence,
    pub worker: Name,
    pub epoch: Epoch,
    pub state: AttemptState,
    pub ending: Option<Ending>,
    pub assigned_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
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
        let fresh = (0..).zip(&spec.tasks).map(|(at, task)| {
            let head = TaskHead { open_needs: plan.needs(at), count: task.count, ..TaskHead::default() };
            counts.total += u64::from(task.count);
            *counts.of(head.fresh_state()) += u64::from(task.count);
            Task { head, ..Task::default() }
        });
        let tasks = fresh.collect();
        let header = Header {
            id,
            state: JobState::Pending,
            paused: false,
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
        };
        Self { header, spec, plan, tasks }
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

    /// Whether tasks of this job may be placed.
    pub fn is_placeable(&self) -> bool {
        !self.header.paused && !self.header.cancelling && !self.header.state.is_finished()
    }

    pub(crate) fn task_mut(&mut self, at: u32) -> Option<&mut Task> {
        self.tasks.get_mut(at)
    }
}

impl TaskHead {
    /// The state of the elements without a record.
    pub const fn fresh_state(&self) -> TaskState {
        if self.fresh_cancelled {
            TaskState::Cancelled
        } else if self.open_needs > 0 {
            TaskState::Waiting
        } else {
            TaskState::Pending
        }
    }

    /// How many elements have no record.
    pub const fn fresh_len(&self) -> u32 {
        self.count - self.fresh
    }
}

impl Task {
    pub fn has_pending(&self) -> bool {
        !self.ready.is_empty() || (self.head.fresh_len() > 0 && self.head.fresh_state() == TaskState::Pending)
    }

    /// The elements that could be placed, with the number of their next attempt: those that were
    /// tried before first, then the untouched ones.
    pub fn pending(&self) -> impl Iterator<Item = (TaskIndex, AttemptNumber)> + '_ {
        let fresh = match self.head.fresh_state() {
            TaskState::Pending => self.head.fresh..self.head.count,
            _ => 0..0,
        };
        let tried =
            self.ready.iter().filter_map(|at| self.elements.get(at).map(|e| (TaskIndex(*at), e.next_attempt())));
        tried.chain(fresh.map(|at| (TaskIndex(at), AttemptNumber(1))))
    }

    /// How many elements could be placed.
    pub fn pending_len(&self) -> u64 {
        let fresh = match self.head.fresh_state() {
            TaskState::Pending => u64::from(self.head.fresh_len()),
            _ => 0,
        };
        fresh + self.ready.len() as u64
    }

    pub fn element(&self, index: TaskIndex) -> Option<&Element> {
        self.elements.get(&index.0).map(Arc::as_ref)
    }

    pub fn elements(&self) -> impl Iterator<Item = (TaskIndex, &Element)> {
        self.elements.iter().map(|(at, element)| (TaskIndex(*at), element.as_ref()))
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
            self.head.fresh += 1;
        }
    }
}

impl Element {
    pub(crate) fn new(state: TaskState) -> Self {
        Self {
            state,
            failures: 0,
            losses: 0,
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

    pub fn next_attempt(&self) -> AttemptNumber {
        AttemptNumber(self.current().map_or(0, |attempt| attempt.number.0) + 1)
    }

    pub(crate) fn push_attempt(&mut self, attempt: Attempt) {
        if self.attempts.len() >= ATTEMPTS_KEPT_MAX {
            self.attempts.remove(0);
        }
        self.attempts.push(attempt);
    }
}

impl Attempt {
    pub(crate) fn is(&self, key: &AttemptKey, epoch: Epoch) -> bool {
        self.number == key.attempt && self.fence == key.fence && self.epoch == epoch && self.state.is_live()
    }

    pub(crate) fn end(&mut self, state: AttemptState, ending: Option<Ending>, ran: Option<Span>, now: Timestamp) {
        self.state = state;
        self.ending = ending;
        self.finished_at = Some(now);
        if let (None, Some(ran)) = (self.started_at, ran) {
            self.started_at = Some(Timestamp(now.0.saturating_sub(ran.0)).max(self.assigned_at));
        }
    }
}
