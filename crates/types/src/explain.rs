//! The answer to "why is this task where it is, and what would let it go on", and that of a dry run.
//!
//! Everything that is there to see is there twice: as fields, and as sentences made of them.

use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use crate::constraint::{Condition, Taint};
use crate::gate::ElementName;
use crate::id::{JobId, TaskIndex};
use crate::job::JobSpec;
use crate::name::Name;
use crate::need::On;
use crate::resources::Resources;
use crate::status::{JobState, TaskState, WorkerState};
use crate::time::{Span, Timestamp};
use crate::words;

mod attempt;
mod queue;

pub use attempt::{AfterStopping, LiveAttempt, PastAttempt, RoomMade};
pub use queue::{Expected, ExpectedSource, NamespaceUse, QueuePlace, QuotaPlace, QuotaUse};

/// Why one element is where it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Left out in a dry run, where the job has no number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    pub task: Name,
    pub index: TaskIndex,
    pub state: TaskState,
    pub sentences: Vec<String>,
    /// All of these must come about before it can be placed.
    pub waits_for: Vec<Wait>,
    /// So many more that are not listed.
    pub waits_for_more: u64,
    /// Of one that could be placed together with the rest of its gang.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gang: Option<GangOutlook>,
    /// Of one that could be placed.
    pub queue: Option<QueuePlace>,
    /// Of one that has not started.
    pub workers: Option<WorkerSurvey>,
    /// Where and when it starts, as far as can be told.
    pub start: Option<StartForecast>,
    /// Some of what was told to stop for its job, and has not yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub room: Vec<RoomMade>,
    /// Namespaces within whose quotas is what it might end otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protected: Vec<Name>,
    /// Of one that was tried before, and waits again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<PastAttempt>,
    /// Of one that a worker has.
    pub attempt: Option<LiveAttempt>,
    /// Of one that has finished.
    pub end: Option<EndStory>,
    /// What would let it go on. Of what it waits for all is needed; of what workers lack, one thing is enough.
    pub unblock: Vec<String>,
}

/// Something that must come about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Wait {
    /// The end of a task of the same job, of whose elements so many are `left`.
    Task { task: Name, on: On, left: u64, of: u64 },
    /// The end of one element of a task of the same job.
    Element { task: Name, index: TaskIndex, on: On, state: TaskState },
    /// The end of another job.
    Job { job: JobId, on: On, state: Option<JobState> },
    /// The job's start time.
    StartTime { at: Timestamp },
    /// The job is paused.
    Paused,
    /// The job is being cancelled: it never starts.
    Cancelling,
    /// An attempt failed; the next one comes no earlier.
    Backoff { until: Timestamp, failures: u32, retries: u32 },
    /// So many elements of the task may be live; those `ahead` of this one come first.
    MaxParallel { limit: u32, live: u32, ahead: u64 },
    /// A place of the job's concurrency key. Of the jobs that hold one the first are named.
    Concurrency { key: Name, limit: u32, holders: Vec<JobId>, held: u64, place: u64, waiting: u64 },
    /// Its namespace holds as much of a resource as it may; the elements `ahead` of this one ask for as much each.
    NamespaceLimit {
        namespace: Name,
        resource: Name,
        #[serde(serialize_with = "number")]
        asked: f64,
        #[serde(serialize_with = "number")]
        held: f64,
        #[serde(serialize_with = "number")]
        limit: f64,
        ahead: u64,
    },
    /// A counted resource of the cluster, of which it needs `amount`. Of those that hold some the first are named.
    ClusterResource { resource: Name, amount: u32, total: u64, held: u64, holders: Vec<ElementName> },
    /// A token of a rate, of which so many are out; the next comes back at `next`.
    Rate { key: Name, limit: u32, per: Span, out: u64, next: Option<Timestamp> },
    /// A lock, while it runs.
    Lock { lock: Name, holder: ElementName, place: u64 },
    /// Its attempt has ended; of the others of its gang so many have not.
    Gang { gang: Name, live: u32, size: u32 },
}

/// What a gang asks for at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GangOutlook {
    pub name: Name,
    /// All of its elements.
    pub size: u64,
    /// So many of them would find room now, besides all that starts before them.
    pub fit: u64,
    /// How many elements of which task ask for what.
    pub tasks: Vec<GangTask>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GangTask {
    pub task: Name,
    pub count: u32,
    pub resources: Resources,
}

/// What the workers have for an element.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerSurvey {
    /// Workers that are known, dead ones included.
    pub total: u64,
    /// Those that could take it now.
    pub open: u64,
    /// Those that are large enough, whatever they run and whether or not they take new tasks.
    pub able: u64,
    /// Those that come nearest to taking it.
    pub listed: Vec<WorkerOutlook>,
    /// So many more.
    pub unlisted: u64,
    /// How many workers have which obstacle, of all of them.
    pub counts: Vec<ObstacleCount>,
    /// Resources that it asks for and no worker has.
    pub lacking: Vec<Name>,
    /// The resources that workers have, the first of them; only if one is lacking.
    pub kinds: Vec<Name>,
}

/// One worker; without an obstacle it could take the element now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerOutlook {
    pub worker: Name,
    pub state: WorkerState,
    pub obstacles: Vec<Obstacle>,
}

