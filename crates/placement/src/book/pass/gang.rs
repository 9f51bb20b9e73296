//! Gangs in a decision: all of their elements are placed, or none is.
//!
//! Where the policy finds no place for one of them, what it found for the others is given back. The first gang that
//! waits in the queue's order also gets a *formation*: a worker for each element, such that there is room for all once
//! what runs there has ended. It is kept from one decision to the next, and only one gang has one: two that gathered
//! workers bit by bit could wait for each other for ever. (Reservation ahead of the whole job, as in Feitelson and
//! Rudolph, "Gang scheduling performance benefits for fine-grain synchronization", JPDC 16(4), 1992, section 2, and in
//! Slurm's backfill over node sets.)
//!
//! Bound: without backfill, the first gang that waits starts at the latest when everything has ended that ran on the
//! workers of its formation when it got it, unless one of them is lost or kept for what comes before it in the queue.

use std::collections::{BTreeMap, BTreeSet};

use quorate_state::queue::Queued;
use quorate_types::{Epoch, Resources, Timestamp};

use super::{Holding, Pass, Placing};
use crate::book::fleet::Slot;
use crate::book::member::Member;
use crate::book::place::{self, Hopes};
use crate::book::vector::Vector;
use crate::book::waiting::Mate;
use crate::book::{Book, Entry, Start, Wish};

/// Elements of gangs that are tried in vain, and workers that are looked at for formations, in one decision: some tens
/// of milliseconds. What comes later in the queue waits until those before it have gone.
const GANG_LOOKS_MAX: usize = 200_000;

/// A worker for each element of a gang, which keep others off until all have room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Formation {
    pub(crate) queued: Queued,
    pub(crate) places: Vec<Station>,
    /// When all have room, if that is known.
    pub(crate) start: Option<Timestamp>,
    /// Others were asked to end there for it: another one would not have that room.
    pub(crate) claimed: bool,
}

/// Where one element goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Station {
    /// The position of its task among those of the gang.
    pub(crate) mate: usize,
    pub(crate) epoch: Epoch,
}

/// What a gang takes of one worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    pub(crate) request: Resources,
    pub(crate) wanted: Vector,
}

impl Load {
    pub(crate) fn add(&mut self, entry: &Entry) {
        self.request.add(&entry.facts.request);
        self.wanted = self.wanted.plus(&entry.wanted);
    }
}

/// What has been given to elements while it is not sure that all get something.
struct Tried {
    mate: usize,
    start: Start,
    /// Where the worker, and all of them, stood in weighted turns.
    turns: (u64, u64),
}

