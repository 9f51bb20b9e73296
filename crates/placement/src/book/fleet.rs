//! The workers that take new tasks, ordered by what the placement policy asks for.

mod lookout;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use quorate_state::job::ElementKey;
use quorate_types::policy::{Backfill, PlacementOrder};
use quorate_types::{Epoch, Policy, Resources, Timestamp};

use crate::book::Wish;
use crate::book::facts::Facts;
use crate::book::member::{Member, Worker, may_go};
use crate::book::place::{self, Preference};
use crate::book::ring::Ring;
use crate::book::share::{WHOLE, share};
use crate::book::steps::Steps;
use crate::book::traits::{Bits, Needs, Traits};
use crate::book::treap::Treap;
use crate::book::vector::{Kinds, Room, Sum, Vector};
use crate::book::zones::Zones;

/// The position of a worker in the fleet.
pub(crate) type Slot = u32;

#[derive(Debug)]
pub(crate) struct Fleet {
    members: Vec<Member>,
    by_epoch: BTreeMap<Epoch, Slot>,
    unused: Vec<Slot>,
    pub(crate) kinds: Kinds,
    traits: Traits,
    order: PlacementOrder,
    /// The largest capacity of each kind that was seen.
    scale: Vector,
    /// Those that take new tasks, the preferred first.
    pool: Treap<(Preference, Slot), Room>,
    /// The same, those with the largest free share first and with their whole capacity. Brought up to date when
    /// it is asked.
    by_share: Treap<(u64, Epoch, Slot), Room>,
    /// What those that take new tasks will have free after each of the ends that are known there, where something may
    /// start before a task that waits for that. Brought up to date like `by_share`.
    openings: Option<Steps<Timestamp, (Epoch, Slot)>>,
    stale: Vec<Slot>,
    /// The capacities of those that take new tasks, and how many have each.
    sizes: BTreeMap<Vector, usize>,
    /// The same by the value of a label, where tasks are spread over one.
    zones: Option<Zones>,
    /// All workers by name, where tasks go by their key.
    pub(crate) ring: Option<Ring>,
    /// Of all workers, also those that are draining.
    attempts: u64,
    /// Of all workers together, also those that are draining.
    capacity: Vector,
    /// The pass of the worker that had the last weighted turn.
    pass: u64,
}

impl Fleet {
    pub(crate) fn new(policy: &Policy) -> Self {
        Self {
            members: Vec::new(),
            by_epoch: BTreeMap::new(),
            unused: Vec::new(),
            kinds: Kinds::default(),
            traits: Traits::default(),
            order: policy.placement,
            scale: Vector::default(),
            pool: Treap::default(),
            by_share: Treap::default(),
            openings: (policy.backfill != Backfill::None).then(Steps::default),
            stale: Vec::new(),
            sizes: BTreeMap::new(),
            zones: (policy.placement == PlacementOrder::Spread).then(|| Zones::new(policy.spread_label.clone())),
            ring: (policy.placement == PlacementOrder::ConsistentHash).then(Ring::default),
            attempts: 0,
            capacity: Vector::default(),
            pass: 0,
        }
    }

    pub(crate) fn order(&self) -> PlacementOrder {
        self.order
    }

    pub(crate) fn slot(&self, epoch: Epoch) -> Option<Slot> {
        self.by_epoch.get(&epoch).copied()
    }

    pub(crate) fn member(&self, slot: Slot) -> &Member {
        &self.members[slot as usize]
    }

    /// What the workers with the most room have, kind by kind; none if there is no worker.
    pub(crate) fn most_room(&self) -> Option<&Room> {
        self.pool.whole()
    }

    /// What all workers have together.
    pub(crate) fn capacity(&self) -> Vector {
        self.capacity
    }

    /// The largest share that the request has of any kind of the largest worker, in 1/2²⁰; at most all of it.
    pub(crate) fn size_of(&self, wanted: &Vector) -> u64 {
        let lanes = wanted.lanes().iter().zip(self.scale.lanes());
        lanes.map(|(wanted, largest)| share(*wanted, *largest)).max().unwrap_or(0).min(WHOLE)
    }

    pub(crate) fn attempts(&self) -> u64 {
        self.attempts
    }

    /// How many workers take new tasks.
    pub(crate) fn ready_len(&self) -> usize {
        self.pool.len()
    }

    /// Every place that a worker may have, for chance; some are empty.
    pub(crate) fn slots(&self) -> Slot {
        self.members.len() as Slot
    }

    pub(crate) fn is_ready(&self, slot: Slot) -> bool {
        self.member(slot).preference.is_some()
    }

    /// The workers that take new tasks, the preferred first.
    pub(crate) fn ready(&self) -> impl Iterator<Item = Slot> {
        self.pool.iter().map(|((_, slot), _)| *slot)
    }

