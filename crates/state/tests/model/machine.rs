//! The reference: the same commands on plain lists. Nothing is remembered that can be found by looking through all
//! jobs, so that there is little to get wrong; how long it takes does not matter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_state::command::{Command, Entry};
use quorate_state::element::AfterStop;
use quorate_state::flow::Slot;
use quorate_state::limits::{ARCHIVE_RETENTION, DEAD_WORKER_RETENTION, FINISHED_IN_MEMORY};
use quorate_state::outcome::{Outcome, Rejection};
use quorate_types::job::WhenFull;
use quorate_types::status::{JobState, StopReason, TaskState};
use quorate_types::{End, Epoch, JobId, JobSpec, LogIndex, Name, NamespaceRules, Need, On, Policy, Timestamp, When};

use crate::gates;
use crate::job::{Element, Job, Ledger, OtherJob};
use crate::workers::Worker;

pub type Result<T = Outcome> = std::result::Result<T, Rejection>;

#[derive(Default)]
pub struct Model {
    pub index: u64,
    pub now: Timestamp,
    pub jobs: BTreeMap<JobId, Job>,
    pub archive: BTreeMap<JobId, Job>,
    pub workers: BTreeMap<Name, Worker>,
    pub rules: BTreeMap<Name, NamespaceRules>,
    pub policy: Policy,
    pub last_job: u64,
    pub last_epoch: u64,
    /// How many there are of counted resources.
    pub totals: BTreeMap<Name, u32>,
    pub starts: Vec<gates::Start>,
    pub locks: Vec<gates::Lock>,
    pub last_lock: u64,
    /// Jobs that have just ended, and what follows from that is not done.
    pub ended: Vec<JobId>,
    /// By the sequence of the proposal.
    pub answers: BTreeMap<u64, Outcome>,
}

/// What becomes due, in the order in which it does if several things are due at one time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    Backoff(JobId, usize, usize),
    Archive(JobId),
    Drop(JobId),
    ForgetWorker(Name, Epoch),
    Start(JobId),
    Deadline(JobId),
    Expire(JobId),
    DrainDeadline(Name, Epoch),
    ForgetRate(Name, Name),
}

impl Model {
    pub fn apply(&mut self, index: LogIndex, entry: &Entry) -> Vec<Outcome> {
        self.index = index.0;
        self.now = self.now.max(entry.time);
        while let Some((_, due)) = self.due().into_iter().filter(|(at, _)| *at <= self.now).min() {
            self.fire(due);
        }
        self.follow();
        let each = entry.proposals.iter().map(|proposal| {
            let sequence = proposal.origin.map(|origin| origin.sequence);
            let earlier = sequence.and_then(|sequence| self.answers.get(&sequence).cloned());
            let outcome = earlier.unwrap_or_else(|| self.command(&proposal.command).unwrap_or_else(Outcome::Rejected));
            self.follow();
            sequence.map(|sequence| self.answers.insert(sequence, outcome.clone()));
            outcome
        });
        each.collect()
    }

