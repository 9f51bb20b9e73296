//! How long a task and the longest chain of tasks behind it will run, with learned times where nobody says any: what
//! the order `critical-path` goes by. It is found for a job as a whole, when the first of its tasks comes to the queue.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::job::Job;
use quorate_types::{JobId, Resources, Span, Timestamp};

use crate::book::{Book, Facts};
use crate::planner::lineage;

/// Tasks of the jobs that are remembered; eight bytes each.
const TASKS_MAX: usize = 1 << 20;
/// What stands for a time of which nobody knows anything: enough for the longer of two unknown chains to count as
/// longer.
const UNKNOWN_RUN: Span = Span::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Paths {
    by_job: BTreeMap<JobId, Arc<[Span]>>,
    tasks: usize,
}

impl Paths {
    pub(crate) fn of(&mut self, book: &Book, job: &Job, task: u32) -> Span {
        let len = job.spec.tasks.len();
        if len == 1 {
            return run_of(book, job, task);
        }
        let known = self.by_job.get(&job.id()).filter(|paths| paths.len() == len).cloned();
        let paths = known.unwrap_or_else(|| self.find(book, job));
        paths.get(task as usize).copied().unwrap_or_default()
    }

    fn find(&mut self, book: &Book, job: &Job) -> Arc<[Span]> {
        let paths: Arc<[Span]> = job.paths(|task| run_of(book, job, task)).into();
        if self.tasks + paths.len() > TASKS_MAX {
            *self = Self::default();
        }
        let before = self.by_job.insert(job.id(), paths.clone());
        self.tasks = self.tasks + paths.len() - before.map_or(0, |before| before.len());
        paths
    }
}

fn run_of(book: &Book, job: &Job, task: u32) -> Span {
    let Some(spec) = job.task_spec(task) else { return Span(0) };
    let mut facts = Facts::new(Timestamp(0), Resources::default());
    (facts.expected, facts.limit, facts.lineage) = (spec.expected, spec.timeout, Some(lineage(job, &spec.name)));
    book.expected(&facts).map_or(UNKNOWN_RUN, |expected| expected.span)
}
