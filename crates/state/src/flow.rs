//! What decides when a job runs, besides its tasks and the workers: times, a concurrency key, other jobs, a
//! schedule. Most jobs have nothing of it.

use std::collections::BTreeSet;

use imbl::OrdSet;
use quorate_types::{JobId, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Nothing starts before; gone when the time has come.
    pub start_at: Option<Timestamp>,
    pub deadline: Option<Timestamp>,
    pub expires: Option<Timestamp>,
    pub slot: Slot,
    /// Tasks that wait for other jobs, each with the job.
    pub awaited: BTreeSet<(u32, JobId)>,
    /// Cancelled elements whose condition did not come about.
    pub skipped: u64,
    /// Failed elements that a retry left as they were: they are no reason to start nothing more.
    pub kept_failed: u64,
    /// The deadline went by.
    pub overdue: bool,
    /// The schedule that this is a run of.
    pub run: Option<Run>,
    /// The job after which this one was submitted.
    pub follows: Option<JobId>,
    /// Of a schedule: what became of its ticks.
    pub ledger: Option<Ledger>,
}

/// Whether the job holds a place of its concurrency key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Slot {
    /// It has no key, or has not come so far, or has given it back.
    #[default]
    None,
    Waiting,
    Held,
}

/// One run of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub schedule: JobId,
    /// The tick that it was submitted for.
    pub tick: Timestamp,
}

/// The ticks of a schedule: each is decided once, and in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Up to here every tick has been decided.
    pub decided: Timestamp,
    /// Runs that have not finished.
    #[serde(deserialize_with = "jobs")]
    pub active: OrdSet<JobId>,
    /// A tick that waits for the run before it.
    pub queued: Option<Timestamp>,
    /// Finished runs that are kept.
    #[serde(deserialize_with = "jobs")]
    pub finished: OrdSet<JobId>,
}

/// [`OrdSet`]'s own way makes room for as many entries as the input claims.
fn jobs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<OrdSet<JobId>, D::Error> {
    BTreeSet::<JobId>::deserialize(deserializer).map(OrdSet::from_iter)
}

impl Flow {
    pub(crate) const PLAIN: Self = Self {
        start_at: None,
        deadline: None,
        expires: None,
        slot: Slot::None,
        awaited: BTreeSet::new(),
        skipped: 0,
        kept_failed: 0,
        overdue: false,
        run: None,
        follows: None,
        ledger: None,
    };

    /// Whether all tasks of the job wait for something besides each other.
    pub fn is_gated(&self) -> bool {
        self.start_at.is_some() || self.slot == Slot::Waiting
    }
}
