//! Virtual time.

use quorate_state::command::{Backfill, PlacementOrder, QueueOrder};
use quorate_types::Span;

use super::error::LabError;
use super::job::{Job, Machine, Record, Totals};

/// The order of what happens at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EventRule {
    /// All that ends, then all that is submitted, then one pass over the queue.
    #[default]
    Natural,
    /// As the simulator of the SC'15 authors (pyss) does: submissions before ends, a pass after every single one,
    /// and what was requested to end now counts as ended already.
    Pyss,
}

/// What policies know of how long a job will run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Estimates {
    /// The time that its user asked for.
    #[default]
    User,
    /// The truth, as nobody knows it.
    Exact,
    /// The mean of the last two of the same owner and name, at most what the user asked for (Tsafrir et al. 2007).
    Learned,
}

/// Failures of machines, exponentially distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failures {
    /// Mean time between failures of one machine.
    pub mtbf: Span,
    /// Mean time to repair.
    pub mttr: Span,
    pub seed: u64,
}

/// Under which policy, and by which rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub queue: QueueOrder,
    pub backfill: Backfill,
    pub placement: PlacementOrder,
    pub event_rule: EventRule,
    pub estimates: Estimates,
    pub failures: Option<Failures>,
    /// Where random placement starts.
    pub seed: u64,
}

/// Replays `jobs`, which come in the order of their submission, on `machines`; `sink` sees each job as it finishes.
///
/// # Errors
/// See [`LabError`].
pub fn replay(
    jobs: impl Iterator<Item = Job>,
    machines: &[Machine],
    options: &Options,
    sink: &mut dyn FnMut(&Record),
) -> Result<Totals, LabError> {
    let _ = (jobs, machines, options, sink);
    unimplemented!("follows")
}
