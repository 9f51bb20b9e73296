//! What is different from an earlier version. Parts that both share are skipped, so that it costs what has changed.

use std::sync::Arc;

use imbl::ordmap::DiffItem;

use crate::element::Element;
use crate::job::{Job, Task};
use crate::state::State;
use crate::tasks::Tasks;

/// A job as it was in one version and as it is in another.
pub type JobChange<'a> = (Option<&'a Arc<Job>>, Option<&'a Arc<Job>>);

/// A task by its position, as it was and as it is.
pub type TaskChange<'a> = (u32, Option<&'a Task>, Option<&'a Task>);

/// Equal as values. What two versions share is not looked into, and what has changed differs in its header.
impl PartialEq for Job {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
            || (self.header == other.header && self.spec == other.spec && self.tasks == other.tasks)
    }
}

impl State {
    /// The jobs in memory that changed since an earlier version.
    pub fn changed_jobs<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = JobChange<'a>> {
        earlier.jobs.diff(&self.jobs).map(|change| match change {
            DiffItem::Add(_, new) => (None, Some(new)),
            DiffItem::Update { old: (_, old), new: (_, new) } => (Some(old), Some(new)),
            DiffItem::Remove(_, old) => (Some(old), None),
        })
    }
}

impl Job {
    /// The tasks that changed since an earlier version of the job.
    pub fn changed_tasks<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = TaskChange<'a>> {
        let (many, rest) = match (&earlier.tasks, &self.tasks) {
            (Tasks::Many(old), Tasks::Many(new)) => (Some(old.diff(new)), None),
            (old, new) => (None, Some((old, new))),
        };
        let many = many.into_iter().flatten().map(|change| match change {
            DiffItem::Add(at, new) => (*at, None, Some(new.as_ref())),
            DiffItem::Update { old: (_, old), new: (at, new) } => (*at, Some(old.as_ref()), Some(new.as_ref())),
            DiffItem::Remove(at, old) => (*at, Some(old.as_ref()), None),
        });
        // One task, or a schedule that became a job of another shape.
        let rest = rest.into_iter().flat_map(|(old, new)| {
            let count = old.len().max(new.len());
            let both = (0..count).map(|at| (at, old.get(at), new.get(at)));
            both.filter(|(_, old, new)| !old.zip(*new).is_some_and(|(old, new)| Arc::ptr_eq(old, new)))
        });
        many.chain(rest.map(|(at, old, new)| (at, old.map(Arc::as_ref), new.map(Arc::as_ref))))
    }
}

impl Task {
    /// The elements with a record that changed since an earlier version of the task.
    pub fn changed_elements<'a>(
        &'a self,
        earlier: &'a Self,
    ) -> impl Iterator<Item = (Option<&'a Element>, &'a Element)> {
        earlier.elements.diff(&self.elements).filter_map(|change| match change {
            DiffItem::Add(_, new) => Some((None, new.as_ref())),
            DiffItem::Update { old: (_, old), new: (_, new) } => Some((Some(old.as_ref()), new.as_ref())),
            DiffItem::Remove(..) => None,
        })
    }
}