    /// What the task asks of labels and taints.
    pub(crate) fn needs(&self, facts: &Facts) -> Needs {
        self.traits.needs(facts)
    }

    /// Takes note of the conditions that a task names; `alone` if no other waits.
    pub(crate) fn name_conditions(&mut self, facts: &Facts, alone: bool) {
        let Some(constraints) = &facts.constraints else { return };
        let forgotten = alone && self.traits.forget_conditions();
        if self.traits.name(constraints) || forgotten {
            self.look_at_traits();
        }
    }

    fn look_at_traits(&mut self) {
        let slots: Vec<Slot> = self.by_epoch.values().copied().collect();
        for slot in slots {
            let member = &mut self.members[slot as usize];
            let traits = self.traits.of(&member.worker);
            if std::mem::replace(&mut member.traits, traits) != traits {
                self.rank(slot);
            }
        }
    }

    /// A worker came, or is ready or draining now, or has other taints. Its capacity does not change within an epoch.
    /// Whether what is known of requests has to be made anew, since it brought a kind or a taint that nobody had.
    pub(crate) fn put(&mut self, worker: Worker) -> bool {
        let is_new_taint = self.traits.meet(&worker);
        if is_new_taint {
            self.look_at_traits();
        }
        if let Some(slot) = self.slot(worker.epoch) {
            self.members[slot as usize].traits = self.traits.of(&worker);
            self.members[slot as usize].worker = worker;
            self.rank(slot);
            return is_new_taint;
        }
        let is_new_kind = self.kinds.meet(&worker.capacity) || is_new_taint;
        let size = self.kinds.vector(&worker.capacity);
        let mut member = Member::new(worker, size, Bits::default(), self.pass);
        member.traits = self.traits.of(&member.worker);
        member.seat = self.zones.as_mut().map(|zones| zones.join(&member.worker));
        let epoch = member.worker.epoch;
        let slot = self.unused.pop().unwrap_or(self.members.len() as Slot);
        if let Some(unused) = self.members.get_mut(slot as usize) {
            *unused = member;
        } else {
            self.members.push(member);
        }
        self.by_epoch.insert(epoch, slot);
        self.ring.iter_mut().for_each(|ring| ring.join(&self.members[slot as usize], slot));
        self.capacity = self.capacity.plus(&size);
        let scale = self.scale.larger(&size);
        if scale == self.scale {
            self.rank(slot);
        } else {
            self.scale = scale;
            self.rank_all();
        }
        is_new_kind
    }

    /// The worker is gone, and nothing of it runs any more.
    pub(crate) fn remove(&mut self, epoch: Epoch) {
        let Some(slot) = self.by_epoch.remove(&epoch) else { return };
        self.capacity = self.capacity.minus(&self.member(slot).size);
        self.attempts -= u64::from(std::mem::take(&mut self.members[slot as usize].attempts));
        self.members[slot as usize].worker.ready = false;
        self.rank(slot);
        self.sync(slot);
        self.ring.iter_mut().for_each(|ring| ring.leave(&self.members[slot as usize], slot));
        if let (Some(zones), Some(seat)) = (&mut self.zones, self.members[slot as usize].seat.take()) {
            zones.leave(slot, seat);
        }
        self.unused.push(slot);
    }

    /// Whether the worker has room for the task now.
    pub(crate) fn has_room(&self, slot: Slot, wish: &Wish<'_>) -> bool {
        self.member(slot).has_room(wish)
    }

    /// Whether the task could ever go to the worker, if nothing else ran there.
    pub(crate) fn could_take(&self, slot: Slot, wish: &Wish<'_>) -> bool {
        let member = self.member(slot);
        wish.facts.request.fits(&member.worker.capacity)
            && wish.allows(member.traits)
            && wish.is_at_home(&member.worker)
    }

    /// The first with room in the order of preference, of those behind `after`.
    pub(crate) fn first_with_room(&self, after: Option<&(Preference, Slot)>, wish: &Wish<'_>) -> Option<Slot> {
        self.first_of(after, wish, u32::MAX)
    }

    /// The same, of those with less than so many attempts.
    pub(crate) fn first_of(&self, after: Option<&(Preference, Slot)>, wish: &Wish<'_>, attempts: u32) -> Option<Slot> {
        let mut after = after.copied();
        loop {
            let may = |room: &Room| room.attempts < attempts && may_go(room, wish);
            let found = *self.pool.first(after.as_ref(), may)?.0;
            if self.has_room(found.1, wish) {
                return Some(found.1);
            }
            after = Some(found);
        }
    }

    /// The first with room where the fewest attempts are, of the values of the label that tasks are spread over.
    pub(crate) fn first_of_zones(&self, wish: &Wish<'_>) -> Option<Slot> {
        self.zones.as_ref()?.first(|room| may_go(room, wish), |slot| self.has_room(slot, wish))
    }

