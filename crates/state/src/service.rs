//! Services and system jobs: which elements there are to be, which version each has, and which of them are well.
//!
//! Each version is a task of the job. An element is a *member*: it belongs to one version, where it runs or waits; in
//! all others its record, if there is one, is cancelled. While its attempt in the version before is ending, it is in
//! both, and starts in the new one when that attempt has certainly ended.

use std::collections::BTreeMap;

use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};
use quorate_types::api::{Rollout, ServiceView};
use quorate_types::service::{Kind, ServiceSpec};
use quorate_types::status::{AttemptState, TaskState};
use quorate_types::{JobId, Name, TaskIndex};
use serde::{Deserialize, Serialize};

use crate::element::{Attempt, Element};
use crate::job::Job;
use crate::state::{Cluster, State};
use crate::worker::Worker;

/// An element that is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// The task that is its version.
    pub(crate) version: u32,
    /// Its attempt runs, was not asked to end, and is well.
    pub(crate) available: bool,
}

/// The members of a service. The sets are derived from them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Service {
    pub(crate) members: OrdMap<u32, Member>,
    /// Not available, with the newest version.
    pub(crate) coming: OrdSet<u32>,
    /// With an older version, and not available.
    pub(crate) down: OrdSet<u32>,
    /// With an older version, and available.
    pub(crate) behind: OrdSet<u32>,
    /// Not all have come to the newest version and been well since it came.
    pub(crate) rolling: bool,
}

impl Service {
    /// Elements as they are before the first of them has started.
    pub(crate) fn of(spec: &ServiceSpec, count: u32) -> Self {
        let mut service = Self { rolling: true, ..Self::default() };
        if spec.kind == Kind::Service {
            (0..count).for_each(|at| service.set(at, Member { version: spec.newest, available: false }, spec.newest));
        }
        service
    }

    pub(crate) fn set(&mut self, at: u32, member: Member, newest: u32) {
        self.forget(at);
        self.members.insert(at, member);
        match (member.version == newest, member.available) {
            (true, true) => None,
            (true, false) => self.coming.insert(at),
            (false, false) => self.down.insert(at),
            (false, true) => self.behind.insert(at),
        };
    }

    pub(crate) fn forget(&mut self, at: u32) -> Option<Member> {
        self.coming.remove(&at);
        self.down.remove(&at);
        self.behind.remove(&at);
        self.members.remove(&at)
    }

    /// The same members, with another version as the newest.
    pub(crate) fn with_newest(&self, newest: u32) -> Self {
        let mut service = Self { rolling: self.rolling, ..Self::default() };
        self.members.iter().for_each(|(at, member)| service.set(*at, *member, newest));
        service
    }

    pub(crate) fn len(&self) -> u32 {
        self.members.len() as u32
    }

    pub(crate) fn unavailable(&self) -> u32 {
        (self.coming.len() + self.down.len()) as u32
    }

    /// Whether all members have the newest version.
    pub(crate) fn is_updated(&self) -> bool {
        self.down.is_empty() && self.behind.is_empty()
    }
}

impl Job {
    pub fn is_service(&self) -> bool {
        self.service.is_some()
    }

    /// Where an element of the task called so is: of a service, in the version in which it runs or waits, or ended
    /// last.
    pub fn place_of(&self, name: &Name, index: TaskIndex) -> Option<u32> {
        let newest = self.position_of(name)?;
        if !self.is_service() {
            return Some(newest);
        }
        let is_there = |at: &u32| {
            let state = self.task(*at).and_then(|task| task.state_of(index));
            state.is_some_and(|state| !state.is_finished())
        };
        let last = |at: &u32| self.last_attempt(*at, index).map(|attempt| attempt.fence);
        let versions = || 0..self.tasks.len();
        let ended = || versions().filter(|at| last(at).is_some()).max_by_key(last);
        versions().find(is_there).or_else(ended).or(Some(newest))
    }

    fn last_attempt(&self, task: u32, index: TaskIndex) -> Option<&Attempt> {
        self.task(task)?.element(index)?.current()
    }

