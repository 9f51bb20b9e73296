//! Workers and attempts of the model. What a worker's attempts hold is summed up whenever it is needed.

use quorate_state::command::{Assignment, Grounds, Preemption, Registration};
use quorate_state::element::AfterStop;
use quorate_state::outcome::{Outcome, Rejection};
use quorate_state::worker::Life;
use quorate_types::extension::Addition;
use quorate_types::limits::ATTEMPTS_KEPT_MAX;
use quorate_types::session::{Finished, Happening, Report};
use quorate_types::status::{AttemptState, Ending, StopReason, TaskState};
use quorate_types::{Epoch, Fence, JobId, Name, ReplicaId, Resources, Span, Taint, Timestamp};

use crate::job::{Attempt, Job, Wait};
use crate::machine::{Model, Result};
use crate::service::Gone;

#[derive(Clone)]
pub struct Worker {
    pub name: Name,
    pub epoch: Epoch,
    pub instance: u64,
    pub capacity: Resources,
    pub life: Life,
    pub draining: bool,
    pub drain_until: Option<Timestamp>,
    pub taints: Vec<Taint>,
    pub replica: ReplicaId,
    /// When the registration began or ended.
    pub since: Timestamp,
}

/// Attempts of one task in a row that workers may be unable to start.
const UNABLE_MAX: u32 = 16;

impl Worker {
    pub fn is_alive(&self) -> bool {
        self.life == Life::Alive
    }
}

impl Model {
    /// The elements with a live attempt of this registration.
    pub fn live_on(&self, epoch: Epoch) -> Vec<(JobId, usize, usize)> {
        let all = self.jobs.values().flat_map(|job| job.elements().map(|(task, at, e)| (job.id, task, at, e)));
        let live = all.filter(|(.., e)| e.state.is_live() && e.attempts.last().unwrap().epoch == epoch);
        live.map(|(id, task, at, _)| (id, task, at)).collect()
    }

    pub fn free(&self, worker: &Worker) -> Resources {
        let mut free = worker.capacity.clone();
        for job in self.jobs.values() {
            let here = job.holders().filter(|(.., e)| e.attempts.last().unwrap().epoch == worker.epoch);
            here.for_each(|(task, ..)| free.subtract(&job.spec.tasks[task].resources));
        }
        free
    }

    fn living(&mut self, name: &Name, epoch: Epoch) -> Result<&mut Worker> {
        let found = self.workers.get_mut(name).ok_or_else(|| Rejection::NoSuchWorker(name.clone()))?;
        if found.epoch == epoch && found.is_alive() { Ok(found) } else { Err(Rejection::StaleEpoch) }
    }

    pub fn register(&mut self, new: &Registration) -> Result {
        let earlier = self.workers.get(&new.name).cloned();
        if let Some(alive) = earlier.as_ref().filter(|worker| worker.is_alive()) {
            if alive.instance == new.instance {
                return Ok(Outcome::Registered { epoch: alive.epoch });
            }
            if new.replaces != Some(alive.instance) {
                return Err(Rejection::WorkerNameInUse(new.name.clone()));
            }
            self.end_worker(&new.name, alive.epoch, Life::Lost)?;
        }
        self.last_epoch += 1;
        let worker = Worker {
            name: new.name.clone(),
            epoch: Epoch(self.last_epoch),
            instance: new.instance,
            capacity: new.capacity.clone(),
            life: Life::Alive,
            draining: earlier.as_ref().is_some_and(|worker| worker.draining),
            taints: earlier.map(|worker| worker.taints).unwrap_or_default(),
            drain_until: None,
            replica: new.replica,
            since: self.now,
        };
        self.workers.insert(new.name.clone(), worker);
        self.follow_worker(&new.name);
        Ok(Outcome::Registered { epoch: Epoch(self.last_epoch) })
    }

    pub fn attach(&mut self, name: &Name, epoch: Epoch, replica: ReplicaId) -> Result {
        self.living(name, epoch)?.replica = replica;
        Ok(Outcome::Done)
    }

    pub fn end_worker(&mut self, name: &Name, epoch: Epoch, life: Life) -> Result {
        let now = self.now;
        let worker = self.living(name, epoch)?;
        (worker.life, worker.since, worker.drain_until) = (life, now, None);
        self.follow_worker(name);
        for (id, task, at) in self.live_on(epoch) {
            self.lose(id, task, at);
        }
        Ok(Outcome::Done)
    }

    pub fn drain(&mut self, name: &Name, on: bool, until: Option<Timestamp>) -> Result {
        let worker = self.workers.get_mut(name).ok_or_else(|| Rejection::NoSuchWorker(name.clone()))?;
        (worker.draining, worker.drain_until) = (on, until);
        self.follow_worker(name);
        Ok(Outcome::Done)
    }

