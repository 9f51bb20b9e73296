//! Running a finished job again.

use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use quorate_types::JobId;
use quorate_types::api::TaskCounts;
use quorate_types::event::EventType;
use quorate_types::status::{JobState, TaskState};

use super::Result;
use crate::command::RetryScope;
use crate::job::{Element, Job, Task};
use crate::outcome::{Applied, Outcome, Rejection};
use crate::state::State;

impl State {
    pub(super) fn retry(&mut self, id: JobId, scope: RetryScope, out: &mut Applied) -> Result {
        let unfinished = self.job(id).map_or(0, |job| job.header.counts.total);
        let full = self.cluster.totals.unfinished_elements + unfinished > crate::limits::UNFINISHED_ELEMENTS_MAX;
        self.control(id, out, |change| {
            let state = change.job.header.state;
            let Some(finished_at) = change.job.header.finished_at else {
                return Err(Rejection::JobState { job: id, state });
            };
            if scope == RetryScope::NotSucceeded && state == JobState::Succeeded {
                return Err(Rejection::JobState { job: id, state });
            }
            if full {
                return Err(Rejection::QueueFull(change.cluster.totals.unfinished_elements));
            }
            change.cluster.unnote_finished(change.job, finished_at);
            change.cluster.unnote_submitted(change.job);
            reopen(change.job, scope);
            change.job.header.changed = change.out.index;
            change.cluster.note_submitted(change.job);
            change.cluster.queue.update_all(change.job);
            change.emit_job(EventType::JobRetried);
            Ok(Outcome::Done)
        })
    }
}

/// Makes the job what it would be if the tasks in scope had never been tried; attempts stay listed,
/// and their numbers go on.
fn reopen(job: &mut Job, scope: RetryScope) {
    let header = &mut job.header;
    (header.state, header.paused, header.cancelling) = (JobState::Pending, false, false);
    (header.started_at, header.finished_at, header.result_bytes) = (None, None, 0);
    for at in 0..job.tasks.len() {
        if let Some(task) = job.task_mut(at) {
            task.head.fresh_cancelled = false;
            let keep = |e: &Element| scope == RetryScope::NotSucceeded && e.state == TaskState::Succeeded;
            task.head.succeeded = task.elements.values().filter(|e| keep(e)).count() as u32;
        }
    }
    let done: Vec<bool> = job.tasks.values().map(|task| task.head.succeeded == task.head.count).collect();
    let mut open_needs: Vec<u32> = (0..job.tasks.len()).map(|at| job.plan.needs(at)).collect();
    for (at, _) in (0..).zip(&done).filter(|(_, done)| **done) {
        job.plan.dependents(at).iter().for_each(|dependent| open_needs[*dependent as usize] -= 1);
    }
    let mut counts = TaskCounts { total: job.header.counts.total, ..TaskCounts::default() };
    for (at, open) in (0..).zip(open_needs) {
        if let Some(task) = job.task_mut(at) {
            task.head.open_needs = open;
            reopen_elements(task, scope, &mut counts);
        }
    }
    job.header.counts = counts;
    let elements = job.tasks.values().flat_map(|task| task.elements.values());
    let kept = elements.filter_map(|element| element.result.as_ref()).map(|result| result.len() as u64);
    job.header.result_bytes = kept.sum();
}

fn reopen_elements(task: &mut Task, scope: RetryScope, counts: &mut TaskCounts) {
    let state = task.head.fresh_state();
    let mut elements = OrdMap::new();
    let mut ready = OrdSet::new();
    for (index, element) in &task.elements {
        if scope == RetryScope::NotSucceeded && element.state == TaskState::Succeeded {
            counts.succeeded += 1;
            elements.insert(*index, element.clone());
            continue;
        }
        let attempts = element.attempts.clone();
        elements.insert(*index, Arc::new(Element { attempts, ..Element::new(state) }));
        *counts.of(state) += 1;
        if state == TaskState::Pending {
            ready.insert(*index);
        }
    }
    *counts.of(state) += u64::from(task.head.fresh_len());
    (task.elements, task.ready) = (elements, ready);
}