    /// All that is remembered of an element's attempts, in whatever version, each with the version in which it ran.
    pub fn attempts_of(&self, task: u32, index: TaskIndex) -> Vec<(u32, &Attempt)> {
        let in_version = |at: u32| {
            let element = self.task(at).and_then(|found| found.element(index));
            element.into_iter().flat_map(move |element| element.attempts.iter().map(move |attempt| (at, attempt)))
        };
        let versions = if self.is_service() { 0..self.tasks.len() } else { task..task + 1 };
        let mut attempts: Vec<(u32, &Attempt)> = versions.flat_map(in_version).collect();
        // One that is about to start in another version has a copy of its last attempt there.
        attempts.sort_by_key(|(at, attempt)| (attempt.fence, *at == task));
        attempts.dedup_by_key(|(_, attempt)| attempt.fence);
        attempts
    }

    /// Whether lists leave a cancelled element out: it is not one of the service any more, or is in another version.
    pub fn is_hidden(&self, task: u32, index: TaskIndex) -> bool {
        let Some(found) = self.task(task).filter(|_| self.is_service()) else { return false };
        let over = self.header.state.is_finished();
        let elsewhere = || self.tasks.len() > 1 && self.last_attempt(task, index).is_none();
        found.state_of(index) == Some(TaskState::Cancelled) && (!over || elsewhere())
    }

    /// Whether an element of a service runs and is well; none if it is none.
    pub fn is_available(&self, index: TaskIndex) -> Option<bool> {
        Some(self.service.as_ref()?.members.get(&index.0)?.available)
    }

    /// How it stands, if it is a service.
    pub fn service_view(&self) -> Option<ServiceView> {
        let (service, spec) = (self.service.as_ref()?, self.spec.service.as_deref()?);
        let stalled = self.stalled();
        let updated = service.is_updated();
        let rollout = match (&stalled, updated && service.coming.is_empty()) {
            (Some(_), _) => Rollout::Stalled,
            (None, true) => Rollout::Done,
            (None, false) => Rollout::Rolling,
        };
        Some(ServiceView {
            version: spec.newest_version().map_or(1, |version| version.number),
            wanted: service.len(),
            available: service.len() - service.unavailable(),
            updated: service.len() - (service.down.len() + service.behind.len()) as u32,
            max_unavailable: spec.max_unavailable.of(service.len()),
            rollout,
            stalled_by: stalled,
        })
    }

    /// Why no more elements go over to the newest version: one that has it did not stay well.
    fn stalled(&self) -> Option<String> {
        let (service, spec) = (self.service.as_ref()?, self.spec.service.as_deref()?);
        let task = self.task(spec.newest)?;
        // Of one whose attempt in another version is still ending, the record here is an old one.
        let tells = |element: &&Element| element.failures > 0 && !element.state.is_finished();
        let failed = service.coming.iter().find_map(|at| {
            let element = task.element(TaskIndex(*at)).filter(tells)?;
            let last = element.attempts.iter().rev().find(|attempt| !attempt.state.is_live())?;
            // What ended it from outside says nothing of the version.
            let by_itself = matches!(last.state, AttemptState::Succeeded | AttemptState::Failed);
            Some((at, element.failures, last.ending.as_ref().filter(|_| by_itself)?))
        });
        let (at, times, why) = failed?;
        Some(format!("element {at} of the newest version ended {times} times in a row, the last time: {why}"))
    }

    /// Whether a worker is one on which an element of the system job is to be.
    pub(crate) fn wants(&self, worker: &Worker) -> bool {
        let newest = self.spec.service.as_ref().and_then(|service| self.task_spec(service.newest));
        let suits = newest
            .is_some_and(|task| task.suits(worker.labels(), worker.taints()) && task.resources.fits(&worker.capacity));
        suits && worker.is_alive() && !worker.draining
    }

    /// Whether an attempt of the job is live on the worker.
    pub fn lives_on(&self, worker: &Worker) -> bool {
        (0..self.tasks.len()).any(|task| worker.runs(self.id(), task))
    }
}