impl Pass<'_> {
    /// Starts the whole gang where the policy wants it, or `otherwise` knows workers, or else where its formation is;
    /// or nothing of it.
    pub(super) fn place_gang(
        &mut self,
        queued: Queued,
        entry: &Entry,
        gang: &[Mate],
        mut otherwise: impl FnMut(&mut Book, &Wish<'_>) -> Option<Slot>,
    ) -> Placing {
        let size: usize = gang.iter().map(|mate| mate.count as usize).sum();
        if self.elements(queued, entry).is_empty() {
            self.look_at_gates(queued, entry);
            return Placing::Whole;
        }
        if self.decision.starts.len() + size > self.bounds.assignments_max {
            // A larger plan has room for it, or the next one does.
            self.decision.more = true;
            return Placing::Whole;
        }
        if self.gang_looks >= GANG_LOOKS_MAX {
            return Placing::Short;
        }
        let mut hopes = (0, Hopes::default());
        let chosen = self.start_all(queued, gang, |book, wish, at| {
            if hopes.0 != at {
                hopes = (at, Hopes::default());
            }
            place::choose(&book.fleet, wish, &mut book.memory, &mut hopes.1).or_else(|| otherwise(book, wish))
        });
        if chosen == Placing::Whole || self.gang_waits.is_some() || !self.forms {
            return chosen;
        }
        self.book.formation = self.form(queued, gang);
        let Some(formation) = self.book.formation.clone() else { return Placing::Short };
        let placing = self.start_at(queued, gang, &formation.places);
        self.gang_waits = (placing == Placing::Short).then_some(queued);
        placing
    }

    /// Keeps the workers of its formation for the gang, if it is the first one that waits.
    pub(super) fn hold_for_gang(&mut self, queued: Queued, entry: &Entry, gang: &[Mate]) -> Holding {
        match self.formation_of(queued) {
            Some(formation) => {
                self.hold_formation(gang, &formation);
                self.keep_gates(entry);
                Holding::Held
            }
            None if self.gang_waits.is_some() || self.gang_looks >= GANG_LOOKS_MAX => Holding::Waits,
            None => Holding::Nobody,
        }
    }

    /// Starts the gang for which others were ended where it has room by now, and keeps that room out of what follows if
    /// it has not: whatever comes first in the queue, those that were ended do not take it back.
    pub(super) fn start_claimed(&mut self) {
        let Some(formation) = self.book.formation.clone().filter(|formation| formation.claimed) else { return };
        let queued = formation.queued;
        let entry = self.book.waiting.entry(queued).cloned();
        let passes = entry.as_ref().is_some_and(|entry| !self.elements(queued, entry).is_empty());
        // Who else is in its namespace waits behind it for the limit: what has been ended for it is not given back.
        let keeps = passes || self.book.waits_for_limit(queued);
        let gang = entry.as_ref().filter(|_| keeps).and_then(|entry| entry.gang.clone());
        let (Some(entry), Some(gang)) = (entry, gang.filter(|gang| self.is_possible(gang, &formation))) else {
            self.book.formation = None;
            return;
        };
        if !passes || self.start_at(queued, &gang, &formation.places) == Placing::Short {
            self.gang_waits = Some(queued);
            self.hold_formation(&gang, &formation);
            self.keep_gates(&entry);
        }
    }

    /// The formation of the gang, if it is the one that has one.
    pub(crate) fn formation_of(&self, queued: Queued) -> Option<Formation> {
        self.gang_waits.filter(|first| *first == queued).and(self.book.formation.clone())
    }

    /// Keeps the workers of the formation out of what follows. Gives what the gang takes of each.
    pub(crate) fn hold_formation(&mut self, gang: &[Mate], formation: &Formation) -> BTreeMap<Slot, Load> {
        let loads = self.loads(gang, &formation.places);
        loads.keys().for_each(|slot| self.hold(*slot));
        if self.book.kept.iter().any(|kept| kept.queued == formation.queued) {
            return loads;
        }
        for slot in
            formation.places.iter().filter_map(|station| self.book.fleet.slot(station.epoch)).collect::<Vec<_>>()
        {
            self.book.keep(slot, formation.queued, formation.start);
        }
        loads
    }

    /// Starts the gang on these workers, if all of them have room now.
    pub(crate) fn start_at(&mut self, queued: Queued, gang: &[Mate], places: &[Station]) -> Placing {
        let mut places = places.iter();
        self.start_all(queued, gang, |book, wish, _| {
            let slot = book.fleet.slot(places.next()?.epoch)?;
            book.fleet.has_room(slot, wish).then_some(slot)
        })
    }

    /// Starts an element of the gang after the other where `choose` says; gives all back if one gets nothing.
    fn start_all(
        &mut self,
        queued: Queued,
        gang: &[Mate],
        mut choose: impl FnMut(&mut Book, &Wish<'_>, usize) -> Option<Slot>,
    ) -> Placing {
        let social = gang.iter().any(|mate| is_social(&mate.entry));
        let before = social.then(|| self.crowding.clone());
        let mut tried: Vec<Tried> = Vec::new();
        for (at, mate) in gang.iter().enumerate() {
            for _ in 0..mate.count {
                let wish = Wish::new(mate.queued, &mate.entry, &self.crowding);
                let Some(slot) = choose(self.book, &wish, at) else {
                    self.gang_looks += tried.len() + 1;
                    for Tried { mate, start, turns } in tried.into_iter().rev() {
                        self.book.take_back(start, &gang[mate].entry, turns);
                    }
                    before.into_iter().for_each(|before| self.crowding.go_back_to(before));
                    return Placing::Short;
                };
                self.note_crowding(mate.queued, &mate.entry, slot);
                let (own, all) = self.book.fleet.turns(slot);
                let turns = (*own, *all);
                let start = self.book.promise(mate.queued, slot, &mate.entry, self.now);
                tried.push(Tried { mate: at, start, turns });
            }
        }
        // Ranks on one worker are neighbours.
        tried.sort_by_key(|tried| (tried.mate, tried.start.epoch));
        if self.book.formation.as_ref().is_some_and(|formation| formation.queued == queued) {
            self.book.formation = None;
        }
        let size = tried.len() as u64;
        self.decision.starts.extend(tried.into_iter().map(|tried| tried.start));
        self.ahead.insert(queued, size);
        if let Some(entry) = self.book.waiting.entry(queued).cloned() {
            self.keep_gates(&entry);
        }
        let _ = self.walk.pass_on(self.book, size);
        Placing::Whole
    }

    /// The formation of the gang, as it was if that still holds; none if its workers would not be enough even with
    /// nothing else on them.
    fn form(&mut self, queued: Queued, gang: &[Mate]) -> Option<Formation> {
        let old = self.book.formation.take().filter(|old| old.queued == queued && self.is_possible(gang, old));
        let now = self.now;
        let ends_known = self.book.tracking == crate::book::Tracking::Attempts;
        let timed = ends_known.then(|| {
            self.gather(gang, &self.ready(), |book, slot, load| {
                Some((opens(book, slot, load, now)?, left_over(book, slot, load, |member| member.room)))
            })
        });
        let timed = timed.flatten().map(|places| Formation { queued, places, start: None, claimed: false });
        let known = [old.clone(), timed].into_iter().flatten().filter_map(|formation| {
            let start = self.opening_of(gang, &formation)?;
            Some(Formation { start: Some(start), ..formation })
        });
        // The first of those that are equal: what has been kept is kept.
        let soonest = known.min_by_key(|formation| formation.start);
        soonest.or(old.map(|old| Formation { start: None, ..old })).or_else(|| {
            let places = self.gather_empty(gang, &self.ready())?;
            Some(Formation { queued, places, start: None, claimed: false })
        })
    }

    /// Workers on which the gang has room once they are empty: those that are nearest to that, or those that it fills
    /// best, which may be enough where the others are not (best fit, the largest first: Johnson 1973).
    pub(crate) fn gather_empty(&mut self, gang: &[Mate], slots: &[Slot]) -> Option<Vec<Station>> {
        self.gather(gang, slots, empties).or_else(|| {
            self.gather(gang, slots, |book, slot, load| {
                let left = left_over(book, slot, load, |member| member.size);
                empties(book, slot, load).map(|_| (left, 0))
            })
        })
    }

    /// Whether the workers would be enough with nothing else on them.
    pub(super) fn fits_empty(&mut self, gang: &[Mate]) -> bool {
        self.gather_empty(gang, &self.ready()).is_some()
    }

    fn ready(&self) -> Vec<Slot> {
        self.book.fleet.ready().collect()
    }

    /// Whether each element could go where the formation has it, if nothing else ran there.
    fn is_possible(&self, gang: &[Mate], formation: &Formation) -> bool {
        let size: usize = gang.iter().map(|mate| mate.count as usize).sum();
        let each = formation.places.iter().all(|station| {
            let slot = self.book.fleet.slot(station.epoch).filter(|slot| self.book.fleet.is_ready(*slot));
            slot.is_some_and(|slot| {
                gang.get(station.mate).is_some_and(|mate| self.could_take(slot, mate.queued, &mate.entry))
            })
        });
        formation.places.len() == size && each
    }

    /// When all workers of a formation have room, if that is known.
    fn opening_of(&self, gang: &[Mate], formation: &Formation) -> Option<Timestamp> {
        let opening = |(slot, load): (Slot, Load)| opens(self.book, slot, &load, self.now).map(Timestamp);
        let openings: Option<Vec<Timestamp>> = self.loads(gang, &formation.places).into_iter().map(opening).collect();
        openings?.into_iter().max()
    }

    /// What the formation takes of each worker.
    pub(crate) fn loads(&self, gang: &[Mate], places: &[Station]) -> BTreeMap<Slot, Load> {
        let mut loads: BTreeMap<Slot, Load> = BTreeMap::new();
        for Station { mate, epoch } in places {
            if let Some(slot) = self.book.fleet.slot(*epoch) {
                loads.entry(slot).or_default().add(&gang[*mate].entry);
            }
        }
        loads
    }

    /// A worker for each element, always the one that costs least with what it has got already; the largest first.
    pub(crate) fn gather(
        &mut self,
        gang: &[Mate],
        slots: &[Slot],
        cost: impl Fn(&Book, Slot, &Load) -> Option<Cost>,
    ) -> Option<Vec<Station>> {
        let before = self.crowding.clone();
        let order = self.book.largest_first(gang);
        let (mut loads, mut places) = (BTreeMap::new(), Vec::new());
        let mut choice: Option<(usize, Choice)> = None;
        let found = order.into_iter().all(|(at, mate)| {
            let same = choice.take().filter(|(like, _)| are_alike(&gang[*like].entry, &mate.entry));
            let fresh = || Choice(slots.iter().enumerate().map(|(nth, slot)| ((0, 0), nth, *slot)).collect());
            let mut open = same.map_or_else(fresh, |(_, open)| open);
            let all = (0..mate.count).all(|_| {
                let slot = self.cheapest(&mut open, mate, &mut loads, &cost);
                places.extend(slot.map(|slot| Station { mate: at, epoch: self.book.fleet.member(slot).worker.epoch }));
                slot.is_some()
            });
            choice = Some((at, open));
            all
        });
        self.crowding.go_back_to(before);
        places.sort_unstable();
        found.then_some(places)
    }

    /// Takes the worker that costs least.
    fn cheapest(
        &mut self,
        open: &mut Choice,
        mate: &Mate,
        loads: &mut BTreeMap<Slot, Load>,
        cost: impl Fn(&Book, Slot, &Load) -> Option<Cost>,
    ) -> Option<Slot> {
        loop {
            let (least, nth, slot) = open.0.pop_first()?;
            self.gang_looks += 1;
            if self.gang_looks >= GANG_LOOKS_MAX {
                return None;
            }
            if !self.could_take(slot, mate.queued, &mate.entry) {
                continue;
            }
            let mut load = loads.get(&slot).cloned().unwrap_or_default();
            load.add(&mate.entry);
            let Some(now) = cost(self.book, slot, &load) else { continue };
            // What it costs with one more is found out when it is looked at again.
            open.0.insert((if now <= least { (0, 0) } else { now }, nth, slot));
            if now <= least {
                self.note_crowding(mate.queued, &mate.entry, slot);
                loads.insert(slot, load);
                return Some(slot);
            }
        }
    }
}

/// Workers by what they cost, as far as that has been found out.
struct Choice(BTreeSet<(Cost, usize, Slot)>);

/// Whom it costs least gets the element; among equals the one that it fills best.
pub(crate) type Cost = (u64, u64);

fn is_social(entry: &Entry) -> bool {
    let facts = &entry.facts;
    facts.company.is_some() || facts.constraints.as_ref().is_some_and(|constraints| constraints.are_social())
}

/// Whether both find the same workers.
fn are_alike(a: &Entry, b: &Entry) -> bool {
    !is_social(a) && a.facts.request == b.facts.request && a.facts.constraints == b.facts.constraints
}

/// When the worker has room for so much; none if nobody knows.
fn opens(book: &Book, slot: Slot, load: &Load, now: Timestamp) -> Option<u64> {
    let fits = load.wanted.fits(&book.fleet.member(slot).room);
    if fits { Some(now.0) } else { book.fleet.member(slot).opening(&load.wanted).map(|at| at.0) }
}

/// Whether the worker has room for so much once it is empty: the one that is nearest to that costs least.
fn empties(book: &Book, slot: Slot, load: &Load) -> Option<Cost> {
    let member = book.fleet.member(slot);
    let share = u64::MAX - place::free_share(member);
    load.request.fits(&member.worker.capacity).then(|| (share, left_over(book, slot, load, |member| member.size)))
}

/// What the worker has left besides, as a share of the largest one.
pub(crate) fn left_over(book: &Book, slot: Slot, load: &Load, of: impl Fn(&Member) -> Vector) -> u64 {
    book.fleet.size_of(&of(book.fleet.member(slot)).minus(&load.wanted))
}
