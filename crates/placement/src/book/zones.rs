//! Workers by the value that they have of a label, for the placement `spread`: an index over the values, and one over
//! the workers of each.

use std::collections::BTreeMap;

use quorate_types::Name;

use crate::book::fleet::Slot;
use crate::book::member::Worker;
use crate::book::place::Preference;
use crate::book::treap::{Place, Treap};
use crate::book::vector::Room;

type ZoneId = u32;

/// Where a worker is, and as what it counts there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    zone: ZoneId,
    attempts: u32,
    /// In the order of the zone, if it takes new tasks.
    standing: Option<(Preference, Place)>,
}

#[derive(Debug)]
pub(crate) struct Zones {
    label: Name,
    /// Workers without the label count as a zone of their own.
    by_value: BTreeMap<Option<String>, ZoneId>,
    zones: Vec<Zone>,
    unused: Vec<ZoneId>,
    /// Those with workers that take new tasks, the fewest attempts first, with the most room there is in each.
    order: Treap<(u64, ZoneId), Room>,
}

#[derive(Debug, Default)]
struct Zone {
    value: Option<String>,
    workers: usize,
    /// Of all its workers, also those that are draining.
    attempts: u64,
    /// Those that take new tasks, the preferred first.
    pool: Treap<(Preference, Slot), Room>,
    /// In the order of zones, if it has some of them.
    place: Option<Place>,
}

impl Zones {
    pub(crate) fn new(label: Name) -> Self {
        Self { label, by_value: BTreeMap::new(), zones: Vec::new(), unused: Vec::new(), order: Treap::default() }
    }

    /// A worker came, with nothing that counts yet.
    pub(crate) fn join(&mut self, worker: &Worker) -> Seat {
        let value = worker.labels().get(&self.label).map(str::to_owned);
        let zone = match self.by_value.get(&value) {
            Some(zone) => *zone,
            None => self.open(value),
        };
        self.zones[zone as usize].workers += 1;
        Seat { zone, attempts: 0, standing: None }
    }

    /// The worker is gone.
    pub(crate) fn leave(&mut self, slot: Slot, seat: Seat) {
        self.seat(slot, seat, 0, None);
        let zone = &mut self.zones[seat.zone as usize];
        zone.workers -= 1;
        if zone.workers == 0 {
            self.by_value.remove(&zone.value);
            self.unused.push(seat.zone);
        }
    }

    /// What the worker runs, and where it stands if it takes new tasks.
    pub(crate) fn seat(&mut self, slot: Slot, old: Seat, attempts: u32, now: Option<(Preference, Room)>) -> Seat {
        let zone = &mut self.zones[old.zone as usize];
        let before = zone.attempts;
        zone.attempts = zone.attempts + u64::from(attempts) - u64::from(old.attempts);
        let standing = match (old.standing, now) {
            (Some((before, place)), Some((standing, room))) if before == standing => {
                zone.pool.update(place, room);
                old.standing
            }
            (before, now) => {
                if let Some((before, _)) = before {
                    zone.pool.remove(&(before, slot));
                }
                now.map(|(standing, room)| (standing, zone.pool.insert((standing, slot), room)))
            }
        };
        self.reorder(old.zone, before);
        Seat { zone: old.zone, attempts, standing }
    }

    /// The first of the workers in the zone with the fewest attempts, where one `fits`. `may` tells from the most room
    /// of several whether one of them might.
    pub(crate) fn first(&self, may: impl Fn(&Room) -> bool, fits: impl Fn(Slot) -> bool) -> Option<Slot> {
        let (mut last, mut after) = (None, None);
        loop {
            let zone = *self.order.first(last.as_ref(), &may)?.0;
            let pool = &self.zones[zone.1 as usize].pool;
            while let Some((found, _)) = pool.first(after.as_ref(), &may) {
                if fits(found.1) {
                    return Some(found.1);
                }
                after = Some(*found);
            }
            (last, after) = (Some(zone), None);
        }
    }

    fn open(&mut self, value: Option<String>) -> ZoneId {
        let zone = self.unused.pop().unwrap_or(self.zones.len() as ZoneId);
        if zone as usize == self.zones.len() {
            self.zones.push(Zone::default());
        }
        self.zones[zone as usize].value.clone_from(&value);
        self.by_value.insert(value, zone);
        zone
    }

    /// The zone's attempts or its workers changed.
    fn reorder(&mut self, id: ZoneId, attempts: u64) {
        let zone = &mut self.zones[id as usize];
        match (zone.place, zone.pool.whole()) {
            (Some(place), Some(room)) if attempts == zone.attempts => self.order.update(place, *room),
            (place, room) => {
                if place.is_some() {
                    self.order.remove(&(attempts, id));
                }
                zone.place = room.map(|room| self.order.insert((zone.attempts, id), *room));
            }
        }
    }
}
