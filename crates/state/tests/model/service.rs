//! Services and system jobs of the model, after docs/services.md: which elements there are to be, in which version each
//! is, and which of them are available.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_state::element::AfterStop;
use quorate_state::limits::SERVICE_VERSIONS_MAX;
use quorate_state::outcome::{Outcome, Rejection};
use quorate_types::service::{Health, Kind, ServiceSpec, Version};
use quorate_types::status::{AttemptState, StopReason, TaskState};
use quorate_types::{Epoch, JobId, JobSpec, Name, Span, Taint, TaskSpec, Timestamp};

use crate::job::{Attempt, Element, Job, Wait};
use crate::machine::{Model, Result};

/// An element that is to run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Member {
    pub version: usize,
    pub available: bool,
}

/// How the attempt of an element ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Gone {
    /// It was asked to, or its worker left.
    Stopped,
    Lost,
    /// By itself, after it had run for so long.
    Ended(Span),
    Unable,
}

fn rests(state: TaskState) -> bool {
    matches!(state, TaskState::Waiting | TaskState::Pending)
}

fn goes(state: TaskState) -> bool {
    matches!(state, TaskState::Assigned | TaskState::Running)
}

impl Job {
    pub fn is_service(&self) -> bool {
        self.spec.service.is_some()
    }

    pub fn is_system(&self) -> bool {
        self.spec.kind() == Kind::System
    }

    pub fn newest(&self) -> usize {
        self.spec.service.as_ref().map_or(0, |service| service.newest as usize)
    }

    pub fn may_go_on(&self) -> bool {
        !self.paused && !self.cancelling && self.finished.is_none()
    }

    fn state_in(&self, version: usize, at: usize) -> Option<TaskState> {
        Some(self.tasks[version].get(at)?.state)
    }

    /// The version in which an element runs, rests or is ending.
    fn version_of(&self, at: usize) -> Option<usize> {
        (0..self.tasks.len()).find(|version| self.state_in(*version, at).is_some_and(|state| !state.is_finished()))
    }

    /// Of a service the newest in whatever version: attempts are counted through all of them.
    pub fn last_attempt(&self, task: usize, at: usize) -> Option<&Attempt> {
        let last = |task: usize| self.tasks[task].get(at)?.attempts.last();
        if !self.is_service() {
            return last(task);
        }
        (0..self.tasks.len()).filter_map(last).max_by_key(|attempt| attempt.fence)
    }

    pub fn next_number(&self, task: usize, at: usize) -> u32 {
        self.last_attempt(task, at).map_or(0, |attempt| attempt.number) + 1
    }

    /// Where the element of the task called so is.
    pub fn place_of(&self, name: &Name, at: usize) -> Option<usize> {
        if !self.is_service() {
            return self.position(name);
        }
        self.position(name)?;
        let last = |version: &usize| Some(self.tasks[*version].get(at)?.attempts.last()?.fence);
        let ended = (0..self.tasks.len()).filter(|version| last(version).is_some()).max_by_key(last);
        self.version_of(at).or(ended).or(Some(self.newest()))
    }

    /// The members of which this is true of their version, whether it is the newest, and whether they are available.
    pub fn with(&self, is_new: bool, available: bool) -> Vec<usize> {
        let newest = self.newest();
        let is = |member: &Member| (member.version == newest) == is_new && member.available == available;
        self.members.iter().filter(|(_, member)| is(member)).map(|(at, _)| *at).collect()
    }

    pub fn most_elements(&self) -> usize {
        self.tasks.iter().map(Vec::len).max().unwrap_or(0)
    }

    pub fn coming(&self) -> Vec<usize> {
        self.with(true, false)
    }

    pub fn unavailable(&self) -> usize {
        self.members.values().filter(|member| !member.available).count()
    }

    pub fn most_unavailable(&self) -> usize {
        let share = self.spec.service.as_ref().unwrap().max_unavailable;
        share.of(self.members.len() as u32) as usize
    }

    fn begin(&mut self, version: usize, at: usize) {
        let elements = &mut self.tasks[version];
        while elements.len() <= at {
            elements.push(Element { state: TaskState::Cancelled, ..Element::new() });
        }
        let attempts = std::mem::take(&mut elements[at].attempts);
        elements[at] = Element { attempts, state: TaskState::Pending, ..Element::new() };
    }

    fn add_member(&mut self, at: usize) {
        let newest = self.newest();
        self.members.insert(at, Member { version: newest, available: false });
        if self.version_of(at).is_none() {
            self.begin(newest, at);
        }
    }

    fn drop_member(&mut self, at: usize) {
        self.members.remove(&at);
        for version in 0..self.tasks.len() {
            match self.state_in(version, at) {
                Some(state) if rests(state) => self.tasks[version][at].cancel(false),
                Some(state) if goes(state) => self.stop(version, at, AfterStop::Requeue, StopReason::Surplus),
                Some(_) | None => {}
            }
        }
    }

