//! Placement with foresight: what an entry that is about to be logged makes possible is decided before, so that
//! the decision can share the entry. A submission and its assignment, or a result and the start of what waited
//! for it, then take one commit instead of two.

use quorate_state::State;
use quorate_state::command::{Command, Entry};
use quorate_types::session::{Happening, Report};

use crate::book::Bounds;

/// Everything that is written waits meanwhile, so a plan ahead is small; what is left over is for the next round.
pub(crate) const BOUNDS: Bounds =
    Bounds { assignments_max: ASSIGNMENTS_MAX, misses_max: MISSES_MAX, pairs_max: PAIRS_MAX };

const ASSIGNMENTS_MAX: usize = 256;
const MISSES_MAX: usize = 8;
/// A few milliseconds for what is placed together; a task alone takes none.
const PAIRS_MAX: usize = 20_000;

/// Whether the entry may bring a task and a worker together.
pub(crate) fn is_promising(state: &State, entry: &Entry) -> bool {
    let idle_queue = state.queue().is_empty();
    !state.registrations().is_empty()
        && entry.proposals.iter().any(|proposal| match &proposal.command {
            // Behind what waits already a new job has nothing to gain by haste.
            Command::Submit(_)
            | Command::Resume { .. }
            | Command::Retry { .. }
            | Command::RetryFrom { .. }
            | Command::Tick { .. }
            | Command::RunNow { .. } => idle_queue,
            Command::Report { reports, .. } => {
                reports.iter().any(|report| ends(report) && (!idle_queue || has_other_tasks(state, report)))
            }
            Command::Cancel { .. }
            | Command::Pause { .. }
            | Command::Freeze { .. }
            | Command::Forget { .. }
            | Command::Reassign { .. }
            | Command::Register(_)
            | Command::Attach { .. }
            | Command::Expire { .. }
            | Command::End { .. }
            | Command::Drain { .. }
            | Command::Undrain { .. }
            | Command::Remove { .. }
            | Command::Assign { .. }
            | Command::Advance
            | Command::ChangePolicy(_)
            | Command::NameCluster { .. }
            | Command::IdentifyReplica { .. }
            | Command::AnnounceReplica { .. }
            | Command::ChangeSchedule { .. }
            | Command::ChangeService { .. }
            | Command::DrainBy { .. }
            | Command::Preempt { .. }
            | Command::Taint { .. }
            | Command::SetNamespace { .. }
            | Command::ResetNamespace { .. }
            | Command::SetResource { .. }
            | Command::RemoveResource { .. }
            | Command::AcquireLock { .. }
            | Command::ReleaseLock { .. }
            | Command::RetryArchived { .. } => false,
        })
}

/// Its end may set others of its job free.
fn has_other_tasks(state: &State, report: &Report) -> bool {
    state.job(report.key.job).is_some_and(|job| job.spec.tasks.len() > 1)
}

fn ends(report: &Report) -> bool {
    match report.what {
        Happening::Finished(_) => true,
        Happening::Started | Happening::Progress { .. } | Happening::Healthy => false,
    }
}
