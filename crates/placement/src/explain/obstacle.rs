//! Why a task does not go to a worker, by what is known of the two alone.
//!
//! To add a reason: a variant of [`Obstacle`] with its kind, an arm here, its words in `words`.

use std::sync::LazyLock;

use quorate_state::State;
use quorate_state::limits::ATTEMPTS_PER_WORKER_MAX;
use quorate_state::queue::Queued;
use quorate_state::worker::Worker;
use quorate_types::explain::{Obstacle, Shortage};
use quorate_types::status::WorkerState;
use quorate_types::{Epoch, Name, Resources, TaskSpec};

pub(super) static CPU: LazyLock<Name> = LazyLock::new(|| named("cpu"));
pub(super) static MEMORY: LazyLock<Name> = LazyLock::new(|| named("memory"));

/// A name that is written in this program and therefore valid.
fn named(text: &'static str) -> Name {
    Name::new(text).unwrap_or_else(|e| unreachable!("{text:?} {e}"))
}

/// Everything that keeps an element of the task from the worker now.
pub(super) fn between(task: &TaskSpec, worker: &Worker) -> Vec<Obstacle> {
    let state = worker.state();
    let not_ready = (state != WorkerState::Ready).then_some(Obstacle::NotReady { state });
    if matches!(state, WorkerState::Lost | WorkerState::Left) {
        // What it had counts for nothing.
        return not_ready.into_iter().collect();
    }
    let full = worker.holding() >= ATTEMPTS_PER_WORKER_MAX;
    let full = full.then_some(Obstacle::AttemptsFull { limit: ATTEMPTS_PER_WORKER_MAX as u64 });
    let short = shortages(&task.resources, &worker.free(), &worker.capacity).into_iter().map(Obstacle::Short);
    let unmet = task.requires.iter().filter(|condition| !condition.is_met_by(worker.labels()));
    let unmet = unmet.map(|condition| Obstacle::Requires { condition: condition.clone() });
    let taints = worker.taints().filter(|taint| !taint.is_tolerated_by(&task.tolerations));
    let taints = taints.map(|taint| Obstacle::Tainted { taint: taint.clone() });
    not_ready.into_iter().chain(unmet).chain(taints).chain(full).chain(short).collect()
}

/// What other elements of its job, and other jobs, keep it from the worker. Those of its task that start now do so on
/// the workers `starting`.
pub(super) fn of_others(state: &State, queued: Queued, worker: &Worker, starting: &[Epoch]) -> Vec<Obstacle> {
    let Some(job) = state.job(queued.job) else { return Vec::new() };
    let Some(task) = job.task_spec(queued.task) else { return Vec::new() };
    let crowded = task.spread.iter().filter_map(|spread| {
        let (label, max) = (spread.label.clone(), spread.max);
        let value = worker.labels().get(&label).map(str::to_owned);
        let has = |epoch: &&Epoch| state.worker_of(**epoch).and_then(|it| it.labels().get(&label)) == value.as_deref();
        let start = starting.iter().filter(has).count() as u32;
        let live = |value: &String| state.crowd(queued.job, queued.task, &label, value);
        let has_room = value.as_ref().is_some_and(|value| live(value) + start < max);
        (!has_room).then_some(Obstacle::Crowded { label, value, max })
    });
    let starts_here = |other: u32| other == queued.task && starting.contains(&worker.epoch);
    let apart = job.apart(queued.task).filter(|other| worker.runs(queued.job, *other) || starts_here(*other));
    let apart = apart.filter_map(|other| Some(Obstacle::Apart { task: job.task_spec(other)?.name.clone() }));
    let stranger = state.stranger_on(job, queued.task, worker);
    let stranger = stranger.map(|(job, sign)| Obstacle::Shunned { job, label: sign.label().to_owned() });
    crowded.chain(apart).chain(stranger).collect()
}

/// Whether the worker is alive, what the task requires, and large enough once it is empty.
pub(super) fn is_able(task: &TaskSpec, worker: &Worker) -> bool {
    worker.is_alive() && task.resources.fits(&worker.capacity) && task.suits(worker.labels(), worker.taints())
}

/// The kinds of which there is too little.
fn shortages(asked: &Resources, free: &Resources, capacity: &Resources) -> Vec<Shortage> {
    let others = asked.other_millis.iter().map(|(kind, asked)| {
        let amounts = [*asked, free.other(kind), capacity.other(kind)];
        (kind, amounts, THOUSANDTHS)
    });
    let cpu = (&*CPU, [asked.cpu_millis, free.cpu_millis, capacity.cpu_millis], THOUSANDTHS);
    let memory = (&*MEMORY, [asked.memory_bytes, free.memory_bytes, capacity.memory_bytes], 1);
    let all = [cpu, memory].into_iter().chain(others);
    let short = all.filter(|(_, [asked, free, _], _)| asked > free);
    let shown = short.map(|(kind, [asked, free, capacity], unit)| {
        let amount = |units: u64| units as f64 / f64::from(unit);
        Shortage {
            resource: kind.clone(),
            asked: amount(asked),
            free: amount(free),
            capacity: amount(capacity),
            missing: amount(asked - free),
        }
    });
    shown.collect()
}

/// Inner units of one core or device.
const THOUSANDTHS: u32 = 1_000;
