//! What runs, and when it is expected to end.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use quorate_state::job::ElementKey;
use quorate_types::{Name, Resources, Span, Timestamp};

use super::facts::{Facts, Lineage};
use super::{FIRST_KEY, LAST_KEY};
use crate::book::fleet::Slot;
use crate::book::vector::Vector;

#[derive(Clone, Debug)]
pub(crate) struct Running {
    pub(crate) slot: Slot,
    pub(crate) since: Timestamp,
    /// By the best that is known; the largest time if nothing is.
    pub(crate) end: Timestamp,
    /// It has run for longer than was expected.
    pub(crate) overdue: bool,
    /// When it will be ended by force.
    pub(crate) limit_end: Timestamp,
    pub(crate) request: Resources,
    pub(crate) lineage: Option<Lineage>,
    /// To whom it is charged, and how much.
    pub(crate) namespace: Name,
    pub(crate) wanted: Vector,
    /// The longest that an earlier attempt was there which was asked to end.
    pub(crate) lost: Span,
    /// When it has had its turn, where there are turns.
    pub(crate) turn_end: Option<Timestamp>,
    pub(crate) movable: bool,
}

impl Running {
    /// From `since` on, without a known end.
    pub(crate) fn new(slot: Slot, since: Timestamp, facts: &Facts, wanted: Vector) -> Self {
        Self {
            slot,
            since,
            lost: Span(0),
            turn_end: None,
            movable: facts.movable,
            end: Timestamp(u64::MAX),
            overdue: false,
            limit_end: facts.limit.map_or(Timestamp(u64::MAX), |span| since.plus(span)),
            request: facts.request.clone(),
            lineage: facts.lineage.clone(),
            namespace: facts.namespace.clone(),
            wanted,
        }
    }

    /// It has run for longer than was expected: as long again, but not beyond its limit.
    pub(crate) fn later_end(&self, now: Timestamp) -> Timestamp {
        let again = now.plus(now.since(self.since));
        // What is past its limit as well will end any moment.
        again.min(self.limit_end).max(now.plus(Span::from_secs(1)))
    }
}

#[derive(Debug, Default)]
pub(crate) struct RunningSet {
    by_key: BTreeMap<ElementKey, Running>,
    /// Those with a known end.
    by_end: BTreeSet<(Timestamp, ElementKey)>,
    /// Those that have turns, by when theirs are over.
    by_turn_end: BTreeSet<(Timestamp, ElementKey)>,
    /// Those that may be moved, by worker.
    movable: BTreeSet<(Slot, ElementKey)>,
}

impl RunningSet {
    pub(crate) fn insert(&mut self, key: ElementKey, running: Running) {
        if running.end != Timestamp(u64::MAX) {
            self.by_end.insert((running.end, key));
        }
        if let Some(turn_end) = running.turn_end {
            self.by_turn_end.insert((turn_end, key));
        }
        if running.movable {
            self.movable.insert((running.slot, key));
        }
        self.by_key.insert(key, running);
    }

    pub(crate) fn remove(&mut self, key: ElementKey) -> Option<Running> {
        let running = self.by_key.remove(&key)?;
        self.by_end.remove(&(running.end, key));
        if let Some(turn_end) = running.turn_end {
            self.by_turn_end.remove(&(turn_end, key));
        }
        self.movable.remove(&(running.slot, key));
        Some(running)
    }

    pub(crate) fn get(&self, key: ElementKey) -> Option<&Running> {
        self.by_key.get(&key)
    }

    /// Takes out one that should have ended by now.
    pub(crate) fn take_overdue(&mut self, now: Timestamp) -> Option<(ElementKey, Running)> {
        let (end, key) = *self.by_end.first()?;
        let running = if end <= now { self.remove(key)? } else { return None };
        Some((key, running))
    }

    /// Those that have had their turn by now, the first of them first.
    pub(crate) fn turns_over(&self, now: Timestamp) -> impl Iterator<Item = (ElementKey, &Running)> {
        let over = self.by_turn_end.range(..=(now, LAST_KEY));
        over.filter_map(|(_, key)| Some((*key, self.by_key.get(key)?)))
    }

    /// When the next turn is over.
    pub(crate) fn next_turn_end(&self, now: Timestamp) -> Option<Timestamp> {
        let later = (Bound::Excluded((now, LAST_KEY)), Bound::Unbounded);
        self.by_turn_end.range(later).next().map(|(end, _)| *end)
    }

    /// Those on a worker that may be moved.
    pub(crate) fn movable_on(&self, slot: Slot) -> impl Iterator<Item = (ElementKey, &Running)> {
        let all = (slot, FIRST_KEY)..=(slot, LAST_KEY);
        self.movable.range(all).filter_map(|(_, key)| Some((*key, self.by_key.get(key)?)))
    }

    /// How many there are that may be moved.
    pub(crate) fn movable_len(&self) -> usize {
        self.movable.len()
    }

    /// When the next is expected to end.
    pub(crate) fn next_end(&self) -> Option<Timestamp> {
        self.by_end.first().map(|(end, _)| *end)
    }
}
