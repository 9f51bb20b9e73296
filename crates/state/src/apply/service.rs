//! Services change, and system jobs follow the workers.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_types::event::EventType;
use quorate_types::service::{Kind, ServiceSpec, Version};
use quorate_types::status::StopReason;
use quorate_types::{JobId, JobSpec, Name, TaskIndex, TaskSpec};

use super::Result;
use crate::element::AfterStop;
use crate::job::{ElementKey, Job, Task};
use crate::lifecycle::Change;
use crate::limits::{SERVICE_VERSIONS_MAX, SPEC_BYTES_MAX, SYSTEM_JOBS_MAX, UNFINISHED_ELEMENTS_MAX};
use crate::outcome::{Applied, Outcome, Rejection};
use crate::plan::Plan;
use crate::state::{Cluster, State};

impl State {
    /// Gives a service another definition or another number of elements. What it is known by stays.
    pub(super) fn change_service(&mut self, id: JobId, wanted: &JobSpec, out: &mut Applied) -> Result {
        let missing = || if self.is_archived(id) { Rejection::Archived(id) } else { Rejection::NoSuchJob(id) };
        let job = self.jobs.get(&id).cloned().ok_or_else(missing)?;
        let spec = job.changed(wanted)?;
        if *job.spec == spec {
            return Ok(Outcome::Done);
        }
        let asked = JobSpec { tasks: vec![wanted.tasks[0].clone()].into(), ..spec.clone() };
        self.check_resources(&asked)?;
        let spec_bytes = super::submit::weight(&spec);
        let (before, totals) = (job.header.spec_bytes, self.cluster.totals);
        if spec_bytes > before && totals.spec_bytes - before + spec_bytes > SPEC_BYTES_MAX {
            return Err(Rejection::MemoryFull(totals.spec_bytes));
        }
        let members = job.service.as_ref().map_or(0, |service| service.len());
        let count = if spec.kind() == Kind::Service { asked.tasks[0].count } else { members };
        let more = u64::from(count.saturating_sub(members));
        // Who is over a limit may still change what is there.
        if more > 0 {
            if totals.unfinished_elements + more > UNFINISHED_ELEMENTS_MAX {
                return Err(Rejection::QueueFull(totals.unfinished_elements));
            }
            self.check_namespace(&spec.namespace, more)?;
        }
        self.edit(id, out, |change| {
            change.define(spec, spec_bytes);
            match change.job.spec.kind() {
                Kind::Service => change.scale(count),
                Kind::System => change.rehost(),
                Kind::Batch => {}
            }
            change.roll();
            change.settle();
        });
        Ok(Outcome::Done)
    }

    /// Whether there may be one system job more, if this is one.
    pub(super) fn check_systems(&self, spec: &JobSpec) -> std::result::Result<(), Rejection> {
        let there = self.cluster.systems.len();
        if spec.kind() == Kind::System && there >= SYSTEM_JOBS_MAX {
            return Err(Rejection::TooManySystemJobs(there as u64));
        }
        Ok(())
    }

    /// A new system job gets an element for each worker that matches.
    pub(super) fn begin_system(&mut self, id: JobId, out: &mut Applied) {
        let hosts = self.cluster.systems.get(&id).map_or(0, |hosts| hosts.len());
        self.edit(id, out, |change| (0..hosts as u32).for_each(|at| change.add_member(TaskIndex(at))));
    }

    /// A worker has come, is to take nothing new, has other taints or is gone: system jobs follow, and services move.
    pub(super) fn follow_worker(&mut self, name: &Name, out: &mut Applied) {
        let Some(worker) = self.cluster.workers.get(name).cloned() else { return };
        if worker.draining && worker.is_alive() {
            self.cluster.draining.insert(name.clone());
            let there: BTreeSet<JobId> = worker.attempts.keys().map(|at| at.job).collect();
            for id in there.into_iter().filter(|id| self.cluster.services.contains_key(id)).collect::<Vec<_>>() {
                self.edit(id, out, |change| change.roll());
            }
        } else {
            self.cluster.draining.remove(name);
        }
        let jobs: Vec<JobId> = self.cluster.systems.keys().copied().collect();
        for id in jobs {
            let Some(wants) = self.jobs.get(&id).map(|job| job.wants(&worker)) else { continue };
            let Some(hosts) = self.cluster.systems.get_mut(&id) else { continue };
            let changed = if wants { hosts.insert(name.clone()).is_none() } else { hosts.remove(name).is_some() };
            if changed {
                self.edit(id, out, |change| {
                    change.on_host(name, wants);
                    change.settle();
                });
            }
        }
    }

