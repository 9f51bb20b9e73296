//! Whoever has jobs that may not start yet, or not any more: they wait for a key that two may have at a time, for a
//! time, for the element of the same number, or for another job; and some come too late. Others take locks while they
//! run, require a zone, or are followed by others; and now and then a worker is drained.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use quorate_state::State;
use quorate_state::job::Job;
use quorate_types::policy::{Backfill, PlacementOrder, QueueOrder};
use quorate_types::service::Kind;
use quorate_types::{AttemptNumber, End, JobId, Need, ReplicaId, Timestamp, When};
use serde_json::{Value, json};

use super::World;
use crate::applied::AppliedLog;
use crate::chance::Chance;
use crate::history::Violation;
use crate::physical::{EACH, KEY_LIMIT, KEYED, LOCKER, ONLY, Program, ZONES};

/// Between two jobs.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// How often a worker is drained, or comes back, instead.
const DRAINS_PERMILLE: u32 = 150;
/// How its jobs are named.
const NAME: &str = "patient";

pub(super) struct Steward {
    chance: Chance,
    next: Duration,
    highest: JobId,
    /// Jobs that had not finished at the last look.
    open: Vec<JobId>,
    /// What the policies are to be first, until it has been said.
    policy: Option<Value>,
}

impl Steward {
    /// So many seeds in a row as there are of each kind begin with all of that kind.
    pub(super) fn new(chance: Chance, seed: u64) -> Self {
        let policy = json!({"queue": nth(QueueOrder::ALL, seed), "placement": nth(PlacementOrder::ALL, seed),
            "backfill": nth(Backfill::ALL, seed)});
        Self { chance, next: Duration::ZERO, highest: JobId::default(), open: Vec::new(), policy: Some(policy) }
    }

    fn job(&mut self, state: &State) -> Value {
        let chance = &mut self.chance;
        let after = chance.below(10_000);
        let mut job = match chance.below(7) {
            0 => {
                let (one, two) = (program(chance, "one", &[]), program(chance, "two", &["one"]));
                let count = 1 + chance.below(6);
                json!({"on_failure": "continue", "tasks": [
                    {"name": "one", "count": count, "command": one, "retries": chance.below(3),
                     "resources": {"cpu": 0.3}},
                    {"name": "two", "count": count, "command": two, "needs": [{"task": "one", "each": true}]}]})
            }
            1 => {
                // Many are told to end while they have their lock, and some take their time.
                let millis = 1_000 + chance.below(8_000) as u64;
                let locker = Program { millis, task: LOCKER.into(), ..Program::default() };
                let deadline = format!("{}ms", after + 2_000 + chance.below(6_000));
                json!({"on_failure": "continue", "deadline": deadline, "tasks": [{"name": LOCKER,
                    "count": 2 + chance.below(4), "command": locker.to_argv(), "grace": "1s",
                    "resources": {"cpu": 0.2}}]})
            }
            2 => {
                let zone = ZONES[chance.below(ZONES.len())];
                let task = format!("{ONLY}{zone}");
                json!({"tasks": [{"name": task, "count": 1 + chance.below(4), "command": program(chance, &task, &[]),
                    "requires": [format!("zone={zone}")], "retries": chance.below(3), "resources": {"cpu": 1}}]})
            }
            3 => followed(chance),
            4 => needing(chance, state),
            _ => {
                let keyed = program(chance, KEYED, &[]);
                let when_full = chance.pick(&["wait", "wait", "wait", "reject", "replace"]).copied();
                json!({"tasks": [{"name": KEYED, "command": keyed, "retries": chance.below(3)}],
                    "concurrency": {"key": "k", "limit": KEY_LIMIT, "when_full": when_full}})
            }
        };
        job["name"] = json!(NAME);
        if chance.permille(400) {
            job["start_after"] = json!(format!("{}ms", 1 + after));
        }
        if chance.permille(400) {
            job["expires"] = json!(format!("{}ms", 2 + after + chance.below(10_000)));
        }
        if job.get("deadline").is_none() && chance.permille(400) {
            job["deadline"] = json!(format!("{}ms", 2 + after + chance.below(20_000)));
        }
        hint(chance, &mut job);
        job
    }

