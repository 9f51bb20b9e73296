//! A policy, and every combination of some.

use quorate_types::policy::{Backfill, PlacementOrder, QueueOrder};
use serde_json::{Map, Value};

use super::engine::Estimates;

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
    pub fn parts(self) -> [(&'static str, &'static str); 4] {
        [
            ("queue", self.queue.as_str()),
            ("backfill", self.backfill.as_str()),
            ("placement", self.placement.as_str()),
            ("estimates", self.estimates.as_str()),
        ]
    }

    pub(super) fn to_json(self) -> Map<String, Value> {
        self.parts().into_iter().map(|(part, name)| (part.to_owned(), name.into())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_product_has_every_combination_once() {
        let variants = Variant::product(QueueOrder::ALL, Backfill::ALL, &[PlacementOrder::BestFit], Estimates::ALL);
        let each = [QueueOrder::ALL.len(), Backfill::ALL.len(), Estimates::ALL.len()];
        assert_eq!(variants.len(), each.iter().product::<usize>());
        assert_eq!(variants[1].estimates, Estimates::Exact);
    }
}
