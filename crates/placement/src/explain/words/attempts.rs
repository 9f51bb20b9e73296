//! What is said of attempts: the one that runs, the one before, and those that could make room.

use quorate_types::Name;
use quorate_types::explain::{AfterStopping, LiveAttempt, PastAttempt, RoomMade};

use super::{Circumstances, list};

pub(super) fn previous(attempt: &PastAttempt) -> String {
    format!("Attempt {} on {} ended: {}.", attempt.number, attempt.worker, attempt.reason)
}

pub(super) fn protected(namespaces: &[Name]) -> Option<String> {
    let named: Vec<String> = namespaces.iter().map(ToString::to_string).collect();
    let whose = if named.len() == 1 { "which is within its quota" } else { "which are within their quotas" };
    (!named.is_empty()).then(|| format!("It may end others, but not what runs in {}, {whose}.", list(&named)))
}

pub(super) fn room(made: &[RoomMade]) -> Option<String> {
    let of = |made: &RoomMade| {
        format!("element {} of task {} of job {} on {}", made.index, made.task, made.job, made.worker)
    };
    let told: Vec<String> = made.iter().map(of).collect();
    (!told.is_empty()).then(|| format!("Room is being made for its job: told to stop was {}.", list(&told)))
}

pub(super) fn live(live: &LiveAttempt, about: &Circumstances<'_>) -> Vec<String> {
    let LiveAttempt { number, worker, .. } = live;
    let mut said = Vec::new();
    said.push(match (live.started_at, live.then, live.waits_for) {
        (_, Some(then), _) => {
            let then = match then {
                AfterStopping::Placed => "the task is placed again",
                AfterStopping::Cancelled => "the task is cancelled",
                AfterStopping::Failed => "the task has failed",
            };
            let why = live.stopped.as_ref().map_or_else(String::new, |why| format!(" ({why})"));
            format!("Attempt {number} on {worker} was told to stop{why}; then {then}.")
        }
        (Some(at), None, _) => format!("Attempt {number} runs on {worker} since {}.", about.at(at)),
        (None, None, Some(before)) => {
            format!(
                "Attempt {number} starts on {worker} when element {before}, which stands before it there, has ended."
            )
        }
        (None, None, None) => {
            format!(
                "Attempt {number} was assigned to {worker} at {}; the worker has not said yet that it runs.",
                about.at(live.assigned_at)
            )
        }
    });
    if live.frozen {
        said.push("It is stopped where it is until its job is resumed.".to_owned());
    }
    if !live.unmet.is_empty() && live.then.is_none() {
        said.push(format!("{worker} is not what it prefers: {}.", list(&live.unmet)));
    }
    if let Some(at) = live.moved_at {
        said.push(format!("{worker} is draining: what still runs there at {} is moved.", about.at(at)));
    }
    said
}
