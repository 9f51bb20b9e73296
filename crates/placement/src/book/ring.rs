//! Workers and keys on a ring: each worker stands at the hash of its name, and a key's task goes clockwise from the
//! hash of the key.

use crate::book::fleet::Slot;
use crate::book::member::Member;
use crate::book::place::{Preference, point};

/// All workers in the order of their points, also those that take no tasks.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    points: Vec<(Preference, Slot)>,
}

impl Ring {
    pub(crate) fn join(&mut self, member: &Member, slot: Slot) {
        self.insert((point(&member.worker.name), member.worker.epoch), slot);
    }

    pub(crate) fn leave(&mut self, member: &Member, slot: Slot) {
        self.remove((point(&member.worker.name), member.worker.epoch), slot);
    }

    fn insert(&mut self, place: Preference, slot: Slot) {
        let at = self.points.partition_point(|point| *point < (place, slot));
        self.points.insert(at, (place, slot));
    }

    fn remove(&mut self, place: Preference, slot: Slot) {
        if let Ok(at) = self.points.binary_search(&(place, slot)) {
            self.points.remove(at);
        }
    }

    /// The points clockwise from a hash on, each once.
    pub(crate) fn from(&self, hash: u64) -> impl Iterator<Item = &(Preference, Slot)> {
        let (before, behind) = self.points.split_at(self.position(hash));
        behind.iter().chain(before)
    }

    /// How many points stand before the hash. Hashes are spread evenly, so that it is hardly ever further than the
    /// square root of their number (two standard deviations) from where an even spread has it.
    fn position(&self, hash: u64) -> usize {
        let len = self.points.len();
        let even = ((u128::from(hash) * len as u128) >> 64) as usize;
        let (from, to) = (even.saturating_sub(len.isqrt()), (even + len.isqrt() + 1).min(len));
        let is_before = |((point, _), _): &(Preference, Slot)| *point < hash;
        let near = &self.points[from..to];
        let holds = near.first().is_none_or(|first| from == 0 || is_before(first))
            && near.last().is_none_or(|last| to == len || !is_before(last));
        if holds { from + near.partition_point(is_before) } else { self.points.partition_point(is_before) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quorate_types::Epoch;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Also where points are as uneven as they can be.
        #[test]
        fn a_key_goes_to_the_next_point(
            mut points in prop::collection::vec(prop_oneof![any::<u64>(), 0..200u64], 0..300),
            hashes in prop::collection::vec(prop_oneof![any::<u64>(), 0..200u64], 1..50),
        ) {
            let mut ring = Ring::default();
            let named: Vec<(Preference, Slot)> = (0..).zip(&points).map(|(slot, point)| ((*point, Epoch(0)), slot)).collect();
            named.iter().for_each(|(place, slot)| ring.insert(*place, *slot));
            points.truncate(named.len() / 2);
            named[points.len()..].iter().for_each(|(place, slot)| ring.remove(*place, *slot));
            points.sort_unstable();
            for hash in hashes {
                let (before, behind): (Vec<u64>, Vec<u64>) = points.iter().partition(|point| **point < hash);
                let found: Vec<u64> = ring.from(hash).map(|((point, _), _)| *point).collect();
                prop_assert_eq!(found, [behind, before].concat());
            }
        }
    }
}
