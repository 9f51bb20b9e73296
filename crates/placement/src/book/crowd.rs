//! How many elements of a task are together, where the task bounds it: those that live already, and those that the
//! decision places.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use quorate_state::queue::Queued;
use quorate_types::{Epoch, Name};

use crate::book::facts::Constraints;
use crate::book::member::Worker;

/// What a decision asks of whoever drives the book.
pub trait Surroundings {
    /// How many elements of a task could be placed.
    fn pending(&self, queued: Queued) -> u64;

    /// How many elements of a task are live on workers with this value of a label that the task is spread over.
    fn crowd(&self, _queued: Queued, _label: &Name, _value: &str) -> u32 {
        0
    }

    /// Whether an element of the task is live on the worker.
    fn runs(&self, _queued: Queued, _epoch: Epoch) -> bool {
        false
    }
}

impl<F: Fn(Queued) -> u64> Surroundings for F {
    fn pending(&self, queued: Queued) -> u64 {
        self(queued)
    }
}

/// How often one decision looks whether a worker is crowded: a fraction of a second. Then all count as crowded.
const LOOKS_MAX: usize = 1_000_000;

/// What a decision has placed of the tasks whose elements must not crowd, besides what lives already.
pub(crate) struct Crowding<'a> {
    pub(crate) around: &'a dyn Surroundings,
    by_value: BTreeMap<(Queued, Name, String), u32>,
    placed: BTreeSet<(Queued, Epoch)>,
    looks: Cell<usize>,
}

impl fmt::Debug for Crowding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crowding").field("by_value", &self.by_value).field("placed", &self.placed).finish()
    }
}

impl<'a> Crowding<'a> {
    pub(crate) fn new(around: &'a dyn Surroundings) -> Self {
        Self { around, by_value: BTreeMap::new(), placed: BTreeSet::new(), looks: Cell::new(0) }
    }

    /// Whether one more element of the task would be one too many on the worker.
    pub(crate) fn is_crowded(&self, queued: Queued, constraints: &Constraints, worker: &Worker) -> bool {
        self.looks.set(self.looks.get() + 1);
        if self.looks.get() > LOOKS_MAX {
            return true;
        }
        let too_far = constraints.spread.iter().any(|spread| {
            worker.labels().get(&spread.label).is_none_or(|value| {
                let placed = self.by_value.get(&(queued, spread.label.clone(), value.to_owned())).copied();
                self.around.crowd(queued, &spread.label, value) + placed.unwrap_or(0) >= spread.max
            })
        });
        too_far
            || constraints.apart.iter().any(|task| {
                let other = Queued { job: queued.job, task: *task };
                self.placed.contains(&(other, worker.epoch)) || self.around.runs(other, worker.epoch)
            })
    }

    /// An element of the task goes to the worker.
    pub(crate) fn add(&mut self, queued: Queued, constraints: &Constraints, worker: &Worker) {
        for spread in &constraints.spread {
            if let Some(value) = worker.labels().get(&spread.label) {
                *self.by_value.entry((queued, spread.label.clone(), value.to_owned())).or_default() += 1;
            }
        }
        if !constraints.apart.is_empty() {
            self.placed.insert((queued, worker.epoch));
        }
    }
}
