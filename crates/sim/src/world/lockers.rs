//! Processes that take a lock while they run, hold it for a while, and give it back or end with it. Whoever was told
//! that it has the lock believes it until then: no two may believe so at once, whatever became of their workers.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::http::{Request, StatusCode};
use quorate_types::ReplicaId;
use quorate_types::session::AttemptKey;
use serde_json::{Value, json};

use super::mail::Sender;
use super::{CLIENTS_HOST, World};
use crate::chance::Chance;
use crate::client::Send;
use crate::history::Violation;
use crate::physical::LOCKER;
use crate::replica::Answer;

/// Between two things that such processes do.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// Who has no answer by then asks again, and listens to none that comes later.
const PATIENCE: Duration = Duration::from_secs(3);
const WAITS: [&str; 3] = ["0s", "1s", "8s"];

pub(super) struct Lockers {
    chance: Chance,
    next: Duration,
    stages: BTreeMap<AttemptKey, Stage>,
}

/// How far a process has come. It takes its lock once: a request that is late could take it again, or give it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// With this request, if it has not been answered, at that time.
    Asks(Option<u64>, Duration),
    Holds,
    Gave,
}

impl Lockers {
    pub(super) fn new(chance: Chance) -> Self {
        Self { chance, next: Duration::ZERO, stages: BTreeMap::new() }
    }
}

/// Two locks, so that some wait in line and some do not.
fn lock_of(key: &AttemptKey) -> &'static str {
    ["x", "y"][key.index.0 as usize % 2]
}

fn claimant(key: &AttemptKey) -> Value {
    json!({"job": key.job, "task": LOCKER, "index": key.index, "fence": key.fence})
}

impl World {
    /// One of the processes that have to do with a lock does something about it.
    pub(super) fn take_locks(&mut self) {
        let now = self.now;
        let Some(lockers) = self.lockers.as_mut().filter(|lockers| lockers.next <= now) else { return };
        lockers.next = now + lockers.chance.between(PAUSE_MIN, PAUSE_MAX);
        let running = self.physical.lockers();
        lockers.stages.retain(|key, _| running.contains(key));
        let ids: Vec<ReplicaId> = self.replicas.keys().copied().collect();
        let (Some(key), Some(to)) = (lockers.chance.pick(&running).copied(), lockers.chance.pick(&ids).copied()) else {
            return;
        };
        let number = self.mail.next_request + 1;
        let mut body = claimant(&key);
        let verb = match lockers.stages.get(&key) {
            None | Some(Stage::Asks(None, _)) => "acquire",
            Some(Stage::Asks(Some(_), since)) if *since + PATIENCE <= now => "acquire",
            Some(Stage::Holds) if lockers.chance.permille(400) => "release",
            Some(_) => return,
        };
        if verb == "acquire" {
            body["wait"] = json!(lockers.chance.pick(&WAITS));
            lockers.stages.insert(key, Stage::Asks(Some(number), now));
        } else {
            // Whether the cluster hears of it or not.
            self.physical.let_go(lock_of(&key), &key);
            lockers.stages.insert(key, Stage::Gave);
        }
        self.mail.next_request = number;
        self.mail.senders.insert(number, Sender::Locker(key));
        let request = Request::post(format!("/v1/locks/{}/{verb}", lock_of(&key)));
        let request = request.header("content-type", "application/json").body(body.to_string().into());
        let request = request.unwrap_or_else(|e| unreachable!("a request of plain parts: {e}"));
        self.send(CLIENTS_HOST, to, Send { request, number });
    }

    pub(super) fn on_lock_answer(&mut self, key: AttemptKey, number: u64, answer: &Answer) -> Result<(), Violation> {
        let text = String::from_utf8_lossy(&answer.body);
        if answer.status == StatusCode::BAD_REQUEST || answer.status == StatusCode::UNPROCESSABLE_ENTITY {
            return Err(format!("a lock is refused: {text}"));
        }
        let stage = self.lockers.as_mut().and_then(|lockers| lockers.stages.get_mut(&key));
        let Some(stage) = stage.filter(|stage| matches!(stage, Stage::Asks(Some(asked), _) if *asked == number)) else {
            return Ok(());
        };
        if answer.status != StatusCode::OK {
            *stage = Stage::Asks(None, self.now);
            return Ok(());
        }
        let told: Option<Value> = serde_json::from_str(&text).ok();
        let token = told.and_then(|told| told["token"].as_u64());
        let token = token.ok_or_else(|| format!("{key:?} has a lock, and is told no token: {text}"))?;
        *stage = Stage::Holds;
        self.physical.hold(lock_of(&key), token, &key)
    }
}
