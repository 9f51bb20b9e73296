//! What a book learns of how long tasks run: from what ended between two versions of the state, and from finished jobs
//! when it begins.

use quorate_state::State;
use quorate_state::element::{Attempt, Element};
use quorate_state::job::{Job, Task};
use quorate_types::status::AttemptState;
use quorate_types::{Name, Span, Timestamp};

use crate::book::{Book, Lineage};

/// The mean of the last two is what counts: more of an array is not looked at.
const LAST: usize = 2;

/// How long the attempt ran, if it succeeded.
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

/// Of what succeeded between two versions, in the order of its ends, whether a worker was seen to run it or not.
pub(crate) fn between(book: &mut Book, seen: &State, state: &State) {
    let nothing = Task::default();
    let mut ended = Vec::new();
    for (old, new) in state.changed_jobs(seen) {
        let Some(new) = new else { continue };
        match old {
            Some(old) => new.changed_tasks(old).for_each(|(at, before, after)| {
                after.into_iter().for_each(|after| note_task(&mut ended, new, at, before.unwrap_or(&nothing), after));
            }),
            None => new.tasks().for_each(|(at, task, _)| note_task(&mut ended, new, at, &nothing, task)),
        }
    }
    ended.sort_by_key(|(at, ..)| *at);
    ended.iter().for_each(|(_, lineage, ran)| book.learn(lineage, *ran));
}

/// When something ended, of which lineage, and how long it ran.
type Ended = (Option<Timestamp>, Lineage, Span);

fn note_task(ended: &mut Vec<Ended>, job: &Job, at: u32, before: &Task, after: &Task) {
    let Some(spec) = job.task_spec(at).filter(|_| after.head.succeeded > 0) else { return };
    let new = after.changed_elements(before).filter_map(|(old, new)| {
        let attempt = new.current()?;
        let had_ended =
            old.and_then(Element::current).is_some_and(|old| old.fence == attempt.fence && old.finished_at.is_some());
        Some((attempt.finished_at, run_time(attempt).filter(|_| !had_ended)?))
    });
    let mut runs: Vec<(Option<Timestamp>, Span)> = new.collect();
    if runs.is_empty() {
        return;
    }
    runs.sort_unstable();
    let lineage = lineage(job, &spec.name);
    let last = runs.into_iter().rev().take(LAST).rev();
    ended.extend(last.map(|(at, ran)| (at, lineage.clone(), ran)));
}
