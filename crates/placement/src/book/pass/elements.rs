//! How many elements of a task may start, whatever workers have room: no more than pass its gates, and than its
//! namespace may have.

use quorate_state::queue::Queued;

use super::Pass;
use crate::book::Entry;

impl Pass<'_> {
    /// The elements of a task that could be placed and have not been, counted; no more than pass its gates, and than
    /// its namespace may have.
    pub(crate) fn elements(&self, queued: Queued, entry: &Entry) -> std::ops::Range<u64> {
        let placed = self.placed(queued);
        let pending = self.crowding.around.pending(queued);
        let pass = match &entry.facts.gates {
            None => u64::MAX,
            Some(gates) => self.gauge.elements(gates, self.crowding.around, self.now),
        };
        // All of a gang pass at once.
        let pass = match pass.min(self.allowance(entry)) {
            1.. if entry.gang.is_some() => u64::MAX,
            pass => pass,
        };
        placed..pending.min(placed.saturating_add(pass))
    }

    /// How many elements of the task its namespace may have more.
    fn allowance(&self, entry: &Entry) -> u64 {
        let spaces = &self.book.spaces;
        if !spaces.bound_starts() {
            return u64::MAX;
        }
        let namespace = &entry.facts.namespace;
        spaces.times(namespace, &entry.facts.at_once(), self.walk.reserved(namespace))
    }

    /// If no element of the task passes its gates, none of another task like it does.
    pub(crate) fn look_at_gates(&mut self, queued: Queued, entry: &Entry) {
        let Some(gates) = &entry.facts.gates else { return };
        let (around, now) = (self.crowding.around, self.now);
        let waits = self.placed(queued) < around.pending(queued);
        if !waits || self.gauge.elements(gates, around, now) > 0 {
            return;
        }
        self.blocked = self.blocked.with(entry.shape.but_others());
        // Those that share no number are looked at one by one.
        self.stray();
        let mut gauge = std::mem::take(&mut self.gauge);
        gauge.on_closed(gates, around, now, || match &entry.gang {
            Some(gang) => self.fits_empty(gang),
            None => !self.is_hopeless(entry) && self.most_free(queued, entry).is_some(),
        });
        self.gauge = gauge;
    }

    /// What an element that a worker is kept for has to get is kept for it, too.
    pub(crate) fn keep_gates(&mut self, entry: &Entry) {
        entry.facts.gates.iter().for_each(|gates| self.gauge.take(gates));
    }

    /// How many elements of a task were placed.
    pub(super) fn placed(&self, queued: Queued) -> u64 {
        let placed = self.walk.placed(queued);
        let ahead = self.ahead.get(&queued).copied().unwrap_or(0);
        placed.max(ahead)
    }
}
