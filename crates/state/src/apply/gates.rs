//! What keeps whole jobs from starting, and what ends them: start times, deadlines, concurrency keys, other jobs.

use std::collections::{BTreeMap, BTreeSet};

use quorate_types::event::EventType;
use quorate_types::job::WhenFull;
use quorate_types::status::{JobState, StopReason, TaskState};
use quorate_types::{End, JobId, JobSpec, Need, On, Timestamp};

use crate::element::AfterStop;
use crate::flow::{Flow, Ledger, Slot};
use crate::job::Job;
use crate::lifecycle::Change;
use crate::outcome::Applied;
use crate::slots::SlotKey;
use crate::state::{Cluster, State};
use crate::timers::Timer;

impl State {
    /// The other jobs that the tasks of a job need, as far as they are in scope. A task that has begun before is taken to
    /// have had what it needs of a job that is not known any more.
    pub(super) fn job_needs(
        &self,
        spec: &JobSpec,
        in_scope: impl Fn(u32) -> bool,
        begun: impl Fn(u32) -> bool,
    ) -> JobNeeds {
        let mut needs = JobNeeds::default();
        for (task, definition) in (0..).zip(&spec.tasks).filter(|(task, _)| in_scope(*task)) {
            let mut has_begun = None;
            for need in &definition.needs {
                let Need::Job { job, on } = need else { continue };
                match self.end_of(*job) {
                    Some(_) if !self.knows_job(*job) && *has_begun.get_or_insert_with(|| begun(task)) => {
                        needs.past.push(PastNeed { task, on: *on, end: on.end() });
                    }
                    Some(end) => needs.past.push(PastNeed { task, on: *on, end }),
                    None => {
                        needs.awaited.insert((task, *job));
                    }
                }
            }
        }
        needs
    }

    /// How a job ended; `None` while it has not. One that was forgotten had ended, nobody knows how.
    fn end_of(&self, id: JobId) -> Option<End> {
        let in_memory = self.jobs.get(&id).map(|job| job.header.state);
        let state = in_memory.or_else(|| self.cluster.archive.get(&id).map(|archived| archived.state));
        match state {
            Some(JobState::Succeeded) => Some(End::Succeeded),
            Some(JobState::Failed) => Some(End::Failed),
            Some(JobState::Cancelled) | None => Some(End::Cancelled),
            Some(JobState::Pending | JobState::Running | JobState::Paused) => None,
        }
    }

    /// A job that others bring may come too late: it ends as it would have when its time was over.
    pub(super) fn end_if_over(&mut self, id: JobId, out: &mut Applied) {
        let going = self.jobs.get(&id).filter(|job| job.header.finished_at.is_none());
        let Some(flow) = going.map(|job| job.header.flow()) else { return };
        let is_over = |at: &Timestamp| *at <= out.time;
        match (flow.deadline.filter(is_over), flow.expires.filter(is_over)) {
            (Some(deadline), expires) if expires.is_none_or(|expires| deadline <= expires) => {
                self.cluster.timers.cancel(deadline, Timer::Deadline(id));
                self.job_deadline(id, out);
            }
            (_, Some(expires)) => {
                self.cluster.timers.cancel(expires, Timer::Expire(id));
                self.expire_job(id, out);
            }
            (_, None) => {}
        }
    }

    /// Cancels what stands in the way of a job that replaces others of its key.
    pub(super) fn displace(&mut self, id: JobId, out: &mut Applied) {
        let Some(job) = self.jobs.get(&id) else { return };
        let replaces = job.spec.concurrency.as_ref().is_some_and(|c| c.when_full == WhenFull::Replace);
        let Some(key) = SlotKey::of(job).filter(|_| replaces && job.header.flow().slot == Slot::Waiting) else {
            return;
        };
        let limit = job.spec.concurrency.as_ref().map_or(1, |c| c.limit as usize);
        let users = self.cluster.slots.users(&key);
        let too_many = (users.holders.len() + 1).saturating_sub(limit);
        let waiting = users.waiting.iter().map(|(_, other)| *other).filter(|other| *other != id);
        let displaced: Vec<JobId> = users.holders.iter().copied().take(too_many).chain(waiting).collect();
        for other in displaced {
            // What is being cancelled already goes anyway.
            let _ = self.cancel(other, out);
        }
    }

