//! Conservative: every element that waits has a reservation, in the queue's order, for when and where it will start if
//! everything ends when it is expected to. A later one may start only if it delays none of them. (Mu'alem and
//! Feitelson, "Utilization, predictability, workloads, and user runtime estimates in scheduling the IBM SP2 with
//! backfilling", IEEE TPDS 12(6), 2001, section 2.) Reservations are kept from one decision to the next; when something
//! ends early, each in turn is moved to an earlier time if there is one, and otherwise stays (the paper's compression).
//!
//! Bound: an element starts no later than its first reservation said, as long as nothing runs for longer than expected
//! and no worker is lost. If something does, nothing that comes later starts on the worker of a task's first element
//! once that has waited for ten times as long as it was told ([`crate::book::dates`]). At most [`RESERVATIONS_MAX`]
//! have a reservation, those that came first in the queue's order; the others may start as long as they delay none. A
//! gang has one for each element, all at the same time, or none.

mod gang;

use std::collections::{BTreeMap, VecDeque};

use quorate_state::queue::Queued;
use quorate_types::{Epoch, Timestamp};

use super::profile::{Profile, Stretch};
use crate::book::fleet::Slot;
use crate::book::pass::Turn;
use crate::book::vector::{Least, Vector};
use crate::book::{Entry, Pass};

/// Each is looked at in every decision, and the workers that they are on no longer go by the index.
pub(crate) const RESERVATIONS_MAX: usize = 100;

/// When and where an element of a task will start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    pub(crate) epoch: Epoch,
    /// The largest time if nobody knows when: nothing else starts on that worker then.
    pub(crate) start: Timestamp,
}

/// The reservations of each task, the earliest first.
pub(crate) type Reservations = BTreeMap<Queued, VecDeque<Reservation>>;

/// A worker with reservations.
#[derive(Debug)]
struct Booked {
    profile: Profile,
    /// It waits for an end that nobody knows, and nothing else is to start here.
    closed: bool,
}

/// The reservations while a decision is made.
#[derive(Debug, Default)]
struct Ledger {
    workers: BTreeMap<Slot, Booked>,
    /// Not looked at yet.
    old: Reservations,
    settled: Reservations,
    len: usize,
}

/// Whether a reservation from before still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carried {
    Booked,
    TooFull,
}

pub(crate) fn run(pass: &mut Pass<'_>) {
    // Gangs have reservations instead.
    pass.forms = false;
    let mut ledger = Ledger::carried_over(pass);
    pass.looked_ahead = true;
    while !pass.is_over() {
        let room = ledger.most_room(pass);
        let all = ledger.len < RESERVATIONS_MAX;
        let may = |least: &Least| all || room.iter().any(|room| least.request.fits(room));
        let Some(queued) = pass.next(may) else { break };
        ledger.settle(pass, queued);
    }
    let reservations = ledger.all();
    // Of those that the decision did not come to nobody knows.
    if !pass.is_over() {
        pass.book.dates.retain(|queued| reservations.contains_key(&queued));
    }
    pass.book.reservations = reservations;
}

impl Ledger {
    /// What was reserved before and still can be had, by time.
    fn carried_over(pass: &mut Pass<'_>) -> Self {
        let mut ledger = Self::default();
        let before = std::mem::take(&mut pass.book.reservations);
        let mut by_start: Vec<(Timestamp, Queued, Vec<Epoch>)> = Vec::new();
        for (queued, reservations) in before {
            let Some(entry) = pass.book.waiting.entry(queued) else { continue };
            let pending = pass.elements(queued, entry).end as usize;
            let kept = reservations.iter().take(pending);
            if entry.gang.is_some() {
                let start = reservations.front().map_or(Timestamp(u64::MAX), |first| first.start);
                by_start.push((start, queued, kept.map(|kept| kept.epoch).collect()));
            } else {
                by_start.extend(kept.map(|kept| (kept.start, queued, vec![kept.epoch])));
            }
        }
        by_start.sort_unstable();
        for (start, queued, epochs) in by_start.into_iter().filter(|(start, ..)| *start != Timestamp(u64::MAX)) {
            if ledger.carry_over(pass, start.max(pass.now), queued, &epochs) == Some(Carried::TooFull) {
                ledger.forget(pass);
                break;
            }
        }
        ledger
    }

