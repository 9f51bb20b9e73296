//! What stands in the log. Append-only: a variant or field is never removed or reordered, so that
//! an old log stays readable; new ones go to the end. Golden-bytes tests hold the encoding.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_types::gate::Claimant;
use quorate_types::policy::PolicyChange;
use quorate_types::session::Report;
use quorate_types::{
    AttemptNumber, Epoch, JobId, JobSpec, Name, NamespaceRules, ReplicaId, Resources, Span, Taint, TaskIndex, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::archive::Recalled;

/// One log entry's payload: the leader's time and the commands that share the entry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The leader's clock. The state's own time is the largest that it has seen.
    pub time: Timestamp,
    pub proposals: Vec<Proposal>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Set on what may be sent twice.
    pub origin: Option<Origin>,
    pub command: Command,
}

/// Who proposed, so that a repetition after a lost answer is applied once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// A random number for each start of a replica.
    pub incarnation: u64,
    /// Counts that replica's proposals, from 1.
    pub sequence: u64,
    /// All sequences below this one have been answered and will not be repeated.
    pub answered_below: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    Submit(Arc<JobSpec>),
    Cancel {
        job: JobId,
    },
    Pause {
        job: JobId,
    },
    Resume {
        job: JobId,
    },
    Retry {
        job: JobId,
        scope: RetryScope,
    },
    /// Drop a finished job.
    Forget {
        job: JobId,
    },
    Reassign {
        job: JobId,
        task: Name,
        index: TaskIndex,
    },
    Register(Box<Registration>),
    /// The worker is connected to another replica now.
    Attach {
        worker: Name,
        epoch: Epoch,
        replica: ReplicaId,
    },
    /// The worker's lease ran out by the leader's clock.
    Expire {
        worker: Name,
        epoch: Epoch,
    },
    /// Everything of this registration has ended, and its worker says so itself.
    End {
        worker: Name,
        epoch: Epoch,
    },
    Drain {
        worker: Name,
    },
    Undrain {
        worker: Name,
    },
    /// Drop a worker that is lost or left.
    Remove {
        worker: Name,
    },
    Assign {
        items: Vec<Assignment>,
    },
    Report {
        worker: Name,
        epoch: Epoch,
        reports: Vec<Report>,
    },
    /// Nothing but the passing of time: timers that are due fire with every entry.
    Advance,
    ChangePolicy(PolicyChange),
    /// Gives the cluster its identity; the first one wins.
    NameCluster {
        id: u64,
    },
    /// Binds a replica's number to its data folder; the first one wins.
    IdentifyReplica {
        replica: ReplicaId,
        storage: u64,
    },
    /// Where a replica serves HTTP; said by itself when it starts.
    AnnounceReplica {
        replica: ReplicaId,
        http: String,
    },
    /// Ticks of a schedule that are due. What is not named up to `through` does not run.
    Tick {
        schedule: JobId,
        ticks: Vec<Timestamp>,
        through: Timestamp,
    },
    /// One run of a schedule besides its ticks.
    RunNow {
        schedule: JobId,
    },
    /// Another specification for a schedule.
    ChangeSchedule {
        schedule: JobId,
        spec: Arc<JobSpec>,
    },
    /// Run a task of a finished job again, and all that needs it.
    RetryFrom {
        job: JobId,
        task: Name,
    },
    /// Drain a worker, and move what still runs there after a while.
    DrainBy {
        worker: Name,
        within: Span,
    },
    /// Ends attempts so that others have room.
    Preempt {
        items: Vec<Preemption>,
    },
    /// Gives a worker these taints besides its own, instead of those that it was given before.
    Taint {
        worker: Name,
        taints: Vec<Taint>,
    },
    /// Pause a job, and stop what runs of it where it is.
    Freeze {
        job: JobId,
    },
    /// What a namespace is entitled to from now on.
    SetNamespace {
        namespace: Name,
        rules: Box<NamespaceRules>,
    },
    /// The namespace has no record any more, and the defaults hold.
    ResetNamespace {
        namespace: Name,
    },
    /// The cluster has so many of a resource.
    SetResource {
        name: Name,
        total: u32,
    },
    RemoveResource {
        name: Name,
    },
    /// An attempt asks for a lock, and waits in line for so long if somebody has it.
    AcquireLock {
        lock: Name,
        by: Claimant,
        wait: Span,
    },
    /// It gives the lock back, or leaves the line.
    ReleaseLock {
        lock: Name,
        by: Claimant,
    },
    /// Another definition for a service or system job, or another number of elements.
    ChangeService {
        service: JobId,
        spec: Arc<JobSpec>,
    },
    /// Run a job of the archive again. The state knows no more of it than that it is there, so all of it comes along.
    RetryArchived {
        job: JobId,
        again: Again,
        recalled: Box<Recalled>,
    },
}

/// The end of one attempt for another's sake; it is placed again without using a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Preemption {
    pub job: JobId,
    /// Position of the task in the job.
    pub task: u32,
    pub index: TaskIndex,
    /// It must be this one that runs.
    pub attempt: AttemptNumber,
    pub epoch: Epoch,
    /// Who gets the room.
    pub by: JobId,
    pub grounds: Grounds,
}

/// Why an attempt has to make room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Grounds {
    LowerPriority,
    LongerToGo,
    /// It is beyond its namespace's quota, and the other one is within its own.
    Borrowed,
    /// Under `round-robin`: it has had its turn.
    TurnOver,
    /// Nobody's sake: it is moved, so that the load is evened out. `by` is its own job.
    Rebalance,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RetryScope {
    All,
    NotSucceeded,
}

/// What of a finished job is to run again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Again {
    Scope(RetryScope),
    /// This task, and all that needs it.
    From(Name),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    pub name: Name,
    pub labels: BTreeMap<Name, String>,
    /// Its own.
    pub taints: Vec<Taint>,
    /// Under which name or address others reach what runs there.
    pub host: String,
    pub capacity: Resources,
    pub instance: u64,
    /// An instance whose attempts have certainly all ended.
    pub replaces: Option<u64>,
    pub replica: ReplicaId,
    /// The lease that the worker is granted. Part of the registration, so that the worker and whichever
    /// replica leads always count with the same one.
    pub lease_ttl: Span,
}

/// The start of one attempt; apply checks every part of it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    pub job: JobId,
    /// Position of the task in the job.
    pub task: u32,
    pub index: TaskIndex,
    /// The number of the attempt that would start.
    pub attempt: AttemptNumber,
    /// The epoch names the worker too: no two registrations share one.
    pub epoch: Epoch,
    /// It takes over what the attempt of this element of the same task holds, once that and what else stands behind
    /// it have ended. They are assigned together.
    pub behind: Option<TaskIndex>,
}
