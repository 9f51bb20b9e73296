//! Workers that are kept for a task for whose sake something was ended there: whatever the queue's order says, it gets
//! the room first.

use std::collections::BTreeMap;

use quorate_state::queue::Queued;
use quorate_types::Epoch;

use super::{Book, Pass};

/// A worker's room is for so many elements of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) queued: Queued,
    pub(crate) elements: u32,
}

impl Book {
    /// Keeps room for one element more of the task on the worker.
    pub(crate) fn keep(&mut self, epoch: Epoch, queued: Queued) {
        let kept = self.kept.entry(epoch).or_insert(Kept { queued, elements: 0 });
        if kept.queued == queued {
            kept.elements += 1;
        }
        self.changed = true;
    }

    /// For how many elements of a task room is kept.
    pub(crate) fn kept_of(&self, queued: Queued) -> u64 {
        self.kept.values().filter(|kept| kept.queued == queued).map(|kept| u64::from(kept.elements)).sum()
    }

    /// For whom the worker is kept.
    pub(crate) fn kept_for(&self, epoch: Epoch) -> Option<Kept> {
        self.kept.get(&epoch).copied()
    }
}

/// Starts what workers are kept for where it has room by now, and keeps the others out of what follows. What waits no
/// more, and who takes nothing new, is kept for nobody.
pub(crate) fn run(pass: &mut Pass<'_>) {
    if pass.book.kept.is_empty() {
        return;
    }
    let mut left: BTreeMap<Queued, u64> = BTreeMap::new();
    for (epoch, mut kept) in std::mem::take(&mut pass.book.kept) {
        let entry = pass.book.waiting.entry(kept.queued).cloned();
        let slot = pass.book.fleet.slot(epoch).filter(|slot| pass.book.fleet.is_ready(*slot));
        let (Some(entry), Some(slot)) = (entry, slot) else { continue };
        let pending = left.entry(kept.queued).or_insert_with(|| pass.elements(kept.queued).end);
        while kept.elements > 0 && *pending > 0 && !pass.is_over() {
            if !pass.book.fleet.has_room(slot, &pass.wish(kept.queued, &entry)) {
                break;
            }
            pass.start_kept(kept.queued, slot, &entry);
            (*pending, kept.elements) = (*pending - 1, kept.elements - 1);
        }
        kept.elements = kept.elements.min(u32::try_from(*pending).unwrap_or(u32::MAX));
        *pending -= u64::from(kept.elements);
        if kept.elements > 0 {
            pass.hold(slot);
            pass.book.kept.insert(epoch, kept);
        }
    }
}
