//! What preemption asks of a book, and the workers that are kept for a task for whose sake something was ended there:
//! whatever the queue's order says, it gets the room first.

use std::collections::BTreeMap;

use quorate_state::job::ElementKey;
use quorate_state::queue::Queued;
use quorate_types::{Epoch, Timestamp};

use super::{Book, Crowding, Entry, Pass, Wish};

/// A worker's room is for so many elements of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Earmark {
    pub(crate) queued: Queued,
    pub(crate) elements: u32,
}

/// Tasks that one round would end others for.
const PREEMPTORS_MAX: usize = 1_000;

impl Book {
    /// The first of the tasks that may end others to have room, in the queue's order.
    pub(crate) fn preempting(&self) -> Vec<Queued> {
        self.waiting.preempting().take(PREEMPTORS_MAX).collect()
    }

    /// When an attempt is expected to end; none if nobody knows, or it has run for longer already.
    pub(crate) fn end_of(&self, key: ElementKey) -> Option<Timestamp> {
        let running = self.running.get(key).filter(|running| !running.overdue)?;
        (running.end != Timestamp(u64::MAX)).then_some(running.end)
    }

    /// Whether the worker takes new tasks, and could take an element of the task if it had room.
    pub(crate) fn could_take(&self, epoch: Epoch, queued: Queued, crowding: &Crowding<'_>) -> bool {
        self.waiting.entry(queued).is_some_and(|entry| self.could_host(epoch, queued, entry, crowding))
    }

    /// The same of what may stand in the queue with others, as a gang.
    pub(crate) fn could_host(&self, epoch: Epoch, queued: Queued, entry: &Entry, crowding: &Crowding<'_>) -> bool {
        let slot = self.fleet.slot(epoch).filter(|slot| self.fleet.is_ready(*slot));
        slot.is_some_and(|slot| self.fleet.could_take(slot, &Wish::new(queued, entry, crowding)))
    }

    /// The workers that could take an element of the task if they had room; none if there are more than so many, or may
    /// be for all that is seen at a glance.
    pub(crate) fn able(
        &mut self,
        queued: Queued,
        crowding: &Crowding<'_>,
        most: usize,
        looks: &mut usize,
    ) -> Option<Vec<Epoch>> {
        let Some(entry) = self.waiting.entry(queued).cloned() else { return Some(Vec::new()) };
        let slots = self.fleet.able(&Wish::new(queued, &entry, crowding), most, looks)?;
        Some(slots.into_iter().map(|slot| self.fleet.member(slot).worker.epoch).collect())
    }

    /// Keeps room for one element more of the task on the worker.
    pub(crate) fn earmark(&mut self, epoch: Epoch, queued: Queued) {
        let earmark = self.earmarks.entry(epoch).or_insert(Earmark { queued, elements: 0 });
        if earmark.queued == queued {
            earmark.elements += 1;
        }
        self.changed = true;
    }

    /// For how many elements of a task room is kept.
    pub(crate) fn earmarks_of(&self, queued: Queued) -> u64 {
        self.earmarks
            .values()
            .filter(|earmark| earmark.queued == queued)
            .map(|earmark| u64::from(earmark.elements))
            .sum()
    }

    pub(crate) fn all_earmarks(&self) -> Vec<(Epoch, Earmark)> {
        self.earmarks.iter().map(|(epoch, earmark)| (*epoch, *earmark)).collect()
    }

    /// The worker is kept for nobody any more.
    pub(crate) fn unmark(&mut self, epoch: Epoch) {
        self.changed |= self.earmarks.remove(&epoch).is_some();
    }

    /// For whom the worker is kept.
    pub(crate) fn earmarked_for(&self, epoch: Epoch) -> Option<Earmark> {
        self.earmarks.get(&epoch).copied()
    }
}

/// Starts what workers are kept for where it has room by now, and keeps the others out of what follows. What waits no
/// more, and who takes nothing new, is kept for nobody.
pub(crate) fn run(pass: &mut Pass<'_>) {
    if pass.book.earmarks.is_empty() {
        return;
    }
    let mut left: BTreeMap<Queued, u64> = BTreeMap::new();
    for (epoch, mut earmark) in std::mem::take(&mut pass.book.earmarks) {
        let entry = pass.book.waiting.entry(earmark.queued).cloned();
        let slot = pass.book.fleet.slot(epoch).filter(|slot| pass.book.fleet.is_ready(*slot));
        let (Some(entry), Some(slot)) = (entry.filter(|entry| entry.gang.is_none()), slot) else { continue };
        let pending = left.entry(earmark.queued).or_insert_with(|| pass.elements(earmark.queued, &entry).end);
        while earmark.elements > 0 && *pending > 0 && !pass.is_over() {
            if !pass.book.fleet.has_room(slot, &pass.wish(earmark.queued, &entry)) {
                break;
            }
            pass.start_earmarked(earmark.queued, slot, &entry);
            (*pending, earmark.elements) = (*pending - 1, earmark.elements - 1);
        }
        earmark.elements = earmark.elements.min(u32::try_from(*pending).unwrap_or(u32::MAX));
        *pending -= u64::from(earmark.elements);
        if earmark.elements > 0 {
            pass.hold(slot);
            pass.book.earmarks.insert(epoch, earmark);
        }
    }
}