    fn command(&mut self, command: &Command) -> Result {
        match command {
            Command::Submit(spec) => self.submit(spec),
            Command::Cancel { job } => self.cancel(*job),
            Command::Pause { job } => self.pause(*job),
            Command::Freeze { job } => self.freeze(*job),
            Command::Resume { job } => self.resume(*job),
            Command::Retry { job, scope } => self.retry(*job, *scope),
            Command::RetryFrom { job, task } => self.retry_from(*job, task),
            Command::RetryArchived { job, again, recalled } => self.retry_archived(*job, again, recalled),
            Command::Forget { job } => self.forget(*job),
            Command::Reassign { job, task, index } => self.reassign(*job, task, *index),
            Command::Register(registration) => self.register(registration),
            Command::Attach { worker, epoch, replica } => self.attach(worker, *epoch, *replica),
            Command::Expire { worker, epoch } => self.end_worker(worker, *epoch, quorate_state::worker::Life::Lost),
            Command::End { worker, epoch } => self.end_worker(worker, *epoch, quorate_state::worker::Life::Left),
            Command::Drain { worker } => self.drain(worker, true, None),
            Command::DrainBy { worker, within } => self.drain(worker, true, Some(self.now.plus(*within))),
            Command::Undrain { worker } => self.drain(worker, false, None),
            Command::Remove { worker } => self.remove(worker),
            Command::Assign { items } => Ok(self.assign(items)),
            Command::Report { worker, epoch, reports } => self.report(worker, *epoch, reports),
            Command::Preempt { items } => Ok(self.preempt(items)),
            Command::Advance => Ok(Outcome::Done),
            Command::Tick { schedule, ticks, through } => self.tick(*schedule, ticks, *through),
            Command::RunNow { schedule } => self.run_now(*schedule),
            Command::ChangeSchedule { schedule, spec } => self.change_schedule(*schedule, spec),
            Command::SetNamespace { namespace, rules } => Ok(self.set_namespace(namespace, rules)),
            Command::ResetNamespace { namespace } => Ok(self.reset_namespace(namespace)),
            Command::SetResource { name, total } => self.set_resource(name, *total),
            Command::RemoveResource { name } => self.remove_resource(name),
            Command::AcquireLock { lock, by, wait } => self.acquire(lock, by, *wait),
            Command::ReleaseLock { lock, by } => self.release(lock, by),
            Command::Taint { worker, taints } => self.taint(worker, taints),
            Command::ChangeService { service, spec } => self.change_service(*service, spec),
            Command::ChangePolicy(change) => {
                self.policy = change.clone().of(self.policy.clone());
                Ok(Outcome::PolicyChanged(self.policy.clone()))
            }
            Command::NameCluster { .. } | Command::IdentifyReplica { .. } | Command::AnnounceReplica { .. } => {
                unreachable!("not part of the model: {command:?}")
            }
        }
    }

    /// All that will happen by itself, found by looking at everything.
    pub fn due(&self) -> Vec<(Timestamp, Due)> {
        let mut due = Vec::new();
        for (id, job) in &self.jobs {
            for (task, at, element) in job.elements() {
                let until = element.wait.map(|wait| wait.until.expect("the backoff's end was read"));
                due.extend(until.map(|until| (until, Due::Backoff(*id, task, at))));
            }
            if let Some((finished_at, _)) = job.finished {
                due.push((finished_at.plus(FINISHED_IN_MEMORY), Due::Archive(*id)));
                continue;
            }
            due.extend(job.start_at.map(|at| (at, Due::Start(*id))));
            due.extend(job.deadline.map(|at| (at, Due::Deadline(*id))));
            due.extend(job.expires.map(|at| (at, Due::Expire(*id))));
        }
        for (id, job) in &self.archive {
            due.extend(job.finished.map(|(at, _)| (at.plus(ARCHIVE_RETENTION), Due::Drop(*id))));
        }
        for worker in self.workers.values() {
            let (name, epoch) = (worker.name.clone(), worker.epoch);
            match worker.drain_until {
                Some(at) if worker.is_alive() => due.push((at, Due::DrainDeadline(name, epoch))),
                _ if worker.is_alive() => {}
                _ => due.push((worker.since.plus(DEAD_WORKER_RETENTION), Due::ForgetWorker(name, epoch))),
            }
        }
        due.extend(self.due_rates());
        due
    }

