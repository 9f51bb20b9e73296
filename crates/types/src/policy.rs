//! What the scheduler goes by: which task comes first, what may pass it, and which worker it goes to.

use serde::{Deserialize, Serialize};

use crate::limits::{QUANTUM_MS_MAX, QUANTUM_MS_MIN};
use crate::time::Span;
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
        /// Each in its turn; what has had its slice of time is ended for those that wait.
        RoundRobin = "round-robin",
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

words!(
    /// Whether what runs is moved to where less does.
    #[derive(Default)]
    Rebalance {
        #[default]
        Off = "off",
        /// Attempts of tasks that are movable.
        On = "on",
    }
);

/// How long a task has its turn under `round-robin`, at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Span", into = "Span")]
pub struct Quantum(Span);

impl Quantum {
    pub const fn span(self) -> Span {
        self.0
    }
}

/// Long beside the start of a process, and of what is lost when the work of a turn is; short beside a night.
impl Default for Quantum {
    fn default() -> Self {
        Self(Span::from_secs(600))
    }
}

impl From<Quantum> for Span {
    fn from(quantum: Quantum) -> Self {
        quantum.0
    }
}

impl TryFrom<Span> for Quantum {
    type Error = String;

    fn try_from(span: Span) -> Result<Self, String> {
        if !(QUANTUM_MS_MIN..=QUANTUM_MS_MAX).contains(&span.0) {
            return Err(format!("quantum must be from {} to {}", Span(QUANTUM_MS_MIN), Span(QUANTUM_MS_MAX)));
        }
        Ok(Self(span))
    }
}

impl std::fmt::Display for Quantum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for Quantum {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<Span>().map_err(|error| error.to_string())?.try_into()
    }
}

/// The part of the movable attempts that may be on their way at once, in thousandths; one may always be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct RebalanceShare(u16);

impl RebalanceShare {
    pub const fn per_mille(self) -> u16 {
        self.0
    }
}

/// A tenth: each move loses what its attempt has done, and takes room twice while it ends.
impl Default for RebalanceShare {
    fn default() -> Self {
        Self(100)
    }
}

impl From<RebalanceShare> for u16 {
    fn from(share: RebalanceShare) -> Self {
        share.0
    }
}

impl TryFrom<u16> for RebalanceShare {
    type Error = String;

    fn try_from(per_mille: u16) -> Result<Self, String> {
        if (1..=1_000).contains(&per_mille) { Ok(Self(per_mille)) } else { Err(SHARE_BOUNDS.to_owned()) }
    }
}

impl std::fmt::Display for RebalanceShare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::str::FromStr for RebalanceShare {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<u16>().map_err(|_| SHARE_BOUNDS.to_owned())?.try_into()
    }
}

const SHARE_BOUNDS: &str = "rebalance_share must be from 1 to 1000 thousandths";

/// Queue order × backfill × placement, and what is done about what runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub queue: QueueOrder,
    pub backfill: Backfill,
    pub placement: PlacementOrder,
    pub quantum: Quantum,
    pub rebalance: Rebalance,
    pub rebalance_share: RebalanceShare,
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
            quantum: Quantum::default(),
            rebalance: Rebalance::default(),
            rebalance_share: RebalanceShare::default(),
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
    pub quantum: Option<Quantum>,
    #[serde(default)]
    pub rebalance: Option<Rebalance>,
    #[serde(default)]
    pub rebalance_share: Option<RebalanceShare>,
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
            quantum: self.quantum.unwrap_or(policy.quantum),
            rebalance: self.rebalance.unwrap_or(policy.rebalance),
            rebalance_share: self.rebalance_share.unwrap_or(policy.rebalance_share),
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
    pub quantum: Option<Quantum>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebalance: Option<Rebalance>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rebalance_share: Option<RebalanceShare>,
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
        let Self { queue, backfill, placement, quantum, rebalance, rebalance_share, spread_label } = self;
        let (queue, backfill) = match backfill {
            Some(BackfillRequest::On) => (Some(queue.unwrap_or(QueueOrder::RECOMMENDED)), Some(Backfill::RECOMMENDED)),
            Some(BackfillRequest::Named(backfill)) => (queue, Some(backfill)),
            None => (queue, None),
        };
        PolicyChange { queue, backfill, placement, quantum, rebalance, rebalance_share, spread_label }
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
    /// Whether it goes by how long tasks run, or by what namespaces use, or ends what has run for long enough.
    pub fn looks_ahead(&self) -> bool {
        let by_queue = match self.queue {
            QueueOrder::Sjf
            | QueueOrder::Srtf
            | QueueOrder::LeastWork
            | QueueOrder::CriticalPath
            | QueueOrder::Multifactor
            | QueueOrder::FairShare
            | QueueOrder::RoundRobin
            | QueueOrder::AgedSjf => true,
            QueueOrder::Fifo | QueueOrder::Priority | QueueOrder::Deadline => false,
        };
        by_queue || self.backfill != Backfill::None || self.rebalance == Rebalance::On
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

    #[test]
    fn a_quantum_and_a_share_have_bounds() {
        for good in
            [r#"{"quantum":"1s"}"#, r#"{"quantum":"7days"}"#, r#"{"rebalance_share":1}"#, r#"{"rebalance":"on"}"#]
        {
            let request: PolicyRequest = serde_json::from_str(good).expect(good);
            assert_eq!(
                serde_json::to_value(request).unwrap(),
                serde_json::from_str::<serde_json::Value>(good).unwrap()
            );
        }
        for (bad, says) in [
            (r#"{"quantum":"999ms"}"#, "from 1s to 7days"),
            (r#"{"quantum":"8d"}"#, "from 1s to 7days"),
            (r#"{"rebalance_share":0}"#, "from 1 to 1000"),
            (r#"{"rebalance_share":1001}"#, "from 1 to 1000"),
        ] {
            let error = serde_json::from_str::<PolicyRequest>(bad).unwrap_err().to_string();
            assert!(error.contains(says), "{bad}: {error}");
        }
    }
}
