//! A job as a whole: its elements in groups, each with one that stands for it.

use std::collections::BTreeMap;

use quorate_state::State;
use quorate_state::archive::JobRecord;
use quorate_state::job::{Header, Job, Task};
use quorate_state::queue::Queued;
use quorate_types::explain::{Group, GroupStart, JobExplanation};
use quorate_types::status::TaskState;
use quorate_types::{JobId, JobSpec, TaskIndex, Timestamp};

use super::element::{Scene, is_in_line};
use super::line::Line;
use super::{GROUPS_MAX, Voice, WORKERS_LISTED_IN_GROUP_MAX, service, words};

/// Elements of one task in one state.
#[derive(Clone, Copy, Debug)]
struct Cell {
    task: u32,
    state: TaskState,
    elements: u64,
    first: TaskIndex,
}

/// Explains a job in memory: what of it has not finished, or all of it if that is one task or nothing is left.
pub fn job(state: &State, now: Timestamp, id: JobId, voice: Voice) -> Option<JobExplanation> {
    let job = state.job(id)?;
    let (cells, more) = cells(job);
    let in_line = cells.iter().filter(|cell| is_in_line(state, job, cell.task, cell.first));
    let asked: Vec<Queued> = in_line.map(|cell| Queued { job: id, task: job.queued_as(cell.task) }).collect();
    let line = (!asked.is_empty()).then(|| Line::new(state, now, &asked));
    let scene = Scene::new(state, now, voice, line.as_ref(), WORKERS_LISTED_IN_GROUP_MAX);
    let groups = cells.iter().filter_map(|cell| group(&scene, job, cell)).collect();
    let mut explanation = of_header(&job.header, &job.spec, voice, groups, more);
    if let Some(said) = service::of_job(job, voice) {
        explanation.sentences = said;
    }
    Some(explanation)
}

/// Explains a job that has left memory, by what is known of it as a whole.
pub fn archived_job(record: &JobRecord) -> JobExplanation {
    of_header(&record.header, &record.spec, Voice::Real, Vec::new(), 0)
}

fn of_header(header: &Header, spec: &JobSpec, voice: Voice, groups: Vec<Group>, more: u64) -> JobExplanation {
    JobExplanation {
        job: voice.job(header.id),
        state: header.state,
        sentences: words::of_job(header, spec, voice),
        groups,
        groups_more: more,
    }
}

/// The groups, and how many more there are.
fn cells(job: &Job) -> (Vec<Cell>, u64) {
    let is_over = job.header.state.is_finished();
    // A service has more elements that are over than anybody would ask about.
    let all = is_over || (job.spec.tasks.len() == 1 && !job.is_service());
    let is_wanted = |cell: &Cell| all || !cell.state.is_finished();
    let mut found = Vec::new();
    let mut more = 0;
    for (at, task, _) in job.tasks() {
        for cell in cells_of(at, task).filter(is_wanted) {
            if found.len() < GROUPS_MAX { found.push(cell) } else { more += 1 }
        }
    }
    if is_over {
        // What went wrong is what one asks about.
        found.sort_by_key(|cell| match cell.state {
            TaskState::Failed => 0,
            TaskState::Cancelled => 1,
            _ => 2,
        });
    }
    (found, more)
}

fn cells_of(at: u32, task: &Task) -> impl Iterator<Item = Cell> + use<> {
    let mut cells: BTreeMap<TaskState, Cell> = BTreeMap::new();
    let mut note = |state: TaskState, elements: u64, first: TaskIndex| {
        let cell = cells.entry(state).or_insert(Cell { task: at, state, elements: 0, first });
        cell.elements += elements;
    };
    task.elements().for_each(|(index, element)| note(element.state, 1, index));
    if task.head.fresh_len() > 0 {
        note(task.head.fresh_state(), u64::from(task.head.fresh_len()), TaskIndex(task.head.fresh));
    }
    cells.into_values()
}

/// The group, explained by the first of its elements that does not start now, if there is one.
fn group(scene: &Scene<'_>, job: &Job, cell: &Cell) -> Option<Group> {
    let queued = Queued { job: job.id(), task: cell.task };
    let starts = match (cell.state, scene.line) {
        (TaskState::Pending, Some(line)) => line.starts(queued),
        (_, _) => &[],
    };
    let task = job.task(cell.task)?;
    let spokesman = match cell.state {
        TaskState::Pending => task.pending_at(starts.len() as u64).or_else(|| task.pending_at(0)),
        _ => None,
    };
    let explanation = scene.explain(job, cell.task, spokesman.unwrap_or(cell.first))?;
    let mut by_worker = BTreeMap::new();
    let workers = starts.iter().filter_map(|epoch| scene.state.worker_of(*epoch));
    workers.for_each(|worker| *by_worker.entry(worker.name.clone()).or_default() += 1);
    let starts = by_worker.into_iter().take(scene.listed_max);
    Some(Group {
        task: explanation.task.clone(),
        state: cell.state,
        elements: cell.elements,
        starts: starts.map(|(worker, elements)| GroupStart { worker, elements }).collect(),
        explanation,
    })
}
