//! What a book learns of how long tasks run: from attempts that it saw running, from those that came and went between
//! two versions of the state, and from finished jobs when it begins.

use std::sync::Arc;

use quorate_state::State;
use quorate_state::element::{Attempt, Element};
use quorate_state::job::{ElementKey, Job, Task};
use quorate_types::status::AttemptState;
use quorate_types::{AttemptNumber, Name, Span, Timestamp};

use crate::book::{Book, Lineage};
use crate::planner::{attempt_of, element_of};

/// The mean of the last two is what counts: more of an array is not looked at.
const LAST: usize = 2;

/// How long the attempt ran, if it succeeded.
pub(crate) fn ran(state: &State, key: ElementKey, number: AttemptNumber) -> Option<Span> {
    run_time(attempt_of(element_of(state, key)?, number)?)
}

fn run_time(attempt: &Attempt) -> Option<Span> {
    let succeeded = attempt.state == AttemptState::Succeeded;
    succeeded.then(|| attempt.finished_at.zip(attempt.started_at)).flatten().map(|(end, start)| end.since(start))
}

/// Tasks of one owner under one name: the label `owner`, or else the namespace.
pub(crate) fn lineage(job: &Job, task: &Name) -> Lineage {
    let owner = job.spec.labels.get("owner").and_then(|owner| Name::new(owner).ok());
    Lineage {
        owner: owner.unwrap_or_else(|| job.spec.namespace.clone()),
        name: format!("{}/{task}", job.spec.name.as_str()).into(),
    }
}

pub(crate) fn of_job(book: &mut Book, job: &Job) {
    for (_, task, spec) in job.tasks() {
        let lineage = lineage(job, &spec.name);
        let ran: Vec<Span> = task.last_elements(LAST).filter_map(|element| run_time(element.current()?)).collect();
        ran.into_iter().rev().for_each(|ran| book.learn(&lineage, ran));
    }
}

/// Of attempts that began and ended between two versions, so that no worker was seen to run them.
pub(crate) fn between(book: &mut Book, seen: &State, state: &State) {
    let nothing = Task::default();
    for (old, new) in state.changed_jobs(seen) {
        let Some(new) = new else { continue };
        match old {
            Some(old) => new.changed_tasks(old).for_each(|(at, before, after)| {
                after.into_iter().for_each(|after| of_task(book, new, at, before.unwrap_or(&nothing), after));
            }),
            None => new.tasks().for_each(|(at, task, _)| of_task(book, new, at, &nothing, task)),
        }
    }
}

fn of_task(book: &mut Book, job: &Arc<Job>, at: u32, before: &Task, after: &Task) {
    let Some(spec) = job.task_spec(at).filter(|_| after.head.succeeded > 0) else { return };
    let unseen = after.changed_elements(before).filter_map(|(old, new)| {
        let attempt = new.current()?;
        let was_seen = old.and_then(Element::current).is_some_and(|seen| seen.fence == attempt.fence);
        Some((attempt.finished_at, run_time(attempt).filter(|_| !was_seen)?))
    });
    let mut runs: Vec<(Option<Timestamp>, Span)> = unseen.collect();
    if runs.is_empty() {
        return;
    }
    runs.sort_unstable();
    let lineage = lineage(job, &spec.name);
    runs.iter().skip(runs.len().saturating_sub(LAST)).for_each(|(_, ran)| book.learn(&lineage, *ran));
}