    pub fn remove(&mut self, name: &Name) -> Result {
        let worker = self.workers.get(name).ok_or_else(|| Rejection::NoSuchWorker(name.clone()))?;
        if worker.is_alive() {
            return Err(Rejection::WorkerAlive(name.clone()));
        }
        self.workers.remove(name);
        Ok(Outcome::Done)
    }

    pub fn assign(&mut self, items: &[Assignment]) -> Outcome {
        let (mut accepted, mut rest) = (0, items);
        while let Some(first) = rest.first() {
            let job = self.jobs.get(&first.job).filter(|job| (first.task as usize) < job.tasks.len());
            let gang = job.and_then(|job| job.gang(first.task as usize));
            let size = job.map_or(0, |job| job.members(first.task as usize).len());
            let together = gang.map_or(1, |gang| {
                let members = rest.iter().take_while(|it| it.job == first.job && gang.contains(&(it.task as usize)));
                members.take(size).count()
            });
            let (items, others) = rest.split_at(together);
            if self.place_all(items, size.max(1)) {
                accepted += items.len() as u32;
            }
            rest = others;
        }
        Outcome::Assigned { accepted, stale: items.len() as u32 - accepted }
    }

    /// All of them, or none.
    fn place_all(&mut self, items: &[Assignment], size: usize) -> bool {
        let job = items[0].job;
        let before = self.jobs.get(&job).map(|job| job.tasks.clone());
        let placed = items.len() == size && items.iter().all(|item| self.place(item).is_some());
        if !placed && let Some(before) = before {
            self.jobs.get_mut(&job).unwrap().tasks = before;
        }
        placed
    }

    pub fn preempt(&mut self, items: &[Preemption]) -> Outcome {
        let stopped = items.iter().filter(|item| self.make_room(item).is_some()).count() as u32;
        Outcome::Preempted { stopped, stale: items.len() as u32 - stopped }
    }

    /// Only the attempt that was meant, on that registration, and only once.
    fn make_room(&mut self, item: &Preemption) -> Option<()> {
        let (task, at) = (item.task as usize, item.index.0 as usize);
        let may_end = self.may_end(item)?;
        let job = self.jobs.get_mut(&item.job).filter(|_| may_end)?;
        let element = job.tasks.get(task)?.get(at)?;
        let attempt = element.attempts.last()?;
        let meant = (attempt.number, attempt.epoch) == (item.attempt.0, item.epoch);
        // What waits in a line holds nothing that somebody else could have.
        let waits = job.waits_for(task, at).is_some();
        if !meant || !element.state.is_live() || element.state == TaskState::Stopping || waits {
            return None;
        }
        let why = match item.grounds {
            Grounds::LowerPriority => StopReason::Priority(item.by),
            Grounds::LongerToGo => StopReason::Shorter(item.by),
            Grounds::Borrowed => StopReason::Reclaimed(item.by),
            Grounds::TurnOver => StopReason::TurnOver(item.by),
            Grounds::Rebalance => StopReason::Rebalanced,
        };
        job.stop(task, at, AfterStop::Requeue, why);
        Some(())
    }

    fn place(&mut self, item: &Assignment) -> Option<()> {
        let (task, at) = (item.task as usize, item.index.0 as usize);
        let job = self.jobs.get(&item.job)?;
        let element = job.tasks.get(task)?.get(at)?;
        // Elements that could be placed are the first ones in line; which of them comes first does not matter. Those of
        // a gang come one after the other.
        let may_start = job.gang(task).is_some() || !job.pending(task).is_empty();
        let going = !job.paused && !job.cancelling && job.finished.is_none();
        let room = going && may_start && element.state == TaskState::Pending;
        let newer = job.last_attempt(task, at).is_none_or(|attempt| attempt.fence.0 < self.index);
        let worker = self.workers.values().find(|worker| worker.epoch == item.epoch && worker.is_alive())?;
        let request = &job.spec.tasks[task].resources;
        let fits = request.fits(&self.free(worker)) && self.is_within_limit(&job.spec.namespace, request);
        let tolerated = |taint: &Taint| taint.is_tolerated_by(&job.spec.tasks[task].tolerations);
        let suits = !worker.draining && worker.taints.iter().all(tolerated);
        if !room || !newer || job.next_number(task, at) != item.attempt.0 || !suits {
            return None;
        }
        let (name, epoch) = (worker.name.clone(), worker.epoch);
        let behind = item.behind.map(|first| first.0 as usize);
        let may_wait = behind.is_some_and(|first| self.may_wait(job, task, first, at, epoch));
        let crowded = job.is_system() && self.lives_on(item.job, &name);
        if if behind.is_some() { !may_wait } else { !fits || crowded || !self.pass_gates(item.job, task) } {
            return None;
        }
        let attempt = Attempt {
            number: item.attempt.0,
            fence: Fence(self.index),
            worker: name,
            epoch,
            state: AttemptState::Assigned,
            stopped: None,
            assigned_at: self.now,
            started_at: None,
            finished_at: None,
            behind,
        };
        let element = &mut self.jobs.get_mut(&item.job)?.tasks[task][at];
        element.state = TaskState::Assigned;
        element.attempts.push(attempt);
        let surplus = element.attempts.len().saturating_sub(ATTEMPTS_KEPT_MAX);
        element.attempts.drain(..surplus);
        Some(())
    }

