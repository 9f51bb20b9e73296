//! What the state machine and the model must agree on after every entry.

use std::collections::{BTreeMap, BTreeSet};

use quorate_state::State;
use quorate_state::flow::Slot;
use quorate_state::job::{ElementKey, Job as StateJob};
use quorate_types::api::Rollout;
use quorate_types::status::TaskState;
use quorate_types::{Fence, JobId, Name, Need, On, Span, TaskIndex, Timestamp};

use crate::job::{Attempt, Element, Job};
use crate::machine::{Model, key_of};
use crate::steps::pending;

type Check = Result<(), String>;

fn same<T: PartialEq + std::fmt::Debug>(what: impl FnOnce() -> String, state: &T, model: &T) -> Check {
    if state == model { Ok(()) } else { Err(format!("{}: {state:?}, should be {model:?}", what())) }
}

/// Takes from the state what the model leaves to it, within its bounds: when backoffs end.
pub fn take_backoffs(state: &State, model: &mut Model) -> Check {
    for job in model.jobs.values_mut() {
        for (task, elements) in job.tasks.iter_mut().enumerate() {
            for (at, element) in elements.iter_mut().enumerate() {
                let Some(wait) = element.wait.as_mut().filter(|wait| wait.until.is_none()) else { continue };
                let found = state.job(job.id).and_then(|job| job.task(task as u32)?.element(TaskIndex(at as u32)));
                let until = found.and_then(|element| element.wait_until);
                let least = wait.from.plus(wait.least);
                let most = least.plus(Span(wait.least.0 / 4));
                if !until.is_some_and(|until| (least..=most).contains(&until)) {
                    return Err(format!("job {} {task}[{at}] waits until {until:?}, not {least} to {most}", job.id));
                }
                wait.until = until;
            }
        }
    }
    Ok(())
}

pub fn compare(state: &State, model: &Model) -> Check {
    state.check()?;
    same(|| "time".into(), &state.now(), &model.now)?;
    let known: Vec<JobId> = state.jobs().map(|job| job.id()).collect();
    same(|| "jobs".into(), &known, &model.jobs.keys().copied().collect())?;
    let mut archived: Vec<JobId> = state.archived_below(JobId(u64::MAX)).map(|(id, _)| id).collect();
    archived.reverse();
    same(|| "archived jobs".into(), &archived, &model.archive.keys().copied().collect())?;
    for (id, stub) in state.archived_below(JobId(u64::MAX)) {
        same(|| format!("archived job {id}"), &stub.state, &model.archive[&id].state())?;
    }
    for job in state.jobs() {
        compare_job(job, &model.jobs[&job.id()]).map_err(|e| format!("job {}: {e}", job.id()))?;
    }
    compare_queue(state, model)?;
    compare_keys(state, model)?;
    compare_workers(state, model)?;
    compare_namespaces(state, model)?;
    compare_gates(state, model)?;
    let unfinished = model.jobs.values().map(unfinished_elements).sum();
    same(|| "unfinished elements".into(), &state.totals().unfinished_elements, &unfinished)?;
    let results = model.jobs.values().flat_map(|job| job.elements()).filter_map(|(.., e)| e.result.as_ref());
    same(|| "bytes of results".into(), &state.totals().result_bytes, &results.map(|r| r.len() as u64).sum())?;
    same(|| "next timer".into(), &state.next_timer(), &model.due().into_iter().min().map(|(at, _)| at))
}

/// Of a job that has not finished also what may follow it.
fn unfinished_elements(job: &Job) -> u64 {
    let follows = job.finished.is_none() && !job.is_schedule();
    let to_follow = if follows { job.spec.elements_to_follow() } else { 0 };
    job.elements().filter(|(.., element)| !element.state.is_finished()).count() as u64 + to_follow
}

