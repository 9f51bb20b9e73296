//! What users do to jobs: cancel, pause, resume, reassign, forget.

use quorate_types::event::EventType;
use quorate_types::session::Motion;
use quorate_types::status::{JobState, StopReason};
use quorate_types::{Bug, JobId, Name, TaskIndex, is_planted};

use super::Result;
use crate::element::AfterStop;
use crate::job::ElementKey;
use crate::lifecycle::Change;
use crate::outcome::{Applied, Outcome, Rejection};
use crate::state::State;

impl State {
    pub(super) fn cancel(&mut self, id: JobId, out: &mut Applied) -> Result {
        self.control(id, out, |change| match change.job.header.state {
            JobState::Cancelled => Ok(Outcome::Done),
            state @ (JobState::Succeeded | JobState::Failed) => Err(Rejection::JobState { job: id, state }),
            JobState::Pending | JobState::Running | JobState::Paused => {
                change.job.header.cancelling = true;
                change.job.header.changed = change.out.index;
                if change.job.is_schedule() {
                    // Its runs are jobs of their own.
                    change.finish(JobState::Cancelled, EventType::JobCancelled);
                    return Ok(Outcome::Done);
                }
                change.cancel_unstarted();
                change.stop_live(AfterStop::Cancel, StopReason::Cancelled);
                change.settle();
                Ok(Outcome::Done)
            }
        })
    }

    /// Ends what runs and starts nothing more until the job is resumed. No retry is used up.
    pub(super) fn pause(&mut self, id: JobId, out: &mut Applied) -> Result {
        self.control(id, out, |change| {
            match change.halt()? {
                Held::Now => {
                    change.stop_live(AfterStop::Requeue, StopReason::Paused);
                    change.emit_job(EventType::JobPaused);
                }
                Held::Before if change.job.header.frozen => {
                    (change.job.header.frozen, change.job.header.changed) = (false, change.out.index);
                    change.stop_live(AfterStop::Requeue, StopReason::Paused);
                }
                Held::Before => {}
            }
            Ok(Outcome::Done)
        })
    }

    /// Stops what runs where it is, and starts nothing more until the job is resumed. What is paused stays so.
    pub(super) fn freeze(&mut self, id: JobId, out: &mut Applied) -> Result {
        self.control(id, out, |change| {
            if change.halt()? == Held::Now {
                // A schedule has nothing that runs; its runs are jobs of their own.
                change.job.header.frozen = !change.job.is_schedule();
                change.set_motion(Motion::Frozen);
                change.emit_job(EventType::JobPaused);
            }
            Ok(Outcome::Done)
        })
    }

    pub(super) fn resume(&mut self, id: JobId, out: &mut Applied) -> Result {
        self.control(id, out, |change| {
            let header = &mut change.job.header;
            match header.state {
                JobState::Paused if !header.cancelling => {
                    header.paused = false;
                    header.state = if header.started_at.is_some() { JobState::Running } else { JobState::Pending };
                    header.changed = change.out.index;
                    let thaws = std::mem::take(&mut header.frozen);
                    let now = change.out.time;
                    if let Some(ledger) = header.flow.as_mut().and_then(|flow| flow.ledger.as_mut()) {
                        // What a paused schedule did not run is not made up for.
                        ledger.decided = ledger.decided.max(now);
                    }
                    change.cluster.note_schedule(change.job);
                    change.cluster.queue.update_all(change.job);
                    if thaws {
                        change.set_motion(Motion::Going);
                    }
                    change.emit_job(EventType::JobResumed);
                    change.roll();
                    Ok(Outcome::Done)
                }
                JobState::Pending | JobState::Running if !header.cancelling => Ok(Outcome::Done),
                state if header.cancelling && !state.is_finished() => Err(Rejection::Cancelling(id)),
                state => Err(Rejection::JobState { job: id, state }),
            }
        })
    }

    /// Moves a task: its attempt ends, and it is placed again.
    pub(super) fn reassign(&mut self, id: JobId, name: &Name, index: TaskIndex, out: &mut Applied) -> Result {
        let no_such = || Rejection::NoSuchTask { job: id, task: name.clone(), index };
        self.control(id, out, |change| {
            let task = change.job.place_of(name, index).ok_or_else(no_such)?;
            let state = change.job.task(task).and_then(|t| t.state_of(index)).ok_or_else(no_such)?;
            if !state.is_live() {
                return Err(Rejection::NotRunning { job: id, task: name.clone(), index });
            }
            let at = ElementKey { job: id, task, index };
            change.stop(&at, AfterStop::Requeue, StopReason::Reassigned);
            if is_planted(Bug::StopNotAwaited) {
                change.lose_attempt(&at);
            }
            Ok(Outcome::Done)
        })
    }

    /// Drops a finished job, its results, its outputs and its idempotency key.
    pub(super) fn forget(&mut self, id: JobId, out: &mut Applied) -> Result {
        if self.is_archived(id) {
            self.drop_archived(id, out);
            return Ok(Outcome::Done);
        }
        let job = self.jobs.get(&id).cloned().ok_or(Rejection::NoSuchJob(id))?;
        let Some(finished_at) = job.header.finished_at else {
            return Err(Rejection::JobState { job: id, state: job.header.state });
        };
        self.jobs.remove(&id);
        if self.cluster.stop_leaving(id).is_none() {
            self.cluster.unnote_finished(&job, finished_at);
        }
        self.cluster.unnote_submitted(&job);
        if let Some(key) = super::submit::idempotency_key(&job.spec) {
            self.cluster.keys.remove(&key);
        }
        crate::archive::drop_job(id, &mut self.cluster, out);
        out.release(job);
        Ok(Outcome::Done)
    }

    /// Changes a job in memory, or says why that can't be.
    pub(super) fn control(
        &mut self,
        id: JobId,
        out: &mut Applied,
        edit: impl FnOnce(&mut Change<'_>) -> Result,
    ) -> Result {
        let missing = if self.is_archived(id) { Rejection::Archived(id) } else { Rejection::NoSuchJob(id) };
        self.edit(id, out, edit).unwrap_or(Err(missing))
    }
}

/// Whether a job was paused just now or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Now,
    Before,
}

impl Change<'_> {
    /// Starts nothing more of the job.
    fn halt(&mut self) -> std::result::Result<Held, Rejection> {
        let header = &mut self.job.header;
        match header.state {
            JobState::Paused if !header.cancelling => Ok(Held::Before),
            JobState::Pending | JobState::Running if !header.cancelling => {
                header.paused = true;
                header.state = JobState::Paused;
                header.changed = self.out.index;
                self.cluster.note_schedule(self.job);
                self.cluster.queue.update_all(self.job);
                Ok(Held::Now)
            }
            state if header.cancelling && !state.is_finished() => Err(Rejection::Cancelling(header.id)),
            state => Err(Rejection::JobState { job: header.id, state }),
        }
    }
}
