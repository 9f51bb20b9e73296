//! How long a task has been in line.

use quorate_state::element::Element;
use quorate_state::job::Job;
use quorate_types::Timestamp;

/// When the task came to the end of the line, as far as can be told from the element that is next and the newest.
pub(crate) fn turn_of(job: &Job, task: u32) -> Timestamp {
    let submitted = job.header.submitted_at;
    let Some(task) = job.task(task).filter(|task| task.head.fresh > 0) else { return submitted };
    let newest = task.last_elements(1).next().and_then(Element::current).map(|attempt| attempt.assigned_at);
    let next = task.pending().next().and_then(|(index, _)| task.element(index)?.current()?.finished_at);
    [newest, next].into_iter().flatten().fold(submitted, Timestamp::max)
}