    fn lowest_free(&self) -> usize {
        (0..).find(|at| !self.members.contains_key(at)).unwrap()
    }

    fn drop_last_unstarted(&mut self) {
        let unstarted = |(at, member): &(&usize, &Member)| self.state_in(member.version, **at).is_some_and(rests);
        let last = self.members.iter().rev().find(unstarted).map(|(at, _)| *at);
        last.into_iter().for_each(|at| self.drop_member(at));
    }

    /// Who goes over to the newest version next: who is down, then the others, as long as it does not get too bad.
    fn next_to_go_over(&self) -> Option<usize> {
        let most = self.most_unavailable();
        let is_slow = self.coming().len() >= most;
        let down = self.with(false, false).first().copied().filter(|_| !is_slow || self.is_system());
        let available = self.with(false, true).first().copied();
        down.or(available.filter(|_| !is_slow && self.unavailable() < most))
    }

    fn go_over(&mut self, at: usize) {
        let (from, to) = (self.members[&at].version, self.newest());
        self.members.insert(at, Member { version: to, available: false });
        match self.state_in(from, at) {
            Some(state) if rests(state) => {
                self.tasks[from][at].cancel(false);
                self.begin(to, at);
            }
            Some(state) if goes(state) => self.stop(from, at, AfterStop::Requeue, StopReason::Outdated),
            Some(_) | None => {}
        }
    }
}

impl Attempt {
    pub fn ended_by_itself(&self) -> bool {
        matches!(self.state, AttemptState::Succeeded | AttemptState::Failed)
    }
}

impl Model {
    /// Whether an element of a system job is to be on the worker.
    fn is_host(&self, job: &Job, worker: &Name) -> bool {
        let task = &job.spec.tasks[job.newest()];
        let suits = |worker: &crate::workers::Worker| {
            worker.is_alive()
                && !worker.draining
                && worker.taints.iter().all(|taint| taint.is_tolerated_by(&task.tolerations))
                && task.resources.fits(&worker.capacity)
        };
        self.workers.get(worker).is_some_and(suits)
    }

    fn hosts(&self, job: &Job) -> BTreeSet<Name> {
        self.workers.keys().filter(|worker| self.is_host(job, worker)).cloned().collect()
    }

    /// Whether an attempt of the job is live there.
    pub fn lives_on(&self, id: JobId, worker: &Name) -> bool {
        let epoch = self.workers.get(worker).map(|worker| worker.epoch);
        epoch.is_some_and(|epoch| self.live_on(epoch).iter().any(|(job, ..)| *job == id))
    }

    /// The elements that a new service begins with.
    pub fn begin_service(&self, job: &mut Job) {
        let count = match job.spec.kind() {
            Kind::Batch => 0,
            Kind::Service => job.spec.tasks[0].count as usize,
            Kind::System => self.hosts(job).len(),
        };
        (0..count).for_each(|at| job.add_member(at));
    }

    /// Something is another than before on a worker.
    pub fn follow_worker(&mut self, name: &Name) {
        let Some(worker) = self.workers.get(name) else { return };
        if worker.draining && worker.is_alive() {
            let there: BTreeSet<JobId> = self.live_on(worker.epoch).into_iter().map(|(job, ..)| job).collect();
            there.into_iter().for_each(|id| self.roll(id));
        }
        let systems: Vec<JobId> = self.jobs.values().filter(|job| job.is_system()).map(|job| job.id).collect();
        for id in systems {
            self.follow_host(id, name);
        }
    }

    /// As many elements of a system job as workers that match or have an attempt of it.
    fn follow_host(&mut self, id: JobId, name: &Name) {
        let job = &self.jobs[&id];
        if job.finished.is_some() || job.cancelling || self.lives_on(id, name) {
            return;
        }
        let lingers = |worker: &&Name| self.is_host(job, worker) || self.lives_on(id, worker);
        let wanted = self.workers.keys().filter(lingers).count();
        let job = self.jobs.get_mut(&id).unwrap();
        match job.members.len() {
            len if len < wanted => job.add_member(job.lowest_free()),
            len if len > wanted => job.drop_last_unstarted(),
            _ => return,
        }
        self.roll(id);
    }

    /// Elements of system jobs are the last that a draining worker ends.
    pub fn follow_drained(&mut self) {
        let draining = self.workers.values().filter(|worker| worker.draining && worker.is_alive());
        for epoch in draining.map(|worker| worker.epoch).collect::<Vec<_>>() {
            let live = self.live_on(epoch);
            if live.iter().all(|(id, ..)| self.jobs[id].is_system()) {
                live.into_iter().for_each(|(id, task, at)| {
                    self.jobs.get_mut(&id).unwrap().stop(task, at, AfterStop::Requeue, StopReason::Vacated);
                });
            }
        }
    }

