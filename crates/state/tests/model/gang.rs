//! Gangs of the model: tasks of a job whose elements begin together, end together, and are tried again together.

use quorate_state::element::AfterStop;
use quorate_types::JobId;
use quorate_types::status::{AttemptState, StopReason, TaskState};

use crate::job::{Job, Wait};
use crate::machine::Model;

impl Job {
    /// The tasks of the gang that the task is in.
    pub fn gang(&self, task: usize) -> Option<Vec<usize>> {
        let name = self.spec.tasks[task].gang.as_ref()?;
        let all = 0..self.tasks.len();
        Some(all.filter(|other| self.spec.tasks[*other].gang.as_ref() == Some(name)).collect())
    }

    /// All elements of the task's gang by rank; none if it is in none.
    pub fn members(&self, task: usize) -> Vec<(usize, usize)> {
        let tasks = self.gang(task).unwrap_or_default().into_iter();
        tasks.flat_map(|task| (0..self.tasks[task].len()).map(move |at| (task, at))).collect()
    }

    /// The element with which failures and losses are counted.
    pub fn tally(&self, task: usize, at: usize) -> (usize, usize) {
        self.members(task).first().copied().unwrap_or((task, at))
    }

    /// Whether an attempt of the task's gang is live.
    pub fn has_live_gang(&self, task: usize) -> bool {
        self.members(task).into_iter().any(|(task, at)| self.tasks[task][at].state.is_live())
    }

    /// Whether the gang waits for another try.
    pub fn gang_backs_off(&self, task: usize) -> bool {
        self.members(task).first().is_some_and(|(task, at)| self.tasks[*task][*at].wait.is_some())
    }

    /// Ends the attempts of the other members.
    pub fn stop_mates(&mut self, task: usize, at: usize, after: AfterStop, why: StopReason) {
        for (mate, nth) in self.members(task).into_iter().filter(|member| *member != (task, at)) {
            if matches!(self.tasks[mate][nth].state, TaskState::Assigned | TaskState::Running) {
                self.stop_one(mate, nth, after, why);
            }
        }
    }

    /// A member will never run again: none will.
    pub fn abandon_mates(&mut self, task: usize, at: usize) {
        for (mate, nth) in self.members(task).into_iter().filter(|member| *member != (task, at)) {
            let element = &mut self.tasks[mate][nth];
            let to_run_again = element.state != TaskState::Stopping || element.after_stop == AfterStop::Requeue;
            if matches!(element.state, TaskState::Waiting | TaskState::Pending) {
                element.result = None;
                element.cancel(false);
            } else if element.state.is_live() && to_run_again {
                self.stop_one(mate, nth, AfterStop::Cancel, StopReason::Gang);
            }
        }
    }

    /// The element's attempt has ended, and all is to be tried again.
    pub fn hold(&mut self, task: usize, at: usize) {
        self.tasks[task][at].state = TaskState::Waiting;
        self.stop_mates(task, at, AfterStop::Requeue, StopReason::Gang);
    }
}

impl Model {
    /// Once no attempt of the gang is left: all have succeeded, all will be tried again, or none.
    pub fn resolve_gang(&mut self, id: JobId, task: usize) {
        let now = self.now;
        let job = self.jobs.get_mut(&id).unwrap();
        let members = job.members(task);
        if members.is_empty() || job.has_live_gang(task) {
            return;
        }
        let doomed = job.is_doomed(task);
        let waits = |job: &Job, (task, at): (usize, usize)| job.tasks[task][at].state == TaskState::Waiting;
        let last = |job: &Job, (task, at): (usize, usize)| job.tasks[task][at].attempts.last().unwrap().state;
        if members.iter().all(|at| waits(job, *at) && last(job, *at) == AttemptState::Succeeded) {
            members.iter().for_each(|(task, at)| job.tasks[*task][*at].state = TaskState::Succeeded);
            return;
        }
        let rest = members.iter().filter(|at| waits(job, **at)).copied().collect::<Vec<_>>();
        for (task, at) in &rest {
            job.tasks[*task][*at].result = None;
        }
        if rest.len() < members.len() || doomed {
            return rest.iter().for_each(|(task, at)| job.tasks[*task][*at].cancel(false));
        }
        let failed = members.iter().find(|at| last(job, **at) == AttemptState::Failed).copied();
        let lost = members.iter().any(|at| last(job, *at) == AttemptState::Lost);
        let (first, nth) = members[0];
        let Some((task, at)) = failed else {
            if !lost {
                (job.tasks[first][nth].losses, job.tasks[first][nth].unable) = (0, 0);
            }
            return members.iter().for_each(|(task, at)| job.tasks[*task][*at].state = TaskState::Pending);
        };
        let unable = job.tasks[task][at].unable_last;
        let tally = &mut job.tasks[first][nth];
        (tally.losses, tally.unable) = (0, if unable { tally.unable } else { 0 });
        let times = if unable { tally.unable } else { tally.failures };
        tally.wait = Some(Wait { from: now, least: job.spec.tasks[task].backoff.wait(times), until: None });
    }
}
