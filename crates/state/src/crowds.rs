//! How many elements of a task are live together, where the task says how many may be. Derived from the live attempts.

use std::sync::Arc;

use imbl::OrdMap;
use quorate_types::{JobId, JobSpec, Name, TaskSpec};

use crate::job::{ElementKey, Job};
use crate::spaces::Hold;
use crate::state::{Cluster, State};
use crate::worker::{LiveAttempt, Worker};

/// Live elements of a task on workers with one value of a label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    job: JobId,
    task: u32,
    label: Name,
    value: Arc<str>,
}

/// Kept only for the labels that tasks are spread over.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Crowds(OrdMap<Place, u32>);

impl Cluster {
    /// The attempt holds its resources, on the worker and of the cluster, from now on.
    pub(crate) fn occupy(&mut self, worker: &Name, at: ElementKey, attempt: LiveAttempt, job: &JobSpec) {
        let (Some(found), Some(spec)) = (self.workers.get_mut(worker), job.tasks.get(at.task as usize)) else { return };
        Arc::make_mut(found).take(at, attempt, &spec.resources);
        for place in places(at, spec, found) {
            *self.crowds.0.entry(place).or_insert(0) += 1;
        }
        self.note_hold(&job.namespace, Hold::Begins, &spec.resources);
        if attempt.stopping {
            self.note_hold(&job.namespace, Hold::Stopping, &spec.resources);
        }
        self.pools.take(at, spec);
    }

    /// The attempt holds nothing any more.
    pub(crate) fn vacate(&mut self, worker: &Name, at: &ElementKey, job: &JobSpec) {
        let (Some(found), Some(spec)) = (self.workers.get_mut(worker), job.tasks.get(at.task as usize)) else { return };
        let Some(stopping) = found.attempts.get(at).map(|live| live.stopping) else { return };
        Arc::make_mut(found).release(at, &spec.resources);
        for place in places(*at, spec, found) {
            let left = self.crowds.0.get(&place).map_or(0, |count| count - 1);
            if left == 0 {
                self.crowds.0.remove(&place);
            } else {
                self.crowds.0.insert(place, left);
            }
        }
        self.note_hold(&job.namespace, Hold::Ends { stopping }, &spec.resources);
        self.pools.release(at, spec);
    }

    /// Whether one more element of the task would be one too many on the worker.
    pub(crate) fn is_crowded(&self, job: &Job, task: u32, worker: &Name) -> bool {
        let (Some(worker), Some(spec)) = (self.workers.get(worker), job.task_spec(task)) else { return true };
        let spread_too_far = spec.spread.iter().any(|spread| {
            worker
                .labels()
                .get(&spread.label)
                .is_none_or(|value| self.crowd(job.id(), task, &spread.label, value) >= spread.max)
        });
        spread_too_far || job.plan.apart(task).any(|other| worker.runs(job.id(), other))
    }

    fn crowd(&self, job: JobId, task: u32, label: &Name, value: &str) -> u32 {
        let place = Place { job, task, label: label.clone(), value: value.into() };
        self.crowds.0.get(&place).copied().unwrap_or(0)
    }
}

fn places(at: ElementKey, spec: &TaskSpec, worker: &Worker) -> Vec<Place> {
    let place = |label: &Name| {
        let value = worker.labels().get(label)?.into();
        Some(Place { job: at.job, task: at.task, label: label.clone(), value })
    };
    spec.spread.iter().filter_map(|spread| place(&spread.label)).collect()
}

impl State {
    /// How many elements of a task are live on workers with this value of a label that the task is spread over.
    pub fn crowd(&self, job: JobId, task: u32, label: &Name, value: &str) -> u32 {
        self.cluster.crowd(job, task, label, value)
    }
}

impl Job {
    /// The tasks that must not share a worker with one.
    pub fn apart(&self, task: u32) -> impl Iterator<Item = u32> {
        self.plan.apart(task)
    }
}
