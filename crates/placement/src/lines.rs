//! Short tasks are assigned a line at a time: behind each element that starts, more of its array, which take turns on
//! what that one holds. A worker then starts the next one when the one before has ended, without asking the cluster in
//! between; what is over in a millisecond would otherwise leave its place empty for as long again.
//!
//! A line is as much work as [`LINE_WORK_MAX`], judged by how long elements of the task ran until now, and is made only
//! of elements that nothing has room for anyway. So a place is given away for so much longer than one task would take,
//! and nobody waits longer than that for another's line. If one runs on after all, its worker gives back what waits for
//! it.

use std::collections::BTreeMap;
use std::time::Duration;

use quorate_state::State;
use quorate_state::command::Assignment;
use quorate_state::limits::ATTEMPTS_PER_WORKER_MAX;
use quorate_state::queue::Queued;
use quorate_types::job::Driver;
use quorate_types::policy::QueueOrder;
use quorate_types::{AttemptNumber, Epoch};

/// How much work a line is.
const LINE_WORK_MAX: Duration = Duration::from_millis(10);
/// Elements of a line, however short.
const LINE_MAX: usize = 100;
/// Attempts of one worker that wait in lines, with which nobody else is put there.
const CROWD: usize = ATTEMPTS_PER_WORKER_MAX / 2;
/// An element that was tried before may be what ended its worker: it goes alone.
const FIRST: AttemptNumber = AttemptNumber(1);

/// Puts elements in line behind those that are assigned, as long as there are at most `most` assignments.
pub(crate) fn line_up(state: &State, assignments: &mut Vec<Assignment>, most: usize) {
    // Turns are counted in attempts there.
    if state.policy().queue == QueueOrder::RoundRobin {
        return;
    }
    let mut heads: BTreeMap<Queued, Vec<Assignment>> = BTreeMap::new();
    for item in assignments.iter() {
        heads.entry(Queued { job: item.job, task: item.task }).or_default().push(*item);
    }
    let mut crowds: BTreeMap<Epoch, usize> = BTreeMap::new();
    for (queued, heads) in heads {
        let (Some(behind), Some(task)) =
            (followers(state, queued), state.job(queued.job).and_then(|job| job.task(queued.task)))
        else {
            continue;
        };
        let left = usize::try_from(task.pending_len()).unwrap_or(usize::MAX).saturating_sub(heads.len());
        let room = most.saturating_sub(assignments.len());
        // Others that are live will ask for their share soon.
        let each = behind.min(left / (heads.len() + task.head.live as usize)).min(room / heads.len());
        let mut waiting = task.pending().skip(heads.len()).filter(|(_, attempt)| *attempt == FIRST);
        for head in heads.into_iter().filter(|head| head.attempt == FIRST) {
            let here = state.worker_of(head.epoch).map_or(CROWD, |worker| worker.waiting);
            let crowd = crowds.entry(head.epoch).or_insert(here);
            let line = waiting.by_ref().take(each.min(CROWD.saturating_sub(*crowd)));
            let line = line.filter(|(index, _)| *index > head.index);
            let before = assignments.len();
            assignments.extend(line.map(|(index, attempt)| Assignment {
                index,
                attempt,
                behind: Some(head.index),
                ..head
            }));
            *crowd += assignments.len() - before;
        }
    }
}

/// How many elements of the task go behind each that starts, if any do.
fn followers(state: &State, queued: Queued) -> Option<usize> {
    let job = state.job(queued.job)?;
    let (head, spec) = (job.task(queued.task)?.head, job.task_spec(queued.task)?);
    // What is counted as it starts, or goes with others, is counted where that is decided.
    let is_plain = !job.is_service() && spec.rate.is_none() && head.live_max == 0 && job.gang(queued.task).is_none();
    let pace = u128::from(head.pace.filter(|_| is_plain)?);
    // Run times are whole milliseconds, and to make a process takes one too.
    let pace = if spec.driver == Driver::Process { pace.max(1_000) } else { pace };
    let line = LINE_WORK_MAX.as_micros().checked_div(pace).map_or(LINE_MAX, |line| LINE_MAX.min(line as usize));
    line.checked_sub(1).filter(|behind| *behind > 0)
}
