//! Which tasks have elements that could be placed. In which order is up to those who place them.
//!
//! Derived from the jobs. A task stands here once, however many of its elements wait, and a gang
//! as its first task.

use std::collections::BTreeSet;

use imbl::ordset::DiffItem;
use imbl::{OrdMap, OrdSet};
use quorate_types::{JobId, Name};

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
pub struct Queue {
    tasks: OrdSet<Queued>,
    /// How many of them ask for a counted resource of the cluster.
    asking: OrdMap<Name, u64>,
}

impl Queue {
    /// The queued tasks by submission: by the job's number and the task's position.
    pub fn iter(&self) -> impl Iterator<Item = Queued> {
        self.tasks.iter().copied()
    }

    /// What changed since an earlier version. Parts that both share are skipped.
    pub fn changes_since<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = QueueChange> + 'a {
        earlier.tasks.diff(&self.tasks).map(|change| match change {
            DiffItem::Add(queued) => QueueChange::Came(*queued),
            DiffItem::Remove(queued) => QueueChange::Went(*queued),
        })
    }

    /// The queued tasks of one job.
    pub fn of_job(&self, job: JobId) -> impl Iterator<Item = Queued> {
        self.tasks.range(Queued { job, task: 0 }..=Queued { job, task: u32::MAX }).copied()
    }

    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    pub(crate) fn contains(&self, queued: Queued) -> bool {
        self.tasks.contains(&queued)
    }

    /// Puts the task in or out, as its state demands.
    pub(crate) fn update(&mut self, job: &Job, task: u32) {
        let task = job.queued_as(task);
        let queued = Queued { job: job.id(), task };
        let wanted = job.is_placeable() && job.has_pending(task);
        match (wanted, self.contains(queued)) {
            (true, false) => {
                self.tasks.insert(queued);
                for name in asked(job, task) {
                    *self.asking.entry(name.clone()).or_insert(0) += 1;
                }
            }
            (false, true) => {
                self.tasks.remove(&queued);
                for name in asked(job, task) {
                    let left = self.asking.get(name).map_or(0, |tasks| tasks - 1);
                    if left == 0 {
                        self.asking.remove(name);
                    } else {
                        self.asking.insert(name.clone(), left);
                    }
                }
            }
            (true, true) | (false, false) => {}
        }
    }

    /// How many tasks ask for a counted resource of the cluster.
    pub fn asking(&self, name: &Name) -> u64 {
        self.asking.get(name).copied().unwrap_or(0)
    }

    pub(crate) fn update_all(&mut self, job: &Job) {
        for at in 0..job.spec.tasks.len() {
            self.update(job, at as u32);
        }
    }
}

/// What the task asks for, or the gang that it stands for.
fn asked(job: &Job, task: u32) -> BTreeSet<&Name> {
    let mates = job.gang(task).into_iter().flat_map(|gang| gang.tasks.iter().map(|(task, _)| *task));
    let specs = mates.chain([task]).filter_map(|task| job.task_spec(task));
    specs.flat_map(|spec| spec.cluster_resources.keys()).collect()
}
