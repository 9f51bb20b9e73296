//! Jobs of the model that grow: what a success adds to its job.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_types::status::TaskState;
use quorate_types::{End, Extension, JobId, Name, Need, On};

use crate::job::{Element, Job};
use crate::machine::Model;

impl Job {
    /// How many of the things that the task waits for as a whole have not come about.
    fn open_needs(&self, task: usize) -> usize {
        let whole = self.spec.tasks[task].needs.iter().filter(|need| !matches!(need, Need::Each { .. }));
        whole.filter(|need| !self.is_met(need, task)).count() + usize::from(self.is_gated())
    }

    /// Nothing of it has started, nor will before something else.
    fn waits_as_a_whole(&self, task: usize) -> bool {
        self.open_needs(task) > 0 && !self.tasks[task].iter().any(|element| element.state.is_finished())
    }

    fn has_met_its_needs(&self, task: usize) -> bool {
        let each = self.spec.tasks[task].needs.iter().any(|need| matches!(need, Need::Each { .. }));
        self.open_needs(task) == 0 && (!each || self.task_end(task) == Some(End::Succeeded))
    }

    fn takes(&self, by: usize, extension: &Extension) -> bool {
        let new: BTreeSet<&Name> = extension.tasks.iter().map(|task| &task.spec.name).collect();
        let orders = extension.tasks.iter().any(|task| !task.before.is_empty());
        let suits = |need: &Need, count: u32| {
            let Some(name) = need.task() else { return false };
            let Some(other) = self.position(name) else { return new.contains(name) };
            let as_many = self.spec.tasks[other].count == count || !matches!(need, Need::Each { .. });
            as_many && (!orders || other == by || self.has_met_its_needs(other))
        };
        let may_come_first = |need: &Need| {
            let other = need.task().and_then(|name| self.position(name));
            other.is_some_and(|other| self.waits_as_a_whole(other) && self.gang(other).is_none())
        };
        self.gang(by).is_none()
            && !self.is_service()
            && extension.tasks.iter().all(|task| {
                self.position(&task.spec.name).is_none()
                    && task.spec.needs.iter().all(|need| suits(need, task.spec.count))
                    && task.before.iter().all(may_come_first)
            })
    }

    fn gain(&mut self, by: usize, extension: &Extension) {
        let from = self.tasks.len();
        let spec = Arc::make_mut(&mut self.spec);
        for new in &extension.tasks {
            spec.tasks.push(new.spec.clone());
            self.tasks.push(vec![Element::new(); new.spec.count as usize]);
        }
        for new in &extension.tasks {
            for need in &new.before {
                let at = spec.tasks.iter().position(|task| Some(&task.name) == need.task()).unwrap();
                spec.tasks.add_need(at, Need::Task { task: new.spec.name.clone(), on: need.on() });
            }
        }
        self.extended_by.push(by);
        let failed = self.elements().any(|(.., element)| element.state == TaskState::Failed);
        if failed {
            let handlers: Vec<usize> = (from..self.tasks.len()).filter(|task| self.is_for_failures(*task)).collect();
            self.handlers.extend(handlers);
        }
        for task in from..self.tasks.len() {
            if self.is_doomed(task) {
                self.tasks[task].iter_mut().for_each(|element| element.cancel(false));
            }
        }
    }

    /// Whether a task that comes after a failure is there for it.
    fn is_for_failures(&self, task: usize) -> bool {
        let needs = self.spec.tasks[task].needs.iter();
        needs.filter_map(|need| Some((self.position(need.task()?)?, need.on()))).any(|(other, on)| {
            let failed = self.tasks[other].iter().any(|element| element.state == TaskState::Failed);
            on == On::Finish
                || (on == On::Failure && failed)
                || self.is_handler(other)
                || (other >= self.submitted_spec.tasks.len() && self.is_for_failures(other))
        })
    }

    /// Gives up what it has gained: it will be added again.
    pub fn give_up_gains(&mut self) {
        self.spec = self.submitted_spec.clone();
        self.tasks.truncate(self.spec.tasks.len());
        self.extended_by.clear();
    }
}

impl Model {
    /// Whether the job takes what its attempt adds; if so, it is there.
    pub fn extend(&mut self, id: JobId, by: usize, extension: &Extension) -> bool {
        let of_cluster = extension.tasks.iter().flat_map(|task| &task.spec.cluster_resources);
        let there = of_cluster.into_iter().all(|(name, amount)| self.totals.get(name).is_some_and(|it| it >= amount));
        let job = self.jobs.get_mut(&id).unwrap();
        if extension.tasks.is_empty() {
            return true;
        }
        let takes = there && job.takes(by, extension);
        if takes {
            job.gain(by, extension);
        }
        takes
    }
}
