//! Whoever has a service and a system job in the cluster, and changes them again and again: to versions that are well
//! and to some that never are; and two schedules: each tick of one has to run once, and the runs of the other must not
//! overlap. In the end they are cancelled.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use quorate_state::State;
use quorate_state::job::Job;
use quorate_types::service::Kind;
use quorate_types::{JobId, ReplicaId, Span, Timestamp};
use serde_json::{Value, json};

use super::mail::Sender;
use super::{CLIENTS_HOST, World};
use crate::applied::{KEPT_COUNT, KEPT_MAX};
use crate::chance::Chance;
use crate::client::Send;
use crate::history::Violation;
use crate::physical::{KEPT, Program};

/// Between two things that the owner does.
const PAUSE_MIN: Duration = Duration::from_millis(300);
const PAUSE_MAX: Duration = Duration::from_secs(6);
/// How many changes bring a version that is never well.
const BAD_PERMILLE: u32 = 250;

/// The schedule's ticks. Those that nobody could act on for longer than the window are left out.
const TICK_EVERY: Span = Span::from_secs(3);
const TICK_WINDOW: Span = Span::from_secs(60);

/// What there is one of at a time; also the names of the jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owned {
    Kept(Kind),
    Ticks,
    Turns,
}

const OWNED: [Owned; 4] = [Owned::Kept(Kind::Service), Owned::Kept(Kind::System), Owned::Ticks, Owned::Turns];

impl Owned {
    const fn name(self) -> &'static str {
        match self {
            Self::Kept(Kind::Service) => "service",
            Self::Kept(Kind::System | Kind::Batch) => "system",
            Self::Ticks => "ticks",
            Self::Turns => "turns",
        }
    }
}

pub(super) struct Owner {
    chance: Chance,
    next: Duration,
    ticks: Ticks,
}

/// What was seen of the schedule's runs.
#[derive(Default)]
struct Ticks {
    highest: JobId,
    last: Option<Timestamp>,
}

impl Ticks {
    /// Each tick runs once, in order, and none is left out but for its age.
    fn look(&mut self, state: &State) -> Result<(), Violation> {
        let new: Vec<&Arc<Job>> = state.jobs().rev().take_while(|job| job.id() > self.highest).collect();
        for job in new.into_iter().rev() {
            self.highest = job.id();
            let Some(run) = job.header.flow().run.filter(|_| job.spec.name.as_str() == Owned::Ticks.name()) else {
                continue;
            };
            if let Some(last) = self.last.replace(run.tick) {
                let before = Timestamp(run.tick.0 - TICK_EVERY.0);
                let age = job.header.submitted_at.0.saturating_sub(before.0);
                if run.tick <= last {
                    return Err(format!("job {} is a run of the tick {}, after that of {last}", job.id(), run.tick));
                }
                if before > last && age <= TICK_WINDOW.0 {
                    return Err(format!("the tick {before} never ran: job {} is that of the next one", job.id()));
                }
            }
        }
        Ok(())
    }
}

impl Owner {
    pub(super) fn new(chance: Chance) -> Self {
        Self { chance, next: Duration::ZERO, ticks: Ticks::default() }
    }

    /// A version of one of the jobs.
    fn job(&mut self, owned: Owned) -> Value {
        match owned {
            Owned::Kept(kind) => self.kept(kind),
            Owned::Ticks => scheduled(
                owned,
                5,
                &json!({"every": TICK_EVERY.to_string(), "overlap": "allow", "misfire": "all",
                    "misfire_window": TICK_WINDOW.to_string()}),
            ),
            Owned::Turns => {
                let overlap = self.chance.pick(&["skip", "queue", "replace"]);
                let (millis, jitter) = (500 + self.chance.below(6_000) as u64, self.chance.below(900));
                let schedule = json!({"cron": "*/2 * * * * *", "time_zone": "Europe/Berlin", "overlap": overlap,
                    "jitter": format!("{jitter}ms")});
                scheduled(owned, millis, &schedule)
            }
        }
    }