/// Why an element does not go to a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Obstacle {
    /// It takes no new tasks.
    NotReady { state: WorkerState },
    /// It has too little free of a resource: cores, bytes or devices.
    Short(Shortage),
    /// Its labels don't meet what the task requires.
    Requires { condition: Condition },
    /// It has a taint that the task does not tolerate.
    Tainted { taint: Taint },
    /// As many elements of the task as may be are live on workers with this value of a label, or it has no such label.
    Crowded {
        label: Name,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
        max: u32,
    },
    /// A task of the job runs there that must not share a worker with it.
    Apart { task: Name },
    /// Another job runs there; one of the two has this label, and a task of the other must not share a worker with it.
    Shunned { job: JobId, label: String },
    /// It runs as many attempts as a worker may.
    AttemptsFull { limit: u64 },
    /// It is kept for a task that waits.
    Kept {
        /// Left out for the job itself in a dry run.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        job: Option<JobId>,
        task: Name,
    },
    /// It has room, but the workers together have none for all of its gang at once.
    GangShort { gang: Name },
    /// Tasks ahead in the queue take what it has.
    TakenAhead,
    /// The round ends before it comes to the task.
    NotReached,
}

/// Too little of a resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shortage {
    pub resource: Name,
    #[serde(serialize_with = "number")]
    pub asked: f64,
    #[serde(serialize_with = "number")]
    pub free: f64,
    /// What the worker has as a whole.
    #[serde(serialize_with = "number")]
    pub capacity: f64,
    /// By how much it is short.
    #[serde(serialize_with = "number")]
    pub missing: f64,
}

/// How many workers have an obstacle of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObstacleCount {
    pub kind: ObstacleKind,
    /// Which resource is short.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Name>,
    pub workers: u64,
}

words!(
    /// An [`Obstacle`] without its circumstances.
    ObstacleKind {
        NotReady = "not_ready",
        Short = "short",
        Requires = "requires",
        Tainted = "tainted",
        Crowded = "crowded",
        Apart = "apart",
        Shunned = "shunned",
        AttemptsFull = "attempts_full",
        Kept = "kept",
        GangShort = "gang_short",
        TakenAhead = "taken_ahead",
        NotReached = "not_reached",
    }
);

impl Obstacle {
    /// Of which resource there is too little, and by how much.
    pub const fn shortage(&self) -> Option<&Shortage> {
        if let Self::Short(shortage) = self { Some(shortage) } else { None }
    }

    pub const fn kind(&self) -> ObstacleKind {
        match self {
            Self::NotReady { .. } => ObstacleKind::NotReady,
            Self::Short(_) => ObstacleKind::Short,
            Self::Requires { .. } => ObstacleKind::Requires,
            Self::Tainted { .. } => ObstacleKind::Tainted,
            Self::Crowded { .. } => ObstacleKind::Crowded,
            Self::Apart { .. } => ObstacleKind::Apart,
            Self::Shunned { .. } => ObstacleKind::Shunned,
            Self::AttemptsFull { .. } => ObstacleKind::AttemptsFull,
            Self::Kept { .. } => ObstacleKind::Kept,
            Self::GangShort { .. } => ObstacleKind::GangShort,
            Self::TakenAhead => ObstacleKind::TakenAhead,
            Self::NotReached => ObstacleKind::NotReached,
        }
    }
}

/// Where and when an element starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartForecast {
    pub basis: StartBasis,
    pub worker: Name,
    /// Left out where nobody knows when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

words!(
    /// What says where an element starts.
    StartBasis {
        /// The next round places it.
        Now = "now",
        /// Backfill keeps the worker from what would delay it.
        Reservation = "reservation",
        /// The worker is kept for it until it has room.
        Hold = "hold",
    }
);

/// How an element ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndStory {
    pub at: Option<Timestamp>,
    pub cause: EndCause,
    /// What was the matter with the last attempt.
    pub reason: Option<String>,
    pub worker: Option<Name>,
    /// Attempts there were.
    pub attempts: u32,
    /// Attempts that failed and count, of how many may.
    pub failures: u32,
    pub retries: u32,
    /// Another task that is the cause.
    pub task: Option<Name>,
}

words!(
    /// Why an element is finished.
    EndCause {
        Succeeded = "succeeded",
        /// It failed once more than it had retries.
        RetriesUsedUp = "retries_used_up",
        /// After this exit code it is not tried again.
        NotRetried = "not_retried",
        /// It lost one worker after the other.
        Poisonous = "poisonous",
        /// One worker after the other was unable to run it.
        Unable = "unable",
        /// The job's deadline is over.
        Deadline = "deadline",
        /// The job expired before it had started.
        Expired = "expired",
        /// A user cancelled the job, or another job took its place.
        JobCancelled = "job_cancelled",
        /// Another task of the job failed.
        OtherTaskFailed = "other_task_failed",
        /// What it needed ended in another way.
        NeedUnmet = "need_unmet",
    }
);

/// Why a job is where it is: its tasks in groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobExplanation {
    /// Left out in a dry run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    pub state: JobState,
    pub sentences: Vec<String>,
    pub groups: Vec<Group>,
    /// So many more.
    pub groups_more: u64,
}

/// The elements of a task that are in one state, with one that stands for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    pub task: Name,
    pub state: TaskState,
    pub elements: u64,
    /// Where the next round would start elements of it.
    pub starts: Vec<GroupStart>,
    /// Of the first one that the next round would not start, if there is one.
    pub explanation: Explanation,
}

/// How many elements would go to a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStart {
    pub worker: Name,
    pub elements: u64,
}

/// What a submission would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DryRun {
    /// The job that the idempotency key belongs to: nothing would be submitted.
    pub existing: Option<JobId>,
    /// The job as it was understood, with its defaults.
    pub spec: Arc<JobSpec>,
    pub explanation: JobExplanation,
}

/// Whole numbers without a fraction: 1 and not 1.0.
fn number<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    let whole = *number as u64;
    if whole as f64 == *number { serializer.serialize_u64(whole) } else { serializer.serialize_f64(*number) }
}