    fn fire(&mut self, due: Due) {
        match due {
            Due::Backoff(id, task, at) => {
                let job = self.jobs.get_mut(&id).unwrap();
                for (task, at) in std::iter::once((task, at)).chain(job.members(task)) {
                    (job.tasks[task][at].state, job.tasks[task][at].wait) = (TaskState::Pending, None);
                }
            }
            Due::Archive(id) => {
                let job = self.jobs.remove(&id).unwrap();
                self.archive.insert(id, job);
            }
            Due::Drop(id) => drop(self.archive.remove(&id)),
            Due::ForgetRate(namespace, key) => {
                self.starts.retain(|start| (&start.namespace, &start.key) != (&namespace, &key));
            }
            Due::ForgetWorker(name, _) => drop(self.workers.remove(&name)),
            Due::Start(id) => {
                let job = self.jobs.get_mut(&id).unwrap();
                job.start_at = None;
                if job.spec.concurrency.is_some() {
                    job.slot = Slot::Waiting;
                    self.take_place(id);
                }
                self.settle(id);
            }
            Due::Deadline(id) => {
                let job = self.jobs.get_mut(&id).unwrap();
                (job.deadline, job.overdue) = (None, true);
                job.cancel_unstarted(|_, _| true);
                job.stop_live(AfterStop::Fail, StopReason::Overdue);
                self.settle(id);
            }
            Due::Expire(id) => {
                let job = self.jobs.get_mut(&id).unwrap();
                job.expires = None;
                job.cancel_unstarted(|_, _| true);
                self.settle(id);
            }
            Due::DrainDeadline(name, epoch) => {
                self.workers.get_mut(&name).unwrap().drain_until = None;
                for (id, task, at) in self.live_on(epoch) {
                    self.jobs.get_mut(&id).unwrap().stop(task, at, AfterStop::Requeue, StopReason::Drained);
                }
            }
        }
    }