    /// Whether the element can go at the end of the line behind another that was assigned with this very entry.
    fn may_wait(&self, job: &Job, task: usize, first: usize, at: usize, epoch: Epoch) -> bool {
        let fence = Fence(self.index);
        let ends = |at: usize| {
            let element = &job.tasks[task][at];
            let there = element.attempts.last().is_some_and(|attempt| attempt.epoch == epoch);
            there && element.state != TaskState::Stopping
        };
        let after = (at + 1..job.tasks[task].len()).any(|after| {
            let attempt = job.tasks[task][after].attempts.last();
            attempt.is_some_and(|it| it.state.is_live() && it.fence == fence && it.behind == Some(first))
        });
        let last = job.last_in_line(task, first, at, fence);
        let alone = job.spec.tasks[task].rate.is_none() && job.gang(task).is_none() && !job.is_service();
        alone && !after && last.is_some_and(ends)
    }

    pub fn report(&mut self, name: &Name, epoch: Epoch, reports: &[Report]) -> Result {
        if !self.workers.get(name).is_some_and(|worker| worker.is_alive() && worker.epoch == epoch) {
            return Err(Rejection::StaleEpoch);
        }
        for report in reports {
            self.on_report(epoch, report);
        }
        Ok(Outcome::Done)
    }

    /// Only the current attempt of the current registration counts.
    fn on_report(&mut self, epoch: Epoch, report: &Report) -> Option<()> {
        let key = &report.key;
        let (task, at) = (key.task as usize, key.index.0 as usize);
        let job = self.jobs.get_mut(&key.job)?;
        let element = job.tasks.get_mut(task)?.get_mut(at)?;
        let attempt = element.attempts.last_mut().filter(|attempt| attempt.state.is_live())?;
        if (attempt.number, attempt.fence, attempt.epoch) != (key.attempt.0, key.fence, epoch) {
            return None;
        }
        if matches!(report.what, Happening::Started) {
            attempt.started_at.get_or_insert(self.now);
        }
        match &report.what {
            Happening::Started if attempt.state == AttemptState::Assigned => {
                (attempt.state, element.state, job.started) = (AttemptState::Running, TaskState::Running, true);
                self.on_well(key.job, task, at, false);
            }
            Happening::Started | Happening::Progress { .. } => {}
            Happening::Healthy => self.on_well(key.job, task, at, true),
            Happening::Finished(finished) => {
                job.started = true;
                self.finish_attempt(key.job, task, at, finished);
                self.settle(key.job);
            }
        }
        Some(())
    }

