//! The states of jobs, tasks, attempts and workers, and why an attempt ended.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{JobId, words};

words!(
    /// The state of a job.
    JobState {
        Pending = "pending",
        Running = "running",
        Paused = "paused",
        Succeeded = "succeeded",
        Failed = "failed",
        Cancelled = "cancelled",
    }
);

words!(
    /// The state of a task.
    TaskState {
        /// Waits for other tasks, a start time or its backoff.
        Waiting = "waiting",
        /// Could be placed.
        Pending = "pending",
        Assigned = "assigned",
        Running = "running",
        /// Its attempt was told to end and has not confirmed it.
        Stopping = "stopping",
        Succeeded = "succeeded",
        Failed = "failed",
        Cancelled = "cancelled",
    }
);

words!(
    /// The state of one attempt.
    AttemptState {
        Assigned = "assigned",
        Running = "running",
        Stopping = "stopping",
        Succeeded = "succeeded",
        Failed = "failed",
        Cancelled = "cancelled",
        /// Its worker died or was cut off; the attempt certainly runs no more.
        Lost = "lost",
    }
);

words!(
    /// The state of a worker.
    WorkerState {
        Ready = "ready",
        /// Gets no new tasks.
        Draining = "draining",
        /// Its lease ran out.
        Lost = "lost",
        /// It signed off.
        Left = "left",
    }
);

impl JobState {
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

impl TaskState {
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Whether an attempt of the task holds resources on a worker.
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Assigned | Self::Running | Self::Stopping)
    }
}

impl AttemptState {
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Assigned | Self::Running | Self::Stopping)
    }
}

/// How an attempt ended, as its worker saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// The process ended with this code.
    Exited(i32),
    /// A signal that the worker did not send ended the process.
    Signalled(i32),
    /// The task's timeout passed and the worker ended it.
    TimedOut,
    /// The cluster asked the worker to stop it and the worker did.
    Stopped,
    /// The process could not be started; the text says why.
    NotStarted(String),
    /// The attempt wrote more output than the worker allows.
    OutputLimit,
    /// The worker could not make ready what every attempt needs: its disk is full, say. Not the task's fault.
    Unable(String),
    /// It exited with code 0, and what it wanted to add to its job can't be.
    NotExtended(String),
    /// Its health command failed so often in a row, and the worker ended it.
    Unhealthy(u32),
}

impl Ending {
    pub const fn is_success(&self) -> bool {
        matches!(self, Self::Exited(0))
    }

    /// The length of what is free text in it.
    pub const fn weight(&self) -> usize {
        match self {
            Self::NotStarted(why) | Self::Unable(why) | Self::NotExtended(why) => why.len(),
            Self::Exited(_) | Self::Signalled(_) | Self::TimedOut => 0,
            Self::Stopped | Self::OutputLimit | Self::Unhealthy(_) => 0,
        }
    }

    /// The exit code as a shell would give it: 128 + n for signal n.
    pub const fn exit_code(&self) -> Option<i32> {
        match self {
            Self::Exited(code) => Some(*code),
            Self::Signalled(signal) => Some(128 + *signal),
            Self::TimedOut | Self::Stopped | Self::OutputLimit | Self::Unhealthy(_) => None,
            Self::NotStarted(_) | Self::Unable(_) | Self::NotExtended(_) => None,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with code {code}"),
            Self::Signalled(signal) => write!(f, "killed by signal {signal}"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Stopped => f.write_str("stopped"),
            Self::NotStarted(why) => write!(f, "could not be started: {why}"),
            Self::OutputLimit => f.write_str("wrote more output than the worker allows"),
            Self::Unable(why) => write!(f, "its worker was unable to run it: {why}"),
            Self::NotExtended(why) => write!(f, "its job could not be extended: {why}"),
            Self::Unhealthy(1) => f.write_str("its health command failed"),
            Self::Unhealthy(times) => write!(f, "its health command failed {times} times in a row"),
        }
    }
}

/// Why the cluster asked a worker to end an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopReason {
    /// Its job was cancelled.
    Cancelled,
    /// Its job was paused.
    Paused,
    /// Its job's deadline is over.
    Overdue,
    /// It had not started, and its job starts nothing more.
    NotStarted,
    /// Somebody asked for it to be placed again.
    Reassigned,
    /// The time is over that its draining worker had.
    Drained,
    /// The job has a higher priority.
    Priority(JobId),
    /// The job is shorter than what it has to go.
    Shorter(JobId),
    /// The namespace of the job takes back what it had lent.
    Reclaimed(JobId),
    /// Its turn is over, and the job has the next one.
    TurnOver(JobId),
    /// It evens out the load.
    Rebalanced,
    /// Another member of its gang has ended.
    Gang,
    /// It was to start after one that was told to stop.
    Behind,
    /// The service has a newer version.
    Outdated,
    /// The service is to have fewer elements, or none on this worker.
    Surplus,
    /// An element of a service on a worker that drains.
    Draining,
    /// An element of a system job on a draining worker, when all else there has ended.
    Vacated,
    /// An element of a system job on a worker that its job does not want any more.
    Unmatched,
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cancelled => f.write_str("its job was cancelled"),
            Self::Paused => f.write_str("its job was paused"),
            Self::Overdue => f.write_str("the job's deadline is over"),
            Self::NotStarted => f.write_str("it had not started, and its job starts nothing more"),
            Self::Reassigned => f.write_str("it was reassigned"),
            Self::Drained => f.write_str("the time is over that its draining worker had"),
            Self::Priority(by) => write!(f, "preempted by job {by}, which has a higher priority"),
            Self::Shorter(by) => write!(f, "preempted by job {by}, which is shorter than what it has to go"),
            Self::Reclaimed(by) => write!(f, "preempted by job {by}, whose namespace takes back what it had lent"),
            Self::TurnOver(by) => write!(f, "its turn is over: job {by} has the next one"),
            Self::Rebalanced => f.write_str("moved to even out the load"),
            Self::Gang => f.write_str("another member of its gang has ended"),
            Self::Behind => f.write_str("what it waited for was told to stop"),
            Self::Outdated => f.write_str("it gets another version"),
            Self::Surplus => f.write_str("it is one too many"),
            Self::Draining => f.write_str("its worker drains"),
            Self::Vacated => f.write_str("all else on its draining worker has ended"),
            Self::Unmatched => f.write_str("its worker does not match any more"),
        }
    }
}
