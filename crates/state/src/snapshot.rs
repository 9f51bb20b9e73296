//! The state as a sequence of small records, for snapshots and for the digest.
//!
//! Only what can't be derived is in a record. The order is fixed: the same state gives the same records.

use std::sync::Arc;

use imbl::OrdMap;
use quorate_types::session::AttemptKey;
use quorate_types::status::TaskState;
use quorate_types::{Bug, JobId, JobSpec, Name, NamespaceRules, ReplicaId, Resources, Timestamp, is_planted};
use serde::{Deserialize, Serialize};

use crate::archive::{Archived, Leaving};
use crate::dedup::Answers;
use crate::element::Element;
use crate::growth::Extended;
use crate::job::{ElementKey, Header, Job, Task, TaskHead};
use crate::limits::{BYTES_PER_RECORD, DEAD_WORKER_RETENTION, ELEMENTS_PER_RECORD, OUTPUT_BYTES_PER_JOB_MAX};
use crate::locks::{Lock, LockKey, Waiter};
use crate::past::Past;
use crate::plan::Plan;
use crate::rates::{RateKey, Tokens};
use crate::service::{Member, Service};
use crate::state::{IdempotencyKey, KeyUse, Scalars, State};
use crate::timers::Timer;
use crate::worker::{LiveAttempt, Worker};

/// A part of the state. Append-only like [`Command`](crate::command::Command): snapshots outlive versions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record(Inner);

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Inner {
    Scalars(Scalars),
    Storage(ReplicaId, u64),
    Worker(Arc<Worker>),
    Key(IdempotencyKey, KeyUse),
    Archived(JobId, Archived),
    Job(Header, Arc<JobSpec>),
    /// Follows its job; a task in its initial state has none.
    Task(JobId, u32, TaskHead),
    /// Follow their task.
    Elements(JobId, u32, Vec<(u32, Arc<Element>)>),
    Origin(u64, Answers),
    Http(ReplicaId, Arc<str>),
    /// With what it held more than the limit allows, when it was given that.
    Namespace(Name, Arc<NamespaceRules>, Option<Resources>),
    /// A counted resource of the cluster, and how many there are.
    Resource(Name, u32),
    /// When the tokens of a rate come back, and how many.
    Rate(RateKey, Vec<(Timestamp, u32)>),
    Lock(LockKey, Lock),
    /// Follow their lock.
    LockWaiter(LockKey, u64, Waiter),
    /// Follows its job, before the job's tasks.
    Extended(JobId, Arc<Extended>),
    /// Elements of a service, after their job; and whether a rollout goes on.
    Members(JobId, Vec<(u32, Member)>, bool),
    /// Follows all jobs.
    Leaving(JobId, Leaving),
    /// What a namespace used before.
    Past(Name, Past),
}

/// Records that make no state. The snapshot is damaged or of another version.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("a record refers to job {0}, which has none")]
    NoJob(JobId),
    #[error("a record refers to task {1} of job {0}, which has none")]
    NoTask(JobId, u32),
    #[error("the snapshot has no scalars")]
    NoScalars,
    #[error("the records contradict each other: {0}")]
    Contradiction(String),
}

