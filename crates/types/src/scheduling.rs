//! What `/v1/scheduling` answers: the scheduler in numbers, over sliding windows. docs/scheduling.md has the formulas.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::name::Name;
use crate::time::{Span, Timestamp};
use crate::words;

words!(
    /// How far back a window reaches.
    Window {
        Minute = "1m",
        FiveMinutes = "5m",
        Hour = "1h",
        Day = "24h",
    }
);

impl Window {
    pub const fn length(self) -> Span {
        match self {
            Self::Minute => Span::from_secs(60),
            Self::FiveMinutes => Span::from_secs(5 * 60),
            Self::Hour => Span::from_secs(3600),
            Self::Day => Span::from_secs(24 * 3600),
        }
    }
}

/// One replica's measurements.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SchedulingView {
    /// The replica knows everything from here on, and nothing of what was before.
    pub since: Timestamp,
    /// Until when it has measured.
    pub until: Timestamp,
    /// None: the whole cluster.
    pub namespace: Option<Name>,
    /// Tasks that could be placed now.
    pub queued: u64,
    /// Tasks with an attempt now.
    pub running: u64,
    /// Workers that live now.
    pub workers: u64,
    pub windows: Vec<WindowView>,
}

/// One window. What nothing was observed of is none. Times in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowView {
    pub window: Window,
    /// Where it really begins: a window moves in steps, and reaches no further back than `since`.
    pub from: Timestamp,
    /// Tasks that succeeded or failed for good.
    pub finished: FinishedTasks,
    /// Those, a second.
    pub throughput_per_s: f64,
    /// The mean of completion − submission.
    pub average_task_completion_time_s: Option<f64>,
    /// Start − submission.
    pub wait_s: Option<WaitView>,
    /// The mean of max(1, (wait + run) / max(10 s, run)).
    pub bounded_slowdown: Option<f64>,
    /// By kind of resource. Of the cluster: the mean over its workers. Of a namespace: its part of all there is.
    pub resource_utilisation: BTreeMap<String, f64>,
    /// By kind of resource, the mean over the workers of |RUᵢ − mean RU|. Not of a namespace.
    pub load_balance_degree: Option<BTreeMap<String, f64>>,
    /// Tasks that run or could, per worker.
    pub load: Option<f64>,
    /// Jain's index over the namespaces that wanted something. Not of a namespace.
    pub fairness: Option<f64>,
    pub queue_length: QueueView,
    /// The mean number of tasks with an attempt.
    pub running: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinishedTasks {
    pub succeeded: u64,
    pub failed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct WaitView {
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QueueView {
    pub mean: f64,
    pub max: u64,
}
