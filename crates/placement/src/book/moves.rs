//! Attempts that move to another worker: where there is how much to do, and room that is taken for them until they
//! come.

use quorate_state::job::ElementKey;
use quorate_state::queue::Queued;
use quorate_types::{AttemptNumber, Epoch, Resources, Span, Timestamp};

use super::fleet::Slot;
use super::slices::twice;
use super::waiting::{Entry, Measures};
use super::{Book, Crowding, Facts, Wish};
use crate::book::share::{WHOLE, share};
use crate::book::vector::Vector;

/// How long what was ended before is left alone at least: long beside what a move costs, short beside the day over
/// which load shifts.
const REST: Span = Span::from_secs(600);

/// An attempt on its way to another worker.
#[derive(Clone, Debug)]
pub(crate) struct Move {
    /// The attempt that ends.
    pub(crate) attempt: AttemptNumber,
    pub(crate) from: Epoch,
    pub(crate) to: Epoch,
    request: Resources,
    wanted: Vector,
}

/// A worker that takes new tasks, with what it has once all moves are done.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) epoch: Epoch,
    slot: Slot,
    free: Vector,
    size: Vector,
}

/// Something that may move.
#[derive(Debug)]
pub(crate) struct Mover {
    pub(crate) key: ElementKey,
    pub(crate) since: Timestamp,
    wanted: Vector,
}

impl Standing {
    /// The used share of its scarcest resource, in 1/2²⁰.
    pub(crate) fn load(&self) -> u64 {
        let lanes = self.free.lanes().iter().zip(self.size.lanes());
        let free = lanes.filter(|(_, size)| **size > 0).map(|(free, size)| share(*free, *size)).min();
        WHOLE - free.unwrap_or(WHOLE)
    }

    pub(crate) fn without(&self, mover: &Mover) -> Self {
        Self { free: self.free.plus(&mover.wanted), ..self.clone() }
    }

    pub(crate) fn with(&self, mover: &Mover) -> Self {
        Self { free: self.free.minus(&mover.wanted), ..self.clone() }
    }
}

impl Book {
    /// All workers that take new tasks, as they will be once all moves are done.
    pub(crate) fn standings(&self) -> Vec<Standing> {
        let mut standings: Vec<Standing> = self.fleet.ready().map(|slot| self.standing(slot)).collect();
        standings.sort_by_key(|standing| standing.epoch);
        for gone in self.moves.values() {
            if let Ok(at) = standings.binary_search_by_key(&gone.from, |standing| standing.epoch) {
                standings[at].free = standings[at].free.plus(&gone.wanted);
            }
        }
        standings
    }

    fn standing(&self, slot: Slot) -> Standing {
        let member = self.fleet.member(slot);
        Standing { epoch: member.worker.epoch, slot, free: member.room, size: member.size }
    }

    /// How many attempts may move, and how many do.
    pub(crate) fn movable_and_moving(&self) -> (usize, usize) {
        (self.running.movable_len(), self.moves.len())
    }

    /// What may move from a worker, and what only once it has rested: what was ended before is left alone for
    /// [`REST`], and until it has done twice what was lost.
    pub(crate) fn movers(&self, standing: &Standing, now: Timestamp, most: usize) -> (Vec<Mover>, Vec<Mover>) {
        let all = self.running.movable_on(standing.slot).filter(|(key, _)| !self.moves.contains_key(key)).take(most);
        let movers = all.map(|(key, running)| {
            let rest = if running.lost == Span(0) { Span(0) } else { REST.max(twice(running.lost)) };
            (running.since.plus(rest) <= now, Mover { key, since: running.since, wanted: running.wanted })
        });
        let (rested, resting): (Vec<_>, Vec<_>) = movers.partition(|(rested, _)| *rested);
        let of = |all: Vec<(bool, Mover)>| all.into_iter().map(|(_, mover)| mover).collect();
        (of(rested), of(resting))
    }

    /// What an element of a task would be if it waited.
    pub(crate) fn entry_of(&self, facts: Facts) -> Entry {
        Entry::stray(Measures::of(&self.fleet, &facts), facts)
    }

    /// Whether the worker has room for an element now.
    pub(crate) fn has_room_on(&self, to: &Standing, queued: Queued, entry: &Entry, crowding: &Crowding<'_>) -> bool {
        self.fleet.has_room(to.slot, &Wish::new(queued, entry, crowding))
    }

    /// Takes room for what moves.
    pub(crate) fn begin_move(
        &mut self,
        mover: &Mover,
        attempt: AttemptNumber,
        from: Epoch,
        to: &Standing,
        facts: &Facts,
    ) {
        let (request, wanted) = (facts.request.clone(), mover.wanted);
        self.fleet.take(to.slot, &request, &wanted);
        self.moves.insert(mover.key, Move { attempt, from, to: to.epoch, request, wanted });
    }

    /// The room is free again: the task has come for it, or never will.
    pub(crate) fn end_move(&mut self, key: ElementKey) -> Option<Move> {
        let ended = self.moves.remove(&key)?;
        if let Some(slot) = self.fleet.slot(ended.to) {
            self.fleet.give_back(slot, &ended.request);
        }
        self.changed = true;
        Some(ended)
    }

    pub(crate) fn moves(&self) -> impl Iterator<Item = (ElementKey, &Move)> {
        self.moves.iter().map(|(key, moving)| (*key, moving))
    }
}
