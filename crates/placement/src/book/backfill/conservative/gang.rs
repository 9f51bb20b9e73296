//! Reservations of gangs: all elements of one begin at the same time, each on its worker.
use quorate_state::queue::Queued;
use quorate_types::Timestamp;

use super::{Ledger, RESERVATIONS_MAX, Reservation};
use crate::book::backfill::profile::Stretch;
use crate::book::fleet::Slot;
use crate::book::pass::{Cost, Load, Station, left_over};
use crate::book::vector::Vector;
use crate::book::waiting::Mate;
use crate::book::{Book, Entry, Pass, Placing};

/// How often a start is put off because at that time not all have room. What is then left has no reservation.
const START_TRIES_MAX: usize = 16;

/// Where a gang goes, in the order of ranks, and when.
struct Appointment {
    start: Timestamp,
    places: Vec<Station>,
}

impl Ledger {
    /// Starts the gang if it delays nobody, or reserves for all of it.
    pub(super) fn settle_gang(&mut self, pass: &mut Pass<'_>, queued: Queued, entry: &Entry, gang: &[Mate]) {
        let old = self.take_up_gang(pass, queued, entry, gang);
        // What has no reservation yet and can get none may start where nobody has one.
        if pass.place(queued) == Placing::Whole {
            return;
        }
        pass.miss();
        if old.is_none() && self.len >= RESERVATIONS_MAX {
            return;
        }
        let new = self.appoint(pass, entry, gang);
        let known = [old, new].into_iter().flatten().min_by_key(|appointment| appointment.start);
        let Some(appointment) = known.or_else(|| self.wait_for_empty(pass, gang)) else { return };
        let is_due = appointment.start <= pass.now || appointment.start == Timestamp(u64::MAX);
        if is_due && pass.start_at(queued, gang, &appointment.places) == Placing::Whole {
            return self.note_start(pass, entry, gang, &appointment);
        }
        self.reserve_gang(pass, queued, entry, gang, &appointment);
        if pass.has_missed(queued, wanted(pass, gang, &appointment)) {
            self.close(pass, &appointment);
        } else if let Some(slot) = appointment.places.first().and_then(|first| pass.book.fleet.slot(first.epoch)) {
            pass.date(queued, appointment.start, slot);
        }
    }

    /// Nothing else starts on the workers of a gang that should have started by now.
    fn close(&mut self, pass: &Pass<'_>, appointment: &Appointment) {
        for slot in appointment.places.iter().filter_map(|station| pass.book.fleet.slot(station.epoch)) {
            self.workers.entry(slot).and_modify(|booked| booked.closed = true);
        }
    }

    /// Takes the gang's reservations out.
    fn take_up_gang(&mut self, pass: &Pass<'_>, queued: Queued, entry: &Entry, gang: &[Mate]) -> Option<Appointment> {
        let old = self.old.remove(&queued)?;
        self.len -= old.len();
        let start = old.front()?.start;
        let mates = gang.iter().enumerate().flat_map(|(at, mate)| (0..mate.count).map(move |_| at));
        let places: Vec<Station> =
            mates.zip(&old).map(|(mate, reservation)| Station { mate, epoch: reservation.epoch }).collect();
        for Station { mate, epoch } in &places {
            if let Some(booked) = pass.book.fleet.slot(*epoch).and_then(|slot| self.workers.get_mut(&slot)) {
                booked.profile.give_back(Stretch::new(start, entry.facts.expected), &gang[*mate].entry.wanted);
            }
        }
        Some(Appointment { start, places })
    }

    /// The first time found at which all have room for as long as the gang runs: each for itself, then all no earlier
    /// than the last of them, until that changes nothing.
    fn appoint(&self, pass: &mut Pass<'_>, entry: &Entry, gang: &[Mate]) -> Option<Appointment> {
        let open = pass.book.fleet.ready();
        let slots: Vec<Slot> = self.workers.keys().copied().chain(open).collect();
        let mut start = pass.now;
        for _ in 0..START_TRIES_MAX {
            let from = start;
            let when = |book: &Book, slot, load: &Load| -> Option<Cost> {
                let at = self.opens(book, slot, load, from, entry)?;
                Some((at, left_over(book, slot, load, |member| member.room)))
            };
            let places = pass.gather(gang, &slots, when)?;
            for (slot, load) in pass.loads(gang, &places) {
                start = start.max(Timestamp(self.opens(pass.book, slot, &load, from, entry)?));
            }
            if start == from {
                return Some(Appointment { start, places });
            }
        }
        None
    }

    /// When the worker has so much free for as long as the gang runs, from then on at the earliest.
    fn opens(&self, book: &Book, slot: Slot, load: &Load, from: Timestamp, entry: &Entry) -> Option<u64> {
        if let Some(booked) = self.workers.get(&slot) {
            let stretch = booked.profile.earliest_from(from, entry.facts.expected, &load.wanted);
            return stretch.filter(|_| !booked.closed).map(|stretch| stretch.start.0);
        }
        let fits = load.wanted.fits(&book.fleet.member(slot).room);
        let opening = if fits { Some(from) } else { book.fleet.member(slot).opening(&load.wanted) };
        opening.map(|at| at.max(from).0)
    }

    /// Nobody knows when: workers without reservations, on which nothing else is to start.
    fn wait_for_empty(&self, pass: &mut Pass<'_>, gang: &[Mate]) -> Option<Appointment> {
        let open: Vec<Slot> = pass.book.fleet.ready().collect();
        let places = pass.gather_empty(gang, &open)?;
        Some(Appointment { start: Timestamp(u64::MAX), places })
    }

    /// What has started beside reservations takes its part of what they leave.
    fn note_start(&mut self, pass: &Pass<'_>, entry: &Entry, gang: &[Mate], appointment: &Appointment) {
        let stretch = Stretch::new(pass.now, entry.facts.expected);
        for Station { mate, epoch } in &appointment.places {
            if let Some(booked) = pass.book.fleet.slot(*epoch).and_then(|slot| self.workers.get_mut(&slot)) {
                booked.profile.take(stretch, &gang[*mate].entry.wanted);
            }
        }
    }

    fn reserve_gang(
        &mut self,
        pass: &mut Pass<'_>,
        queued: Queued,
        entry: &Entry,
        gang: &[Mate],
        appointment: &Appointment,
    ) {
        let start = appointment.start;
        for Station { mate, epoch } in &appointment.places {
            let Some(slot) = pass.book.fleet.slot(*epoch) else { continue };
            let booked = self.book(pass, slot);
            if start == Timestamp(u64::MAX) {
                booked.closed = true;
            } else {
                booked.profile.take(Stretch::new(start, entry.facts.expected), &gang[*mate].entry.wanted);
            }
            let reservation = Reservation { epoch: *epoch, start };
            self.settled.entry(queued).or_default().push_back(reservation);
            self.len += 1;
        }
    }
}

/// What the gang would have of each of its workers.
fn wanted(pass: &Pass<'_>, gang: &[Mate], appointment: &Appointment) -> Vec<(Slot, Vector)> {
    pass.loads(gang, &appointment.places).into_iter().map(|(slot, load)| (slot, load.wanted)).collect()
}
