//! Which tasks have elements that could be placed. In which order is up to those who place them.
//!
//! Derived from the jobs. A task stands here once, however many of its elements wait, and a gang
//! as its first task.

use imbl::OrdSet;
use imbl::ordset::DiffItem;
use quorate_types::JobId;

use crate::job::Job;

/// A task of a job that has pending elements; of a gang the first one, while all elements of it are pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Queued {
    pub job: JobId,
    pub task: u32,
}

/// What became of a task from one queue to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueChange {
    Came(Queued),
    Went(Queued),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Queue(OrdSet<Queued>);

impl Queue {
    /// The queued tasks by submission: by the job's number and the task's position.
    pub fn iter(&self) -> impl Iterator<Item = Queued> {
        self.0.iter().copied()
    }

    /// What changed since an earlier version. Parts that both share are skipped.
    pub fn changes_since<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = QueueChange> + 'a {
        earlier.0.diff(&self.0).map(|change| match change {
            DiffItem::Add(queued) => QueueChange::Came(*queued),
            DiffItem::Remove(queued) => QueueChange::Went(*queued),
        })
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains(&self, queued: Queued) -> bool {
        self.0.contains(&queued)
    }

    /// Puts the task in or out, as its state demands.
    pub(crate) fn update(&mut self, job: &Job, task: u32) {
        let task = job.queued_as(task);
        let queued = Queued { job: job.id(), task };
        let wanted = job.is_placeable() && job.has_pending(task);
        match (wanted, self.contains(queued)) {
            (true, false) => drop(self.0.insert(queued)),
            (false, true) => drop(self.0.remove(&queued)),
            (true, true) | (false, false) => {}
        }
    }

    pub(crate) fn update_all(&mut self, job: &Job) {
        for at in 0..job.spec.tasks.len() {
            self.update(job, at as u32);
        }
    }
}
