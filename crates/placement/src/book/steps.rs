//! What workers have free as something happens step by step, all their steps in one order: the first at which a task has
//! room is found without a look at every worker.

use std::collections::BTreeMap;
use std::iter::Peekable;

use super::treap::{Place, Treap};
use super::vector::Room;

/// Steps by `T`, of workers that go by `W`.
#[derive(Debug)]
pub(crate) struct Steps<T, W> {
    rooms: Treap<(T, W), Room>,
    /// Of each worker that has any, in order.
    of: BTreeMap<W, Vec<(T, Place)>>,
}

impl<T, W> Default for Steps<T, W> {
    fn default() -> Self {
        Self { rooms: Treap::default(), of: BTreeMap::new() }
    }
}

impl<T: Ord + Copy, W: Ord + Copy> Steps<T, W> {
    /// The worker has these steps, in order, and no others.
    pub(crate) fn set(&mut self, worker: W, steps: impl Iterator<Item = (T, Room)>) {
        let mut old = self.of.remove(&worker).unwrap_or_default().into_iter().peekable();
        let mut new = Vec::with_capacity(old.len());
        for (at, room) in steps {
            self.forget(worker, &mut old, |gone| gone < at);
            let place = match old.next_if(|(old, _)| *old == at) {
                Some((_, place)) => {
                    self.rooms.update(place, room);
                    place
                }
                None => self.rooms.insert((at, worker), room),
            };
            new.push((at, place));
        }
        self.forget(worker, &mut old, |_| true);
        if !new.is_empty() {
            self.of.insert(worker, new);
        }
    }

    fn forget(&mut self, worker: W, old: &mut Peekable<impl Iterator<Item = (T, Place)>>, is_gone: impl Fn(T) -> bool) {
        while let Some((gone, _)) = old.next_if(|(old, _)| is_gone(*old)) {
            self.rooms.remove(&(gone, worker));
        }
    }

    /// The first step behind `after`, or of all, at which there may be room.
    pub(crate) fn first(&self, after: Option<&(T, W)>, may: impl FnMut(&Room) -> bool) -> Option<(T, W)> {
        self.rooms.first(after, may).map(|(step, _)| *step)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quorate_types::Resources;

    use super::*;
    use crate::book::vector::{Kinds, Vector};

    fn cores(count: u64) -> Vector {
        Kinds::default().vector(&Resources::new(count, 0))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_first_with_room_is_the_first_of_all(
            changes in prop::collection::vec((0..8_u32, prop::collection::btree_map(0..20_u64, 0..10_u64, 0..6)), 1..60),
            wanted in 1..10_u64,
        ) {
            let (mut steps, mut known) = (Steps::default(), BTreeMap::new());
            for (worker, rooms) in changes {
                steps.set(worker, rooms.iter().map(|(at, free)| (*at, Room { free: cores(*free), ..Room::default() })));
                known.insert(worker, rooms);
                let fitting = |(worker, rooms): (&u32, &BTreeMap<u64, u64>)| {
                    let fits = rooms.iter().filter(|(_, free)| **free >= wanted);
                    fits.map(|(at, _)| (*at, *worker)).collect::<Vec<_>>()
                };
                let mut expected: Vec<(u64, u32)> = known.iter().flat_map(fitting).collect();
                expected.sort_unstable();
                let mut found = Vec::new();
                while let Some(step) = steps.first(found.last(), |room| cores(wanted).fits(&room.free)) {
                    found.push(step);
                }
                prop_assert_eq!(found, expected);
            }
        }
    }
}
