//! What applying an entry yields: an outcome per command, events, and work for others.

use std::sync::Arc;

use quorate_types::event::{Cursor, EventType, EventView};
use quorate_types::session::{AttemptKey, Motion, Stream};
use quorate_types::status::JobState;
use quorate_types::{AttemptNumber, Epoch, Fence, JobId, LogIndex, Name, Policy, ReplicaId, TaskIndex, Timestamp};
use serde::{Deserialize, Serialize};

use crate::job::Job;
use crate::limits::ELEMENTS_PER_STEP;

/// The answer to one command. Kept for a while, so that a repeated proposal gets the same one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Done,
    Submitted {
        job: JobId,
        /// The log index of the first submission.
        index: LogIndex,
        state: JobState,
        existing: bool,
    },
    Registered {
        epoch: Epoch,
    },
    Assigned {
        accepted: u32,
        stale: u32,
    },
    Rejected(Rejection),
    PolicyChanged(Policy),
    Preempted {
        stopped: u32,
        stale: u32,
    },
    /// The attempt that asked holds the lock.
    LockHeld {
        token: u64,
    },
    /// It waits in line.
    LockWaits {
        /// From 1.
        place: u64,
        until: Timestamp,
    },
}

/// Why a legal request was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    #[error("there is no job {0}")]
    NoSuchJob(JobId),
    #[error("job {job} has no task {task}[{index}]")]
    NoSuchTask { job: JobId, task: Name, index: TaskIndex },
    #[error("there is no worker {0}")]
    NoSuchWorker(Name),
    #[error("job {job} is {state}")]
    JobState { job: JobId, state: JobState },
    #[error("job {0} is being cancelled")]
    Cancelling(JobId),
    #[error("task {task}[{index}] of job {job} has no attempt that could be moved")]
    NotRunning { job: JobId, task: Name, index: TaskIndex },
    #[error("the key was used for job {0}, which is a different one")]
    IdempotencyConflict(JobId),
    #[error("the cluster holds {0} unfinished tasks and accepts no more")]
    QueueFull(u64),
    #[error("the cluster holds {0} bytes of unfinished jobs and accepts no more")]
    MemoryFull(u64),
    #[error("a worker called {0} is registered already and has not ended")]
    WorkerNameInUse(Name),
    #[error("this registration is not the worker's present one")]
    StaleEpoch,
    #[error("worker {0} is connected; drain and stop it, or let its lease run out")]
    WorkerAlive(Name),
    #[error("the cluster knows {0} workers and accepts no more")]
    TooManyWorkers(u64),
    #[error("replica {0} was a member with another data folder")]
    OtherStorage(ReplicaId),
    #[error("job {0} is in the archive: it can be retried or forgotten, and changed in no other way")]
    Archived(JobId),
    #[error("as many jobs as may hold the concurrency key {0} do")]
    KeyTaken(Name),
    #[error("job {0} is no schedule")]
    NotASchedule(JobId),
    #[error("job {0} is a schedule: it has no tasks of its own")]
    Schedule(JobId),
    #[error("there is no job {job}")]
    NeedsUnknownJob { pointer: String, job: JobId },
    #[error("task {task} of job {job} needs another end of a task that would not run again")]
    NeedUnmet { job: JobId, task: Name },
    #[error("{0} jobs wait for concurrency key {1}; no more may")]
    KeyCrowded(u64, Name),
    #[error("{0} jobs wait for the end of job {1}; no more may")]
    JobCrowded(u64, JobId),
    #[error("{0} namespaces have a record; no more may")]
    TooManyNamespaces(u64),
    #[error("namespace {0} has {1} unfinished tasks, and may not have as many more")]
    NamespaceFull(Name, u64),
    #[error("there is no resource {0}")]
    NoSuchResource(Name),
    #[error("the cluster has no resource {name}")]
    AsksForUnknown { pointer: String, name: Name },
    #[error("the cluster has {total} of {name}, and {amount} are asked for")]
    AsksForTooMuch { pointer: String, name: Name, amount: u32, total: u32 },
    #[error("{held} of {name} are held")]
    ResourceHeld { name: Name, held: u64 },
    #[error("the cluster has {0} kinds of resources and takes no more")]
    TooManyResources(u64),
    #[error("task {task}[{index}] of job {job} has no live attempt with fence {fence}")]
    NotLive { job: JobId, task: Name, index: TaskIndex, fence: Fence },
    #[error("lock {lock} is held by task {task}[{index}] of job {job}")]
    LockTaken { lock: Name, job: JobId, task: Name, index: TaskIndex },
    #[error("the attempt neither holds lock {0} nor waits for it")]
    LockNotHeld(Name),
    #[error("{0} wait for lock {1}; no more may")]
    LockCrowded(u64, Name),
    #[error("{0} locks are held; no more may be")]
    TooManyLocks(u64),
    #[error("the attempt holds or waits for {0} locks; no more may be")]
    TooManyLocksOfOne(u64),
    #[error("task {task} of job {job} has added tasks to it, and would run again: retry all of the job")]
    Extended { job: JobId, task: Name },
    #[error("job {0} is no service")]
    NotAService(JobId),
    #[error("job {0} is a service: it is not tried again, but submitted")]
    Service(JobId),
    #[error("{pointer} of a service stays as it is; submit another one")]
    Fixed { pointer: String },
    #[error("elements of service {job} have {versions} versions; wait until some have gone over")]
    TooManyVersions { job: JobId, versions: u64 },
    #[error("{0} system jobs have not ended; no more may be there")]
    TooManySystemJobs(u64),
    #[error("job {job} is a service or a schedule, and ends by being cancelled: of such a one only \"finish\" comes")]
    NeedsEndless { pointer: String, job: JobId },
    #[error("that time is over")]
    TimeOver { pointer: String },
    #[error("namespace {namespace} may have {most} unfinished tasks, and these alone are more")]
    NamespaceTooSmall { namespace: Name, most: u64 },
}

