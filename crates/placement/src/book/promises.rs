//! What a decision gave away and nobody has started yet. It is taken off what is free.

use quorate_state::job::ElementKey;
use quorate_state::queue::Queued;
use quorate_types::{Epoch, Name, Resources, TaskIndex, Timestamp};

use super::fleet::Slot;
use super::vector::Vector;
use super::{Book, Entry, Start, Tracking};

/// Starts of elements of one task on one worker.
#[derive(Debug)]
pub(super) struct Promise {
    namespace: Name,
    request: Resources,
    wanted: Vector,
    count: u32,
    /// When they are expected to end.
    end: Timestamp,
}

/// Stands for the `nth` element of a promise until it has started and its own index is known: counted from the other
/// end than elements are.
fn stand_in(queued: Queued, nth: u32) -> ElementKey {
    ElementKey { job: queued.job, task: queued.task, index: TaskIndex(u32::MAX - nth) }
}

impl Book {
    /// Whether the start was promised; if so, its resources are taken already.
    pub(super) fn keep_promise(&mut self, queued: Queued, epoch: Epoch) -> bool {
        let Some(promise) = self.promises.get_mut(&(queued, epoch)) else { return false };
        promise.count -= 1;
        if let Some(slot) = self.fleet.slot(epoch) {
            self.fleet.forget_end(slot, promise.end, stand_in(queued, promise.count));
        }
        if promise.count == 0 {
            self.promises.remove(&(queued, epoch));
        }
        true
    }

    /// What was promised and not started is free again.
    pub(super) fn withdraw(&mut self) {
        for ((queued, epoch), promise) in std::mem::take(&mut self.promises) {
            self.changed = true;
            (0..promise.count).for_each(|_| self.discharge(&promise.namespace, &promise.wanted));
            let Some(slot) = self.fleet.slot(epoch) else { continue };
            for nth in 0..promise.count {
                self.fleet.forget_end(slot, promise.end, stand_in(queued, nth));
                self.fleet.give_back(slot, &promise.request);
            }
        }
    }

    /// Takes off what an element of the task will hold on the worker.
    pub(super) fn promise(&mut self, queued: Queued, slot: Slot, entry: &Entry, now: Timestamp) -> Start {
        let Entry { facts, wanted, .. } = entry;
        self.fleet.take(slot, &facts.request, wanted);
        self.spaces.promise(&facts.namespace, &facts.request);
        let epoch = self.fleet.member(slot).worker.epoch;
        if self.tracking == Tracking::Loads {
            self.promised.insert(epoch);
            return Start { queued, epoch };
        }
        let end = facts.expected.map_or(Timestamp(u64::MAX), |span| now.plus(span));
        let promise = self.promises.entry((queued, epoch));
        let promise = promise.or_insert_with(|| Promise {
            namespace: facts.namespace.clone(),
            request: facts.request.clone(),
            wanted: *wanted,
            count: 0,
            end,
        });
        self.fleet.note_end(slot, end, stand_in(queued, promise.count), *wanted);
        promise.count += 1;
        self.charge(&facts.namespace, wanted, now);
        Start { queued, epoch }
    }

    /// Undoes the last promise to the worker, as if the worker had had no turn either.
    pub(super) fn take_back(&mut self, start: Start, entry: &Entry, turns: (u64, u64)) {
        let Some(slot) = self.fleet.slot(start.epoch) else { return };
        if self.tracking == Tracking::Attempts && self.keep_promise(start.queued, start.epoch) {
            self.discharge(&entry.facts.namespace, &entry.wanted);
        }
        let (own, all) = self.fleet.turns(slot);
        (*own, *all) = turns;
        self.spaces.take_back(&entry.facts.namespace, &entry.facts.request);
        self.fleet.give_back(slot, &entry.facts.request);
    }
}
