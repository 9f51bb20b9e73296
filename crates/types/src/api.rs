//! The shapes of the HTTP API's answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::constraint::Taint;
use crate::id::{AttemptNumber, Epoch, Fence, JobId, LogIndex, ReplicaId, TaskIndex};
use crate::job::JobSpec;
use crate::name::{JobName, Name};
use crate::namespace::NamespaceRules;
use crate::resources::Resources;
use crate::status::{AttemptState, JobState, TaskState, WorkerState};
use crate::time::{Span, Timestamp};
use crate::words;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next_cursor: Option<String>,
}

/// The answer to a submission.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submitted {
    pub id: JobId,
    pub index: LogIndex,
    pub state: JobState,
}

/// How many tasks (array elements counted one by one) are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCounts {
    pub total: u64,
    pub waiting: u64,
    pub pending: u64,
    pub assigned: u64,
    pub running: u64,
    pub stopping: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub cancelled: u64,
}

impl TaskCounts {
    pub fn of(&mut self, state: TaskState) -> &mut u64 {
        match state {
            TaskState::Waiting => &mut self.waiting,
            TaskState::Pending => &mut self.pending,
            TaskState::Assigned => &mut self.assigned,
            TaskState::Running => &mut self.running,
            TaskState::Stopping => &mut self.stopping,
            TaskState::Succeeded => &mut self.succeeded,
            TaskState::Failed => &mut self.failed,
            TaskState::Cancelled => &mut self.cancelled,
        }
    }

    pub const fn finished(&self) -> u64 {
        self.succeeded + self.failed + self.cancelled
    }

    pub const fn live(&self) -> u64 {
        self.assigned + self.running + self.stopping
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    pub id: JobId,
    pub name: JobName,
    pub namespace: Name,
    pub state: JobState,
    pub priority: u8,
    pub labels: BTreeMap<Name, String>,
    pub submitted_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// The log index of the job's newest change.
    pub index: LogIndex,
    pub tasks: TaskCounts,
    /// It is paused, and what runs of it is stopped where it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub frozen: bool,
    /// The schedule that this is a run of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_id: Option<JobId>,
    /// The tick that it was submitted for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled_for: Option<Timestamp>,
    /// The job after which this one was submitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<JobId>,
    /// Of a schedule: how it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<RunsView>,
    /// Of a service or system job that has not ended: how it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceView>,
    /// Left out in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<Arc<JobSpec>>,
}

/// The runs of a schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunsView {
    /// Up to here every tick has been decided: it ran, or it will not.
    pub decided_until: Timestamp,
    /// Runs that have not finished.
    pub active: u64,
    /// A tick that waits for the run before it.
    pub queued: Option<Timestamp>,
    /// Finished runs that are kept.
    pub finished: u64,
}

/// How a service stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Counts the changes of the definition, from 1.
    pub version: u32,
    /// How many elements there are to be.
    pub wanted: u32,
    /// Those that run, and are well.
    pub available: u32,
    /// Those that have the newest version.
    pub updated: u32,
    /// How many may be unavailable in a rollout.
    pub max_unavailable: u32,
    pub rollout: Rollout,
    /// Why it stands still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stalled_by: Option<String>,
}

/// The next ticks of a schedule, in its own time zone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NextTicks {
    /// RFC 3339 with the offset.
    pub items: Vec<String>,
}

/// The body of `POST /v1/workers/{name}/drain`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainWorker {
    /// What still runs after so long is ended and placed elsewhere; without it, everything may finish.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Span>,
}

/// The taints that an operator gives a worker, besides those that it has itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerTaints {
    pub taints: Vec<Taint>,
}

/// A namespace: what it is entitled to, and what it has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamespaceView {
    pub name: Name,
    /// Whether somebody said what it is entitled to; else those are the defaults.
    pub recorded: bool,
    pub rules: NamespaceRules,
    /// What its live attempts hold together.
    pub held: Resources,
    /// Live attempts.
    pub live: u64,
    /// Tasks that have not finished, the live ones among them, with those of jobs that will follow its jobs.
    pub unfinished: u64,
    /// Jobs in memory.
    pub jobs: u64,
}

words!(
    /// How far the newest version of a service has come.
    Rollout {
        /// All elements have it.
        Done = "done",
        /// Others follow as those that have it become available.
        Rolling = "rolling",
        /// Elements that have it were started and did not stay well; no others follow meanwhile.
        Stalled = "stalled",
    }
);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskView {
    pub task: Name,
    pub index: TaskIndex,
    pub state: TaskState,
    /// The number of the newest attempt; 0 before the first.
    pub attempt: AttemptNumber,
    pub worker: Option<Name>,
    pub exit_code: Option<i32>,
    pub reason: Option<String>,
    pub result: Option<String>,
    pub progress: Option<ProgressView>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub attempts: Vec<AttemptView>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProgressView {
    pub fraction: f64,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptView {
    pub number: AttemptNumber,
    pub fence: Fence,
    pub worker: Name,
    pub epoch: Epoch,
    pub state: AttemptState,
    pub exit_code: Option<i32>,
    pub reason: Option<String>,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerView {
    pub name: Name,
    pub epoch: Epoch,
    pub state: WorkerState,
    pub labels: BTreeMap<Name, String>,
    /// What keeps tasks off that don't tolerate it, its own first.
    #[serde(default)]
    pub taints: Vec<Taint>,
    /// Under which name or address others reach what runs there.
    #[serde(default)]
    pub host: String,
    pub capacity: Resources,
    pub used: Resources,
    pub running: u64,
    /// The replica that the worker is connected to.
    pub replica: ReplicaId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Leader,
    Follower,
    Learner,
}

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Learner => "learner",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicaView {
    pub id: ReplicaId,
    pub role: Role,
    pub voter: bool,
    pub http: String,
    pub peer: String,
    pub healthy: bool,
    /// The newest log index that the replica is known to have applied or stored; `None` if unknown.
    pub applied: Option<LogIndex>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterView {
    pub leader: Option<ReplicaId>,
    pub term: u64,
    pub index: LogIndex,
    /// How many voters may fail from now on without stopping the cluster; 0 while its membership changes.
    pub failure_tolerance: u64,
    pub replicas: Vec<ReplicaView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestView {
    pub replica: ReplicaId,
    pub index: LogIndex,
    /// Sixteen hexadecimal digits.
    pub digest: String,
}

/// The body of `POST /v1/cluster/replicas`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddReplica {
    pub id: ReplicaId,
    pub http: String,
    pub peer: String,
}

/// The body of `POST /v1/cluster/transfer-leader`; without `to`, the most caught-up follower.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransferLeader {
    pub to: Option<ReplicaId>,
}

/// The body of `POST /v1/jobs/{id}/pause`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PauseJob {
    /// Stop what runs where it is, instead of ending it.
    #[serde(default)]
    pub freeze: bool,
}

/// The body of `POST /v1/jobs/{id}/retry`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryJob {
    /// Only the tasks that failed or were cancelled; else all.
    #[serde(default)]
    pub failed: bool,
    /// Only this task, and what needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Name>,
}

/// The body of `POST /v1/workers/{name}/ended`: a watchdog says that its agent died and that all
/// attempts of this registration have ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerEnded {
    pub epoch: Epoch,
}

/// What a write answers that has nothing else to say: where it stands in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    pub index: LogIndex,
}