    /// Books what an element had, or all of a gang; `None` if its worker is not to be had any more.
    fn carry_over(&mut self, pass: &mut Pass<'_>, start: Timestamp, queued: Queued, on: &[Epoch]) -> Option<Carried> {
        let entry = pass.book.waiting.entry(queued)?.clone();
        let stretch = Stretch::new(start, entry.facts.expected);
        let mates = entry.gang.iter().flat_map(|gang| gang.iter());
        let mates = mates.flat_map(|mate| (0..mate.count).map(move |_| (mate.queued, &mate.entry)));
        let elements: Vec<(Queued, &Entry)> = match entry.gang {
            Some(_) => mates.collect(),
            None => vec![(queued, &*entry)],
        };
        let slots: Option<Vec<Slot>> = on.iter().map(|epoch| pass.book.fleet.slot(*epoch)).collect();
        let slots = slots.filter(|slots| slots.len() == elements.len())?;
        let there = |slot: &Slot| self.workers.contains_key(slot) || pass.book.fleet.is_ready(*slot);
        let mut each = slots.iter().zip(&elements);
        if !each.all(|(slot, (queued, entry))| there(slot) && pass.could_take(*slot, *queued, entry)) {
            return None;
        }
        for ((slot, epoch), (_, entry)) in slots.iter().zip(on).zip(&elements) {
            if !self.book(pass, *slot).profile.fits(stretch, &entry.wanted) {
                return Some(Carried::TooFull);
            }
            self.book(pass, *slot).profile.take(stretch, &entry.wanted);
            self.old.entry(queued).or_default().push_back(Reservation { epoch: *epoch, start });
            self.len += 1;
        }
        Some(Carried::Booked)
    }

    /// Something ran for longer than was expected, and one of those that wait lost its place to it. All begin again in
    /// the queue's order, so that none falls behind those that came later.
    fn forget(&mut self, pass: &Pass<'_>) {
        for (slot, booked) in &mut self.workers {
            booked.profile = Profile::of(pass.book.fleet.member(*slot), pass.now);
        }
        self.old.clear();
        self.len = 0;
    }

    fn all(mut self) -> Reservations {
        for (queued, old) in self.old {
            let reservations = self.settled.entry(queued).or_default();
            reservations.extend(old);
            reservations.make_contiguous().sort_unstable_by_key(|reservation| reservation.start);
        }
        self.settled
    }

    /// Keeps the worker out of the pool: what starts there is looked at more closely.
    fn book(&mut self, pass: &mut Pass<'_>, slot: Slot) -> &mut Booked {
        self.workers.entry(slot).or_insert_with(|| {
            let profile = Profile::of(pass.book.fleet.member(slot), pass.now);
            pass.hold(slot);
            Booked { profile, closed: false }
        })
    }

    /// The most that the workers without reservations have free, and what each of the others has.
    fn most_room(&self, pass: &Pass<'_>) -> Vec<Vector> {
        let fleet = &pass.book.fleet;
        let open = fleet.most_room().map(|room| room.free);
        open.into_iter().chain(self.workers.keys().map(|slot| fleet.member(*slot).room)).collect()
    }

    /// Starts the elements of a task that can start, and reserves for the others.
    fn settle(&mut self, pass: &mut Pass<'_>, queued: Queued) {
        let Some(entry) = pass.book.waiting.entry(queued).cloned() else { return };
        if let Some(gang) = &entry.gang {
            return self.settle_gang(pass, queued, &entry, gang);
        }
        let mut elements = pass.elements(queued, &entry);
        // One without a reservation could not start: neither can the next.
        let (mut waits, mut full) = (false, false);
        while elements.start < elements.end && !pass.is_over() {
            let old = self.take_up(pass, queued, &entry);
            full &= old.is_none();
            if !full && let Some(slot) = self.startable(pass, queued, &entry) {
                if pass.start(queued, slot, &entry, elements.start) == Turn::Over {
                    return self.look_again(queued);
                }
                elements.start += 1;
                continue;
            }
            (waits, full) = (true, old.is_none());
            if old.is_none() && self.len >= RESERVATIONS_MAX || !self.reserve(pass, queued, &entry, old) {
                self.give_up(pass, queued, &entry);
                break;
            }
            elements.end -= 1;
        }
        if waits {
            pass.miss();
        } else {
            pass.look_at_gates(queued, &entry);
        }
    }

    /// Without a reservation and without room for it now, nothing like it will start in this decision.
    fn give_up(&self, pass: &mut Pass<'_>, queued: Queued, entry: &Entry) {
        let wish = pass.wish(queued, entry);
        let room = self.workers.keys().any(|slot| pass.book.fleet.has_room(*slot, &wish));
        if entry.facts.constraints.is_some() && !room {
            pass.give_up(entry);
        }
    }

    /// The task comes again in this decision.
    fn look_again(&mut self, queued: Queued) {
        let settled = self.settled.remove(&queued).unwrap_or_default();
        let old = self.old.entry(queued).or_default();
        settled.into_iter().rev().for_each(|reservation| old.push_front(reservation));
    }

