//! What a job must meet to be taken besides room: times that are to come, keys that are free, other jobs that are known
//! and do not have too many who wait for them.

use quorate_types::job::WhenFull;
use quorate_types::{JobId, JobSpec, Need, On, Timestamp};

use crate::limits::{WAITING_FOR_JOB_MAX, WAITING_FOR_KEY_MAX};
use crate::outcome::Rejection;
use crate::slots::SlotKey;
use crate::state::State;

impl State {
    /// Every job that is needed must be known, and not too many may wait for it.
    pub(super) fn check_needs(&self, spec: &JobSpec) -> Result<(), Rejection> {
        self.check_needs_of(spec, "")?;
        for (nth, follow_up) in spec.then.iter().enumerate() {
            self.check_needs_of(&follow_up.job, &format!("/then/{nth}/job"))?;
        }
        self.check_crowds(spec)
    }

    /// Not too many may wait for the jobs that this one needs.
    pub(super) fn check_crowds(&self, spec: &JobSpec) -> Result<(), Rejection> {
        let needs = spec.tasks.iter().flat_map(|task| &task.needs);
        self.check_awaited(needs.filter_map(|need| if let Need::Job { job, .. } = need { Some(*job) } else { None }))
    }

    /// What one job brings may come on top.
    pub(super) fn check_awaited(&self, mut jobs: impl Iterator<Item = JobId>) -> Result<(), Rejection> {
        let is_crowded =
            |job: &JobId| self.cluster.awaited.get(job).is_some_and(|waiting| waiting.len() >= WAITING_FOR_JOB_MAX);
        match jobs.find(is_crowded) {
            Some(crowded) => Err(Rejection::JobCrowded(WAITING_FOR_JOB_MAX as u64, crowded)),
            None => Ok(()),
        }
    }

    fn check_needs_of(&self, spec: &JobSpec, within: &str) -> Result<(), Rejection> {
        for (at, task) in spec.tasks.iter().enumerate() {
            for (nth, need) in task.needs.iter().enumerate() {
                let Need::Job { job, on } = need else { continue };
                let pointer = || format!("{within}/tasks/{at}/needs/{nth}");
                if !self.knows_job(*job) {
                    return Err(Rejection::NeedsUnknownJob { pointer: pointer(), job: *job });
                }
                let is_endless = self.jobs.get(job).is_some_and(|job| job.is_service() || job.is_schedule());
                if is_endless && *on != On::Finish {
                    return Err(Rejection::NeedsEndless { pointer: pointer(), job: *job });
                }
            }
        }
        Ok(())
    }

    /// A job whose time is over would end as it comes.
    pub(super) fn check_times(spec: &JobSpec, now: Timestamp) -> Result<(), Rejection> {
        for (field, when) in [("deadline", spec.deadline), ("expires", spec.expires)] {
            if spec.schedule.is_none() && when.is_some_and(|when| when.resolve(now) <= now) {
                return Err(Rejection::TimeOver { pointer: format!("/{field}") });
            }
        }
        Ok(())
    }

    /// A key that must not be waited for must be free, and not too many may wait for one.
    pub(super) fn check_key(&self, spec: &JobSpec) -> Result<(), Rejection> {
        let Some(concurrency) = spec.concurrency.as_ref().filter(|_| spec.schedule.is_none()) else { return Ok(()) };
        let key = SlotKey { namespace: spec.namespace.clone(), key: concurrency.key.clone() };
        self.check_line(&key)?;
        let users = self.cluster.slots.users(&key);
        let full = users.holders.len() + users.waiting.len() >= concurrency.limit as usize;
        if full && concurrency.when_full == WhenFull::Reject {
            return Err(Rejection::KeyTaken(concurrency.key.clone()));
        }
        Ok(())
    }

    pub(super) fn check_line(&self, key: &SlotKey) -> Result<(), Rejection> {
        if self.cluster.slots.users(key).waiting.len() < WAITING_FOR_KEY_MAX {
            return Ok(());
        }
        Err(Rejection::KeyCrowded(WAITING_FOR_KEY_MAX as u64, key.key.clone()))
    }
}
