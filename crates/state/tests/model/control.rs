//! What users do to jobs of the model.

use std::collections::BTreeSet;

use quorate_state::archive::{self, JobRecord, Recalled};
use quorate_state::command::{Again, RetryScope};
use quorate_state::element::AfterStop;
use quorate_state::flow::Slot;
use quorate_state::outcome::{Outcome, Rejection};
use quorate_types::status::{JobState, StopReason, TaskState};
use quorate_types::{End, JobId, Name, Need, On, TaskIndex, Timestamp};

use crate::job::{Element, Job};
use crate::machine::{Model, Result, key_of};

impl Model {
    pub fn job(&mut self, id: JobId) -> Result<&mut Job> {
        let archived = self.archive.contains_key(&id);
        let missing = if archived { Rejection::Archived(id) } else { Rejection::NoSuchJob(id) };
        self.jobs.get_mut(&id).ok_or(missing)
    }

    pub fn cancel(&mut self, id: JobId) -> Result {
        let job = self.job(id)?;
        match job.finished {
            Some((_, JobState::Cancelled)) => return Ok(Outcome::Done),
            Some((_, state)) => return Err(Rejection::JobState { job: id, state }),
            None => {}
        }
        job.cancelling = true;
        if job.is_schedule() {
            self.finish(id, JobState::Cancelled);
            return Ok(Outcome::Done);
        }
        job.cancel_unstarted(|_, _| true);
        job.stop_live(AfterStop::Cancel, StopReason::Cancelled);
        self.settle(id);
        Ok(Outcome::Done)
    }

    /// Refuses what is finished or being cancelled.
    fn going(&mut self, id: JobId) -> Result<&mut Job> {
        let job = self.job(id)?;
        match job.finished {
            Some((_, state)) => Err(Rejection::JobState { job: id, state }),
            None if job.cancelling => Err(Rejection::Cancelling(id)),
            None => Ok(job),
        }
    }

    pub fn pause(&mut self, id: JobId) -> Result {
        let job = self.going(id)?;
        (job.paused, job.frozen) = (true, false);
        job.stop_live(AfterStop::Requeue, StopReason::Paused);
        Ok(Outcome::Done)
    }

    pub fn freeze(&mut self, id: JobId) -> Result {
        let job = self.going(id)?;
        job.frozen |= !job.paused && !job.is_schedule();
        job.paused = true;
        Ok(Outcome::Done)
    }

    pub fn resume(&mut self, id: JobId) -> Result {
        let now = self.now;
        let job = self.going(id)?;
        job.frozen = false;
        if std::mem::take(&mut job.paused)
            && let Some(ledger) = &mut job.ledger
        {
            ledger.decided = ledger.decided.max(now);
        }
        self.roll(id);
        Ok(Outcome::Done)
    }

    pub fn reassign(&mut self, id: JobId, name: &Name, index: TaskIndex) -> Result {
        let job = self.job(id)?;
        let no_such = || Rejection::NoSuchTask { job: id, task: name.clone(), index };
        let at = index.0 as usize;
        let task = job.place_of(name, at).ok_or_else(no_such)?;
        let element = job.tasks.get(task).and_then(|elements| elements.get(at)).ok_or_else(no_such)?;
        if !element.state.is_live() {
            return Err(Rejection::NotRunning { job: id, task: name.clone(), index });
        }
        job.stop(task, at, AfterStop::Requeue, StopReason::Reassigned);
        Ok(Outcome::Done)
    }

    pub fn forget(&mut self, id: JobId) -> Result {
        if self.archive.remove(&id).is_some() {
            return Ok(Outcome::Done);
        }
        let job = self.job(id)?;
        if job.finished.is_none() {
            return Err(Rejection::JobState { job: id, state: job.state() });
        }
        self.jobs.remove(&id);
        Ok(Outcome::Done)
    }

    fn finished_job(&mut self, id: JobId) -> Result<&mut Job> {
        let job = self.job(id)?;
        match job.finished {
            None => Err(Rejection::JobState { job: id, state: job.state() }),
            Some(_) if job.is_schedule() => Err(Rejection::Schedule(id)),
            Some(_) if job.is_service() => Err(Rejection::Service(id)),
            Some(_) => Ok(job),
        }
    }

    pub fn retry(&mut self, id: JobId, scope: RetryScope) -> Result {
        let job = self.finished_job(id)?;
        let all: BTreeSet<usize> = (0..job.tasks.len()).collect();
        let anew = scope == RetryScope::All;
        let scope = match scope {
            RetryScope::All => all,
            RetryScope::NotSucceeded if job.state() == JobState::Succeeded => {
                return Err(Rejection::JobState { job: id, state: JobState::Succeeded });
            }
            // Besides what did not succeed, all of what depended on how that ended.
            RetryScope::NotSucceeded => {
                let failed = |name: &Name| job.task_end(job.position(name).unwrap()) != Some(End::Succeeded);
                let handles = |need: &Need| need.on() != On::Success && need.task().is_some_and(failed);
                let handlers = all.into_iter().filter(|task| job.spec.tasks[*task].needs.iter().any(handles));
                with_dependents(job, handlers.collect())
            }
        };
        let others_keep = |state: TaskState| state == TaskState::Succeeded;
        let keeps_all = |state: TaskState| state.is_finished();
        let is_all = scope.len() == job.tasks.len();
        if anew {
            job.give_up_gains();
        } else {
            adds_nothing_twice(job, &scope)?;
        }
        self.run_again(id, &scope, if is_all { keeps_all } else { others_keep });
        Ok(Outcome::Done)
    }

