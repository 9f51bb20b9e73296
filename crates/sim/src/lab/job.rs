//! What a replay reads and what it yields.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_placement::book::Constraints;
use quorate_state::company::Company;
use quorate_types::validate::default_namespace;
use quorate_types::{JobName, Labels, Name, Resources, Span, Taint, Timestamp};

/// What a job has unless it says otherwise.
const PRIORITY: u8 = 50;

/// One recorded piece of work: it asks for `request` on one machine and takes `run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub id: u64,
    pub submitted: Timestamp,
    /// How long it ran in the record.
    pub run: Span,
    /// The time that its user asked for; it is ended then.
    pub limit: Option<Span>,
    pub request: Resources,
    /// From 0 to 100, higher first.
    pub priority: u8,
    pub namespace: Name,
    /// With the name what learned estimates go by.
    pub owner: Name,
    pub name: JobName,
    /// Jobs that end before this one may start. One that isn't known at submission counts as ended.
    pub needs: Vec<u64>,
    /// Where it may run, if not everywhere.
    pub constraints: Option<Arc<Constraints>>,
    /// What other jobs may mind about it, and what it minds about them.
    pub company: Option<Arc<Company>>,
    /// Of which task it is an element: how many of them are together, and what must be apart from them, is told by
    /// that.
    pub kin: Kin,
    /// With whom it runs all at once, or not at all.
    pub gang: Option<Gang>,
}

/// What the jobs of a gang have in common. They are submitted at one instant, and need the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gang {
    /// Tells it from others: the number of one of its jobs.
    pub id: u64,
    pub size: u32,
}

/// A task of a job: the job by a number of its own, the task by its position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kin {
    pub job: u64,
    pub task: u32,
}

impl Job {
    /// A job of which no more is known: nobody's, of the middle priority, without a limit.
    pub fn new(id: u64, submitted: Timestamp, run: Span, request: Resources) -> Self {
        Self {
            id,
            submitted,
            run,
            limit: None,
            request,
            priority: PRIORITY,
            namespace: default_namespace(),
            owner: default_namespace(),
            name: JobName::new("job").expect("a name"),
            needs: Vec::new(),
            constraints: None,
            company: None,
            kin: Kin { job: id, task: 0 },
            gang: None,
        }
    }
}

/// A worker of the simulated cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    pub name: Name,
    pub capacity: Resources,
    pub labels: BTreeMap<Name, String>,
    /// What keeps jobs off that don't tolerate it.
    pub taints: Vec<Taint>,
}

impl Machine {
    /// One without labels and taints.
    pub fn new(name: Name, capacity: Resources) -> Self {
        Self { name, capacity, labels: BTreeMap::new(), taints: Vec::new() }
    }

    /// Whether it is large enough for the job.
    pub fn is_large_enough(&self, job: &Job) -> bool {
        job.request.fits(&self.capacity)
    }

    /// Whether it is what the job requires.
    pub fn suits(&self, job: &Job) -> bool {
        let labels = Labels { worker: &self.name, labels: &self.labels };
        job.constraints.as_ref().map_or(self.taints.is_empty(), |wanted| wanted.are_met_by(labels, &self.taints))
    }
}

/// How one job went; given out when it finishes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub id: u64,
    pub namespace: Name,
    pub submitted: Timestamp,
    /// The start of its last attempt, the one that finished.
    pub started: Timestamp,
    pub finished: Timestamp,
    pub request: Resources,
    /// Position of its machine.
    pub machine: u32,
    /// Attempts that failures ended before.
    pub interrupted: u32,
    /// Time that those had run.
    pub lost: Span,
}

/// What a replay came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub finished: u64,
    /// Jobs that fit no machine or have no run time, and were left out.
    pub dropped: u64,
    /// Failures of machines.
    pub failures: u64,
    /// The most jobs that waited at once.
    pub queued_max: u64,
}