impl Cluster {
    /// The workers that a system job is to have an element on.
    pub(crate) fn hosts_of(&self, job: &Job) -> OrdSet<Name> {
        self.workers.values().filter(|worker| job.wants(worker)).map(|worker| worker.name.clone()).collect()
    }
}

impl State {
    /// The services with another definition than in an earlier version of the state.
    pub fn changed_services<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = JobId> + 'a {
        earlier.cluster.services.diff(&self.cluster.services).filter_map(|change| match change {
            DiffItem::Update { new: (id, _), .. } => Some(*id),
            DiffItem::Add(..) | DiffItem::Remove(..) => None,
        })
    }
}

impl Job {
    /// What must hold of a service at any time. The records may come from anywhere.
    pub(crate) fn check_service(&self) -> Result<(), String> {
        let (Some(service), Some(spec)) = (&self.service, &self.spec.service) else {
            let neither = self.service.is_none() && self.spec.service.is_none();
            return if neither { Ok(()) } else { Err("is half a service".to_owned()) };
        };
        let versions = self.spec.tasks.len();
        if spec.kind == Kind::Batch || spec.versions.len() != versions || spec.newest as usize >= versions {
            return Err(format!("has {versions} versions, which are {spec:?}"));
        }
        if **service != service.with_newest(spec.newest) {
            return Err(format!("counts its members as {service:?}"));
        }
        self.check_copies()?;
        if self.header.cancelling || self.header.state.is_finished() {
            return Ok(());
        }
        for (at, member) in &service.members {
            let state = |version: u32| self.task(version).and_then(|task| task.state_of(TaskIndex(*at)));
            let there: Vec<TaskState> = (0..versions as u32).filter_map(state).filter(|it| !it.is_finished()).collect();
            let own = state(member.version);
            let moves = there.contains(&TaskState::Stopping);
            let sound = there.len() == 1
                && (own.is_some_and(|state| !state.is_finished()) || moves)
                && (!member.available || own == Some(TaskState::Running));
            if !sound {
                return Err(format!("element {at} is {member:?}, and is {there:?}"));
            }
        }
        for (version, task, _) in self.tasks() {
            let of_nobody = (0..task.head.count).find(|at| {
                let state = task.state_of(TaskIndex(*at));
                let rests = matches!(state, Some(TaskState::Waiting | TaskState::Pending));
                let goes_on = rests || matches!(state, Some(TaskState::Assigned | TaskState::Running));
                goes_on && service.members.get(at).is_none_or(|member| member.version != version)
            });
            if let Some(at) = of_nobody {
                return Err(format!("element {at} of version {version} goes on, and is no member"));
            }
        }
        Ok(())
    }
}

impl Job {
    /// An attempt is in two versions only while its element waits in the later one, which counts on from it.
    fn check_copies(&self) -> Result<(), String> {
        let all = self.tasks().flat_map(|(version, task, _)| {
            task.elements().flat_map(move |(at, element)| {
                element.attempts.iter().map(move |attempt| ((at, attempt.fence), (version, element.state)))
            })
        });
        let mut seen = BTreeMap::new();
        for ((at, fence), (version, state)) in all {
            let Some((other, other_state)) = seen.insert((at, fence), (version, state)) else { continue };
            let rests = |state| matches!(state, TaskState::Waiting | TaskState::Pending);
            if !rests(state) && !rests(other_state) {
                return Err(format!("the attempt {fence} of element {at} is in the versions {other} and {version}"));
            }
        }
        Ok(())
    }
}

impl State {
    /// A system job has as many elements as there are workers that match, or have an attempt of it.
    pub(crate) fn check_system(&self, job: &Job) -> Result<(), String> {
        let (Some(service), Some(hosts)) = (&job.service, self.cluster.systems.get(&job.id())) else { return Ok(()) };
        if job.header.cancelling {
            return Ok(());
        }
        let lingers = |worker: &&std::sync::Arc<Worker>| !hosts.contains(&worker.name) && job.lives_on(worker);
        let wanted = hosts.len() + self.workers().filter(lingers).count();
        if service.len() as usize == wanted {
            return Ok(());
        }
        Err(format!("job {} has {} elements for {wanted} workers", job.id(), service.len()))
    }
}
