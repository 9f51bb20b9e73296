//! Which tasks have elements that could be placed. Their order is the placement's concern.
//!
//! Derived from the jobs. A task stands here once, however many of its elements wait.

use imbl::OrdSet;
use quorate_types::JobId;

use crate::job::Job;

/// A task of a job that has pending elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Queued {
    pub job: JobId,
    pub task: u32,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Queue {
    by_submission: OrdSet<Queued>,
}

impl Queue {
    /// The queued tasks by submission. A version in which none came or went shares them with the one before.
    pub fn tasks(&self) -> &OrdSet<Queued> {
        &self.by_submission
    }

    pub fn len(&self) -> usize {
        self.by_submission.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_submission.is_empty()
    }

    pub(crate) fn contains(&self, queued: Queued) -> bool {
        self.by_submission.contains(&queued)
    }

    /// Puts the task in or out, as its state demands.
    pub(crate) fn update(&mut self, job: &Job, task: u32) {
        let queued = Queued { job: job.id(), task };
        let wanted = job.is_placeable() && job.task(task).is_some_and(|t| t.has_pending());
        if wanted == self.by_submission.contains(&queued) {
            return;
        }
        if wanted {
            self.by_submission.insert(queued);
        } else {
            self.by_submission.remove(&queued);
        }
    }

    pub(crate) fn update_all(&mut self, job: &Job) {
        for at in 0..job.spec.tasks.len() {
            self.update(job, at as u32);
        }
    }
}
