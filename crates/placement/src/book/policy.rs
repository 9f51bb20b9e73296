//! What policies are called.

use serde::{Deserialize, Serialize};

/// The order of the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QueueOrder {
    Fifo,
    /// The highest priority first, raised by waiting.
    #[default]
    Priority,
    /// The shortest expected run time first.
    Sjf,
    /// The least expected time and open dependencies first.
    LeastWork,
}

/// How a worker is chosen among those that have room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlacementOrder {
    #[default]
    BestFit,
    LeastLoad,
    RoundRobin,
    Random,
    WeightedRoundRobin,
    LeastJobs,
    LowestUtilisation,
    WorstFit,
    ConsistentHash,
    PowerOfTwo,
}

/// What may start before the head of the queue, which does not fit yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backfill {
    /// What does not need the worker that is held for the head.
    #[default]
    None,
    /// What does not delay the head.
    Easy,
    /// The same, the shortest first.
    EasySjbf,
}
