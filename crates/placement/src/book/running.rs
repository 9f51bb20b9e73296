//! What runs, and when it is expected to end.

use std::collections::{BTreeMap, BTreeSet};

use quorate_state::job::ElementKey;
use quorate_types::{Name, Resources, Span, Timestamp};

use super::facts::{Facts, Lineage};
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
}

impl Running {
    /// From `since` on, without a known end.
    pub(crate) fn new(slot: Slot, since: Timestamp, facts: &Facts, wanted: Vector) -> Self {
        Self {
            slot,
            since,
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
}

impl RunningSet {
    pub(crate) fn insert(&mut self, key: ElementKey, running: Running) {
        if running.end != Timestamp(u64::MAX) {
            self.by_end.insert((running.end, key));
        }
        self.by_key.insert(key, running);
    }

    pub(crate) fn remove(&mut self, key: ElementKey) -> Option<Running> {
        let running = self.by_key.remove(&key)?;
        self.by_end.remove(&(running.end, key));
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

    /// When the next is expected to end.
    pub(crate) fn next_end(&self) -> Option<Timestamp> {
        self.by_end.first().map(|(end, _)| *end)
    }
}
