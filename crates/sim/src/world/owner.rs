//! Whoever has a service and a system job in the cluster, and changes them again and again: to versions that are well
//! and to some that never are. In the end they are cancelled.

use std::sync::PoisonError;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use quorate_state::job::Job;
use quorate_types::service::Kind;
use quorate_types::{JobId, ReplicaId};
use serde_json::{Value, json};

use super::mail::Sender;
use super::{CLIENTS_HOST, World};
use crate::applied::{KEPT_COUNT, KEPT_MAX};
use crate::chance::Chance;
use crate::client::Send;
use crate::physical::{KEPT, Program};

/// Between two things that the owner does.
const PAUSE_MIN: Duration = Duration::from_millis(300);
const PAUSE_MAX: Duration = Duration::from_secs(6);
/// How many changes bring a version that is never well.
const BAD_PERMILLE: u32 = 250;

pub(super) struct Owner {
    chance: Chance,
    next: Duration,
}

impl Owner {
    pub(super) fn new(chance: Chance) -> Self {
        Self { chance, next: Duration::ZERO }
    }

    /// A version of one of the two jobs.
    fn job(&mut self, kind: Kind) -> Value {
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
    pub(super) fn tend_services(&mut self) {
        let (now, busy) = (self.now, self.busy);
        let Some(owner) = self.owner.as_mut().filter(|owner| owner.next <= now) else { return };
        owner.next = now + owner.chance.between(PAUSE_MIN, PAUSE_MAX);
        let kind = if owner.chance.permille(500) { Kind::Service } else { Kind::System };
        let body = owner.job(kind).to_string();
        let Some((to, handle)) = self.leader().and_then(|id| Some((id, self.replicas.get(&id)?.handle()?))) else {
            return;
        };
        let version = handle.version();
        let job = version.state.jobs().find(|job| job.spec.kind() == kind).map(|job| (job.id(), is_over(job)));
        if let (Kind::Service, Some((id, _))) = (kind, job) {
            self.applied.lock().unwrap_or_else(PoisonError::into_inner).service = Some(id);
        }
        let request = match (job, busy) {
            (None, true) => Request::post("/v1/jobs").header("content-type", "application/json").body(Body::from(body)),
            (Some((id, false)), true) => Request::put(format!("/v1/jobs/{id}")).body(Body::from(body)),
            (Some((id, false)), false) => cancel(id),
            (_, _) => return,
        };
        self.ask_as_owner(to, request);
    }

    fn ask_as_owner(&mut self, to: ReplicaId, request: Result<Request<Body>, axum::http::Error>) {
        let request = request.unwrap_or_else(|e| unreachable!("a request of plain parts: {e}"));
        self.mail.next_request += 1;
        let number = self.mail.next_request;
        self.mail.senders.insert(number, Sender::Owner);
        self.send(CLIENTS_HOST, to, Send { request, number });
    }
}

fn is_over(job: &Job) -> bool {
    job.header.cancelling || job.header.state.is_finished()
}

fn cancel(id: JobId) -> Result<Request<Body>, axum::http::Error> {
    Request::post(format!("/v1/jobs/{id}/cancel")).body(Body::empty())
}
