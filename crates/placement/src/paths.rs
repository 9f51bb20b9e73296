//! How long a task and the longest chain of tasks behind it will run, with learned times where nobody says any: what
//! the order `critical-path` goes by. It is found once for a job as a whole, when the first of its tasks comes to the
//! queue. Tasks that the job gains later have what the specification says of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::job::Job;
use quorate_types::{JobId, Resources, Span, Timestamp};

use crate::book::{Book, Facts};
use crate::learn::lineage;

/// Tasks of the jobs that are remembered, at eight bytes each; a job counts as eight tasks besides.
const TASKS_MAX: usize = 1 << 20;
const JOB_TASKS: usize = 8;

#[derive(Debug, Default)]
pub(crate) struct Paths {
    by_job: BTreeMap<JobId, Arc<[Span]>>,
    tasks: usize,
}

impl Paths {
    pub(crate) fn of(&mut self, book: &Book, job: &Job, task: u32) -> Span {
        let known = match self.by_job.get(&job.id()) {
            Some(paths) => paths.clone(),
            None => self.find(book, job),
        };
        known.get(task as usize).copied().unwrap_or_else(|| job.path(task))
    }

    fn find(&mut self, book: &Book, job: &Job) -> Arc<[Span]> {
        let paths: Arc<[Span]> = job.paths(|task| run_of(book, job, task)).into();
        // A job of one task is not worth remembering.
        if paths.len() > 1 {
            self.tasks += paths.len() + JOB_TASKS;
            if self.tasks > TASKS_MAX {
                *self = Self { by_job: BTreeMap::new(), tasks: paths.len() + JOB_TASKS };
            }
            self.by_job.insert(job.id(), paths.clone());
        }
        paths
    }
}

fn run_of(book: &Book, job: &Job, task: u32) -> Option<Span> {
    let spec = job.task_spec(task)?;
    let mut facts = Facts::new(Timestamp(0), Resources::default());
    (facts.expected, facts.limit, facts.lineage) = (spec.expected, spec.timeout, Some(lineage(job, &spec.name)));
    Some(book.expected(&facts)?.span)
}