    /// Takes elements to the newest version, and away from workers that drain, as far as they may be unavailable.
    pub fn roll(&mut self, id: JobId) {
        let draining = self.workers.values().filter(|worker| worker.draining && worker.is_alive());
        let leaving: Vec<Epoch> = draining.map(|worker| worker.epoch).collect();
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.is_service() && job.may_go_on()) else { return };
        while let Some(at) = job.next_to_go_over() {
            job.go_over(at);
        }
        if job.is_system() {
            return;
        }
        for epoch in leaving {
            let there = self.live_on(epoch).into_iter().filter(|(job, ..)| *job == id);
            for (_, task, at) in there.collect::<Vec<_>>() {
                let job = self.jobs.get_mut(&id).unwrap();
                let available = job.members.get(&at).is_some_and(|member| member.available);
                if available && goes(job.tasks[task][at].state) && job.unavailable() < job.most_unavailable() {
                    job.stop(task, at, AfterStop::Requeue, StopReason::Draining);
                }
            }
        }
    }

    /// An attempt shows that it is well: by running, where nobody asks for more.
    pub fn on_well(&mut self, id: JobId, task: usize, at: usize, by_health: bool) {
        let job = self.jobs.get_mut(&id).unwrap();
        let Some(service) = job.spec.service.as_ref() else { return };
        if !by_health && service.versions[task].health.is_some() {
            return;
        }
        let runs = job.tasks[task][at].state == TaskState::Running;
        let is_new = |member: &&mut Member| runs && member.version == task && !member.available;
        match job.members.get_mut(&at).filter(is_new) {
            Some(member) => member.available = true,
            None if by_health => return,
            None => {}
        }
        self.roll(id);
    }

    /// What becomes of an element whose attempt has ended.
    pub fn on_gone(&mut self, id: JobId, task: usize, at: usize, gone: Gone) {
        let worker = self.jobs[&id].tasks[task][at].attempts.last().unwrap().worker.clone();
        let moved_out = self.jobs[&id].is_system() && !self.is_host(&self.jobs[&id], &worker);
        let now = self.now;
        let job = self.jobs.get_mut(&id).unwrap();
        if job.cancelling {
            job.tasks[task][at].cancel(false);
            return;
        }
        if moved_out {
            job.members.remove(&at);
        }
        match job.members.get(&at).copied() {
            Some(member) if member.version == task => {
                job.members.insert(at, Member { available: false, ..member });
                job.start_again(task, at, gone, now);
            }
            Some(member) => {
                job.tasks[task][at].cancel(false);
                job.begin(member.version, at);
            }
            None => job.tasks[task][at].cancel(false),
        }
        self.roll(id);
    }

    pub fn taint(&mut self, name: &Name, taints: &[Taint]) -> Result {
        let worker = self.workers.get_mut(name).ok_or_else(|| Rejection::NoSuchWorker(name.clone()))?;
        worker.taints = taints.to_vec();
        self.follow_worker(name);
        Ok(Outcome::Done)
    }

    pub fn change_service(&mut self, id: JobId, wanted: &JobSpec) -> Result {
        let job = self.job(id)?;
        let spec = job.changed(wanted)?;
        if *job.spec == spec {
            return Ok(Outcome::Done);
        }
        self.check_resources(&JobSpec { tasks: vec![wanted.tasks[0].clone()].into(), ..spec.clone() })?;
        let before = self.hosts(&self.jobs[&id]);
        let job = self.jobs.get_mut(&id).unwrap();
        job.spec = Arc::new(spec);
        job.tasks.resize_with(job.spec.tasks.len(), Vec::new);
        if job.is_system() {
            self.rehost(id, &before);
        } else {
            let count = wanted.tasks[0].count as usize;
            let surplus: Vec<usize> = job.members.range(count..).map(|(at, _)| *at).collect();
            surplus.into_iter().for_each(|at| job.drop_member(at));
            let missing: Vec<usize> = (0..count).filter(|at| !job.members.contains_key(at)).collect();
            missing.into_iter().for_each(|at| job.add_member(at));
        }
        self.roll(id);
        Ok(Outcome::Done)
    }

    /// Another definition may suit other workers.
    fn rehost(&mut self, id: JobId, before: &BTreeSet<Name>) {
        let hosts = self.hosts(&self.jobs[&id]);
        for name in before.difference(&hosts) {
            let epoch = self.workers[name].epoch;
            for (_, task, at) in self.live_on(epoch).into_iter().filter(|(job, ..)| *job == id).collect::<Vec<_>>() {
                self.jobs.get_mut(&id).unwrap().stop(task, at, AfterStop::Requeue, StopReason::Unmatched);
            }
            if !self.lives_on(id, name) {
                self.jobs.get_mut(&id).unwrap().drop_last_unstarted();
                self.roll(id);
            }
        }
        for name in hosts.difference(before) {
            if !self.lives_on(id, name) {
                let job = self.jobs.get_mut(&id).unwrap();
                job.add_member(job.lowest_free());
                self.roll(id);
            }
        }
    }
}

