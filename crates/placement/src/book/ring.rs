//! Workers and keys on a ring: each worker stands at several points, hashes of its name, and a key's task goes
//! clockwise from the hash of the key. With many points all workers have about as many keys (Karger et al., "Consistent
//! hashing and random trees", STOC 1997, section 4).

use std::collections::BTreeSet;

use crate::book::fleet::Slot;
use crate::book::member::Member;
use crate::book::place::point;
use crate::book::treap::scatter;

/// Points of a worker: what each has of the keys differs by about a sixth.
const POINTS: u64 = 32;

/// The first half of a hash, and whose it is: a cluster of ten thousand has 320,000 of them, and a decision reads two.
type Point = (u32, Slot);

/// All workers in the order of their points, also those that take no tasks.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    points: Vec<Point>,
    /// Of those that came, and of those that went, since they were put into order.
    fresh: Vec<Point>,
    gone: BTreeSet<Point>,
}

impl Ring {
    pub(crate) fn join(&mut self, member: &Member, slot: Slot) {
        // Who comes again in its old place is there still.
        self.fresh.extend(points(member, slot).filter(|point| !self.gone.remove(point)));
    }

    pub(crate) fn leave(&mut self, member: &Member, slot: Slot) {
        self.gone.extend(points(member, slot));
    }

    /// Brings it up to date: all that came and went together cost one pass.
    pub(crate) fn arrange(&mut self) {
        let gone = std::mem::take(&mut self.gone);
        if !gone.is_empty() {
            self.points.retain(|point| !gone.contains(point));
            self.fresh.retain(|point| !gone.contains(point));
        }
        if !self.fresh.is_empty() {
            self.fresh.sort_unstable();
            self.points.append(&mut self.fresh);
            // Two runs that are in order are merged.
            self.points.sort();
        }
    }

    /// Whose the points are clockwise from a hash on.
    pub(crate) fn from(&self, hash: u64) -> impl Iterator<Item = Slot> {
        let (before, behind) = self.points.split_at(self.position(half(hash)));
        behind.iter().chain(before).map(|(_, slot)| *slot)
    }

    /// How many points stand before the hash. Hashes are spread evenly, so that it is hardly ever further than the
    /// square root of their number (two standard deviations) from where an even spread has it.
    fn position(&self, hash: u32) -> usize {
        let len = self.points.len();
        let even = ((u64::from(hash) * len as u64) >> 32) as usize;
        let (from, to) = (even.saturating_sub(len.isqrt()), (even + len.isqrt() + 1).min(len));
        let is_before = |(point, _): &Point| *point < hash;
        let near = &self.points[from..to];
        let holds = near.first().is_none_or(|first| from == 0 || is_before(first))
            && near.last().is_none_or(|last| to == len || !is_before(last));
        if holds { from + near.partition_point(is_before) } else { self.points.partition_point(is_before) }
    }
}

fn points(member: &Member, slot: Slot) -> impl Iterator<Item = Point> + use<> {
    let name = point(&member.worker.name);
    (0..POINTS).map(move |nth| (half(scatter(name.wrapping_add(nth))), slot))
}

fn half(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use quorate_types::{Epoch, Name, Resources};

    use super::*;
    use crate::book::Worker;
    use crate::book::traits::Bits;
    use crate::book::vector::Vector;

    fn member(name: &str) -> Member {
        let (name, epoch) = (Name::new(name).unwrap(), Epoch(1));
        let (labels, taints, capacity) = (BTreeMap::new(), Vec::new(), Resources::new(1, 1));
        let worker = Worker { epoch, name, labels, taints, capacity, ready: true };
        Member::new(worker, Vector::default(), Bits::default(), 0)
    }

    /// Whether it has been brought up to date since, or not.
    #[test]
    fn another_worker_may_come_in_the_place_of_one_that_went() {
        let mut ring = Ring::default();
        let mut other = Ring::default();
        other.join(&member("b"), 0);
        other.arrange();
        for arranges in [false, true] {
            ring.join(&member("a"), 0);
            if arranges {
                ring.arrange();
            }
            ring.leave(&member("a"), 0);
            // The same one twice, and then another.
            ring.join(&member("a"), 0);
            ring.leave(&member("a"), 0);
            ring.join(&member("b"), 0);
            ring.arrange();
            assert_eq!((ring.points.len(), &ring.points), (POINTS as usize, &other.points));
            ring.leave(&member("b"), 0);
            ring.arrange();
            assert_eq!(ring.from(7).count(), 0);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Also where points are as uneven as they can be.
        #[test]
        fn a_key_goes_to_the_next_point(
            points in prop::collection::vec(prop_oneof![any::<u32>(), 0..200_u32], 0..300),
            hashes in prop::collection::vec(prop_oneof![any::<u32>(), 0..200_u32], 1..50),
        ) {
            let half = points.len() / 2;
            let named = points.iter().copied().zip(0..);
            let mut ring = Ring { fresh: named.clone().skip(half / 2).collect(), ..Ring::default() };
            ring.arrange();
            ring.fresh = named.clone().take(half / 2).collect();
            ring.gone = named.clone().skip(half).collect();
            ring.arrange();
            let mut left: Vec<Point> = named.take(half).collect();
            left.sort_unstable();
            for hash in hashes {
                let (before, behind): (Vec<Point>, Vec<Point>) = left.iter().partition(|(point, _)| *point < hash);
                let expected: Vec<Slot> = behind.iter().chain(&before).map(|(_, slot)| *slot).collect();
                prop_assert_eq!(ring.from(u64::from(hash) << 32).collect::<Vec<_>>(), expected);
            }
        }
    }
}