    /// None starts too early or too late, and none goes on as if there were no deadline.
    fn look(&mut self, state: &State, applied: &AppliedLog) -> Result<(), Violation> {
        let new = state.jobs().rev().take_while(|job| job.id() > self.highest);
        self.open.extend(new.filter(|job| job.spec.name.as_str() == NAME).map(|job| job.id()));
        self.highest = state.jobs().next_back().map_or(self.highest, |job| job.id());
        let mut jobs = self.open.iter().filter_map(|id| state.job(*id));
        jobs.try_for_each(|job| judge(job, state.now()).and_then(|()| judge_needs(job, applied)))?;
        self.open.retain(|id| state.job(*id).is_some_and(|job| !job.header.state.is_finished()));
        Ok(())
    }
}

/// What a task runs, for some seconds, after the elements of the same number of what it needs.
fn program(chance: &mut Chance, task: &str, needs: &[&str]) -> Vec<String> {
    let needs = needs.iter().map(|need| ((*need).to_owned(), EACH)).collect();
    let millis = 100 + chance.below(4_000) as u64;
    let code = i32::from(chance.permille(60));
    Program { millis, code, task: task.to_owned(), needs, ..Program::default() }.to_argv()
}

/// A job that others follow.
fn followed(chance: &mut Chance) -> Value {
    let follow = |on: &str| {
        let task = json!({"name": "one", "command": program(chance, "one", &[]), "resources": {"cpu": 0.1}});
        json!({"on": on, "job": {"name": format!("after-{on}"), "tasks": [task]}})
    };
    let then = ["success", "failure", "finish"].map(follow);
    let code = i32::from(chance.permille(400));
    let one = Program { millis: 300, code, task: "one".into(), ..Program::default() }.to_argv();
    json!({"tasks": [{"name": "one", "command": one, "resources": {"cpu": 0.1}}], "then": then})
}

/// A job that needs one or two others.
fn needing(chance: &mut Chance, state: &State) -> Value {
    let ends = |job: &&Arc<Job>| !job.is_schedule() && job.spec.kind() == Kind::Batch;
    let others: Vec<JobId> = state.jobs().rev().filter(ends).take(10).map(|job| job.id()).collect();
    let mut needed: Vec<JobId> = (0..2).filter_map(|_| chance.pick(&others).copied()).collect();
    needed.dedup();
    let need = |other| json!({"job": other, "on": chance.pick(&["success", "success", "failure", "finish"])});
    let needs: Vec<Value> = needed.into_iter().map(need).collect();
    json!({"tasks": [{"name": "one", "command": program(chance, "one", &[]), "needs": needs,
        "resources": {"cpu": 0.1}}]})
}

/// Some tasks say how long they take, which is not so, some have a key, and some are given up after few losses.
fn hint(chance: &mut Chance, job: &mut Value) {
    for task in job["tasks"].as_array_mut().into_iter().flatten() {
        if chance.permille(400) {
            task["expected"] = json!(format!("{}ms", 1 + chance.below(2_000)));
        }
        if chance.permille(200) {
            task["losses"] = json!(1 + chance.below(3));
        }
        if chance.permille(400) {
            task["key"] = json!(format!("k{}", chance.below(4)));
        }
    }
}

fn nth<T>(all: &[T], seed: u64) -> Option<&T> {
    all.get(seed as usize % all.len())
}

/// By the cluster's own time: what is due is done before anything else of the entry that brings the time.
fn judge(job: &Job, now: Timestamp) -> Result<(), Violation> {
    let (id, header) = (job.id(), &job.header);
    let time = |when: Option<When>| match when? {
        When::At(time) => Some(time),
        When::After(span) => Some(header.submitted_at.plus(span)),
    };
    let (from, until) = (time(job.spec.start_after), time(job.spec.expires));
    let attempts = job.tasks().flat_map(|(_, task, _)| task.elements()).flat_map(|(_, element)| &element.attempts);
    for attempt in attempts {
        if let Some(from) = from.filter(|from| attempt.assigned_at < *from) {
            return Err(format!("job {id} was to start at {from}, and has {attempt:?}"));
        }
        // What ran then goes on, elsewhere if it has to.
        let is_first = attempt.number == AttemptNumber(1);
        if let Some(until) = until.filter(|until| is_first && attempt.assigned_at >= *until) {
            return Err(format!("job {id} expired at {until}, and has {attempt:?}"));
        }
    }
    let deadline = time(job.spec.deadline).filter(|deadline| now >= *deadline);
    if deadline.is_some() && !header.state.is_finished() && !header.flow().overdue {
        return Err(format!("the deadline of job {id} is over, and nobody noticed"));
    }
    Ok(())
}

