//! The tasks of a job by position. Most jobs have one: a map for it would be the largest part of the job.

use std::sync::Arc;

use imbl::OrdMap;

use crate::job::Task;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tasks {
    One(Arc<Task>),
    Many(OrdMap<u32, Arc<Task>>),
}

impl FromIterator<Task> for Tasks {
    fn from_iter<I: IntoIterator<Item = Task>>(tasks: I) -> Self {
        let mut tasks = tasks.into_iter().map(Arc::new).peekable();
        match tasks.next() {
            Some(first) if tasks.peek().is_none() => Self::One(first),
            first => Self::Many((0_u32..).zip(first.into_iter().chain(tasks)).collect()),
        }
    }
}

impl Tasks {
    pub(crate) fn get(&self, at: u32) -> Option<&Arc<Task>> {
        match self {
            Self::One(task) => (at == 0).then_some(task),
            Self::Many(tasks) => tasks.get(&at),
        }
    }

    pub(crate) fn get_mut(&mut self, at: u32) -> Option<&mut Task> {
        let task = match self {
            Self::One(task) => (at == 0).then_some(task),
            Self::Many(tasks) => tasks.get_mut(&at),
        };
        task.map(Arc::make_mut)
    }

    pub(crate) fn push(&mut self, task: Task) {
        let task = Arc::new(task);
        match self {
            Self::One(first) => *self = Self::Many(OrdMap::from_iter([(0_u32, first.clone()), (1, task)])),
            Self::Many(tasks) => drop(tasks.insert(tasks.len() as u32, task)),
        }
    }

    /// The first ones, the others are dropped.
    pub(crate) fn truncate(&mut self, len: u32) {
        *self = self.values().take(len as usize).map(|task| Task::clone(task)).collect();
    }

    pub(crate) fn len(&self) -> u32 {
        match self {
            Self::One(_) => 1,
            Self::Many(tasks) => tasks.len() as u32,
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Arc<Task>)> {
        let (one, many) = match self {
            Self::One(task) => (Some(task), None),
            Self::Many(tasks) => (None, Some(tasks)),
        };
        let many = many.into_iter().flatten().map(|(at, task)| (*at, task));
        one.into_iter().map(|task| (0, task)).chain(many)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.iter().map(|(_, task)| task)
    }
}