impl State {
    /// The whole state in records.
    pub fn snapshot_records(&self) -> impl Iterator<Item = Record> + '_ {
        let cluster = &self.cluster;
        std::iter::once(Inner::Scalars(cluster.scalars.clone()))
            .chain(cluster.storages.iter().map(|(replica, storage)| Inner::Storage(*replica, *storage)))
            .chain(cluster.https.iter().map(|(replica, http)| Inner::Http(*replica, http.clone())))
            .chain(
                cluster.rules.iter().map(|(name, rules)| {
                    Inner::Namespace(name.clone(), rules.clone(), cluster.over.get(name).cloned())
                }),
            )
            .chain(cluster.past.iter().map(|(name, past)| Inner::Past(name.clone(), past.clone())))
            .chain(cluster.workers.values().map(|worker| Inner::Worker(worker.clone())))
            .chain(cluster.keys.iter().map(|(key, used)| Inner::Key(key.clone(), *used)))
            .chain(cluster.archive.iter().map(|(id, archived)| Inner::Archived(*id, archived.clone())))
            .chain(self.jobs.values().flat_map(|job| job_records(job)))
            .chain(cluster.leaving.iter().map(|(id, leaving)| Inner::Leaving(*id, *leaving)))
            .chain(cluster.pools.totals.iter().map(|(name, total)| Inner::Resource(name.clone(), *total)))
            .chain(cluster.rates.iter().map(|(key, tokens)| Inner::Rate(key.clone(), tokens.runs())))
            .chain(cluster.locks.by_key.iter().flat_map(|(key, lock)| lock_records(key, lock)))
            .chain(self.dedup.origins.iter().map(|(id, answers)| Inner::Origin(*id, answers.clone())))
            .map(Record)
    }

    /// The state that gave these records; everything derived is made anew.
    ///
    /// # Errors
    /// If the records are not those of a state.
    pub fn from_records(records: impl IntoIterator<Item = Record>) -> Result<Self, RestoreError> {
        let mut state = Self::take_up(records)?;
        state.check_jobs().map_err(RestoreError::Contradiction)?;
        state.derive();
        state.check_sums().map_err(RestoreError::Contradiction)?;
        Ok(state)
    }

    /// The records without what is derived from them.
    pub(crate) fn take_up(records: impl IntoIterator<Item = Record>) -> Result<Self, RestoreError> {
        let mut state = Self::default();
        let mut has_scalars = false;
        for Record(inner) in records {
            has_scalars |= matches!(inner, Inner::Scalars(_));
            state.take_up_record(inner)?;
        }
        if has_scalars { Ok(state) } else { Err(RestoreError::NoScalars) }
    }

    fn take_up_record(&mut self, record: Inner) -> Result<(), RestoreError> {
        match record {
            Inner::Scalars(scalars) => self.cluster.scalars = scalars,
            Inner::Storage(replica, storage) => {
                self.cluster.storages.insert(replica, storage);
            }
            Inner::Http(replica, http) => {
                self.cluster.https.insert(replica, http);
            }
            Inner::Namespace(name, rules, over) => {
                over.map(|over| self.cluster.over.insert(name.clone(), over));
                self.cluster.rules.insert(name, rules);
            }
            Inner::Past(name, past) => self.cluster.past.take_up(name, past),
            Inner::Worker(mut worker) => {
                let underived = Arc::make_mut(&mut worker);
                (underived.used, underived.attempts, underived.waiting) = (Resources::default(), OrdMap::new(), 0);
                self.cluster.workers.insert(worker.name.clone(), worker);
            }
            Inner::Key(key, used) => {
                self.cluster.keys.insert(key, used);
            }
            Inner::Archived(id, archived) => {
                if self.is_archived(id) || archived.output_bytes > OUTPUT_BYTES_PER_JOB_MAX {
                    return Err(RestoreError::Contradiction(format!("archived job {id}: {archived:?}")));
                }
                self.note_archived(id, archived);
            }
            Inner::Job(header, spec) => {
                let mut job = Job::new(header.id, spec, header.spec_bytes, header.submitted, header.submitted_at);
                job.header = header;
                job.service = job.service.map(|_| Arc::default());
                self.jobs.insert(job.id(), Arc::new(job));
            }
            Inner::Extended(job, extended) => {
                let job = self.jobs.get_mut(&job).ok_or(RestoreError::NoJob(job))?;
                Arc::make_mut(job).gain(&extended);
            }
            Inner::Members(job, members, rolling) => self.take_up_members(job, members, rolling)?,
            Inner::Leaving(id, leaving) => self.take_up_leaving(id, leaving)?,
            Inner::Task(job, at, head) => self.task_mut(job, at)?.head = head,
            Inner::Elements(job, at, elements) => {
                let task = self.task_mut(job, at)?;
                for (index, element) in elements {
                    if element.state == TaskState::Pending {
                        task.ready.insert(index);
                    }
                    task.elements.insert(index, element);
                }
            }
            Inner::Resource(name, total) => {
                self.cluster.pools.totals.insert(name, total);
            }
            Inner::Rate(key, runs) => self.cluster.note_tokens(key, Tokens::of(runs)),
            Inner::Lock(key, lock) => {
                self.cluster.locks.by_key.insert(key, lock);
            }
            Inner::LockWaiter(key, ticket, waiter) => self.take_up_waiter(&key, ticket, waiter)?,
            Inner::Origin(..) if is_planted(Bug::DedupNotInSnapshot) => {}
            Inner::Origin(id, answers) => {
                self.dedup.origins.insert(id, answers);
            }
        }
        Ok(())
    }

    fn take_up_members(&mut self, job: JobId, members: Vec<(u32, Member)>, rolling: bool) -> Result<(), RestoreError> {
        let job = Arc::make_mut(self.jobs.get_mut(&job).ok_or(RestoreError::NoJob(job))?);
        let newest = job.spec.service.as_ref().map_or(0, |service| service.newest);
        if let Some(service) = &mut job.service {
            let service = Arc::make_mut(service);
            service.rolling = rolling;
            members.into_iter().for_each(|(at, member)| service.set(at, member, newest));
        }
        Ok(())
    }

    fn take_up_leaving(&mut self, id: JobId, leaving: Leaving) -> Result<(), RestoreError> {
        let has_finished = |job: &&Arc<Job>| job.header.finished_at.is_some();
        self.jobs.get(&id).filter(has_finished).ok_or(RestoreError::NoJob(id))?;
        self.cluster.note_leaving(id, leaving);
        Ok(())
    }

    fn take_up_waiter(&mut self, key: &LockKey, ticket: u64, waiter: Waiter) -> Result<(), RestoreError> {
        let no_lock = || RestoreError::Contradiction(format!("a line for {key:?}, which nobody holds"));
        let lock = self.cluster.locks.by_key.get_mut(key).ok_or_else(no_lock)?;
        lock.line.insert(ticket, waiter);
        Ok(())
    }

    fn task_mut(&mut self, job: JobId, at: u32) -> Result<&mut Task, RestoreError> {
        let job_mut = Arc::make_mut(self.jobs.get_mut(&job).ok_or(RestoreError::NoJob(job))?);
        job_mut.task_mut(at).ok_or(RestoreError::NoTask(job, at))
    }

    pub(crate) fn derive(&mut self) {
        for worker in self.cluster.workers.values() {
            if worker.is_alive() {
                self.cluster.epochs.insert(worker.epoch, worker.name.clone());
                self.cluster.draining.extend(worker.draining.then(|| worker.name.clone()));
                if let Some(due) = worker.drain_until {
                    let timer = Timer::DrainDeadline { name: worker.name.clone(), epoch: worker.epoch };
                    self.cluster.timers.set(due, timer);
                }
            } else {
                let timer = Timer::ForgetWorker { name: worker.name.clone(), epoch: worker.epoch };
                self.cluster.timers.set(worker.since.plus(DEAD_WORKER_RETENTION), timer);
            }
        }
        self.cluster.locks.derive();
        // What is held begins here once more, but nothing is used by that.
        let past = self.cluster.past.clone();
        let jobs: Vec<Arc<Job>> = self.jobs.values().cloned().collect();
        for job in jobs {
            self.derive_from(&job);
        }
        self.cluster.past = past;
        self.cluster.past.derive(&self.cluster.spaces);
    }

    fn derive_from(&mut self, job: &Job) {
        let cluster = &mut self.cluster;
        cluster.note_submitted(job);
        match job.header.finished_at {
            Some(_) if cluster.leaving.contains_key(&job.id()) => {}
            Some(finished_at) => cluster.note_finished(job, finished_at),
            None => cluster.enlist(job),
        }
        cluster.queue.update_all(job);
        for (task, found, _) in job.tasks() {
            for (index, element) in found.elements() {
                let at = ElementKey { job: job.id(), task, index };
                if let Some(until) = element.wait_until {
                    cluster.timers.set(until, Timer::Backoff(at));
                }
                let Some(attempt) = element.current().filter(|attempt| attempt.state.is_live()) else { continue };
                let stopping = element.state == TaskState::Stopping;
                let live = LiveAttempt { stopping, ..LiveAttempt::new(attempt.number, attempt.fence, attempt.behind) };
                cluster.occupy(&attempt.worker, at, live, &job.spec);
            }
        }
    }

    /// The live attempts of a registration, as its worker must know them.
    pub fn attempts_of(&self, worker: &Worker) -> Vec<(AttemptKey, bool)> {
        let keys = worker.attempts.iter().map(|(at, live)| {
            let (attempt, fence) = (live.number, live.fence);
            (AttemptKey { job: at.job, task: at.task, index: at.index, attempt, fence }, live.stopping)
        });
        keys.collect()
    }
}

