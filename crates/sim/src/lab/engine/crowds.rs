//! Who runs where, for constraints that depend on it.

use std::collections::BTreeMap;

use quorate_placement::book::Surroundings;
use quorate_state::company::Companies;
use quorate_state::queue::Queued;
use quorate_types::{Epoch, JobId, Labels, Name};

use super::super::job::{Job, Machine};
use super::live::{Attempt, queued_as};

#[derive(Debug, Default)]
pub(super) struct Crowds {
    /// How many elements of a task, by task, and there by machine. Only of tasks that have constraints: whoever must be
    /// apart from them has as well.
    tasks: BTreeMap<Queued, BTreeMap<u32, u32>>,
    /// Of which labels there are jobs, and which are shunned.
    companies: Companies,
}

impl Crowds {
    pub(super) fn join(&mut self, job: &Job, attempt: &Attempt) {
        if let Some(company) = &job.company {
            self.companies.join(company, JobId(job.kin.job), attempt.epoch);
        }
        if job.constraints.is_some() {
            *self.tasks.entry(queued_as(job.kin)).or_default().entry(attempt.machine).or_default() += 1;
        }
    }

    pub(super) fn leave(&mut self, job: &Job, attempt: &Attempt) {
        if let Some(company) = &job.company {
            self.companies.leave(company, JobId(job.kin.job), attempt.epoch);
        }
        let kin = queued_as(job.kin);
        let Some(machines) = self.tasks.get_mut(&kin) else { return };
        if let Some(count) = machines.get_mut(&attempt.machine) {
            *count -= 1;
        }
        machines.retain(|_, count| *count > 0);
        if machines.is_empty() {
            self.tasks.remove(&kin);
        }
    }
}

/// Them as a decision asks for them. Every job of a replay is one element.
pub(super) struct Together<'a> {
    pub(super) crowds: &'a Crowds,
    pub(super) machines: &'a [Machine],
    pub(super) epochs: &'a BTreeMap<Epoch, u32>,
}

impl Surroundings for Together<'_> {
    fn pending(&self, _queued: Queued) -> u64 {
        1
    }

    fn crowd(&self, queued: Queued, label: &Name, value: &str) -> u32 {
        let has_it = |at: u32| {
            let machine = &self.machines[at as usize];
            Labels { worker: &machine.name, labels: &machine.labels }.get(label) == Some(value)
        };
        let machines = self.crowds.tasks.get(&queued).into_iter().flatten();
        machines.filter(|(at, _)| has_it(**at)).map(|(_, count)| count).sum()
    }

    fn runs(&self, queued: Queued, epoch: Epoch) -> bool {
        let machine = self.epochs.get(&epoch);
        machine.zip(self.crowds.tasks.get(&queued)).is_some_and(|(machine, machines)| machines.contains_key(machine))
    }

    fn companies(&self) -> Option<&Companies> {
        Some(&self.crowds.companies)
    }
}