    /// Elements of system jobs are the last that a draining worker ends.
    pub(super) fn follow_vacated(&mut self, out: &mut Applied) {
        while let Some(name) = out.vacated.pop() {
            let Some(worker) = self.cluster.workers.get(&name).filter(|worker| worker.draining) else { continue };
            let left: Vec<ElementKey> = worker.attempts.keys().copied().collect();
            if left.iter().all(|at| self.cluster.systems.contains_key(&at.job)) {
                for at in left {
                    self.edit(at.job, out, |change| change.stop(&at, AfterStop::Requeue, StopReason::Vacated));
                }
            }
        }
    }
}

impl Job {
    /// The specification with what is wanted as its newest version.
    fn changed(&self, wanted: &JobSpec) -> std::result::Result<JobSpec, Rejection> {
        let id = self.id();
        let (Some(old), Some(new)) = (&self.spec.service, &wanted.service) else {
            return Err(Rejection::NotAService(id));
        };
        let (state, cancelling) = (self.header.state, self.header.cancelling);
        if state.is_finished() {
            return Err(Rejection::JobState { job: id, state });
        }
        if cancelling {
            return Err(Rejection::Cancelling(id));
        }
        let (Some(task), Some(version)) = (wanted.tasks.first(), new.newest_version()) else {
            return Err(Rejection::NotAService(id));
        };
        let newest = &self.spec.tasks[old.newest as usize];
        let fixed = [
            ("/kind", old.kind != new.kind),
            ("/labels", self.spec.labels != wanted.labels),
            ("/tasks/0/name", newest.name != task.name),
        ];
        if let Some((pointer, _)) = fixed.into_iter().find(|(_, changes)| *changes) {
            return Err(Rejection::Fixed { pointer: pointer.to_owned() });
        }
        let mut spec = JobSpec {
            namespace: self.spec.namespace.clone(),
            idempotency_key: self.spec.idempotency_key.clone(),
            ..wanted.clone()
        };
        let at = self.version_for(task, version)?;
        let is_other = at != old.newest
            || !is_same(newest, task)
            || old.newest_version().is_some_and(|old| old.health != version.health)
            || (&self.spec.name, self.spec.priority, self.spec.preempt) != (&spec.name, spec.priority, spec.preempt);
        let last = old.newest_version().map_or(0, |version| version.number);
        let version = Version { number: last.saturating_add(u32::from(is_other)), health: version.health.clone() };
        let mut tasks: Vec<TaskSpec> = self.spec.tasks.iter().cloned().collect();
        let mut versions = old.versions.clone();
        if at as usize == tasks.len() {
            tasks.push(task.clone());
            versions.push(version);
        } else {
            (tasks[at as usize], versions[at as usize]) = (task.clone(), version);
        }
        spec.tasks = tasks.into();
        spec.service =
            Some(Box::new(ServiceSpec { newest: at, versions, max_unavailable: new.max_unavailable, kind: old.kind }));
        Ok(spec)
    }

