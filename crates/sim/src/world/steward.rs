//! Whoever has jobs that may not start yet, or not any more: they wait for a key that two may have at a time, for a
//! time, or for the element of the same number; and some come too late. Others take locks while they run, or require a
//! zone.

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use quorate_state::State;
use quorate_state::job::Job;
use quorate_types::policy::{Backfill, PlacementOrder, QueueOrder};
use quorate_types::{AttemptNumber, JobId, Timestamp, When};
use serde_json::{Value, json};

use super::World;
use crate::chance::Chance;
use crate::history::Violation;
use crate::physical::{EACH, KEY_LIMIT, KEYED, LOCKER, ONLY, Program, ZONES};

/// Between two jobs.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(5);
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

    fn job(&mut self) -> Value {
        let chance = &mut self.chance;
        let program = |chance: &mut Chance, task: &str, needs: &[&str]| {
            let needs = needs.iter().map(|need| ((*need).to_owned(), EACH)).collect();
            let millis = 100 + chance.below(4_000) as u64;
            let code = i32::from(chance.permille(60));
            Program { millis, code, task: task.to_owned(), needs, ..Program::default() }.to_argv()
        };
        let after = chance.below(10_000);
        let mut job = match chance.below(5) {
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
    fn look(&mut self, state: &State) -> Result<(), Violation> {
        let new = state.jobs().rev().take_while(|job| job.id() > self.highest);
        self.open.extend(new.filter(|job| job.spec.name.as_str() == NAME).map(|job| job.id()));
        self.highest = state.jobs().next_back().map_or(self.highest, |job| job.id());
        let mut jobs = self.open.iter().filter_map(|id| state.job(*id));
        jobs.try_for_each(|job| judge(job, state.now()))?;
        self.open.retain(|id| state.job(*id).is_some_and(|job| !job.header.state.is_finished()));
        Ok(())
    }
}

/// Some tasks say how long they take, which is not so, and some have a key.
fn hint(chance: &mut Chance, job: &mut Value) {
    for task in job["tasks"].as_array_mut().into_iter().flatten() {
        if chance.permille(400) {
            task["expected"] = json!(format!("{}ms", 1 + chance.below(2_000)));
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

impl World {
    pub(super) fn have_jobs_that_wait(&mut self) -> Result<(), Violation> {
        let (now, busy) = (self.now, self.busy);
        if self.steward.as_ref().is_none_or(|steward| steward.next > now) {
            return Ok(());
        }
        let leader = self.leader().and_then(|id| Some((id, self.replicas.get(&id)?.handle()?)));
        let (Some(steward), Some((to, handle))) = (self.steward.as_mut(), leader) else { return Ok(()) };
        steward.next = now + steward.chance.between(PAUSE_MIN, PAUSE_MAX);
        steward.look(&handle.version().state)?;
        if let Some(policy) = steward.policy.take() {
            let body = Body::from(policy.to_string());
            let request = Request::put("/v1/policy").header("content-type", "application/json").body(body);
            self.ask_as_owner(to, request);
        } else if busy {
            let body = Body::from(steward.job().to_string());
            let request = Request::post("/v1/jobs").header("content-type", "application/json").body(body);
            self.ask_as_owner(to, request);
        }
        Ok(())
    }
}