impl Job {
    fn start_again(&mut self, task: usize, at: usize, gone: Gone, now: Timestamp) {
        let spec = &self.spec.tasks[task];
        let element = &mut self.tasks[task][at];
        let last = element.attempts.last().unwrap();
        let ran = match (gone, last.started_at, last.finished_at) {
            (Gone::Ended(ran), ..) => ran.0,
            (_, Some(from), Some(until)) => until.0.saturating_sub(from.0),
            (_, _, _) => 0,
        };
        if ran >= spec.backoff.max.0 {
            element.failures = 0;
        }
        let times = match gone {
            Gone::Stopped => 0,
            Gone::Lost if element.losses >= spec.losses => element.losses,
            Gone::Lost => 0,
            Gone::Unable => element.unable,
            Gone::Ended(_) => {
                element.failures += 1;
                element.failures
            }
        };
        if times == 0 {
            element.state = TaskState::Pending;
        } else {
            let wait = Wait { from: now, least: spec.backoff.wait(times), until: None };
            (element.state, element.wait) = (TaskState::Waiting, Some(wait));
        }
    }

    /// The specification with what is wanted as its newest version.
    fn changed(&self, wanted: &JobSpec) -> Result<JobSpec> {
        let id = self.id;
        let (Some(old), Some(new)) = (self.spec.service.as_deref(), wanted.service.as_deref()) else {
            return Err(Rejection::NotAService(id));
        };
        match self.finished {
            Some((_, state)) => return Err(Rejection::JobState { job: id, state }),
            None if self.cancelling => return Err(Rejection::Cancelling(id)),
            None => {}
        }
        let (task, health) = (&wanted.tasks[0], &new.versions[0].health);
        for (pointer, stays) in [
            ("/kind", old.kind == new.kind),
            ("/labels", self.spec.labels == wanted.labels),
            ("/tasks/0/name", self.spec.tasks[0].name == task.name),
        ] {
            if !stays {
                return Err(Rejection::Fixed { pointer: pointer.into() });
            }
        }
        let at = self.version_for(old, task, health)?;
        let last = &old.versions[old.newest as usize];
        let stays = at == old.newest as usize
            && is_same(&self.spec.tasks[at], task)
            && last.health == *health
            && (&self.spec.name, self.spec.priority, self.spec.preempt)
                == (&wanted.name, wanted.priority, wanted.preempt);
        let version = Version { number: last.number + u32::from(!stays), health: health.clone() };
        let mut tasks: Vec<TaskSpec> = self.spec.tasks.iter().cloned().collect();
        let mut versions = old.versions.clone();
        match tasks.get_mut(at) {
            Some(place) => (*place, versions[at]) = (task.clone(), version),
            None => {
                tasks.push(task.clone());
                versions.push(version);
            }
        }
        let service = ServiceSpec { newest: at as u32, versions, max_unavailable: new.max_unavailable, kind: old.kind };
        Ok(JobSpec {
            namespace: self.spec.namespace.clone(),
            idempotency_key: self.spec.idempotency_key.clone(),
            tasks: tasks.into(),
            service: Some(Box::new(service)),
            ..wanted.clone()
        })
    }

    /// A definition that is there is taken up again, the newest first, and one that nobody has gives its place.
    fn version_for(&self, old: &ServiceSpec, task: &TaskSpec, health: &Option<Health>) -> Result<usize> {
        let (all, newest) = (0..self.tasks.len(), old.newest as usize);
        let is_same = |at: &usize| is_same(&self.spec.tasks[*at], task) && old.versions[*at].health == *health;
        let is_unused = |at: &usize| {
            *at != newest
                && self.tasks[*at].iter().all(|element| element.state == TaskState::Cancelled)
                && self.members.values().all(|member| member.version != *at)
        };
        let known = Some(newest).filter(is_same).or_else(|| all.clone().find(is_same));
        if let Some(at) = known.or_else(|| all.clone().find(is_unused)) {
            return Ok(at);
        }
        let versions = all.len();
        if versions < SERVICE_VERSIONS_MAX {
            return Ok(versions);
        }
        Err(Rejection::TooManyVersions { job: self.id, versions: versions as u64 })
    }
}

/// The same definition; how many elements there are is none of it.
fn is_same(a: &TaskSpec, b: &TaskSpec) -> bool {
    TaskSpec { count: b.count, ..a.clone() } == *b
}
