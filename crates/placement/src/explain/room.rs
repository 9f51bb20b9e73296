//! What was told to stop so that a job has room.

use quorate_state::State;
use quorate_state::job::ElementKey;
use quorate_types::JobId;
use quorate_types::explain::RoomMade;
use quorate_types::status::StopReason;

use super::ROOM_LISTED_MAX;

/// The first of them, by worker.
pub(super) fn made_for(state: &State, job: JobId) -> Vec<RoomMade> {
    let live = state.workers().flat_map(|worker| worker.attempts.iter());
    let stopping = live.filter(|(_, live)| live.stopping);
    stopping.filter_map(|(at, _)| made_by(state, at, job)).take(ROOM_LISTED_MAX).collect()
}

fn made_by(state: &State, at: &ElementKey, job: JobId) -> Option<RoomMade> {
    let victim = state.job(at.job)?;
    let attempt = victim.task(at.task)?.element(at.index)?.current()?;
    match attempt.stopped? {
        StopReason::Priority(by) | StopReason::Shorter(by) | StopReason::Reclaimed(by) | StopReason::TurnOver(by) => {
            let task = victim.task_spec(at.task)?.name.clone();
            let made = RoomMade { job: at.job, task, index: at.index, worker: attempt.worker.clone() };
            (by == job).then_some(made)
        }
        StopReason::Cancelled | StopReason::Paused | StopReason::Overdue | StopReason::NotStarted => None,
        StopReason::Reassigned | StopReason::Drained | StopReason::Rebalanced | StopReason::Gang => None,
        StopReason::Behind | StopReason::Outdated | StopReason::Surplus | StopReason::Draining => None,
        StopReason::Vacated | StopReason::Unmatched => None,
    }
}
