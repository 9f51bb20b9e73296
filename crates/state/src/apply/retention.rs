//! Time passes: backoffs end, finished jobs go to the archive and out of it, dead workers are forgotten.

use quorate_types::event::EventType;
use quorate_types::status::TaskState;
use quorate_types::{Epoch, JobId, Name};

use crate::archive::{self, Archived, Block, Leaving};
use crate::job::ElementKey;
use crate::limits::{
    ARCHIVE_RETENTION, ARCHIVE_STEP_EVERY, ARCHIVED_JOBS_MAX, FINISHED_ELEMENTS_MAX, FINISHED_IN_MEMORY_MAX,
    TIMER_COST_PER_ENTRY_MAX,
};
use crate::outcome::Applied;
use crate::state::{Cluster, State};
use crate::timers::Timer;

impl State {
    /// Fires what is due, then sends early what exceeds the bounds, oldest first; no more than an entry may take.
    pub(super) fn fire_timers(&mut self, out: &mut Applied) {
        let mut cost = 0;
        while cost < TIMER_COST_PER_ENTRY_MAX
            && let Some(timer) = self.cluster.timers.pop_due(out.time)
        {
            cost += 1;
            match timer {
                Timer::Backoff(at) => self.end_backoff(&at, out),
                Timer::Archive(job) => cost += self.archive_job(job, out),
                Timer::Drop(job) => self.drop_archived(job, out),
                Timer::ForgetWorker { name, epoch } => self.forget_worker(&name, epoch),
                Timer::Start(job) => {
                    cost += self.records_of(job);
                    self.start_time(job, out);
                }
                Timer::Deadline(job) => {
                    cost += self.records_of(job);
                    self.job_deadline(job, out);
                }
                Timer::Expire(job) => {
                    cost += self.records_of(job);
                    self.expire_job(job, out);
                }
                Timer::DrainDeadline { name, epoch } => self.drain_deadline(&name, epoch, out),
                Timer::ForgetRate(key) => drop(self.cluster.forget_tokens(&key)),
            }
        }
        // What has ended must be followed while it is in memory.
        self.follow_finished(out);
        while cost < TIMER_COST_PER_ENTRY_MAX
            && let Some(job) = self.cluster.crowded_out()
        {
            cost += 1 + self.archive_job(job, out);
        }
        while cost < TIMER_COST_PER_ENTRY_MAX
            && self.cluster.archived.len() as u64 > ARCHIVED_JOBS_MAX
            && let Some((_, oldest)) = self.cluster.archived.get_min().copied()
        {
            cost += 1;
            self.drop_archived(oldest, out);
        }
    }

    fn end_backoff(&mut self, at: &ElementKey, out: &mut Applied) {
        self.edit(at.job, out, |change| {
            if let Some(element) = change.element_mut(at.task, at.index) {
                element.wait_until = None;
                if let Some(gang) = change.job.gang(at.task).cloned() {
                    return change.requeue_gang(&gang, "its wait is over");
                }
                change.move_element(at.task, at.index, TaskState::Pending);
                change.emit(EventType::TaskPending, at.task, at.index, None);
            }
        });
    }

    /// Takes the job to the archive, or a step of the way if it is large. Gives what that cost.
    fn archive_job(&mut self, id: JobId, out: &mut Applied) -> u64 {
        let Some(job) = self.jobs.get(&id).cloned() else { return 0 };
        let Some(finished_at) = job.header.finished_at else { return 0 };
        let from = match self.cluster.stop_leaving(id) {
            Some(leaving) => leaving.next,
            None => {
                self.cluster.unnote_finished(&job, finished_at);
                Block::default()
            }
        };
        let (cost, rest) = archive::put_elements(&job, from, &mut self.cluster, out);
        if let Some(next) = rest {
            self.cluster.note_leaving(id, Leaving { due: out.time.plus(ARCHIVE_STEP_EVERY), next });
            return cost;
        }
        archive::put_job(&job, &mut self.cluster, out);
        self.jobs.remove(&id);
        self.cluster.unnote_submitted(&job);
        let stub = Archived {
            finished_at,
            state: job.header.state,
            output_bytes: job.header.output_bytes,
            elements: job.header.counts.total,
            key: super::submit::idempotency_key(&job.spec),
        };
        self.note_archived(id, stub);
        out.release(job);
        cost
    }

    pub(crate) fn note_archived(&mut self, id: JobId, stub: Archived) {
        self.cluster.archived.insert((stub.finished_at, id));
        self.cluster.timers.set(stub.finished_at.plus(ARCHIVE_RETENTION), Timer::Drop(id));
        self.cluster.totals.output_bytes += stub.output_bytes;
        self.cluster.archive.insert(id, stub);
    }

    /// The job is in the archive no more.
    pub(super) fn unnote_archived(&mut self, id: JobId) -> Option<Archived> {
        let stub = self.cluster.archive.remove(&id)?;
        self.cluster.archived.remove(&(stub.finished_at, id));
        self.cluster.timers.cancel(stub.finished_at.plus(ARCHIVE_RETENTION), Timer::Drop(id));
        self.cluster.totals.output_bytes -= stub.output_bytes;
        Some(stub)
    }

    pub(super) fn drop_archived(&mut self, id: JobId, out: &mut Applied) {
        let Some(stub) = self.unnote_archived(id) else { return };
        if let Some(key) = &stub.key {
            self.cluster.keys.remove(key);
        }
        archive::drop_job(id, &mut self.cluster, out);
    }

    fn forget_worker(&mut self, name: &Name, epoch: Epoch) {
        if self.worker(name).is_some_and(|worker| worker.epoch == epoch && !worker.is_alive()) {
            self.cluster.workers.remove(name);
        }
    }
}

impl Cluster {
    /// The job is on its way to the archive.
    pub(crate) fn note_leaving(&mut self, id: JobId, leaving: Leaving) {
        self.timers.set(leaving.due, Timer::Archive(id));
        self.leaving.insert(id, leaving);
    }

    /// It is there, or takes the next step, or is forgotten on the way.
    pub(crate) fn stop_leaving(&mut self, id: JobId) -> Option<Leaving> {
        let leaving = self.leaving.remove(&id)?;
        self.timers.cancel(leaving.due, Timer::Archive(id));
        Some(leaving)
    }

    /// The finished job that must leave memory early: the oldest if there are too many, and the largest if
    /// their elements are, so that one huge job does not drive out all others.
    fn crowded_out(&self) -> Option<JobId> {
        if self.totals.finished_elements > FINISHED_ELEMENTS_MAX {
            return self.finished_by_size.get_max().map(|(_, largest)| *largest);
        }
        let crowded = self.finished.len() as u64 > FINISHED_IN_MEMORY_MAX;
        self.finished.get_min().filter(|_| crowded).map(|(_, oldest)| *oldest)
    }
}
