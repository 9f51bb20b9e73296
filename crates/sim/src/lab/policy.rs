//! The names of policies, as users write them.

use quorate_placement::book::{Backfill, PlacementOrder, QueueOrder};
use serde::Serialize;
use serde_json::{Map, Value};

use super::engine::{Estimates, EventRule};

/// A part of a policy that has a name of its own.
pub trait Named: Copy + 'static {
    /// All there are, in the order in which they are offered.
    const ALL: &'static [Self];

    fn name(self) -> String;

    /// # Errors
    /// With the names that there are.
    fn parse(text: &str) -> Result<Self, String> {
        let known = Self::ALL.iter().copied();
        known.clone().find(|known| known.name() == text).ok_or_else(|| {
            let names: Vec<String> = known.map(Self::name).collect();
            format!("{text:?} is none of {}", names.join(", "))
        })
    }
}

/// The name that a unit variant has in JSON.
fn name_in_json<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(name)) => name,
        Ok(_) | Err(_) => unreachable!("policies are names"),
    }
}

impl Named for QueueOrder {
    const ALL: &'static [Self] = &[Self::Fifo, Self::Priority, Self::Sjf, Self::LeastWork];

    fn name(self) -> String {
        name_in_json(&self)
    }
}

impl Named for PlacementOrder {
    const ALL: &'static [Self] = &[
        Self::BestFit,
        Self::LeastLoad,
        Self::RoundRobin,
        Self::Random,
        Self::WeightedRoundRobin,
        Self::LeastJobs,
        Self::LowestUtilisation,
        Self::WorstFit,
        Self::ConsistentHash,
        Self::PowerOfTwo,
    ];

    fn name(self) -> String {
        name_in_json(&self)
    }
}

impl Named for Backfill {
    const ALL: &'static [Self] = &[Self::None, Self::Easy, Self::EasySjbf];

    fn name(self) -> String {
        name_in_json(&self)
    }
}

impl Named for Estimates {
    const ALL: &'static [Self] = &[Self::User, Self::Exact, Self::Learned];

    fn name(self) -> String {
        match self {
            Self::User => "user",
            Self::Exact => "exact",
            Self::Learned => "learned",
        }
        .to_owned()
    }
}

impl Named for EventRule {
    const ALL: &'static [Self] = &[Self::Natural, Self::Pyss];

    fn name(self) -> String {
        match self {
            Self::Natural => "natural",
            Self::Pyss => "pyss",
        }
        .to_owned()
    }
}

/// A policy: what differs from run to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Variant {
    pub queue: QueueOrder,
    pub backfill: Backfill,
    pub placement: PlacementOrder,
    pub estimates: Estimates,
}

impl Variant {
    /// Every combination of the given parts.
    pub fn product(
        queues: &[QueueOrder],
        backfills: &[Backfill],
        placements: &[PlacementOrder],
        estimates: &[Estimates],
    ) -> Vec<Self> {
        let mut variants = Vec::new();
        for queue in queues.iter().copied() {
            for backfill in backfills.iter().copied() {
                for placement in placements.iter().copied() {
                    let with = |estimates| Self { queue, backfill, placement, estimates };
                    variants.extend(estimates.iter().copied().map(with));
                }
            }
        }
        variants
    }

    /// The names of the parts, with what they are parts of.
    pub fn parts(self) -> [(&'static str, String); 4] {
        [
            ("queue", self.queue.name()),
            ("backfill", self.backfill.name()),
            ("placement", self.placement.name()),
            ("estimates", self.estimates.name()),
        ]
    }

    pub(super) fn to_json(self) -> Map<String, Value> {
        self.parts().into_iter().map(|(part, name)| (part.to_owned(), name.into())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names<T: Named + PartialEq + std::fmt::Debug>() -> Vec<String> {
        for value in T::ALL.iter().copied() {
            assert_eq!(T::parse(&value.name()), Ok(value));
        }
        T::ALL.iter().copied().map(T::name).collect()
    }

    #[test]
    fn every_name_reads_as_what_it_names() {
        assert_eq!(names::<QueueOrder>(), ["fifo", "priority", "sjf", "least-work"]);
        assert_eq!(names::<PlacementOrder>()[9], "power-of-two");
        assert_eq!(names::<Backfill>(), ["none", "easy", "easy-sjbf"]);
        assert_eq!(names::<Estimates>(), ["user", "exact", "learned"]);
        assert_eq!(names::<EventRule>(), ["natural", "pyss"]);
        assert!(Backfill::parse("greedy").unwrap_err().contains("is none of none, easy"));
    }

    #[test]
    fn the_product_has_every_combination_once() {
        let variants = Variant::product(QueueOrder::ALL, Backfill::ALL, &[PlacementOrder::BestFit], Estimates::ALL);
        assert_eq!(variants.len(), 4 * 3 * 3);
        assert_eq!(variants[1].estimates, Estimates::Exact);
    }
}