fn compare_job(found: &StateJob, model: &Job) -> Check {
    let (header, flow) = (&found.header, found.header.flow());
    same(|| "state".into(), &header.state, &model.state())?;
    let (is, should) = ((header.paused, header.frozen), (model.paused, model.frozen && model.finished.is_none()));
    same(|| "paused, frozen".into(), &is, &should)?;
    same(|| "cancelling".into(), &header.cancelling, &model.cancelling)?;
    same(|| "started".into(), &header.started_at.is_some(), &model.started)?;
    same(|| "finished at".into(), &header.finished_at, &model.finished.map(|(at, _)| at))?;
    same(|| "slot".into(), &flow.slot, &model.slot)?;
    same(|| "specification".into(), &found.spec, &model.spec)?;
    same(|| "run, follows".into(), &(flow.run, flow.follows), &(model.run, model.follows))?;
    if model.finished.is_none() {
        let times = (flow.start_at, flow.deadline, flow.expires);
        same(|| "times".into(), &times, &(model.start_at, model.deadline, model.expires))?;
    }
    if let (Some(ledger), Some(expected)) = (&flow.ledger, &model.ledger) {
        let books = (ledger.decided, ledger.active.iter().copied().collect(), ledger.queued);
        same(|| "ledger".into(), &books, &(expected.decided, expected.active.clone(), expected.queued))?;
    }
    for (task, elements) in model.tasks.iter().enumerate() {
        let found = found.task(task as u32).ok_or("a task is missing")?;
        for (at, element) in elements.iter().enumerate() {
            let index = TaskIndex(at as u32);
            let what = || format!("{task}[{at}]");
            same(what, &found.state_of(index), &Some(element.state))?;
            let Some(record) = found.element(index) else {
                same(what, &0, &element.attempts.len())?;
                continue;
            };
            if !model.is_service() {
                let attempts: Vec<Attempt> = record.attempts.iter().map(attempt).collect();
                same(what, &attempts, &element.attempts)?;
            }
            let counts = (record.failures, record.losses, record.unable);
            same(what, &counts, &(element.failures, element.losses, element.unable))?;
            same(what, &record.result.as_deref(), &element.result.as_deref())?;
            same(what, &record.wait_until, &element.wait.and_then(|wait| wait.until))?;
        }
    }
    compare_service(found, model)
}

/// Who is a member and available, and all attempts by element: what is about to start in another version has a copy of
/// its last attempt there, for the count.
fn compare_service(found: &StateJob, model: &Job) -> Check {
    let view = found.service_view();
    same(|| "whether it is a service".into(), &view.is_some(), &model.is_service())?;
    let Some(view) = view else { return Ok(()) };
    compare_attempts(found, model)?;
    if model.finished.is_some() {
        return Ok(());
    }
    let newest = model.newest();
    let updated = model.members.values().filter(|member| member.version == newest).count();
    let counts = (view.wanted, view.available, view.updated);
    let expected = [model.members.len(), model.members.len() - model.unavailable(), updated].map(|it| it as u32);
    same(|| "wanted, available, updated".into(), &counts, &expected.into())?;
    let fails = |at: &usize| {
        let element = model.tasks[newest].get(*at).filter(|element| element.failures > 0);
        let ended = element.and_then(|e| e.attempts.iter().rev().find(|attempt| !attempt.state.is_live()));
        element.is_some_and(|e| !e.state.is_finished()) && ended.is_some_and(Attempt::ended_by_itself)
    };
    let rollout = match (model.coming().iter().any(fails), updated == model.members.len() && model.coming().is_empty())
    {
        (true, _) => Rollout::Stalled,
        (false, true) => Rollout::Done,
        (false, false) => Rollout::Rolling,
    };
    same(|| "rollout".into(), &view.rollout, &rollout)?;
    // Whatever the model does: a rollout that may go on does.
    let (down, behind) = (model.with(false, false).len(), model.with(false, true).len());
    if model.may_go_on() && down == 0 && behind > 0 && model.coming().len() < model.most_unavailable() {
        return Err(format!("{behind} elements have an older version, and nobody goes over"));
    }
    for at in 0..model.most_elements() {
        let member = model.members.get(&at).map(|member| member.available);
        same(|| format!("available {at}"), &found.is_available(TaskIndex(at as u32)), &member)?;
    }
    Ok(())
}

fn compare_attempts(found: &StateJob, model: &Job) -> Check {
    for at in 0..model.most_elements() {
        let index = TaskIndex(at as u32);
        let name = &model.spec.tasks[0].name;
        let place = found.place_of(name, index);
        same(|| format!("place of {at}"), &place, &model.place_of(name, at).map(|task| task as u32))?;
        let place = place.unwrap_or(0);
        let attempts = found.attempts_of(place, index);
        let attempts: Vec<(u32, Attempt)> = attempts.into_iter().map(|(task, it)| (task, attempt(it))).collect();
        let of_version = |(task, elements): (u32, &Vec<Element>)| {
            elements.get(at).into_iter().flat_map(|it| it.attempts.clone()).map(|it| (task, it)).collect::<Vec<_>>()
        };
        let mut expected: Vec<(u32, Attempt)> = (0..).zip(&model.tasks).flat_map(of_version).collect();
        expected.sort_by_key(|(_, attempt)| attempt.fence);
        same(|| format!("attempts of {at}"), &attempts, &expected)?;
    }
    Ok(())
}

