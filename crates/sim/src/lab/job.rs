//! What a replay reads and what it yields.

use std::collections::BTreeMap;

use quorate_types::{JobName, Name, Resources, Span, Timestamp};

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
}

/// A worker of the simulated cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    pub name: Name,
    pub capacity: Resources,
    pub labels: BTreeMap<Name, String>,
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
