//! What the scheduler goes by: which task comes first, what may pass it, and which worker it goes to.

use serde::{Deserialize, Serialize};

use crate::validate::default_spread_label;
use crate::{Name, words};

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
        /// The shortest expected run time first, raised by waiting.
        AgedSjf = "aged-sjf",
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
        /// Evenly over the values of a label.
        Spread = "spread",
        /// The next tasks of the queue all at once, as a flow of minimum cost.
        MinCostFlow = "min-cost-flow",
    }
);

/// Queue order × backfill × placement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub queue: QueueOrder,
    pub backfill: Backfill,
    pub placement: PlacementOrder,
    /// The label that the placement `spread` goes by.
    #[serde(default = "default_spread_label")]
    pub spread_label: Name,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            queue: QueueOrder::default(),
            backfill: Backfill::default(),
            placement: PlacementOrder::default(),
            spread_label: default_spread_label(),
        }
    }
}

/// A change of the policy: what is left out stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyChange {
    #[serde(default)]
    pub queue: Option<QueueOrder>,
    #[serde(default)]
    pub backfill: Option<Backfill>,
    #[serde(default)]
    pub placement: Option<PlacementOrder>,
    #[serde(default)]
    pub spread_label: Option<Name>,
}

impl PolicyChange {
    /// The policy that this makes of another.
    #[must_use]
    pub fn of(self, policy: Policy) -> Policy {
        Policy {
            queue: self.queue.unwrap_or(policy.queue),
            backfill: self.backfill.unwrap_or(policy.backfill),
            placement: self.placement.unwrap_or(policy.placement),
            spread_label: self.spread_label.unwrap_or(policy.spread_label),
        }
    }
}

/// A change as users ask for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRequest {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueOrder>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<BackfillRequest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<PlacementOrder>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread_label: Option<Name>,
}

/// Backfill by its name, or just `on`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackfillRequest {
    /// What is recommended, with the queue that goes with it.
    On,
    Named(Backfill),
}

impl BackfillRequest {
    const ON: &'static str = "on";

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => Self::ON,
            Self::Named(backfill) => backfill.as_str(),
        }
    }
}

impl std::str::FromStr for BackfillRequest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            Self::ON => Ok(Self::On),
            name => name.parse().map(Self::Named).map_err(|error: String| format!("{error}, {}", Self::ON)),
        }
    }
}

impl Serialize for BackfillRequest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for BackfillRequest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl PolicyRequest {
    /// The change in names that stand in the log: what is recommended may be something else in the next version, and
    /// must not change what an old entry means.
    #[must_use]
    pub fn resolved(self) -> PolicyChange {
        let Self { queue, backfill, placement, spread_label } = self;
        let (queue, backfill) = match backfill {
            Some(BackfillRequest::On) => (Some(queue.unwrap_or(QueueOrder::RECOMMENDED)), Some(Backfill::RECOMMENDED)),
            Some(BackfillRequest::Named(backfill)) => (queue, Some(backfill)),
            None => (queue, None),
        };
        PolicyChange { queue, backfill, placement, spread_label }
    }
}

impl QueueOrder {
    /// With backfill: docs/policies.md says why.
    pub const RECOMMENDED: Self = Self::AgedSjf;
}

impl Backfill {
    /// What `on` means: docs/policies.md says why.
    pub const RECOMMENDED: Self = Self::EasySjbf;
}

impl Policy {
    /// Whether it goes by how long tasks run, or by what namespaces use.
    pub fn looks_ahead(&self) -> bool {
        let by_queue = match self.queue {
            QueueOrder::Sjf
            | QueueOrder::Srtf
            | QueueOrder::LeastWork
            | QueueOrder::Multifactor
            | QueueOrder::FairShare
            | QueueOrder::AgedSjf => true,
            QueueOrder::Fifo | QueueOrder::Priority | QueueOrder::Deadline | QueueOrder::CriticalPath => false,
        };
        by_queue || self.backfill != Backfill::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_is_what_is_recommended_with_its_queue_unless_another_is_named() {
        for (asked, queue, backfill) in [
            (r#"{"backfill":"on"}"#, Some(QueueOrder::AgedSjf), Some(Backfill::EasySjbf)),
            (r#"{"backfill":"on","queue":"fifo"}"#, Some(QueueOrder::Fifo), Some(Backfill::EasySjbf)),
            (r#"{"backfill":"easy"}"#, None, Some(Backfill::Easy)),
            (r#"{"queue":"sjf"}"#, Some(QueueOrder::Sjf), None),
        ] {
            let request: PolicyRequest = serde_json::from_str(asked).unwrap();
            let again = serde_json::from_str::<PolicyRequest>(&serde_json::to_string(&request).unwrap()).unwrap();
            assert_eq!(again, request);
            assert_eq!(request.resolved(), PolicyChange { queue, backfill, ..PolicyChange::default() }, "{asked}");
        }
        let error = serde_json::from_str::<PolicyRequest>(r#"{"backfill":"off"}"#).unwrap_err().to_string();
        assert!(error.contains("\"off\" is none of none, easy, easy-sjbf, conservative, on"), "{error}");
    }
}