    /// The position for a definition: one that is there is taken up again, and one that nobody has gives its place.
    fn version_for(&self, task: &TaskSpec, version: &Version) -> std::result::Result<u32, Rejection> {
        let (Some(service), Some(spec)) = (&self.service, &self.spec.service) else {
            return Err(Rejection::NotAService(self.id()));
        };
        let known = self.spec.tasks.iter().zip(&spec.versions).zip(0..);
        let same =
            |((known, old), _): &((&TaskSpec, &Version), u32)| is_same(known, task) && old.health == version.health;
        let same: Vec<u32> = known.filter(same).map(|(_, at)| at).collect();
        if let Some(at) = same.iter().find(|at| **at == spec.newest).or(same.first()) {
            return Ok(*at);
        }
        let is_free = |at: &u32| {
            let of_nobody = self.task(*at).is_some_and(|task| task.head.cancelled == task.head.count);
            *at != spec.newest && of_nobody && service.members.values().all(|member| member.version != *at)
        };
        let versions = self.tasks.len();
        match (0..versions).find(is_free) {
            Some(at) => Ok(at),
            None if (versions as usize) < SERVICE_VERSIONS_MAX => Ok(versions),
            None => Err(Rejection::TooManyVersions { job: self.id(), versions: u64::from(versions) }),
        }
    }
}

/// The same definition; how many elements there are is none of it.
fn is_same(a: &TaskSpec, b: &TaskSpec) -> bool {
    TaskSpec { count: b.count, ..a.clone() } == *b
}

impl Change<'_> {
    /// Takes over the specification, and the version that it has as the newest.
    fn define(&mut self, spec: JobSpec, spec_bytes: u64) {
        let totals = &mut self.cluster.totals;
        totals.spec_bytes = totals.spec_bytes - self.job.header.spec_bytes + spec_bytes;
        self.job.plan = Plan::of(&spec);
        let newest = spec.service.as_ref().map_or(0, |service| service.newest);
        if newest == self.job.tasks.len() {
            self.job.tasks.push(Task::default());
        }
        self.job.spec = Arc::new(spec);
        self.job.header.spec_bytes = spec_bytes;
        self.job.header.changed = self.out.index;
        self.job.service = self.job.service.as_ref().map(|service| Arc::new(service.with_newest(newest)));
        self.set_rolling(true);
        self.cluster.note_version(self.job);
        self.emit_job(EventType::JobUpdated);
    }

    /// So many elements, from now on.
    fn scale(&mut self, count: u32) {
        let there: Vec<u32> = self.job.service.iter().flat_map(|service| service.members.keys().copied()).collect();
        for at in there.iter().filter(|at| **at >= count) {
            self.drop_member(TaskIndex(*at));
        }
        for at in (0..count).filter(|at| there.binary_search(at).is_err()) {
            self.add_member(TaskIndex(at));
        }
    }

    /// Another definition may suit other workers.
    fn rehost(&mut self) {
        let id = self.job.id();
        let hosts = self.cluster.hosts_of(self.job);
        let before = self.cluster.systems.insert(id, hosts.clone()).unwrap_or_default();
        for gone in before.clone().relative_complement(hosts.clone()) {
            self.end_on(&gone);
            self.on_host(&gone, false);
        }
        for new in hosts.relative_complement(before) {
            self.on_host(&new, true);
        }
    }

    /// Ends what is live of the job on a worker.
    fn end_on(&mut self, worker: &Name) {
        let id = self.job.id();
        let live = self.cluster.workers.get(worker).into_iter().flat_map(|worker| worker.attempts.keys().copied());
        for at in live.filter(|at| at.job == id).collect::<Vec<_>>() {
            self.stop(&at, AfterStop::Requeue, StopReason::Unmatched);
        }
    }
}

impl Cluster {
    /// Takes an unfinished service into the books.
    pub(crate) fn enlist_service(&mut self, job: &Job) {
        let Some(service) = &job.spec.service else { return };
        self.note_version(job);
        if service.kind == Kind::System {
            let hosts = self.hosts_of(job);
            self.systems.insert(job.id(), hosts);
        }
    }

    fn note_version(&mut self, job: &Job) {
        let newest = job.spec.service.as_ref().and_then(|service| service.newest_version());
        self.services.insert(job.id(), newest.map_or(0, |version| version.number));
    }

    pub(crate) fn delist_service(&mut self, id: JobId) {
        self.systems.remove(&id);
        self.services.remove(&id);
    }
}
