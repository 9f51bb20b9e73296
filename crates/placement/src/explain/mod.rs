//! Why a task is where it is, what would let it go on, and where it would go.
//!
//! Layout: `element` (one element, in any state) and `groups` (a job as a whole) put together what `waits` (needs,
//! times and keys), `gates` (resources of the cluster, rates, locks), `line` (its place in the queue, and one decision
//! over the front of it), `survey` (each worker, by `obstacle`), `room` and `protected` (what ends for it, and what does
//! not), `attempt`, `service` and `end` find, and `words` says it in sentences.
//!
//! Everything comes from one version of the state, as a leader would see it that begins now. What a leader has learned
//! besides (reservations that it made earlier, whose turn it is) is not in it; so what is said of places, starts and
//! reservations is an estimate, while what is said of needs, gates and room holds at that version. One explanation
//! walks the queue once and keeps no more than [`FRONT_MAX`] tasks of it.

mod attempt;
mod element;
mod end;
mod gates;
mod groups;
mod line;
mod obstacle;
mod protected;
mod room;
mod service;
mod survey;
mod waits;
mod words;

use quorate_state::element::Element;
use quorate_state::job::{Header, TaskHead};
use quorate_types::{JobId, JobSpec, TaskIndex};

pub use element::{archived, element};
pub use groups::{archived_job, job};

/// Tasks at the front of the queue that the decision is made over: a round that misses, strays and assigns as often as
/// it may looks at about as many.
pub(crate) const FRONT_MAX: usize = 16_384;
/// Workers of one explanation that are listed one by one; the others are counted.
pub(crate) const WORKERS_LISTED_MAX: usize = 100;
/// The same where many explanations share an answer.
pub(crate) const WORKERS_LISTED_IN_GROUP_MAX: usize = 10;
/// Things that one element waits for that are listed one by one.
pub(crate) const WAITS_LISTED_MAX: usize = 100;
/// Holders of a concurrency key that are named.
pub(crate) const HOLDERS_LISTED_MAX: usize = 10;
/// Attempts that are named which were told to stop for a job.
pub(crate) const ROOM_LISTED_MAX: usize = 10;
/// Attempts that are looked at for what quotas protect, for each explanation: some milliseconds.
pub(crate) const PROTECTED_LOOKS_MAX: usize = 20_000;
/// Namespaces that are named within whose quotas is what a task might end otherwise.
pub(crate) const PROTECTED_LISTED_MAX: usize = 10;
/// Kinds of resources that are named where one is lacking.
pub(crate) const KINDS_LISTED_MAX: usize = 20;
/// Groups of elements in the explanation of a job.
pub(crate) const GROUPS_MAX: usize = 100;

/// Whether the job is there, or somebody asks what would be if it were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    Real,
    DryRun,
}

/// One element, in memory or from the archive.
pub(crate) struct Subject<'a> {
    pub(crate) voice: Voice,
    pub(crate) header: &'a Header,
    pub(crate) spec: &'a JobSpec,
    pub(crate) heads: &'a dyn Fn(u32) -> Option<TaskHead>,
    pub(crate) task: u32,
    pub(crate) index: TaskIndex,
    pub(crate) record: Option<&'a Element>,
}

impl Voice {
    /// The number of a job, unless it is one that only would be.
    pub(crate) fn job(self, id: JobId) -> Option<JobId> {
        match self {
            Self::Real => Some(id),
            Self::DryRun => None,
        }
    }
}