/// Nothing that needs another job starts before that has ended as it should, whatever became of it later.
fn judge_needs(job: &Job, applied: &AppliedLog) -> Result<(), Violation> {
    for (_, task, spec) in job.tasks() {
        let Some(first) = task.elements().filter_map(|(_, element)| element.attempts.first()).min_by_key(|a| a.fence)
        else {
            continue;
        };
        for need in &spec.needs {
            let Need::Job { job: other, on } = need else { continue };
            let met = |(at, end): &(Timestamp, End)| on.is_met_by(*end) && *at <= first.assigned_at;
            if !applied.ends(*other).iter().any(met) {
                return Err(format!("job {} needs {need:?}, and has {first:?}: {:?}", job.id(), applied.ends(*other)));
            }
        }
    }
    Ok(())
}

impl World {
    /// What follows a job was submitted as often as it ended so.
    pub(super) fn compare_follow_ups(&self, state: &State) -> Result<(), Violation> {
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        for job in state.jobs() {
            for follow_up in &job.spec.then {
                let ends = applied.ends(job.id()).iter().filter(|(_, end)| follow_up.on.is_met_by(*end)).count();
                let follows = |other: &&Arc<Job>| {
                    other.header.flow().follows == Some(job.id()) && other.spec.name == follow_up.job.name
                };
                let there = state.jobs().filter(follows).count();
                if there != ends {
                    let (id, name) = (job.id(), &follow_up.job.name);
                    return Err(format!("{name} follows job {id} {there} times, and should {ends} times"));
                }
            }
        }
        Ok(())
    }

    /// A worker is drained, for a while or until the end.
    fn drain_one(&mut self, to: ReplicaId, state: &State) {
        let Some(steward) = self.steward.as_mut() else { return };
        let chance = &mut steward.chance;
        let (drained, others): (Vec<_>, Vec<_>) =
            state.workers().filter(|worker| worker.is_alive()).partition(|worker| worker.draining);
        let back = !self.busy || chance.permille(500) || drained.len() > others.len();
        let name = chance.pick(if back { &drained } else { &others }).map(|worker| worker.name.clone());
        let Some(name) = name else { return };
        let deadline = json!({"deadline": format!("{}ms", 1 + chance.below(4_000))}).to_string();
        let request = if back {
            Request::post(format!("/v1/workers/{name}/undrain")).body(Body::empty())
        } else if chance.permille(500) {
            Request::post(format!("/v1/workers/{name}/drain")).body(Body::empty())
        } else {
            let request = Request::post(format!("/v1/workers/{name}/drain")).header("content-type", "application/json");
            request.body(Body::from(deadline))
        };
        self.ask_as_owner(to, request);
    }

    pub(super) fn have_jobs_that_wait(&mut self) -> Result<(), Violation> {
        let (now, busy) = (self.now, self.busy);
        if self.steward.as_ref().is_none_or(|steward| steward.next > now) {
            return Ok(());
        }
        let leader = self.leader().and_then(|id| Some((id, self.replicas.get(&id)?.handle()?)));
        let (Some(steward), Some((to, handle))) = (self.steward.as_mut(), leader) else { return Ok(()) };
        steward.next = now + steward.chance.between(PAUSE_MIN, PAUSE_MAX);
        let version = handle.version();
        steward.look(&version.state, &self.applied.lock().unwrap_or_else(PoisonError::into_inner))?;
        if let Some(policy) = steward.policy.take() {
            let body = Body::from(policy.to_string());
            let request = Request::put("/v1/policy").header("content-type", "application/json").body(body);
            self.ask_as_owner(to, request);
        } else if !busy || steward.chance.permille(DRAINS_PERMILLE) {
            self.drain_one(to, &version.state);
        } else {
            let body = Body::from(steward.job(&version.state).to_string());
            let request = Request::post("/v1/jobs").header("content-type", "application/json").body(body);
            self.ask_as_owner(to, request);
        }
        Ok(())
    }
}
