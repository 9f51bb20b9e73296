//! How many elements of a task are together, where the task bounds it: those that live already, and those that the
//! decision places.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use quorate_state::company::{Companies, Company};
use quorate_state::queue::Queued;
use quorate_types::{Epoch, Name, Timestamp};

use crate::book::facts::Facts;
use crate::book::gate::{Gate, GateRoom};
use crate::book::member::Worker;

/// What a decision asks of whoever drives the book.
pub trait Surroundings {
    /// How many elements of a task could be placed.
    fn pending(&self, queued: Queued) -> u64;

    /// What there is behind a gate.
    fn room(&self, _gate: &Gate, _now: Timestamp) -> GateRoom {
        GateRoom::UNBOUNDED
    }

    /// How many elements of a task are live on workers with this value of a label that the task is spread over.
    fn crowd(&self, _queued: Queued, _label: &Name, _value: &str) -> u32 {
        0
    }

    /// The task that stands for all whose elements count together with those of one: the versions of a service.
    fn family(&self, queued: Queued) -> Queued {
        queued
    }

    /// Whether an element of the task is live on the worker.
    fn runs(&self, _queued: Queued, _epoch: Epoch) -> bool {
        false
    }

    /// Which jobs that others may mind have attempts where, if any have.
    fn companies(&self) -> Option<&Companies> {
        None
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
#[derive(Clone)]
pub(crate) struct Crowding<'a> {
    pub(crate) around: &'a dyn Surroundings,
    by_value: BTreeMap<(Queued, Name, String), u32>,
    placed: BTreeSet<(Queued, Epoch)>,
    companies: Companies,
    looks: Cell<usize>,
}

impl fmt::Debug for Crowding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crowding").field("by_value", &self.by_value).field("placed", &self.placed).finish()
    }
}

impl<'a> Crowding<'a> {
    pub(crate) fn new(around: &'a dyn Surroundings) -> Self {
        let companies = Companies::default();
        Self { around, by_value: BTreeMap::new(), placed: BTreeSet::new(), companies, looks: Cell::new(0) }
    }

    /// Where attempts are, as lived and as placed.
    fn all_companies(&self) -> impl Iterator<Item = &Companies> {
        self.around.companies().into_iter().chain([&self.companies])
    }

    /// Whether it depends on where others are where the task may go.
    pub(crate) fn is_social(&self, facts: &Facts) -> bool {
        let minds = |company: &Company| self.all_companies().any(|companies| companies.concern(company));
        facts.constraints.as_ref().is_some_and(|constraints| constraints.are_social())
            || facts.company.as_ref().is_some_and(|company| minds(company))
    }

    /// Whether one more element of the task would be one too many on the worker.
    pub(crate) fn is_crowded(&self, queued: Queued, facts: &Facts, worker: &Worker) -> bool {
        let social = facts.constraints.as_ref().filter(|constraints| constraints.are_social());
        // Most clusters have nobody who shuns anything.
        let minds = |company: &&Arc<Company>| company.shuns_any() || self.all_companies().any(Companies::has_shunning);
        let company = facts.company.as_ref().filter(minds);
        if social.is_none() && company.is_none() {
            return false;
        }
        self.looks.set(self.looks.get() + 1);
        if self.looks.get() > LOOKS_MAX {
            return true;
        }
        let spread = social.map_or(&[][..], |constraints| &constraints.spread);
        let too_far = spread.iter().any(|spread| {
            worker.labels().get(&spread.label).is_none_or(|value| {
                let family = self.around.family(queued);
                let placed = self.by_value.get(&(family, spread.label.clone(), value.to_owned())).copied();
                self.around.crowd(queued, &spread.label, value) + placed.unwrap_or(0) >= spread.max
            })
        });
        too_far
            || social.map_or(&[][..], |constraints| &constraints.apart).iter().any(|task| {
                let other = Queued { job: queued.job, task: *task };
                self.placed.contains(&(other, worker.epoch)) || self.around.runs(other, worker.epoch)
            })
            || company.is_some_and(|company| {
                self.all_companies().any(|all| all.in_the_way(company, queued.job, worker.epoch).is_some())
            })
    }

    /// Forgets what was placed since, but not how often it was looked.
    pub(crate) fn go_back_to(&mut self, before: Self) {
        before.looks.set(self.looks.get());
        *self = before;
    }

    /// An element of the task goes to the worker.
    pub(crate) fn add(&mut self, queued: Queued, facts: &Facts, worker: &Worker) {
        if let Some(company) = &facts.company {
            self.companies.join(company, queued.job, worker.epoch);
        }
        let Some(constraints) = facts.constraints.as_ref().filter(|constraints| constraints.are_social()) else {
            return;
        };
        for spread in &constraints.spread {
            if let Some(value) = worker.labels().get(&spread.label) {
                let family = self.around.family(queued);
                *self.by_value.entry((family, spread.label.clone(), value.to_owned())).or_default() += 1;
            }
        }
        if !constraints.apart.is_empty() {
            self.placed.insert((queued, worker.epoch));
        }
    }
}
