//! Of an element that has finished: how and why.

use std::collections::BTreeMap;

use quorate_state::element::{AfterStop, Element};
use quorate_state::limits::UNABLE_MAX;
use quorate_types::explain::{EndCause, EndStory};
use quorate_types::job::OnFailure;
use quorate_types::status::{AttemptState, Ending, TaskState};
use quorate_types::{Name, Need, On, TaskSpec};

use super::Subject;

pub(super) fn of(subject: &Subject<'_>, state: TaskState) -> Option<EndStory> {
    let spec = subject.spec.tasks.get(subject.task as usize)?;
    let (cause, task) = match (state, subject.record) {
        (TaskState::Succeeded, _) => (EndCause::Succeeded, None),
        (TaskState::Failed, Some(element)) => (why_failed(subject, spec, element), None),
        // Only what has a record can fail.
        (TaskState::Failed | TaskState::Cancelled, _) => why_cancelled(subject, spec),
        (
            TaskState::Waiting | TaskState::Pending | TaskState::Assigned | TaskState::Running | TaskState::Stopping,
            _,
        ) => return None,
    };
    let last = subject.record.and_then(Element::current);
    let lost = last.filter(|attempt| attempt.state == AttemptState::Lost).map(|_| "its worker was lost".to_owned());
    let ending = last.and_then(|attempt| attempt.ending.as_ref()).filter(|ending| !ending.is_success());
    Some(EndStory {
        at: last.and_then(|attempt| attempt.finished_at),
        cause,
        reason: ending.map(Ending::to_string).or(lost),
        worker: last.map(|attempt| attempt.worker.clone()),
        attempts: last.map_or(0, |attempt| attempt.number.0),
        failures: subject.record.map_or(0, |element| element.failures),
        retries: spec.retries,
        task,
    })
}

fn why_failed(subject: &Subject<'_>, spec: &TaskSpec, element: &Element) -> EndCause {
    let exit_code = element.current().and_then(|attempt| attempt.ending.as_ref()).and_then(Ending::exit_code);
    if subject.header.flow().overdue && element.after_stop == AfterStop::Fail {
        EndCause::Deadline
    } else if element.losses >= spec.losses {
        EndCause::Poisonous
    } else if element.unable >= UNABLE_MAX {
        EndCause::Unable
    } else if element.failures > spec.retries {
        EndCause::RetriesUsedUp
    } else if !spec.may_retry(exit_code) {
        EndCause::NotRetried
    } else {
        // Retries were left, but the job was ending by then.
        EndCause::OtherTaskFailed
    }
}

/// What was never to start any more, and the task that is the cause of it.
fn why_cancelled(subject: &Subject<'_>, spec: &TaskSpec) -> (EndCause, Option<Name>) {
    let (header, flow) = (subject.header, subject.header.flow());
    if header.cancelling {
        return (EndCause::JobCancelled, None);
    }
    if flow.overdue {
        return (EndCause::Deadline, None);
    }
    // Once for all needs: there may be as many as tasks.
    let positions: BTreeMap<&Name, u32> = match spec.needs.is_empty() {
        true => BTreeMap::new(),
        false => subject.spec.tasks.iter().map(|task| &task.name).zip(0..).collect(),
    };
    if let Some(need) = spec.needs.iter().find(|need| is_unmet(subject, &positions, need)) {
        return (EndCause::NeedUnmet, need.task().cloned());
    }
    if header.counts.failed > flow.kept_failed && subject.spec.on_failure == OnFailure::Cancel {
        let named = (0..).zip(&subject.spec.tasks);
        let failed = |(at, _): &(u32, &TaskSpec)| (subject.heads)(*at).is_some_and(|head| head.failed > 0);
        return (EndCause::OtherTaskFailed, named.into_iter().find(failed).map(|(_, task)| task.name.clone()));
    }
    if spec.needs.iter().any(|need| matches!(need, Need::Job { .. })) {
        return (EndCause::NeedUnmet, None);
    }
    match subject.spec.expires {
        Some(_) => (EndCause::Expired, None),
        None => (EndCause::JobCancelled, None),
    }
}

/// Whether a task of the same job ended in another way than was needed.
fn is_unmet(subject: &Subject<'_>, positions: &BTreeMap<&Name, u32>, need: &Need) -> bool {
    let Some(head) = need.task().and_then(|name| positions.get(name)).and_then(|at| (subject.heads)(*at)) else {
        return false;
    };
    let failed = head.failed > 0 && need.on() == On::Success;
    failed || head.end().is_some_and(|end| !need.on().is_met_by(end))
}
