//! Of an element that a worker has: where, since when, and what follows; or of one that a worker had.

use quorate_state::State;
use quorate_state::element::{AfterStop, Element};
use quorate_state::job::{ElementKey, Job};
use quorate_state::view;
use quorate_state::worker::Worker;
use quorate_types::explain::{AfterStopping, LiveAttempt, PastAttempt};
use quorate_types::status::TaskState;

pub(super) fn of(state: &State, job: &Job, at: &ElementKey, element: &Element) -> Option<LiveAttempt> {
    let attempt = element.current()?;
    let worker = state.worker_of(attempt.epoch);
    let then = match (element.state, element.after_stop) {
        (TaskState::Stopping, AfterStop::Requeue) => Some(AfterStopping::Placed),
        (TaskState::Stopping, AfterStop::Cancel) => Some(AfterStopping::Cancelled),
        (TaskState::Stopping, AfterStop::Fail) => Some(AfterStopping::Failed),
        (_, AfterStop::Requeue | AfterStop::Cancel | AfterStop::Fail) => None,
    };
    let spec = job.task_spec(at.task)?;
    let labels = worker.map(|worker| Worker::labels(worker));
    let unmet = spec.prefers.iter().map(|preference| &preference.condition);
    let unmet = unmet.filter(|condition| labels.is_some_and(|labels| !condition.is_met_by(labels)));
    Some(LiveAttempt {
        number: attempt.number,
        worker: attempt.worker.clone(),
        worker_state: worker.map(|worker| worker.state()),
        assigned_at: attempt.assigned_at,
        started_at: attempt.started_at,
        stopped: attempt.stopped.map(|why| why.to_string()),
        then,
        moved_at: worker.and_then(|worker| worker.drain_until),
        waits_for: worker.and_then(|worker| {
            let before = worker.before(at, attempt.behind?, attempt.fence)?;
            Some(before.index)
        }),
        frozen: job.header.frozen && element.state != TaskState::Stopping,
        unmet: unmet.map(ToString::to_string).collect(),
    })
}

/// The last attempt of an element that waits again.
pub(super) fn previous(element: &Element) -> Option<PastAttempt> {
    let attempt = element.current()?;
    let (number, worker) = (attempt.number, attempt.worker.clone());
    Some(PastAttempt { number, worker, reason: view::reason(attempt)? })
}
