//! Placement with foresight: what an entry that is about to be logged makes possible is decided before, so that
//! the decision can share the entry. A submission and its assignment, or a result and the start of what waited
//! for it, then take one commit instead of two.

use quorate_state::State;
use quorate_state::command::{Command, Entry};
use quorate_types::LogIndex;
use quorate_types::session::{Happening, Report};

use crate::round::{Bounds, Memory, Plan, round};

/// Decides what to start once `entry`, the next of the log, has been applied to `state`. None if the entry gives
/// no reason to look.
pub fn ahead(state: &State, index: LogIndex, entry: &Entry, memory: &mut Memory, bounds: Bounds) -> Option<Plan> {
    if !is_promising(state, entry) {
        return None;
    }
    let mut then = state.clone();
    then.apply(index, entry);
    Some(round(&then, memory, bounds))
}

/// Whether the entry may bring a task and a worker together.
fn is_promising(state: &State, entry: &Entry) -> bool {
    let idle_queue = state.queue().is_empty();
    !state.registrations().is_empty()
        && entry.proposals.iter().any(|proposal| match &proposal.command {
            // Behind what waits already a new job has nothing to gain by haste.
            Command::Submit(_) | Command::Resume { .. } | Command::Retry { .. } => idle_queue,
            Command::Report { reports, .. } => reports.iter().any(ends),
            Command::Cancel { .. }
            | Command::Pause { .. }
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
            | Command::SetPolicy(_)
            | Command::NameCluster { .. }
            | Command::IdentifyReplica { .. }
            | Command::AnnounceReplica { .. } => false,
        })
}

fn ends(report: &Report) -> bool {
    match report.what {
        Happening::Finished(_) => true,
        Happening::Started | Happening::Progress { .. } => false,
    }
}
