//! Which tasks have elements that could be placed, in the orders that the policies ask for.
//!
//! Derived from the jobs. A task stands here once, however many of its elements wait.

use std::cmp::Reverse;

use imbl::OrdSet;
use quorate_types::JobId;

use crate::command::QueueOrder;
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
    by_priority: OrdSet<(Reverse<u8>, Queued)>,
}

impl Queue {
    /// The queued tasks in the policy's order; ties end in the job's number and the task's position.
    pub fn iter(&self, order: QueueOrder) -> Box<dyn Iterator<Item = Queued> + '_> {
        match order {
            QueueOrder::Fifo => Box::new(self.by_submission.iter().copied()),
            QueueOrder::Priority => Box::new(self.by_priority.iter().map(|(_, queued)| *queued)),
        }
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
        let ranked = (Reverse(job.spec.priority), queued);
        if wanted {
            self.by_submission.insert(queued);
            self.by_priority.insert(ranked);
        } else {
            self.by_submission.remove(&queued);
            self.by_priority.remove(&ranked);
        }
    }

    pub(crate) fn update_all(&mut self, job: &Job) {
        for at in 0..job.spec.tasks.len() {
            self.update(job, at as u32);
        }
    }
}
