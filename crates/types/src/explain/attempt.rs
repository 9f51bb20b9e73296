//! Of an attempt that a worker has, and of those that make room.

use serde::{Deserialize, Serialize};

use crate::status::WorkerState;
use crate::{AttemptNumber, JobId, Name, TaskIndex, Timestamp, words};

/// The attempt that holds its resources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveAttempt {
    pub number: AttemptNumber,
    pub worker: Name,
    pub worker_state: Option<WorkerState>,
    pub assigned_at: Timestamp,
    pub started_at: Option<Timestamp>,
    /// Why it was told to stop, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<String>,
    /// What follows when it has stopped.
    pub then: Option<AfterStopping>,
    /// When it is moved, since its worker is draining.
    pub moved_at: Option<Timestamp>,
    /// It is stopped where it is until the job is resumed.
    pub frozen: bool,
    /// The element of the same task whose end it waits for, on the same worker.
    pub waits_for: Option<TaskIndex>,
    /// What the task prefers, and its worker does not have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<String>,
}

/// The last attempt of an element that waits again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastAttempt {
    pub number: AttemptNumber,
    pub worker: Name,
    /// Why it ended.
    pub reason: String,
}

/// An attempt that was told to stop, so that a job that waits has room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomMade {
    pub job: JobId,
    pub task: Name,
    pub index: TaskIndex,
    pub worker: Name,
}

words!(
    /// What becomes of an element once its attempt has stopped.
    AfterStopping {
        Placed = "placed_again",
        Cancelled = "cancelled",
        Failed = "failed",
    }
);