    /// Gives free places of a key to those who wait for one.
    pub(super) fn admit(&mut self, key: &SlotKey, out: &mut Applied) {
        loop {
            let users = self.cluster.slots.users(key);
            let Some((_, next)) = users.waiting.get_min().copied() else { return };
            let limit = self.jobs.get(&next).and_then(|job| job.spec.concurrency.as_ref()).map_or(0, |c| c.limit);
            if users.holders.len() >= limit as usize {
                return;
            }
            self.edit(next, out, |change| {
                change.job.header.flow_mut().slot = Slot::Held;
                change.cluster.slots.update(change.job);
                change.open_gate();
            });
        }
    }

    /// What ending or starting a job costs an entry: as much as its elements have records.
    pub(super) fn records_of(&self, id: JobId) -> u64 {
        let tasks = self.jobs.get(&id).map(|job| job.tasks.values().map(|task| task.elements.len() as u64).sum());
        tasks.unwrap_or(0)
    }

    /// The job's start time has come.
    pub(super) fn start_time(&mut self, id: JobId, out: &mut Applied) {
        let key = self.edit(id, out, |change| {
            let key = SlotKey::of(change.job);
            let flow = change.job.header.flow_mut();
            flow.start_at = None;
            if key.is_some() {
                flow.slot = Slot::Waiting;
                change.cluster.slots.update(change.job);
            } else {
                change.open_gate();
            }
            key
        });
        if let Some(key) = key.flatten() {
            self.displace(id, out);
            self.admit(&key, out);
        }
    }

    pub(super) fn expire_job(&mut self, id: JobId, out: &mut Applied) {
        self.edit(id, out, |change| {
            change.job.header.flow_mut().expires = None;
            change.cancel_unstarted();
            change.settle();
        });
    }

    /// What has not finished fails: what has not started never will, and what runs is ended.
    pub(super) fn job_deadline(&mut self, id: JobId, out: &mut Applied) {
        self.edit(id, out, |change| {
            let flow = change.job.header.flow_mut();
            (flow.deadline, flow.overdue) = (None, true);
            change.cancel_unstarted();
            change.stop_live(AfterStop::Fail, StopReason::Overdue);
            change.settle();
        });
    }

    /// Lets go on what waited for the end of this job.
    pub(super) fn resolve_awaited(&mut self, finished: JobId, out: &mut Applied) {
        let waiting = self.cluster.awaited.get(&finished).cloned().unwrap_or_default();
        if let Some(end) = self.end_of(finished) {
            for (job, task) in waiting {
                self.edit(job, out, |change| change.resolve_need(task, finished, end));
            }
        }
    }
}

impl Change<'_> {
    /// Nothing keeps the job as a whole from starting any more.
    fn open_gate(&mut self) {
        for task in 0..self.job.tasks.len() {
            self.meet(task);
        }
        self.settle();
    }

    /// Another job has ended that a task waited for.
    fn resolve_need(&mut self, task: u32, other: JobId, end: End) {
        let id = self.job.id();
        if self.job.header.flow_mut().awaited.remove(&(task, other)) {
            self.cluster.unnote_awaited(other, (id, task));
            let needs = self.job.task_spec(task).map_or(&[][..], |spec| &spec.needs);
            let on = needs.iter().find_map(|need| match need {
                Need::Job { job, on } => (*job == other).then_some(*on),
                Need::Task { .. } | Need::Each { .. } => None,
            });
            self.decide_need(&PastNeed { task, on: on.unwrap_or_default(), end });
            self.settle();
        }
    }

    /// Needs of jobs that have ended already.
    pub(super) fn resolve_past_needs(&mut self, past: &[PastNeed]) {
        for need in past {
            self.decide_need(need);
        }
        self.settle();
    }

    fn decide_need(&mut self, need: &PastNeed) {
        if need.on.is_met_by(need.end) {
            self.meet(need.task);
        } else {
            self.miss(need.task, need.end == End::Succeeded);
        }
    }
}

/// Needs of other jobs, by task.
#[derive(Default)]
pub(super) struct JobNeeds {
    /// Those that have not ended.
    pub(super) awaited: BTreeSet<(u32, JobId)>,
    pub(super) past: Vec<PastNeed>,
}

pub(super) struct PastNeed {
    task: u32,
    on: On,
    end: End,
}

