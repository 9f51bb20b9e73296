//! What the scheduler goes by: which task comes first, what may pass it, and which worker it goes to.

use serde::{Deserialize, Serialize};

use crate::words;

words!(
    /// The order of the queue.
    #[derive(Default)]
    QueueOrder {
        /// In the order of submission.
        Fifo = "fifo",
        /// The highest priority first, raised by waiting.
        #[default]
        Priority = "priority",
        /// The shortest expected run time first.
        Sjf = "sjf",
        /// The least expected time and open dependencies first.
        LeastWork = "least-work",
        /// The earliest deadline of the job first, jobs without one last.
        Deadline = "deadline",
        /// The longest remaining path of its job first.
        CriticalPath = "critical-path",
        /// A weighted sum of age, size, priority and the namespace's fair share.
        Multifactor = "multifactor",
        /// The namespace with the lowest dominant share first, past use included.
        FairShare = "fair-share",
        /// The shortest expected run time first; it ends what has longer to go.
        Srtf = "srtf",
    }
);

words!(
    /// What may start before the head of the queue, which does not fit yet.
    #[derive(Default)]
    Backfill {
        /// What does not need the worker that is held for the head.
        #[default]
        None = "none",
        /// What does not delay the head.
        Easy = "easy",
        /// The same, the shortest first.
        EasySjbf = "easy-sjbf",
        /// What delays none of those that wait.
        Conservative = "conservative",
    }
);

words!(
    /// How a worker is chosen among those that have room.
    #[derive(Default)]
    PlacementOrder {
        #[default]
        BestFit = "best-fit",
        LeastLoad = "least-load",
        RoundRobin = "round-robin",
        Random = "random",
        WeightedRoundRobin = "weighted-round-robin",
        LeastJobs = "least-jobs",
        LowestUtilisation = "lowest-utilisation",
        WorstFit = "worst-fit",
        ConsistentHash = "consistent-hash",
        PowerOfTwo = "power-of-two",
    }
);

/// Queue order × backfill × placement.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub queue: QueueOrder,
    pub backfill: Backfill,
    pub placement: PlacementOrder,
}

/// A change of the policy: what is left out stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyChange {
    #[serde(default)]
    pub queue: Option<QueueOrder>,
    #[serde(default)]
    pub backfill: Option<Backfill>,
    #[serde(default)]
    pub placement: Option<PlacementOrder>,
}

impl PolicyChange {
    /// The policy that this makes of another.
    #[must_use]
    pub fn of(self, policy: Policy) -> Policy {
        Policy {
            queue: self.queue.unwrap_or(policy.queue),
            backfill: self.backfill.unwrap_or(policy.backfill),
            placement: self.placement.unwrap_or(policy.placement),
        }
    }
}

impl Policy {
    /// Whether it goes by how long tasks run, or by what namespaces use.
    pub fn looks_ahead(&self) -> bool {
        let by_queue = match self.queue {
            QueueOrder::Sjf
            | QueueOrder::Srtf
            | QueueOrder::LeastWork
            | QueueOrder::Multifactor
            | QueueOrder::FairShare => true,
            QueueOrder::Fifo | QueueOrder::Priority | QueueOrder::Deadline | QueueOrder::CriticalPath => false,
        };
        by_queue || self.backfill != Backfill::None
    }
}
