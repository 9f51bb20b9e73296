//! What changed, as clients see it in `/v1/events`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{AttemptNumber, Epoch, Fence, JobId, LogIndex, TaskIndex};
use crate::name::Name;
use crate::time::Timestamp;

/// The type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum EventType {
    #[serde(rename = "job.submitted")]
    JobSubmitted,
    #[serde(rename = "job.running")]
    JobRunning,
    #[serde(rename = "job.paused")]
    JobPaused,
    #[serde(rename = "job.resumed")]
    JobResumed,
    #[serde(rename = "job.succeeded")]
    JobSucceeded,
    #[serde(rename = "job.failed")]
    JobFailed,
    #[serde(rename = "job.cancelled")]
    JobCancelled,
    #[serde(rename = "job.retried")]
    JobRetried,
    #[serde(rename = "task.pending")]
    TaskPending,
    #[serde(rename = "task.assigned")]
    TaskAssigned,
    #[serde(rename = "task.running")]
    TaskRunning,
    #[serde(rename = "task.stopping")]
    TaskStopping,
    #[serde(rename = "task.succeeded")]
    TaskSucceeded,
    #[serde(rename = "task.failed")]
    TaskFailed,
    #[serde(rename = "task.cancelled")]
    TaskCancelled,
    /// An attempt failed or was lost and the task waits for its backoff.
    #[serde(rename = "task.waiting")]
    TaskWaiting,
    #[serde(rename = "worker.ready")]
    WorkerReady,
    #[serde(rename = "worker.draining")]
    WorkerDraining,
    #[serde(rename = "worker.lost")]
    WorkerLost,
    #[serde(rename = "worker.left")]
    WorkerLeft,
    /// A tick of a schedule did not run.
    #[serde(rename = "schedule.skipped")]
    ScheduleSkipped,
    #[serde(rename = "lock.acquired")]
    LockAcquired,
    #[serde(rename = "lock.released")]
    LockReleased,
    /// A task added others to its job.
    #[serde(rename = "job.extended")]
    JobExtended,
    /// A service has another definition, or another number of elements.
    #[serde(rename = "job.updated")]
    JobUpdated,
    /// All elements of a service run its newest version, and are well.
    #[serde(rename = "rollout.finished")]
    RolloutFinished,
    /// It has been well for as long as its service wants.
    #[serde(rename = "task.healthy")]
    TaskHealthy,
}

impl EventType {
    pub const ALL: [Self; 27] = [
        Self::JobSubmitted,
        Self::JobRunning,
        Self::JobPaused,
        Self::JobResumed,
        Self::JobSucceeded,
        Self::JobFailed,
        Self::JobCancelled,
        Self::JobRetried,
        Self::TaskPending,
        Self::TaskAssigned,
        Self::TaskRunning,
        Self::TaskStopping,
        Self::TaskSucceeded,
        Self::TaskFailed,
        Self::TaskCancelled,
        Self::TaskWaiting,
        Self::WorkerReady,
        Self::WorkerDraining,
        Self::WorkerLost,
        Self::WorkerLeft,
        Self::ScheduleSkipped,
        Self::LockAcquired,
        Self::LockReleased,
        Self::JobExtended,
        Self::JobUpdated,
        Self::RolloutFinished,
        Self::TaskHealthy,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JobSubmitted => "job.submitted",
            Self::JobRunning => "job.running",
            Self::JobPaused => "job.paused",
            Self::JobResumed => "job.resumed",
            Self::JobSucceeded => "job.succeeded",
            Self::JobFailed => "job.failed",
            Self::JobCancelled => "job.cancelled",
            Self::JobRetried => "job.retried",
            Self::TaskPending => "task.pending",
            Self::TaskAssigned => "task.assigned",
            Self::TaskRunning => "task.running",
            Self::TaskStopping => "task.stopping",
            Self::TaskSucceeded => "task.succeeded",
            Self::TaskFailed => "task.failed",
            Self::TaskCancelled => "task.cancelled",
            Self::TaskWaiting => "task.waiting",
            Self::WorkerReady => "worker.ready",
            Self::WorkerDraining => "worker.draining",
            Self::WorkerLost => "worker.lost",
            Self::WorkerLeft => "worker.left",
            Self::ScheduleSkipped => "schedule.skipped",
            Self::LockAcquired => "lock.acquired",
            Self::LockReleased => "lock.released",
            Self::JobExtended => "job.extended",
            Self::JobUpdated => "job.updated",
            Self::RolloutFinished => "rollout.finished",
            Self::TaskHealthy => "task.healthy",
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for EventType {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|t| t.as_str() == text).ok_or_else(|| format!("{text:?} is not a type of event"))
    }
}

/// The place of an event: the log index of the entry that made it, and its position there from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor {
    pub index: LogIndex,
    pub nth: u32,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.nth)
    }
}

impl FromStr for Cursor {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not a cursor such as 4031.2");
        let (index, nth) = text.split_once('.').ok_or_else(bad)?;
        Ok(Self { index: index.parse().map_err(|_| bad())?, nth: nth.parse().map_err(|_| bad())? })
    }
}

/// One event as `/v1/events` gives it; keys that do not apply are left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventView {
    pub cursor: String,
    pub time: Timestamp,
    #[serde(rename = "type")]
    pub kind: EventType,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<TaskIndex>,
    /// For a range of elements: how many, from `index` on. Of `job.extended`: how many tasks were added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<AttemptNumber>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fence: Option<Fence>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<Name>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<Name>,
}
