//! Turns with an end: who has had one, and who has the next.

use std::collections::BTreeSet;

use quorate_state::job::ElementKey;
use quorate_state::queue::Queued;
use quorate_types::policy::QueueOrder;
use quorate_types::{Epoch, Span, Timestamp};

use super::Book;

impl Book {
    /// Earlier attempts of the element were asked to end, the longest of them after so long: its turn is the longer, so
    /// that it ends some time.
    pub fn lost_before(&mut self, key: ElementKey, lost: Span) {
        let Some(mut running) = self.running.remove(key) else { return };
        running.lost = lost;
        running.turn_end = self.turn_end(running.since, lost);
        self.running.insert(key, running);
    }

    /// When what started at `since` has had its turn. Twice what was lost, so that all that is ever lost of a task is
    /// less than it takes.
    pub(super) fn turn_end(&self, since: Timestamp, lost: Span) -> Option<Timestamp> {
        let slice = self.policy.quantum.span().max(twice(lost));
        (self.policy.queue == QueueOrder::RoundRobin).then(|| since.plus(slice))
    }

    /// An element of a task has its turn.
    pub(super) fn take_turn(&mut self, queued: Queued, at: Timestamp) {
        if self.policy.queue == QueueOrder::RoundRobin {
            self.waiting.take_turn(queued, at);
        }
    }

    /// When an attempt has had its turn.
    pub(crate) fn turn_end_of(&self, key: ElementKey) -> Option<Timestamp> {
        self.running.get(key)?.turn_end
    }

    /// The first workers where attempts have had their turns by now, each once, by when the first of those was over.
    pub(crate) fn with_turns_over(&self, now: Timestamp, looks_max: usize) -> Vec<(Timestamp, Epoch)> {
        let mut seen = BTreeSet::new();
        let over = self.running.turns_over(now).take(looks_max);
        let over = over.filter_map(|(_, running)| Some((running.turn_end?, running.slot)));
        let mut first: Vec<_> = over
            .filter(|(_, slot)| seen.insert(*slot))
            .map(|(end, slot)| (end, self.fleet.member(slot).worker.epoch))
            .collect();
        first.sort_unstable();
        first
    }

    /// When the next turn is over, if anybody waits for it.
    pub(super) fn next_turn_end(&self, now: Timestamp) -> Option<Timestamp> {
        if self.waiting.is_empty() { None } else { self.running.next_turn_end(now) }
    }
}

/// What an attempt may do before it is asked to end, where an earlier one was for nothing after so long.
pub(super) const fn twice(lost: Span) -> Span {
    Span(lost.0.saturating_mul(2))
}