/// All that one entry did.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    pub index: LogIndex,
    pub time: Timestamp,
    /// One for each proposal, in order.
    pub outcomes: Vec<Outcome>,
    pub events: Vec<Event>,
    /// What the workers' sessions have to pass on.
    pub notices: Vec<Notice>,
    /// What the archive on disk has to take up, in this order.
    pub archive: Vec<ArchiveOp>,
    /// Jobs that left memory and were large: giving their memory back takes a while, which is not the log's to wait
    /// for.
    pub released: Vec<Arc<Job>>,
    /// Draining workers on which an attempt has ended; empty again when what follows from that is done.
    pub(crate) vacated: Vec<Name>,
    /// Jobs that have just finished; empty again when what follows from that is done.
    pub(crate) finished: Vec<JobId>,
}

impl Applied {
    /// Of an entry that did nothing yet.
    pub fn new(index: LogIndex, time: Timestamp) -> Self {
        Self { index, time, ..Self::default() }
    }

    /// The job is not in memory any more.
    pub(crate) fn release(&mut self, job: Arc<Job>) {
        if job.header.counts.total > u64::from(ELEMENTS_PER_STEP) {
            self.released.push(job);
        }
    }
}

/// A change for one worker.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub worker: Name,
    pub epoch: Epoch,
    pub what: NoticeKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    Start(AttemptKey),
    Stop(AttemptKey),
    Move(AttemptKey, Motion),
    /// The registration is over.
    Fenced,
}

/// A write to the archive: records on disk that belong to the replicated state. Keys start with the
/// job's id, so that a job's records are dropped together; a value never changes once written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchiveOp {
    Put {
        key: ArchiveKey,
        value: Arc<[u8]>,
    },
    /// Drop everything of this job.
    Drop(JobId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArchiveKey {
    /// A finished job without its elements.
    Job(JobId),
    /// A block of elements of one task; see [`ELEMENTS_PER_BLOCK`](crate::limits::ELEMENTS_PER_BLOCK).
    Elements { job: JobId, task: u32, block: u32 },
    /// The tail of one output stream of one attempt.
    Output { job: JobId, task: u32, index: TaskIndex, attempt: AttemptNumber, stream: Stream },
}

impl ArchiveKey {
    pub const fn job(&self) -> JobId {
        match self {
            Self::Job(job) | Self::Elements { job, .. } | Self::Output { job, .. } => *job,
        }
    }

    /// The key's bytes on disk: sorted by job, the job itself first.
    pub fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(22);
        bytes.extend_from_slice(&self.job().0.to_be_bytes());
        match self {
            Self::Job(_) => bytes.push(0),
            Self::Elements { task, block, .. } => {
                bytes.push(1);
                bytes.extend_from_slice(&task.to_be_bytes());
                bytes.extend_from_slice(&block.to_be_bytes());
            }
            Self::Output { task, index, attempt, stream, .. } => {
                bytes.push(2);
                bytes.extend_from_slice(&task.to_be_bytes());
                bytes.extend_from_slice(&index.0.to_be_bytes());
                bytes.extend_from_slice(&attempt.0.to_be_bytes());
                bytes.push(match stream {
                    Stream::Stdout => 0,
                    Stream::Stderr => 1,
                });
            }
        }
        bytes
    }

    /// The prefix of all keys of one job.
    pub fn prefix(job: JobId) -> [u8; 8] {
        job.0.to_be_bytes()
    }
}

/// What changed, in the state machine's terms.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub kind: EventType,
    pub job: Option<JobId>,
    pub task: Option<Name>,
    pub index: Option<TaskIndex>,
    pub count: Option<u32>,
    pub attempt: Option<AttemptNumber>,
    pub fence: Option<Fence>,
    pub worker: Option<Name>,
    pub epoch: Option<Epoch>,
    pub exit_code: Option<i32>,
    pub reason: Option<Arc<str>>,
    pub lock: Option<Name>,
}

impl Event {
    pub fn new(kind: EventType) -> Self {
        Self {
            kind,
            job: None,
            task: None,
            index: None,
            count: None,
            attempt: None,
            fence: None,
            worker: None,
            epoch: None,
            exit_code: None,
            reason: None,
            lock: None,
        }
    }

    /// The event as clients see it.
    pub fn view(&self, cursor: Cursor, time: Timestamp) -> EventView {
        EventView {
            cursor: cursor.to_string(),
            time,
            kind: self.kind,
            job: self.job,
            task: self.task.clone(),
            index: self.index,
            count: self.count,
            attempt: self.attempt,
            fence: self.fence,
            worker: self.worker.clone(),
            epoch: self.epoch,
            exit_code: self.exit_code,
            reason: self.reason.as_deref().map(str::to_owned),
            lock: self.lock.clone(),
        }
    }
}
