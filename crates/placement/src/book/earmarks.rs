//! Workers that are kept for a task for whose sake something was ended there: whatever the queue's order says, it gets
//! the room first.

use std::collections::BTreeMap;

use quorate_state::queue::Queued;
use quorate_types::Epoch;

use super::{Book, Pass};

/// A worker's room is for so many elements of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Earmark {
    pub(crate) queued: Queued,
    pub(crate) elements: u32,
}

impl Book {
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
        let (Some(entry), Some(slot)) = (entry, slot) else { continue };
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
