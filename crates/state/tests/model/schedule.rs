//! Schedules of the model: each tick is decided once, and in order.

use std::sync::Arc;

use quorate_state::flow::Run;
use quorate_state::outcome::{Outcome, Rejection};
use quorate_types::schedule::Overlap;
use quorate_types::status::JobState;
use quorate_types::{JobId, JobSpec, LogIndex, Timestamp};

use crate::job::{Job, Ledger};
use crate::machine::{Model, Result};

impl Model {
    fn schedule(&mut self, id: JobId) -> Result<&mut Job> {
        let job = self.job(id)?;
        if job.is_schedule() { Ok(job) } else { Err(Rejection::NotASchedule(id)) }
    }

    /// One that has not ended.
    fn going_schedule(&mut self, id: JobId) -> Result<&mut Job> {
        let job = self.schedule(id)?;
        match job.finished {
            Some((_, state)) => Err(Rejection::JobState { job: id, state }),
            None => Ok(job),
        }
    }

    fn ledger(&mut self, id: JobId) -> Option<&mut Ledger> {
        self.jobs.get_mut(&id)?.ledger.as_mut()
    }

    pub fn tick(&mut self, id: JobId, ticks: &[Timestamp], through: Timestamp) -> Result {
        if self.schedule(id)?.state() != JobState::Pending {
            return Ok(Outcome::Done);
        }
        for tick in ticks {
            let ledger = self.ledger(id).unwrap();
            if *tick > ledger.decided {
                ledger.decided = *tick;
                self.on_tick(id, *tick);
            }
        }
        let ledger = self.ledger(id).unwrap();
        ledger.decided = ledger.decided.max(through);
        Ok(Outcome::Done)
    }

    fn on_tick(&mut self, id: JobId, tick: Timestamp) {
        let overlap = self.jobs[&id].spec.schedule.as_ref().unwrap().overlap;
        let is_run = |job: &&Job| job.finished.is_none() && job.run.is_some_and(|run| run.schedule == id);
        let running: Vec<JobId> = self.jobs.values().filter(is_run).map(|job| job.id).collect();
        let ledger = self.ledger(id).unwrap();
        match overlap {
            Overlap::Skip if !running.is_empty() => return,
            Overlap::Queue if !running.is_empty() => {
                ledger.queued.get_or_insert(tick);
                return;
            }
            Overlap::Replace => running.iter().for_each(|run| drop(self.cancel(*run))),
            Overlap::Allow | Overlap::Skip | Overlap::Queue => {}
        }
        // A submission that is refused is a tick that does not run.
        let _ = self.start_run(id, tick);
    }

    fn start_run(&mut self, id: JobId, tick: Timestamp) -> Result<JobId> {
        let schedule = self.schedule(id)?.spec.clone();
        let spec = Arc::new(JobSpec { schedule: None, idempotency_key: None, ..JobSpec::clone(&schedule) });
        self.check_key(&spec)?;
        self.check_resources(&spec)?;
        let run = self.start_job(&spec);
        self.jobs.get_mut(&run).unwrap().run = Some(Run { schedule: id, tick });
        self.ledger(id).unwrap().active.insert(run);
        Ok(run)
    }

    pub fn run_now(&mut self, id: JobId) -> Result {
        self.going_schedule(id)?;
        let job = self.start_run(id, self.now)?;
        let state = self.jobs[&job].state();
        Ok(Outcome::Submitted { job, index: LogIndex(self.index), state, existing: false })
    }

    pub fn change_schedule(&mut self, id: JobId, spec: &JobSpec) -> Result {
        let now = self.now;
        let job = self.going_schedule(id)?;
        if spec.schedule.is_none() {
            return Err(Rejection::NotASchedule(id));
        }
        let (namespace, idempotency_key) = (job.spec.namespace.clone(), job.spec.idempotency_key.clone());
        self.check_needs(spec)?;
        self.check_resources(spec)?;
        let job = self.going_schedule(id)?;
        let old = std::mem::replace(&mut job.spec, Arc::new(JobSpec { namespace, idempotency_key, ..spec.clone() }));
        let ledger = job.ledger.as_mut().unwrap();
        let calendar = |spec: &JobSpec| {
            let it = spec.schedule.as_ref().unwrap();
            (it.cron.clone(), it.every, it.time_zone.clone(), it.dst, it.jitter)
        };
        if calendar(&old) != calendar(spec) {
            ledger.decided = ledger.decided.max(now);
        }
        Ok(Outcome::Done)
    }

    pub fn on_run_finished(&mut self, run: JobId) {
        let Some(Run { schedule, .. }) = self.jobs.get(&run).and_then(|job| job.run) else { return };
        let Some(ledger) = self.ledger(schedule) else { return };
        if ledger.active.remove(&run) {
            ledger.finished.insert(run);
        }
        let queued = if ledger.active.is_empty() { ledger.queued.take() } else { None };
        if self.jobs[&schedule].state() == JobState::Pending {
            queued.map(|tick| self.start_run(schedule, tick));
        }
        let history = self.jobs[&schedule].spec.schedule.as_ref().unwrap().history as usize;
        let ledger = self.ledger(schedule).unwrap();
        let mut dropped = Vec::new();
        while ledger.finished.len() > history {
            dropped.extend(ledger.finished.pop_first());
        }
        dropped.into_iter().for_each(|oldest| drop(self.forget(oldest)));
    }

    /// A run that is tried again is one that has not finished.
    pub fn on_run_retried(&mut self, run: JobId) {
        let Some(Run { schedule, .. }) = self.jobs[&run].run else { return };
        if let Some(ledger) = self.ledger(schedule) {
            ledger.finished.remove(&run);
            ledger.active.insert(run);
        }
    }
}