fn attempt(found: &quorate_state::element::Attempt) -> Attempt {
    Attempt {
        number: found.number.0,
        fence: found.fence,
        worker: found.worker.clone(),
        epoch: found.epoch,
        state: found.state,
        stopped: found.stopped,
        assigned_at: found.assigned_at,
        started_at: found.started_at,
        finished_at: found.finished_at,
        behind: found.behind.map(|index| index.0 as usize),
    }
}

fn compare_queue(state: &State, model: &Model) -> Check {
    let mut found = Vec::new();
    for queued in state.queue().iter() {
        let job = state.job(queued.job).ok_or("a queued job is not there")?;
        // A gang stands in the queue as its first task.
        let tasks =
            job.gang(queued.task).map_or_else(|| vec![queued.task], |it| it.tasks.iter().map(|it| it.0).collect());
        for at in tasks {
            let task = job.task(at).ok_or("a queued task is not there")?;
            found.extend(task.pending().map(|(index, number)| (queued.job, at, index, number)));
            same(|| "pending".into(), &task.pending_len(), &(task.pending().count() as u64))?;
        }
    }
    found.sort_unstable();
    let expected = pending(model).into_iter().map(|item| (item.job, item.task, item.index, item.attempt)).collect();
    same(|| "queue".into(), &found, &expected)
}

/// By key: who holds it and who waits.
type Users = BTreeMap<(Name, Name), (BTreeSet<JobId>, BTreeSet<JobId>)>;

fn compare_keys(state: &State, model: &Model) -> Check {
    let (mut found, mut expected) = (Users::new(), Users::new());
    let note = |users: &mut Users, key: Option<(Name, Name)>, id: JobId, slot: Slot| {
        let Some(key) = key.filter(|_| slot != Slot::None) else { return };
        let (holders, waiting) = users.entry(key).or_default();
        if slot == Slot::Held {
            holders.insert(id)
        } else {
            waiting.insert(id)
        };
    };
    state.jobs().for_each(|job| note(&mut found, key_of(&job.spec), job.id(), job.header.flow().slot));
    model.jobs.values().for_each(|job| note(&mut expected, key_of(&job.spec), job.id, job.slot));
    same(|| "users of keys".into(), &found, &expected)?;
    for (key, (holders, waiting)) in &found {
        let limit = |id: &JobId| state.job(*id).and_then(|job| job.spec.concurrency.as_ref()).map_or(0, |c| c.limit);
        // The newest holder came when there was room by its own limit; jobs of larger ones may have come before.
        let most = holders.iter().map(limit).max().unwrap_or(0) as usize;
        if holders.len() > most {
            return Err(format!("{holders:?} hold {key:?}, {most} may"));
        }
        let priority = |id: &JobId| state.job(*id).map(|job| job.spec.priority);
        let first = waiting.iter().max_by_key(|id| (priority(id), std::cmp::Reverse(**id)));
        if first.is_some_and(|first| holders.len() < limit(first) as usize) {
            return Err(format!("{first:?} waits for {key:?}, which only {holders:?} hold"));
        }
    }
    Ok(())
}

fn compare_namespaces(state: &State, model: &Model) -> Check {
    let rules: Vec<_> = state.rules().iter().map(|(name, rules)| (name.clone(), rules.as_ref().clone())).collect();
    same(|| "rules".into(), &rules, &model.rules.clone().into_iter().collect())?;
    for (name, space) in state.spaces() {
        same(|| format!("held by {name}"), &space.held, &model.held(name, |_| true))?;
        let ending = model.held(name, |element| element.state == TaskState::Stopping);
        same(|| format!("ending of {name}"), &space.ending, &ending)?;
    }
    Ok(())
}