fn lock_records<'a>(key: &'a LockKey, lock: &'a Lock) -> impl Iterator<Item = Inner> + 'a {
    let held = Lock { line: OrdMap::new(), ..lock.clone() };
    let line = lock.line.iter().map(|(ticket, waiter)| Inner::LockWaiter(key.clone(), *ticket, waiter.clone()));
    std::iter::once(Inner::Lock(key.clone(), held)).chain(line)
}

fn member_records(job: JobId, service: &Service) -> impl Iterator<Item = Inner> + '_ {
    let all: Vec<(u32, Member)> = service.members.iter().map(|(at, member)| (*at, *member)).collect();
    let blocks = all.len().div_ceil(ELEMENTS_PER_RECORD).max(1);
    (0..blocks).map(move |nth| {
        let block = all.iter().skip(nth * ELEMENTS_PER_RECORD).take(ELEMENTS_PER_RECORD);
        Inner::Members(job, block.copied().collect(), service.rolling)
    })
}

fn job_records(job: &Job) -> impl Iterator<Item = Inner> + '_ {
    let id = job.id();
    let plan: Plan = job.plan.clone();
    let tasks = job.tasks.iter().flat_map(move |(at, task)| {
        let initial = TaskHead::new(&job.spec.tasks[at as usize], plan.needs(at));
        let head = (task.head != initial || job.is_service()).then(|| Inner::Task(id, at, task.head));
        let mut elements = task.elements.iter();
        let blocks = std::iter::from_fn(move || {
            let (mut block, mut bytes) = (Vec::new(), 0);
            while block.len() < ELEMENTS_PER_RECORD && bytes < BYTES_PER_RECORD {
                let Some((index, element)) = elements.next() else { break };
                bytes += element.weight();
                block.push((*index, element.clone()));
            }
            (!block.is_empty()).then(|| Inner::Elements(id, at, block))
        });
        head.into_iter().chain(blocks)
    });
    let extensions = job.plan.growth().into_iter().flat_map(|growth| growth.extensions().cloned());
    let extended = extensions.map(move |extended| Inner::Extended(id, extended));
    let members = job.service.as_deref().into_iter().flat_map(move |service| member_records(id, service));
    std::iter::once(Inner::Job(job.header.clone(), job.submitted_spec())).chain(extended).chain(members).chain(tasks)
}