    fn finish_attempt(&mut self, id: JobId, task: usize, at: usize, finished: &Finished) {
        self.leave_all((id, task, at));
        let ending = match finished.extension.as_deref() {
            Some(Addition::Checked(extension)) if finished.ending.is_success() && !self.extend(id, task, extension) => {
                Ending::NotExtended(String::new())
            }
            _ => finished.ending.clone(),
        };
        let job = self.jobs.get_mut(&id).unwrap();
        let is_service = job.is_service();
        let (spec, doomed, in_gang) = (job.spec.tasks[task].clone(), job.is_doomed(task), job.gang(task).is_some());
        let element = &mut job.tasks[task][at];
        let stopping = (element.state == TaskState::Stopping).then_some(element.after_stop);
        let is_unable = stopping.is_none() && matches!(ending, Ending::Unable(_));
        element.unable_last = is_unable;
        let attempt = element.attempts.last_mut().unwrap();
        attempt.finished_at = Some(self.now);
        let began = Timestamp(self.now.0.saturating_sub(finished.ran.0)).max(attempt.assigned_at);
        if attempt.started_at.is_none_or(|at| at == self.now) {
            attempt.started_at = Some(began);
        }
        attempt.state = match (&ending, stopping) {
            (Ending::Exited(0), Some(_)) if is_service => AttemptState::Cancelled,
            (Ending::Exited(0), _) => AttemptState::Succeeded,
            (_, Some(_)) | (Ending::Stopped, None) => AttemptState::Cancelled,
            (_, None) => AttemptState::Failed,
        };
        let (first, nth) = job.tally(task, at);
        let tally = &mut job.tasks[first][nth];
        if !in_gang {
            tally.losses = 0;
        }
        tally.unable = if is_unable { tally.unable + 1 } else { tally.unable * u32::from(in_gang) };
        let unable = tally.unable;
        if job.is_service() {
            let gone = match (stopping, &ending) {
                (Some(_), _) | (None, Ending::Stopped) => Gone::Stopped,
                (None, Ending::Unable(_)) => Gone::Unable,
                (None, _) => Gone::Ended(finished.ran),
            };
            return self.on_gone(id, task, at, gone);
        }
        match (&ending, stopping) {
            (Ending::Exited(0), _) => {
                let element = &mut job.tasks[task][at];
                element.state = if in_gang { TaskState::Waiting } else { TaskState::Succeeded };
                element.result = finished.result.clone();
            }
            (_, Some(AfterStop::Cancel)) => job.end_for_good(task, at),
            (_, Some(AfterStop::Fail)) => job.give_up(task, at),
            // The worker was told to stop it, or goes; it runs again.
            (_, Some(AfterStop::Requeue)) | (Ending::Stopped, None) => job.requeue(task, at),
            (Ending::Unable(_), None) if unable >= UNABLE_MAX || doomed => job.give_up(task, at),
            (Ending::Unable(_), None) => job.back_off(task, at, spec.backoff.wait(unable), self.now),
            (ending, None) => {
                job.tasks[first][nth].failures += 1;
                let failures = job.tasks[first][nth].failures;
                if failures > spec.retries || !spec.may_retry(ending.exit_code()) || doomed {
                    job.give_up(task, at);
                } else {
                    job.back_off(task, at, spec.backoff.wait(failures), self.now);
                }
            }
        }
        self.resolve_gang(id, task);
    }

    /// The attempt ended with its worker.
    fn lose(&mut self, id: JobId, task: usize, at: usize) {
        self.leave_all((id, task, at));
        let job = self.jobs.get_mut(&id).unwrap();
        let (most, tally) = (job.spec.tasks[task].losses, job.tally(task, at));
        let element = &mut job.tasks[task][at];
        element.unable_last = false;
        let attempt = element.attempts.last_mut().unwrap();
        attempt.finished_at = Some(self.now);
        let waited = attempt.behind.is_some() && attempt.state == AttemptState::Assigned;
        attempt.state = AttemptState::Lost;
        let after = (element.state == TaskState::Stopping).then_some(element.after_stop);
        let tally = &mut job.tasks[tally.0][tally.1];
        tally.losses += u32::from(after.is_none() && !waited);
        let losses = tally.losses;
        if job.is_service() {
            self.on_gone(id, task, at, if after.is_some() { Gone::Stopped } else { Gone::Lost });
            return self.settle(id);
        }
        match after {
            Some(AfterStop::Cancel) => job.end_for_good(task, at),
            Some(AfterStop::Fail) => job.give_up(task, at),
            None if !waited && losses >= most => job.give_up(task, at),
            Some(AfterStop::Requeue) | None => job.requeue(task, at),
        }
        self.resolve_gang(id, task);
        self.settle(id);
    }
}

impl Job {
    /// It was to end, and never runs again.
    fn end_for_good(&mut self, task: usize, at: usize) {
        self.tasks[task][at].cancel(false);
        self.abandon_mates(task, at);
    }

    fn requeue(&mut self, task: usize, at: usize) {
        if self.is_doomed(task) {
            self.end_for_good(task, at);
        } else if self.gang(task).is_some() {
            self.hold(task, at);
        } else {
            self.tasks[task][at].state = TaskState::Pending;
        }
    }

    /// A gang begins to wait when all of it has ended.
    fn back_off(&mut self, task: usize, at: usize, least: Span, now: Timestamp) {
        if self.gang(task).is_some() {
            return self.hold(task, at);
        }
        let element = &mut self.tasks[task][at];
        (element.state, element.wait) = (TaskState::Waiting, Some(Wait { from: now, least, until: None }));
    }

    /// The element has failed for good. The first that does keeps what is not there for it from starting.
    fn give_up(&mut self, task: usize, at: usize) {
        self.tasks[task][at].state = TaskState::Failed;
        self.abandon_mates(task, at);
        if self.first_failed.is_none() {
            self.first_failed = Some(task);
            self.cancel_unstarted(|job, task| job.is_doomed(task));
        }
    }
}