impl JobNeeds {
    /// How many each task has.
    pub(super) fn counts(&self) -> BTreeMap<u32, u32> {
        let mut counts = BTreeMap::new();
        let tasks = self.awaited.iter().map(|(task, _)| task).chain(self.past.iter().map(|need| &need.task));
        tasks.for_each(|task| *counts.entry(*task).or_default() += 1);
        counts
    }
}

impl Flow {
    /// What is special about when a job runs that was submitted at `submitted`, and whose deadline and expiry
    /// count from `now`.
    pub(super) fn of(spec: &JobSpec, submitted: Timestamp, now: Timestamp) -> Self {
        if spec.schedule.is_some() {
            return Self { ledger: Some(Ledger { decided: now, ..Ledger::default() }), ..Self::PLAIN };
        }
        Self {
            start_at: spec.start_after.map(|when| when.resolve(submitted)).filter(|start| *start > now),
            deadline: spec.deadline.map(|when| when.resolve(now)),
            expires: spec.expires.map(|when| when.resolve(now)),
            ..Self::PLAIN
        }
    }
}

impl Job {
    /// Makes every task wait for what its job as a whole waits for, and for so many other jobs.
    pub(crate) fn hold_back(&mut self, needs: &BTreeMap<u32, u32>) {
        let gate = u32::from(self.header.flow().is_gated());
        for at in 0..self.tasks.len() {
            let more = gate + needs.get(&at).copied().unwrap_or(0);
            let Some(task) = self.task_mut(at).filter(|_| more > 0) else { continue };
            let before = task.head.fresh_state();
            task.head.open_needs += more;
            let (after, fresh) = (task.head.fresh_state(), u64::from(task.head.fresh_len()));
            *self.header.counts.of(before) -= fresh;
            *self.header.counts.of(after) += fresh;
        }
    }
}

impl Cluster {
    /// Takes an unfinished job into the books of what becomes due and of who waits for what.
    pub(crate) fn enlist(&mut self, job: &Job) {
        let (id, flow) = (job.id(), job.header.flow());
        for (at, timer) in due(id, flow) {
            self.timers.set(at, timer);
        }
        self.slots.update(job);
        for (task, other) in &flow.awaited {
            self.awaited.entry(*other).or_default().insert((id, *task));
        }
        if job.is_schedule() {
            self.schedules.insert(id, job.header.changed);
        }
        self.enlist_service(job);
    }

    /// Takes note of a schedule's change.
    pub(super) fn note_schedule(&mut self, job: &Job) {
        if let Some(changed) = self.schedules.get_mut(&job.id()) {
            *changed = job.header.changed;
        }
    }

    /// Takes it out again, and makes it hold and wait for nothing.
    pub(crate) fn delist(&mut self, job: &mut Job) {
        let id = job.id();
        self.schedules.remove(&id);
        self.delist_service(id);
        if job.header.flow.is_none() {
            return;
        }
        for (at, timer) in due(id, job.header.flow()) {
            self.timers.cancel(at, timer);
        }
        for (task, other) in std::mem::take(&mut job.header.flow_mut().awaited) {
            self.unnote_awaited(other, (id, task));
        }
        job.header.flow_mut().slot = Slot::None;
        self.slots.update(job);
    }

    fn unnote_awaited(&mut self, awaited: JobId, waiting: (JobId, u32)) {
        if let Some(all) = self.awaited.get_mut(&awaited) {
            all.remove(&waiting);
            if all.is_empty() {
                self.awaited.remove(&awaited);
            }
        }
    }
}

fn due(id: JobId, flow: &Flow) -> impl Iterator<Item = (quorate_types::Timestamp, Timer)> + use<> {
    let start = flow.start_at.map(|at| (at, Timer::Start(id)));
    let deadline = flow.deadline.map(|at| (at, Timer::Deadline(id)));
    let expires = flow.expires.map(|at| (at, Timer::Expire(id)));
    [start, deadline, expires].into_iter().flatten()
}

/// The events of a new job's tasks that wait for nothing.
pub(super) fn announce(change: &mut Change<'_>) {
    change.emit_job(EventType::JobSubmitted);
    let pending = change.job.tasks().filter(|(_, task, _)| task.head.fresh_state() == TaskState::Pending);
    let open: Vec<(u32, u32)> = pending.map(|(at, task, _)| (at, task.head.count)).collect();
    for (at, count) in open {
        change.emit_range(EventType::TaskPending, at, 0, count);
    }
    change.cluster.queue.update_all(change.job);
}