    /// Lets go on in a job what can, and ends it when all of it has ended.
    pub fn settle(&mut self, id: JobId) {
        let ends = |job: &&mut Job| !job.is_schedule() && (!job.is_service() || job.cancelling);
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.finished.is_none()).filter(ends) else { return };
        job.look_at_tasks();
        if job.elements().all(|(_, _, element)| element.state.is_finished()) {
            let verdict = job.verdict();
            self.finish(id, verdict);
        }
    }

    pub fn finish(&mut self, id: JobId, state: JobState) {
        let job = self.jobs.get_mut(&id).unwrap();
        job.finished = Some((self.now, state));
        job.slot = Slot::None;
        self.ended.push(id);
    }

    /// What the end of jobs leads to; the newest first.
    fn follow(&mut self) {
        self.follow_drained();
        while let Some(id) = self.ended.pop() {
            let job = &self.jobs[&id];
            let (key, end) = (key_of(&job.spec), self.end_of(id).unwrap());
            let schedule = job.is_schedule();
            let follow_ups: Vec<_> = job.spec.then.iter().filter(|then| then.on.is_met_by(end)).cloned().collect();
            if let Some(key) = key {
                self.admit(&key);
            }
            for waiting in self.jobs.keys().copied().collect::<Vec<_>>() {
                self.on_job_end(waiting, id, end);
            }
            for follow_up in follow_ups.iter().filter(|_| !schedule) {
                let new = self.start_job(&follow_up.job);
                self.jobs.get_mut(&new).unwrap().follows = Some(id);
            }
            self.on_run_finished(id);
        }
    }

    fn on_job_end(&mut self, id: JobId, ended: JobId, end: End) {
        let tasks = self.jobs[&id].tasks.len();
        for task in 0..tasks {
            let job = self.jobs.get_mut(&id).unwrap();
            let mut waits = job.other_jobs.iter_mut().filter(|other| other.task == task && other.job == ended);
            if let Some(other) = waits.find(|other| other.end.is_none()) {
                other.end = Some(end);
                if job.finished.is_none() {
                    job.look_at_jobs();
                    self.settle(id);
                }
            }
        }
    }

    /// How a job ended; one that is not known any more counts as cancelled.
    pub fn end_of(&self, id: JobId) -> Option<End> {
        match self.jobs.get(&id).or_else(|| self.archive.get(&id)).map(Job::state) {
            Some(JobState::Succeeded) => Some(End::Succeeded),
            Some(JobState::Failed) => Some(End::Failed),
            Some(JobState::Cancelled) | None => Some(End::Cancelled),
            Some(_) => None,
        }
    }

    fn submit(&mut self, spec: &Arc<JobSpec>) -> Result {
        if spec.idempotency_key.is_some() {
            let all = self.jobs.values().chain(self.archive.values());
            let same =
                |job: &&Job| job.spec.namespace == spec.namespace && job.spec.idempotency_key == spec.idempotency_key;
            if let Some(job) = all.into_iter().find(same) {
                if job.submitted_spec != *spec {
                    return Err(Rejection::IdempotencyConflict(job.id));
                }
                return Ok(Outcome::Submitted {
                    job: job.id,
                    index: job.submitted,
                    state: job.state(),
                    existing: true,
                });
            }
        }
        if spec.schedule.is_none() {
            self.check_times(spec)?;
        }
        self.check_needs(spec)?;
        if spec.schedule.is_none() {
            self.check_key(spec)?;
        }
        self.check_resources(spec)?;
        let id = self.start_job(spec);
        let state = self.jobs[&id].state();
        Ok(Outcome::Submitted { job: id, index: LogIndex(self.index), state, existing: false })
    }

    /// Every job that is needed must be known.
    pub fn check_needs(&self, spec: &JobSpec) -> Result<()> {
        let follow_ups = spec.then.iter().enumerate();
        let follow_ups = follow_ups.map(|(nth, follow_up)| (format!("/then/{nth}/job"), &*follow_up.job));
        for (within, spec) in std::iter::once((String::new(), spec)).chain(follow_ups) {
            for (at, task) in spec.tasks.iter().enumerate() {
                for (nth, need) in task.needs.iter().enumerate() {
                    let Need::Job { job, on } = need else { continue };
                    let pointer = format!("{within}/tasks/{at}/needs/{nth}");
                    let found = self.jobs.get(job);
                    if found.is_none() && !self.archive.contains_key(job) {
                        return Err(Rejection::NeedsUnknownJob { pointer, job: *job });
                    }
                    if *on != On::Finish && found.is_some_and(|job| job.is_schedule() || job.is_service()) {
                        return Err(Rejection::NeedsEndless { pointer, job: *job });
                    }
                }
            }
        }
        Ok(())
    }

    fn check_times(&self, spec: &JobSpec) -> Result<()> {
        let is_over = |when: Option<When>| when.is_some_and(|when| when.resolve(self.now) <= self.now);
        let field = if is_over(spec.deadline) { "/deadline" } else { "/expires" };
        let over = is_over(spec.deadline) || is_over(spec.expires);
        if over { Err(Rejection::TimeOver { pointer: field.to_owned() }) } else { Ok(()) }
    }

    /// A new job begins its life.
    pub fn start_job(&mut self, spec: &Arc<JobSpec>) -> JobId {
        self.last_job += 1;
        let id = JobId(self.last_job);
        let runs = spec.schedule.is_none();
        let batch = runs && spec.service.is_none();
        let tasks = spec.tasks.iter().filter(|_| runs);
        let tasks = tasks.map(|task| vec![Element::new(); if batch { task.count as usize } else { 0 }]);
        let mut job = Job {
            id,
            spec: spec.clone(),
            submitted_spec: spec.clone(),
            submitted: LogIndex(self.index),
            submitted_at: self.now,
            tasks: tasks.collect(),
            other_jobs: Vec::new(),
            frozen: false,
            paused: spec.schedule.as_ref().is_some_and(|schedule| schedule.paused),
            cancelling: false,
            overdue: false,
            started: false,
            finished: None,
            first_failed: None,
            start_at: None,
            deadline: None,
            expires: None,
            slot: Slot::None,
            run: None,
            follows: None,
            ledger: (!runs).then(|| Ledger { decided: self.now, ..Ledger::default() }),
            extended_by: Vec::new(),
            handlers: BTreeSet::new(),
            members: BTreeMap::new(),
        };
        self.begin_service(&mut job);
        if runs {
            job.start_at = spec.start_after.map(|when| when.resolve(self.now)).filter(|at| *at > self.now);
            job.deadline = spec.deadline.map(|when| when.resolve(self.now));
            job.expires = spec.expires.map(|when| when.resolve(self.now));
            self.open(&mut job);
        }
        job.look_at_jobs();
        self.jobs.insert(id, job);
        self.settle(id);
        let job = &self.jobs[&id];
        let times = [(job.deadline, Due::Deadline(id)), (job.expires, Due::Expire(id))];
        let over = times.into_iter().filter_map(|(at, due)| Some((at.filter(|at| *at <= self.now)?, due)));
        if let Some((_, first)) = over.min().filter(|_| job.finished.is_none()) {
            self.fire(first);
        }
        self.take_place(id);
        id
    }

    /// Makes a job, or a part of it that runs again, wait for other jobs and its key.
    pub fn open(&self, job: &mut Job) {
        if job.spec.concurrency.is_some() && job.start_at.is_none() {
            job.slot = Slot::Waiting;
        }
        job.other_jobs.clear();
        for (task, spec) in job.spec.tasks.iter().enumerate() {
            let jobs = spec.needs.iter().filter_map(|need| match need {
                Need::Job { job, on } => Some((*job, *on)),
                Need::Task { .. } | Need::Each { .. } => None,
            });
            let begun = job.tasks[task].iter().any(|element| !element.attempts.is_empty());
            let knows = |other: &JobId| self.jobs.contains_key(other) || self.archive.contains_key(other);
            // What began once had what it needs then.
            let end = |other: JobId, on: On| match on {
                On::Failure if begun && !knows(&other) => Some(End::Failed),
                On::Success | On::Finish if begun && !knows(&other) => Some(End::Succeeded),
                _ => self.end_of(other),
            };
            job.other_jobs.extend(jobs.map(|(other, on)| OtherJob { task, job: other, end: end(other, on) }));
        }
    }

    fn users(&self, key: &(Name, Name), slot: Slot) -> Vec<&Job> {
        let all = self.jobs.values().filter(|job| key_of(&job.spec).as_ref() == Some(key));
        all.filter(|job| !job.is_schedule() && job.slot == slot).collect()
    }

    pub fn check_key(&self, spec: &JobSpec) -> Result<()> {
        let Some(concurrency) = &spec.concurrency else { return Ok(()) };
        let key = (spec.namespace.clone(), concurrency.key.clone());
        let taken = self.users(&key, Slot::Held).len() + self.users(&key, Slot::Waiting).len();
        if concurrency.when_full == WhenFull::Reject && taken >= concurrency.limit as usize {
            return Err(Rejection::KeyTaken(concurrency.key.clone()));
        }
        Ok(())
    }

    /// A job comes to its key: it may replace others.
    fn take_place(&mut self, id: JobId) {
        let Some(key) = key_of(&self.jobs[&id].spec).filter(|_| self.jobs[&id].slot == Slot::Waiting) else { return };
        let concurrency = self.jobs[&id].spec.concurrency.clone().unwrap();
        if concurrency.when_full == WhenFull::Replace {
            let mut holders: Vec<JobId> = self.users(&key, Slot::Held).iter().map(|job| job.id).collect();
            holders.truncate((holders.len() + 1).saturating_sub(concurrency.limit as usize));
            let waiting = self.line(&key).into_iter().filter(|other| *other != id);
            for other in holders.into_iter().chain(waiting).collect::<Vec<_>>() {
                let _ = self.cancel(other);
            }
        }
        self.admit(&key);
    }

    /// Who waits for a key: higher priority first, then the older one.
    fn line(&self, key: &(Name, Name)) -> Vec<JobId> {
        let mut waiting = self.users(key, Slot::Waiting);
        waiting.sort_by_key(|job| (std::cmp::Reverse(job.spec.priority), job.id));
        waiting.iter().map(|job| job.id).collect()
    }

    /// Gives free places to the first in line, each by its own limit.
    pub fn admit(&mut self, key: &(Name, Name)) {
        while let Some(next) = self.line(key).first().copied() {
            let limit = self.jobs[&next].spec.concurrency.as_ref().unwrap().limit as usize;
            if self.users(key, Slot::Held).len() >= limit {
                return;
            }
            self.jobs.get_mut(&next).unwrap().slot = Slot::Held;
            self.settle(next);
        }
    }
}

/// A concurrency key belongs to a namespace.
pub fn key_of(spec: &JobSpec) -> Option<(Name, Name)> {
    spec.concurrency.as_ref().map(|concurrency| (spec.namespace.clone(), concurrency.key.clone()))
}
