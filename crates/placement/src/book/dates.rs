//! When reservations first said that a task would start, and where.
//!
//! What is short enough may start before a task that waits. Where such ends come a little later than expected, each
//! time, the task would be put off again and again while others go past. So once it has waited for [`PATIENCE`] times
//! as long as it was told, and nothing keeps it from starting but what has been started since, nothing else starts on
//! that worker.

use std::collections::BTreeMap;

use quorate_state::queue::Queued;
use quorate_types::{Epoch, Span, Timestamp};

use super::fleet::Slot;
use super::vector::Vector;
use super::{Entry, Pass};

/// Times that are learned are often too short, and what is kept free for a task meanwhile is lost to all others: on
/// recorded work (docs/policies.md) once the time makes slowdowns twice as large as without a bound, ten times makes
/// them a few percent larger, or less than twice as large where there is more work than room.
const PATIENCE: u64 = 10;
/// What was decided with the time that a task was told is assigned a little later.
const ROUND: Span = Span::from_secs(1);

#[derive(Debug)]
struct Date {
    /// When it was told.
    since: Timestamp,
    at: Timestamp,
    epoch: Epoch,
}

/// Of tasks that have had a reservation since in each decision.
#[derive(Debug, Default)]
pub(crate) struct Dates(BTreeMap<Queued, Date>);

impl Dates {
    /// The task has a reservation. The time that it was told first stays; the worker may change.
    fn note(&mut self, queued: Queued, at: Timestamp, epoch: Epoch, now: Timestamp) {
        // Nobody knows when, or nothing is told that could be kept.
        if at == Timestamp(u64::MAX) || at <= now {
            return;
        }
        self.0.entry(queued).or_insert(Date { since: now, at, epoch }).epoch = epoch;
    }

    /// An element of it starts, and the next one has a date of its own; or it waits no more.
    pub(super) fn forget(&mut self, queued: Queued) {
        self.0.remove(&queued);
    }

    /// Forgets those that have no reservation any more: others came before them, as the queue's order would have it.
    pub(super) fn retain(&mut self, is_reserved: impl Fn(Queued) -> bool) {
        self.0.retain(|queued, _| is_reserved(*queued));
    }
}

impl Date {
    fn is_missed(&self, now: Timestamp) -> bool {
        now.since(self.since).0 >= self.at.since(self.since).0.saturating_mul(PATIENCE)
    }
}

impl Pass<'_> {
    /// A reservation says that the task will start there then.
    pub(super) fn date(&mut self, queued: Queued, at: Timestamp, slot: Slot) {
        let epoch = self.book.fleet.member(slot).worker.epoch;
        self.book.dates.note(queued, at, epoch, self.now);
    }

    /// The worker on which the task should have started long ago, and would if nothing had been started since.
    pub(super) fn missed_on(&self, queued: Queued, entry: &Entry) -> Option<Slot> {
        let date = self.book.dates.0.get(&queued).filter(|date| date.is_missed(self.now))?;
        let slot = self.book.fleet.slot(date.epoch)?;
        let is_there = self.book.fleet.member(slot).worker.ready && self.could_take(slot, queued, entry);
        (is_there && self.has_missed(queued, [(slot, entry.wanted)])).then_some(slot)
    }

    /// Whether a task should have started long ago, and could have so much on each of these workers if nothing had
    /// been started there since it was told.
    pub(super) fn has_missed(&self, queued: Queued, wanted: impl IntoIterator<Item = (Slot, Vector)>) -> bool {
        let Some(date) = self.book.dates.0.get(&queued).filter(|date| date.is_missed(self.now)) else { return false };
        let since = date.since.plus(ROUND);
        let mut passed = false;
        let fits = wanted.into_iter().all(|(slot, wanted)| {
            let member = self.book.fleet.member(slot);
            // What this decision or the last one started is not known to run yet.
            let is_younger = |key| self.book.running.get(key).is_none_or(|running| running.since > since);
            let mut younger = member.ends.iter().filter(|((_, key), _)| is_younger(*key)).peekable();
            passed |= younger.peek().is_some();
            wanted.fits(&younger.fold(member.room, |room, (_, own)| room.plus(&own.0)))
        });
        fits && passed
    }
}
