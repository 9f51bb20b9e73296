//! The state as the HTTP API shows it.

use std::sync::Arc;

use quorate_types::api::{AttemptView, JobView, NamespaceView, ProgressView, RunsView, TaskView, WorkerView};
use quorate_types::status::{AttemptState, Ending, TaskState};
use quorate_types::{AttemptNumber, JobSpec, Name, TaskIndex};

use crate::element::{Attempt, Element};
use crate::job::{Header, Job, TaskHead};
use crate::spaces::Space;
use crate::state::State;
use crate::worker::Worker;

/// Whether a job's view carries its specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    Full,
    Summary,
}

pub fn job(header: &Header, spec: &Arc<JobSpec>, detail: Detail) -> JobView {
    let flow = header.flow();
    JobView {
        id: header.id,
        name: spec.name.clone(),
        namespace: spec.namespace.clone(),
        state: header.state,
        priority: spec.priority,
        labels: spec.labels.clone(),
        submitted_at: header.submitted_at,
        started_at: header.started_at,
        finished_at: header.finished_at,
        index: header.changed,
        frozen: header.frozen,
        tasks: header.counts,
        schedule_id: flow.run.map(|run| run.schedule),
        scheduled_for: flow.run.map(|run| run.tick),
        follows: flow.follows,
        service: None,
        runs: flow.ledger.as_ref().map(|ledger| RunsView {
            decided_until: ledger.decided,
            active: ledger.active.len() as u64,
            queued: ledger.queued,
            finished: ledger.finished.len() as u64,
        }),
        spec: (detail == Detail::Full).then(|| spec.clone()),
    }
}

/// A job in memory. Of a service only the elements that it is to have are counted.
pub fn living(job: &Job, detail: Detail) -> JobView {
    let mut view = self::job(&job.header, &job.spec, detail);
    if job.is_service() && !job.header.state.is_finished() {
        view.service = job.service_view();
        view.tasks.total -= view.tasks.cancelled;
        view.tasks.cancelled = 0;
    }
    view
}

/// One element of a job in memory; of a service with its attempts in all versions.
pub fn element_of(job: &Job, task: u32, index: TaskIndex) -> Option<TaskView> {
    let found = job.task(task)?;
    let name = &job.task_spec(task)?.name;
    match found.element(index) {
        Some(record) => {
            let mut view = element(name, index, record);
            if job.is_service() {
                view.attempts = job.attempts_of(task, index).into_iter().map(|(_, it)| attempt(it)).collect();
            }
            Some(view)
        }
        None => (index.0 < found.head.count).then(|| untouched(name, index, &found.head)),
    }
}

/// An element without a record.
pub fn untouched(task: &Name, index: TaskIndex, head: &TaskHead) -> TaskView {
    element(task, index, &Element::new(head.fresh_state()))
}

pub fn element(task: &Name, index: TaskIndex, element: &Element) -> TaskView {
    let newest = element.current();
    let live_or_done = newest.filter(|_| !matches!(element.state, TaskState::Pending | TaskState::Waiting));
    let is_poisonous = element.state == TaskState::Failed
        && newest.is_some_and(|it| it.state == AttemptState::Lost && it.stopped.is_none());
    let poisonous = (is_poisonous && element.losses > 0).then(|| self::poisonous(element.losses));
    TaskView {
        task: task.clone(),
        index,
        state: element.state,
        attempt: newest.map_or(AttemptNumber(0), |attempt| attempt.number),
        worker: live_or_done.map(|attempt| attempt.worker.clone()),
        exit_code: newest.and_then(|attempt| attempt.ending.as_ref()).and_then(Ending::exit_code),
        reason: poisonous.or_else(|| newest.and_then(reason)),
        result: element.result.as_deref().map(str::to_owned),
        progress: element.progress.as_ref().map(|progress| ProgressView {
            fraction: f64::from(progress.millis) / 1000.0,
            message: progress.message.to_string(),
        }),
        started_at: live_or_done.and_then(|attempt| attempt.started_at),
        finished_at: live_or_done.and_then(|attempt| attempt.finished_at),
        attempts: element.attempts.iter().map(attempt).collect(),
    }
}

fn attempt(attempt: &Attempt) -> AttemptView {
    AttemptView {
        number: attempt.number,
        fence: attempt.fence,
        worker: attempt.worker.clone(),
        epoch: attempt.epoch,
        state: attempt.state,
        exit_code: attempt.ending.as_ref().and_then(Ending::exit_code),
        reason: reason(attempt),
        started_at: attempt.started_at,
        finished_at: attempt.finished_at,
    }
}

/// Why it ended, or was told to; nothing of what succeeded or goes on.
pub fn reason(attempt: &Attempt) -> Option<String> {
    match (&attempt.ending, attempt.stopped) {
        (Some(Ending::Exited(0)), _) => None,
        (Some(Ending::Stopped), Some(why)) => Some(format!("{}: {why}", Ending::Stopped)),
        (Some(ending), _) => Some(ending.to_string()),
        (None, _) if attempt.state == AttemptState::Lost => Some("its worker was lost".to_owned()),
        (None, Some(why)) => Some(format!("told to stop: {why}")),
        (None, None) => None,
    }
}

/// Why an element failed that nobody runs any more.
pub(crate) fn poisonous(losses: u32) -> String {
    format!("poisonous: lost {losses} workers in a row")
}

/// Any name is that of a namespace; one that nobody uses has nothing.
pub fn namespace(state: &State, name: &Name) -> NamespaceView {
    let rules = state.rules_of(name);
    let Space { jobs, unfinished, live, held, .. } = state.space(name).cloned().unwrap_or_default();
    let recorded = rules.is_some();
    let rules = rules.map(|rules| rules.as_ref().clone()).unwrap_or_default();
    NamespaceView { name: name.clone(), recorded, rules, held, live, unfinished, jobs }
}

pub fn worker(worker: &Worker) -> WorkerView {
    WorkerView {
        name: worker.name.clone(),
        epoch: worker.epoch,
        state: worker.state(),
        labels: worker.labels.clone(),
        taints: worker.taints().cloned().collect(),
        host: worker.host.clone(),
        capacity: worker.capacity.clone(),
        used: worker.used.clone(),
        running: worker.holding() as u64,
        replica: worker.replica,
    }
}