    /// Takes the task's next reservation out.
    fn take_up(&mut self, pass: &Pass<'_>, queued: Queued, entry: &Entry) -> Option<Reservation> {
        let old = self.old.get_mut(&queued)?.pop_front()?;
        self.len -= 1;
        if let Some(slot) = pass.book.fleet.slot(old.epoch)
            && let Some(booked) = self.workers.get_mut(&slot)
        {
            booked.profile.give_back(Stretch::new(old.start, entry.facts.expected), &entry.wanted);
        }
        Some(old)
    }

    /// A worker on which an element can start now, and delays nobody: one without reservations, which the policy
    /// chooses, or one on which it fits beside those.
    fn startable(&mut self, pass: &mut Pass<'_>, queued: Queued, entry: &Entry) -> Option<Slot> {
        if let Some(slot) = pass.choose(queued, entry) {
            return Some(slot);
        }
        let stretch = Stretch::new(pass.now, entry.facts.expected);
        let (fleet, wish) = (&pass.book.fleet, pass.wish(queued, entry));
        let open = |slot: &Slot, booked: &Booked| !booked.closed && fleet.has_room(*slot, &wish);
        let fits =
            |(slot, booked): &(&Slot, &Booked)| open(slot, booked) && booked.profile.fits(stretch, &entry.wanted);
        let found = self.workers.iter().find(fits).map(|(slot, _)| *slot);
        // Who should have started goes before those that came later, whatever was reserved for them since.
        let missed = || self.missed_on(pass, queued, entry);
        let missed = || missed().filter(|slot| self.workers.get(slot).is_some_and(|booked| open(slot, booked)));
        let slot = found.or_else(missed)?;
        self.workers.get_mut(&slot)?.profile.take(stretch, &entry.wanted);
        Some(slot)
    }

    /// Reserves where an element can start first, and no later than before. False if no worker could ever take it.
    fn reserve(&mut self, pass: &mut Pass<'_>, queued: Queued, entry: &Entry, old: Option<Reservation>) -> bool {
        let is_first = self.is_first(queued);
        if let Some(slot) = self.missed_on(pass, queued, entry) {
            self.book(pass, slot).closed = true;
            let reservation = Reservation { epoch: epoch(pass, slot), start: Timestamp(u64::MAX) };
            self.settled.entry(queued).or_default().push_back(reservation);
            self.len += 1;
            return true;
        }
        let booked = self.earliest_beside(pass, queued, entry).map(|(start, slot)| (start, 0, slot));
        // Of those without reservations; the others are out of the pool.
        let open = pass.soonest(queued, entry).map(|(start, slot)| (start, 1, slot));
        let found = booked
            .into_iter()
            .chain(open)
            .min()
            .map(|(start, _, slot)| Reservation { epoch: epoch(pass, slot), start });
        let best = old.filter(|old| found.is_none_or(|found| old.start <= found.start)).or(found);
        let unknown = |pass: &mut Pass<'_>| {
            let slot = pass.most_free(queued, entry)?;
            Some(Reservation { epoch: epoch(pass, slot), start: Timestamp(u64::MAX) })
        };
        let Some(reservation) = best.or_else(|| unknown(pass)) else { return false };
        let Some(slot) = pass.book.fleet.slot(reservation.epoch) else { return false };
        let booked = self.book(pass, slot);
        if reservation.start == Timestamp(u64::MAX) {
            booked.closed = true;
        } else {
            booked.profile.take(Stretch::new(reservation.start, entry.facts.expected), &entry.wanted);
            if is_first {
                pass.date(queued, reservation.start, slot);
            }
        }
        self.settled.entry(queued).or_default().push_back(reservation);
        self.len += 1;
        true
    }

    /// Whether no element of the task before this one waits.
    fn is_first(&self, queued: Queued) -> bool {
        self.settled.get(&queued).is_none_or(VecDeque::is_empty)
    }

    /// Where the task's first element should have started by now.
    fn missed_on(&self, pass: &Pass<'_>, queued: Queued, entry: &Entry) -> Option<Slot> {
        pass.missed_on(queued, entry).filter(|_| self.is_first(queued))
    }

    /// The first start on a worker with reservations.
    fn earliest_beside(&self, pass: &Pass<'_>, queued: Queued, entry: &Entry) -> Option<(Timestamp, Slot)> {
        let open =
            self.workers.iter().filter(|(slot, booked)| !booked.closed && pass.could_take(**slot, queued, entry));
        let starts = open.filter_map(|(slot, booked)| {
            Some((booked.profile.earliest(entry.facts.expected, &entry.wanted)?.start, epoch(pass, *slot), *slot))
        });
        starts.min().map(|(start, _, slot)| (start, slot))
    }
}

fn epoch(pass: &Pass<'_>, slot: Slot) -> Epoch {
    pass.book.fleet.member(slot).worker.epoch
}
