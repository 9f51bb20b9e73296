//! How many elements of a task are live together, where the task says how many may be, and which jobs are where.
//! Derived from the live attempts.

use std::sync::Arc;

use imbl::OrdMap;
use quorate_types::{JobId, JobSpec, Name, TaskSpec};

use crate::company::{Companies, Company, Sign};
use crate::job::{ElementKey, Job};
use crate::spaces::Hold;
use crate::state::{Cluster, State};
use crate::worker::{LiveAttempt, Worker};

/// Live elements of a task on workers with one value of a label. Those of a service count together, whatever version
/// they have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    job: JobId,
    task: u32,
    label: Name,
    value: Arc<str>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Crowds {
    /// Kept only for the labels that tasks are spread over.
    places: OrdMap<Place, u32>,
    /// Kept only of jobs with labels, and of those that shun some.
    companies: Companies,
}

impl Cluster {
    /// The attempt is live from now on. If it has nobody to wait for it holds what its task asks for, on the worker and
    /// of the cluster.
    pub(crate) fn occupy(&mut self, worker: &Name, at: ElementKey, attempt: LiveAttempt, job: &JobSpec) {
        let Some(found) = self.workers.get_mut(worker) else { return };
        if Arc::make_mut(found).take(at, attempt) {
            self.hold(worker, at, attempt.stopping, job);
        }
    }

    /// The attempt is live no more. What it held is free, or another's who waited for it. Gives whether one wait is
    /// over.
    pub(crate) fn vacate(&mut self, worker: &Name, at: &ElementKey, job: &JobSpec) -> bool {
        let Some(found) = self.workers.get_mut(worker) else { return false };
        let Some(live) = found.attempts.get(at).copied() else { return false };
        let heir = Arc::make_mut(found).release(at);
        if live.holds {
            self.free(worker, at, live.stopping, job);
        }
        if let Some(heir) = heir {
            let stopping =
                self.workers.get(worker).and_then(|found| found.attempts.get(&heir)).map(|live| live.stopping);
            self.hold(worker, heir, stopping.unwrap_or_default(), job);
        }
        heir.is_some() || !live.holds
    }

    fn hold(&mut self, worker: &Name, at: ElementKey, stopping: bool, job: &JobSpec) {
        let (Some(found), Some(spec)) = (self.workers.get_mut(worker), job.tasks.get(at.task as usize)) else { return };
        Arc::make_mut(found).used.add(&spec.resources);
        for place in places(at, job, spec, found) {
            *self.crowds.places.entry(place).or_insert(0) += 1;
        }
        if let Some(company) = Company::of(job, spec) {
            self.crowds.companies.join(&company, at.job, found.epoch);
        }
        self.note_hold(&job.namespace, Hold::Begins, &spec.resources);
        if stopping {
            self.note_hold(&job.namespace, Hold::Stopping, &spec.resources);
        }
        self.pools.take(at, spec);
    }

    fn free(&mut self, worker: &Name, at: &ElementKey, stopping: bool, job: &JobSpec) {
        let (Some(found), Some(spec)) = (self.workers.get_mut(worker), job.tasks.get(at.task as usize)) else { return };
        Arc::make_mut(found).used.subtract(&spec.resources);
        let epoch = found.epoch;
        for place in places(*at, job, spec, found) {
            let left = self.crowds.places.get(&place).map_or(0, |count| count - 1);
            if left == 0 {
                self.crowds.places.remove(&place);
            } else {
                self.crowds.places.insert(place, left);
            }
        }
        self.note_hold(&job.namespace, Hold::Ends { stopping }, &spec.resources);
        if let Some(company) = Company::of(job, spec) {
            self.crowds.companies.leave(&company, at.job, epoch);
        }
        self.pools.release(at, spec);
    }

    /// Whether one more element of the task would be one too many on the worker.
    pub(crate) fn is_crowded(&self, job: &Job, task: u32, worker: &Name) -> bool {
        let (Some(worker), Some(spec)) = (self.workers.get(worker), job.task_spec(task)) else { return true };
        let spread_too_far = spec.spread.iter().any(|spread| {
            worker
                .labels()
                .get(&spread.label)
                .is_none_or(|value| self.crowd(job.id(), job.spec.family(task), &spread.label, value) >= spread.max)
        });
        let in_the_way = || {
            // Most clusters have nobody who shuns anything.
            let calm = spec.anti_affinity.is_empty() && !self.crowds.companies.has_shunning();
            let company = if calm { None } else { Company::of(&job.spec, spec) }?;
            self.crowds.companies.in_the_way(&company, job.id(), worker.epoch).map(|(other, _)| other)
        };
        spread_too_far || job.plan.apart(task).any(|other| worker.runs(job.id(), other)) || in_the_way().is_some()
    }

    fn crowd(&self, job: JobId, task: u32, label: &Name, value: &str) -> u32 {
        let place = Place { job, task, label: label.clone(), value: value.into() };
        self.crowds.places.get(&place).copied().unwrap_or(0)
    }
}

fn places(at: ElementKey, job: &JobSpec, spec: &TaskSpec, worker: &Worker) -> Vec<Place> {
    let task = job.family(at.task);
    let place = |label: &Name| {
        let value = worker.labels().get(label)?.into();
        Some(Place { job: at.job, task, label: label.clone(), value })
    };
    spec.spread.iter().filter_map(|spread| place(&spread.label)).collect()
}

impl State {
    /// How many elements of a task, of whatever version, are live on workers with this value of a label that the task
    /// is spread over.
    pub fn crowd(&self, job: JobId, task: u32, label: &Name, value: &str) -> u32 {
        let task = self.job(job).map_or(task, |job| job.spec.family(task));
        self.cluster.crowd(job, task, label, value)
    }

    /// Which jobs with labels, and which that shun some, have attempts where.
    pub fn companies(&self) -> &Companies {
        &self.cluster.crowds.companies
    }

    /// Another job that keeps a task off a worker for a label that one of them has and the other shuns.
    pub fn stranger_on(&self, job: &Job, task: u32, worker: &Worker) -> Option<(JobId, Sign)> {
        let company = Company::of(&job.spec, job.task_spec(task)?)?;
        let (other, sign) = self.companies().in_the_way(&company, job.id(), worker.epoch)?;
        Some((other, sign.clone()))
    }
}

impl Job {
    /// The tasks that must not share a worker with one.
    pub fn apart(&self, task: u32) -> impl Iterator<Item = u32> {
        self.plan.apart(task)
    }
}