fn compare_workers(state: &State, model: &Model) -> Check {
    let known: Vec<&Name> = state.workers().map(|worker| &worker.name).collect();
    same(|| "workers".into(), &known, &model.workers.keys().collect())?;
    for worker in state.workers() {
        let (name, expected) = (&worker.name, &model.workers[&worker.name]);
        let books = (worker.epoch, worker.life, worker.draining, worker.drain_until, worker.replica, worker.since);
        let (epoch, life, draining) = (expected.epoch, expected.life, expected.draining);
        let expected_books = (epoch, life, draining, expected.drain_until, expected.replica, expected.since);
        same(|| format!("worker {name}"), &books, &expected_books)?;
        same(|| format!("free on {name}"), &worker.free(), &model.free(expected))?;
        let live: Vec<ElementKey> = worker.attempts.keys().copied().collect();
        let expected_live = model.live_on(epoch).into_iter();
        let key =
            |(job, task, at): (JobId, usize, usize)| ElementKey { job, task: task as u32, index: TaskIndex(at as u32) };
        same(|| format!("attempts on {name}"), &live, &expected_live.map(key).collect())?;
    }
    Ok(())
}

fn compare_gates(state: &State, model: &Model) -> Check {
    let found: Vec<(Name, u32, u64)> = state.resources(None, 0).map(|it| (it.name, it.total, it.held)).collect();
    let expected = model.totals.iter().map(|(name, total)| (name.clone(), *total, model.held_of(name)));
    same(|| "resources".into(), &found, &expected.collect())?;
    let found = state.locks(None, None).map(|lock| {
        let holder = &lock.holder.element;
        let waiting = (lock.token, holder.job, holder.index, lock.waiting);
        ((lock.namespace.clone(), lock.name.clone()), waiting)
    });
    let expected = model.locks.iter().map(|lock| {
        let (job, _, index) = lock.holder;
        (lock.key.clone(), (lock.token, job, TaskIndex(index as u32), lock.line.len() as u64))
    });
    same(|| "locks".into(), &found.collect::<BTreeMap<_, _>>(), &expected.collect())
}

/// What must hold of the state alone, whatever the model says.
#[derive(Default)]
pub struct Invariants {
    /// Runs of ticks, those of `run-now` left out.
    ticks: BTreeMap<(JobId, Timestamp), JobId>,
    highest_run: JobId,
}

impl Invariants {
    pub fn check(&mut self, state: &State, asked_for: &BTreeSet<JobId>) -> Check {
        for job in state.jobs() {
            for (task, found, _) in job.tasks() {
                for (index, element) in found.elements() {
                    let live = element.attempts.iter().filter(|attempt| attempt.state.is_live()).count();
                    if live > 1 {
                        return Err(format!("{live} attempts of job {} {task}[{index}] are live", job.id()));
                    }
                    let new = element.attempts.last().is_some_and(|last| last.fence == Fence(state.index().0));
                    if new {
                        needs_are_met(job, task, index)?;
                    }
                }
            }
            let id = job.id();
            let run = job.header.flow().run.filter(|_| id > self.highest_run && !asked_for.contains(&id));
            let twice = run.and_then(|run| self.ticks.insert((run.schedule, run.tick), id));
            if let Some(first) = twice {
                return Err(format!("jobs {first} and {id} are runs of one tick"));
            }
        }
        self.highest_run = self.highest_run.max(state.jobs().next_back().map_or(JobId(0), |job| job.id()));
        Ok(())
    }
}

/// What an attempt that starts needs of its own job has come about.
fn needs_are_met(job: &StateJob, task: u32, index: TaskIndex) -> Check {
    for need in &job.spec.tasks[task as usize].needs {
        let Some(other) = need.task().and_then(|name| job.spec.position(name)).and_then(|at| job.task(at)) else {
            continue;
        };
        let all = 0..other.head.count;
        let looked_at = if matches!(need, Need::Each { .. }) { index.0..index.0 + 1 } else { all };
        let states: Vec<_> = looked_at.filter_map(|at| other.state_of(TaskIndex(at))).collect();
        let ended = states.iter().all(|state| state.is_finished());
        let is = |wanted| states.contains(&wanted);
        let met = match need.on() {
            On::Success => states.iter().all(|state| *state == TaskState::Succeeded),
            On::Failure => ended && is(TaskState::Failed),
            On::Finish => ended,
        };
        if !met {
            return Err(format!("job {} {task}[{index}] started, {need:?} is {states:?}", job.id()));
        }
    }
    Ok(())
}