    fn kept(&mut self, kind: Kind) -> Value {
        let chance = &mut self.chance;
        let (millis, code) = (2_000 + chance.below(40_000) as u64, i32::from(chance.permille(500)));
        let program = Program { millis, code, task: KEPT.into(), ..Program::default() };
        let health = Program { code: i32::from(chance.permille(BAD_PERMILLE)), ..Program::default() };
        let mut job = json!({"name": kind, "kind": kind, "idempotency_key": kind, "max_unavailable": KEPT_MAX,
            "health": {"command": health.to_argv(), "interval": "500ms", "failures": 3},
            "tasks": [{"name": KEPT, "command": program.to_argv(), "grace": "200ms",
                "backoff": {"initial": "200ms", "max": "4s"}, "resources": {"cpu": 0.1 + chance.below(3) as f64 / 10.0}}]});
        if kind == Kind::Service {
            job["tasks"][0]["count"] = json!(KEPT_COUNT);
        }
        job
    }
}

impl World {
    pub(super) fn tend_services(&mut self) -> Result<(), Violation> {
        let (now, busy) = (self.now, self.busy);
        let leader = self.leader().and_then(|id| Some((id, self.replicas.get(&id)?.handle()?)));
        let (Some(owner), Some((to, handle))) = (self.owner.as_mut().filter(|owner| owner.next <= now), leader) else {
            return Ok(());
        };
        owner.next = now + owner.chance.between(PAUSE_MIN, PAUSE_MAX);
        let owned = owner.chance.pick(&OWNED).copied().unwrap_or(Owned::Ticks);
        let body = owner.job(owned).to_string();
        let version = handle.version();
        owner.ticks.look(&version.state)?;
        take_turns(&version.state)?;
        let is_meant = |job: &&Arc<Job>| {
            job.spec.name.as_str() == owned.name() && (job.is_schedule() || matches!(owned, Owned::Kept(_)))
        };
        let job = version.state.jobs().find(is_meant).map(|job| (job.id(), is_over(job)));
        if let (Owned::Kept(Kind::Service), Some((id, _))) = (owned, job) {
            self.applied.lock().unwrap_or_else(PoisonError::into_inner).service = Some(id);
        }
        let request = match (job, busy) {
            (None, true) => Request::post("/v1/jobs").header("content-type", "application/json").body(Body::from(body)),
            (Some((id, false)), true) if owned != Owned::Ticks => {
                Request::put(format!("/v1/jobs/{id}")).body(Body::from(body))
            }
            (Some((id, false)), false) => cancel(id),
            (_, _) => return Ok(()),
        };
        self.ask_as_owner(to, request);
        Ok(())
    }

    pub(super) fn ask_as_owner(&mut self, to: ReplicaId, request: Result<Request<Body>, axum::http::Error>) {
        let request = request.unwrap_or_else(|e| unreachable!("a request of plain parts: {e}"));
        self.mail.next_request += 1;
        let number = self.mail.next_request;
        self.mail.senders.insert(number, Sender::Owner);
        self.send(CLIENTS_HOST, to, Send { request, number });
    }
}

/// A job whose runs take so long.
fn scheduled(owned: Owned, millis: u64, schedule: &Value) -> Value {
    let program = Program { millis, task: "tick".into(), ..Program::default() };
    let task = json!({"name": "tick", "command": program.to_argv(), "resources": {"cpu": 0.1}});
    json!({"name": owned.name(), "idempotency_key": owned.name(), "tasks": [task], "schedule": schedule})
}

/// No run begins beside another that is to go on.
fn take_turns(state: &State) -> Result<(), Violation> {
    let goes_on = |job: &&Arc<Job>| job.header.flow().run.is_some() && !is_over(job);
    let runs = state.jobs().filter(goes_on).filter(|job| job.spec.name.as_str() == Owned::Turns.name());
    let runs: Vec<JobId> = runs.map(|job| job.id()).collect();
    if runs.len() > 1 { Err(format!("the runs {runs:?} overlap")) } else { Ok(()) }
}

fn is_over(job: &Job) -> bool {
    job.header.cancelling || job.header.state.is_finished()
}

fn cancel(id: JobId) -> Result<Request<Body>, axum::http::Error> {
    Request::post(format!("/v1/jobs/{id}/cancel")).body(Body::empty())
}