    pub fn retry_from(&mut self, id: JobId, name: &Name) -> Result {
        let job = self.finished_job(id)?;
        let no_such = || Rejection::NoSuchTask { job: id, task: name.clone(), index: TaskIndex(0) };
        let scope = with_dependents(job, BTreeSet::from([job.position(name).ok_or_else(no_such)?]));
        adds_nothing_twice(job, &scope)?;
        // In the order of the tasks that are needed.
        for kept in (0..job.tasks.len()).filter(|task| !scope.contains(task)) {
            let end = job.task_end(kept).unwrap();
            for task in &scope {
                let spec = &job.spec.tasks[*task];
                let unmet = spec.needs.iter().any(|need| match need {
                    Need::Task { task, on } => job.position(task) == Some(kept) && !on.is_met_by(end),
                    Need::Each { .. } | Need::Job { .. } => false,
                });
                if unmet {
                    return Err(Rejection::NeedUnmet { job: id, task: spec.name.clone() });
                }
            }
        }
        self.run_again(id, &scope, |state| state.is_finished());
        Ok(Outcome::Done)
    }

    /// The job comes back as it was when it left memory, if the values are its own.
    pub fn retry_archived(&mut self, id: JobId, again: &Again, recalled: &Recalled) -> Result {
        let record: JobRecord = archive::decode(&recalled.job).unwrap();
        let whole = record.header.id == id && record.blocks().count() == recalled.blocks.len();
        let back = if whole { self.archive.remove(&id) } else { None };
        let was_archived = back.is_some();
        self.jobs.extend(back.map(|job| (id, job)));
        let result = match again {
            Again::Scope(scope) => self.retry(id, *scope),
            Again::From(task) => self.retry_from(id, task),
        };
        if result.is_err() && was_archived {
            self.archive.extend(self.jobs.remove(&id).map(|job| (id, job)));
        }
        result
    }

    /// Makes a finished job what it would be if these tasks, and what the others do not keep, had never been tried.
    fn run_again(&mut self, id: JobId, scope: &BTreeSet<usize>, keeps: impl Fn(TaskState) -> bool) {
        let now = self.now;
        let mut job = self.jobs.remove(&id).unwrap();
        for (task, elements) in job.tasks.iter_mut().enumerate() {
            for element in elements.iter_mut().filter(|element| scope.contains(&task) || !keeps(element.state)) {
                *element = Element { attempts: std::mem::take(&mut element.attempts), ..Element::new() };
            }
        }
        (job.paused, job.frozen, job.cancelling) = (false, false, false);
        (job.overdue, job.started) = (false, false);
        (job.finished, job.first_failed, job.slot) = (None, None, Slot::None);
        job.handlers.clear();
        let ahead = |at: Option<Timestamp>| at.filter(|at| *at > now);
        job.start_at = ahead(job.spec.start_after.map(|when| when.resolve(job.submitted_at)));
        job.deadline = ahead(job.spec.deadline.map(|when| when.resolve(now)));
        job.expires = ahead(job.spec.expires.map(|when| when.resolve(now)));
        self.open(&mut job);
        job.look_at_tasks();
        job.look_at_jobs();
        let key = key_of(&job.spec);
        self.jobs.insert(id, job);
        self.settle(id);
        self.on_run_retried(id);
        if let Some(key) = key {
            self.admit(&key);
        }
    }
}

/// None of these tasks has added others, which are there.
fn adds_nothing_twice(job: &Job, scope: &BTreeSet<usize>) -> Result<()> {
    let Some(by) = job.extended_by.iter().find(|by| scope.contains(by)) else { return Ok(()) };
    Err(Rejection::Extended { job: job.id, task: job.spec.tasks[*by].name.clone() })
}

/// These tasks, the rest of their gangs, and all that need them, directly or through others.
fn with_dependents(job: &Job, mut tasks: BTreeSet<usize>) -> BTreeSet<usize> {
    loop {
        let needs_one = |task: &usize| {
            let mut needed = job.spec.tasks[*task].needs.iter().filter_map(|need| job.position(need.task()?));
            let mates = job.gang(*task).unwrap_or_default();
            needed.any(|other| tasks.contains(&other)) || mates.iter().any(|mate| tasks.contains(mate))
        };
        let more: BTreeSet<usize> = (0..job.tasks.len()).filter(needs_one).collect();
        let before = tasks.len();
        tasks.extend(more);
        if tasks.len() == before {
            return tasks;
        }
    }
}