    /// Whether somebody might have room, at a glance.
    pub(crate) fn may_have_room(&self, wish: &Wish<'_>) -> bool {
        self.pool.whole().is_some_and(|room| may_go(room, wish))
    }

    /// The next with room behind this one in the order of preference.
    pub(crate) fn next_with_room(&self, slot: Slot, wish: &Wish<'_>) -> Option<Slot> {
        let preference = self.member(slot).preference?;
        self.first_with_room(Some(&(preference, slot)), wish)
    }

    pub(crate) fn take(&mut self, slot: Slot, request: &Resources, wanted: &Vector) {
        let member = &mut self.members[slot as usize];
        member.free.subtract(request);
        member.room = member.room.minus(wanted);
        member.attempts += 1;
        self.attempts += 1;
        if self.order == PlacementOrder::WeightedRoundRobin {
            self.pass = self.pass.max(member.pass);
            member.pass = self.pass + place::stride(&member.size, &self.scale);
        }
        self.rank(slot);
    }

    pub(crate) fn turns(&mut self, slot: Slot) -> (&mut u64, &mut u64) {
        (&mut self.members[slot as usize].pass, &mut self.pass)
    }

    pub(crate) fn give_back(&mut self, slot: Slot, request: &Resources) {
        let member = &mut self.members[slot as usize];
        member.free.add(request);
        member.room = self.kinds.vector(&member.free);
        member.attempts -= 1;
        self.attempts -= 1;
        self.rank(slot);
    }

    /// Whether that is news.
    pub(crate) fn set_load(&mut self, slot: Slot, free: Resources, attempts: u32) -> bool {
        let room = self.kinds.vector(&free);
        let member = &mut self.members[slot as usize];
        if (&member.free, member.attempts) == (&free, attempts) {
            return false;
        }
        self.attempts = self.attempts + u64::from(attempts) - u64::from(member.attempts);
        (member.free, member.room, member.attempts) = (free, room, attempts);
        self.rank(slot);
        true
    }

    /// What runs here will have ended then.
    pub(crate) fn note_end(&mut self, slot: Slot, end: Timestamp, key: ElementKey, given_back: Vector) {
        self.members[slot as usize].ends.insert((end, key), Sum(given_back));
        self.note_change(slot);
    }

    pub(crate) fn forget_end(&mut self, slot: Slot, end: Timestamp, key: ElementKey) {
        self.members[slot as usize].ends.remove(&(end, key));
        self.note_change(slot);
    }

    /// The largest capacity of each kind of those that take new tasks.
    pub(crate) fn largest(&self) -> Vector {
        self.sizes.keys().fold(Vector::default(), |largest, size| largest.larger(size))
    }

    /// Keeps the worker out of the pool until it is released.
    pub(crate) fn hold(&mut self, slot: Slot) {
        self.members[slot as usize].held = true;
        self.rank(slot);
    }

    pub(crate) fn release(&mut self, slot: Slot) {
        self.members[slot as usize].held = false;
        self.rank(slot);
    }

    /// The place in the pool follows from what the member has.
    fn rank(&mut self, slot: Slot) {
        self.note_change(slot);
        let member = &mut self.members[slot as usize];
        let room = member.room_now();
        let new = member.takes_tasks().then(|| place::preference(self.order, member, &self.scale));
        let size = member.size;
        match (std::mem::replace(&mut member.preference, new), new) {
            (Some(old), Some(new)) if old == new => {
                member.place.iter().for_each(|place| self.pool.update(*place, room))
            }
            (Some(old), Some(new)) => {
                self.pool.remove(&(old, slot));
                member.place = Some(self.pool.insert((new, slot), room));
            }
            (None, Some(new)) => {
                member.place = Some(self.pool.insert((new, slot), room));
                *self.sizes.entry(size).or_default() += 1;
            }
            (Some(old), None) => {
                self.pool.remove(&(old, slot));
                self.forget_size(size);
            }
            (None, None) => {}
        }
        self.seat(slot);
    }

    fn forget_size(&mut self, size: Vector) {
        let Entry::Occupied(mut count) = self.sizes.entry(size) else { return };
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }

    /// The place in its zone follows from that as well.
    fn seat(&mut self, slot: Slot) {
        let Some(zones) = &mut self.zones else { return };
        let member = &mut self.members[slot as usize];
        let standing = member.preference.is_some().then(|| (place::within_zone(member), member.room_now()));
        member.seat = member.seat.map(|seat| zones.seat(slot, seat, member.attempts, standing));
    }

    fn rank_all(&mut self) {
        let slots: Vec<Slot> = self.by_epoch.values().copied().collect();
        slots.into_iter().for_each(|slot| self.rank(slot));
    }
}
