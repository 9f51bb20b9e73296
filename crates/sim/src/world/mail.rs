//! What travels between replicas and those who are no machines of the cluster: clients, the watchdogs'
//! last words, an operator, and a reader of events.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use quorate_types::session::AttemptKey;
use quorate_types::status::JobState;
use quorate_types::{JobId, LogIndex, ReplicaId};
use quorate_worker::host::Registration;

use super::{CLIENTS_HOST, FAREWELL_PAUSE, UNFINISHED_PER_WORKER, WATCH_PAUSE, World};
use crate::client::{Client, Send, code};
use crate::history::Violation;
use crate::keyed::{Answered, Call, Verb};
use crate::network::Host;
use crate::replica::Answer;

/// A request that comes twice comes the second time within this.
const DOUBLES_WITHIN: Duration = Duration::from_secs(2);

/// Requests and answers on their way between clients and replicas.
#[derive(Default)]
pub(super) struct Mail {
    pub(super) requests: BTreeMap<(Duration, u64), (ReplicaId, Send)>,
    pub(super) answers: BTreeMap<(Duration, u64), Answer>,
    /// Which client waits for a request.
    pub(super) senders: BTreeMap<u64, Sender>,
    pub(super) next_request: u64,
}

/// Who waits for an answer.
#[derive(Clone, Debug)]
pub(super) enum Sender {
    Client(usize),
    /// A client's request that came twice; a submission has a key.
    Double(Option<String>),
    /// The farewell at this position.
    Watchdog(usize),
    /// For the errand of this number.
    Operator(u64),
    /// Whoever lets jobs go on in the end.
    Resumer,
    /// Whoever has services, or jobs that wait. What becomes of a request shows in the state.
    Owner,
    /// A process that takes or gives back its lock.
    Locker(AttemptKey),
    /// It has seen the events before this index.
    Watcher {
        from: LogIndex,
    },
}

/// What a watchdog whose agent died tells the cluster, again and again until it is heard.
pub(super) struct Farewell {
    pub(super) host: Host,
    pub(super) registration: Registration,
    pub(super) tries: usize,
    pub(super) next: Duration,
    pub(super) until: Duration,
}

impl World {
    /// Sends a request on its way, unless there is none.
    pub(super) fn send(&mut self, from: Host, to: ReplicaId, send: Send) {
        let travel = self.replicas.get(&to).and_then(|replica| self.network.travel(from, replica.host));
        if let Some(travel) = travel {
            self.mail.requests.insert((self.now + travel, send.number), (to, send));
        }
    }

    pub(super) fn say_farewells(&mut self) {
        for (at, farewell) in self.farewells.iter_mut().enumerate() {
            if self.now < farewell.next || self.now >= farewell.until {
                continue;
            }
            let ids: Vec<ReplicaId> = self.replicas.keys().copied().collect();
            farewell.next = self.now + FAREWELL_PAUSE;
            let to = ids[farewell.tries % ids.len()];
            farewell.tries += 1;
            let (name, epoch) = (&farewell.registration.name, farewell.registration.epoch);
            let request = post(&format!("/v1/workers/{name}/ended"), format!("{{\"epoch\":{epoch}}}"));
            self.mail.next_request += 1;
            let number = self.mail.next_request;
            self.mail.senders.insert(number, Sender::Watchdog(at));
            let travel = self.replicas.get(&to).and_then(|replica| self.network.travel(farewell.host, replica.host));
            if let Some(travel) = travel {
                self.mail.requests.insert((self.now + travel, number), (to, Send { request, number }));
            }
        }
    }

    /// Asks a replica for the events since the last time.
    pub(super) fn watch_events(&mut self) {
        if self.now < self.next_watch {
            return;
        }
        self.next_watch = self.now + self.chance.between(WATCH_PAUSE / 2, WATCH_PAUSE);
        let ids: Vec<ReplicaId> = self.replicas.keys().copied().collect();
        let Some(to) = self.chance.pick(&ids).copied() else { return };
        // Now and then from further back: what was told once must be told again.
        let back = if self.chance.permille(300) { self.chance.below(200) as u64 } else { 0 };
        let from = LogIndex(self.watched.0.saturating_sub(back).max(1));
        self.mail.next_request += 1;
        let number = self.mail.next_request;
        self.mail.senders.insert(number, Sender::Watcher { from });
        let request =
            Request::get(format!("/v1/events?from={from}&until=now")).header("accept", "application/x-ndjson");
        let request = request.body(Body::empty());
        let request = request.unwrap_or_else(|e| unreachable!("a request of plain parts: {e}"));
        self.mail.requests.insert((self.now, number), (to, Send { request, number }));
    }

    /// Lets jobs that clients paused go on.
    pub(crate) fn resume_jobs(&mut self) {
        let Some((to, handle)) = self.leader().and_then(|id| Some((id, self.replicas.get(&id)?.handle()?))) else {
            return;
        };
        let state = handle.version().state.clone();
        let paused = |job: &JobId| state.job(*job).is_some_and(|job| job.header.state == JobState::Paused);
        let jobs: Vec<JobId> = self.history.accepted().values().copied().filter(paused).collect();
        for job in jobs {
            if let Some(ticket) = self.history.jobs.begin_on(job) {
                let call = Call::Edit { verb: Verb::Resume, answer: Answered::Unknown };
                self.history.jobs.leave_open(ticket, call);
            }
            self.mail.next_request += 1;
            let number = self.mail.next_request;
            self.mail.senders.insert(number, Sender::Resumer);
            let request = post(&format!("/v1/jobs/{job}/resume"), String::new());
            self.mail.requests.insert((self.now, number), (to, Send { request, number }));
        }
    }

    pub(super) fn let_clients_act(&mut self) {
        let room = self.unfinished < UNFINISHED_PER_WORKER * self.workers.len() as u64;
        let submits = self.busy && room;
        for (at, client) in self.clients.iter_mut().enumerate() {
            let (history, mail) = (&mut self.history, &mut self.mail);
            let Some(send) = client.on_time(self.now, history, &mut self.counts, &mut mail.next_request, submits)
            else {
                continue;
            };
            let ids: Vec<ReplicaId> = self.replicas.keys().copied().collect();
            let Some(to) = self.chance.pick(&ids).copied() else { continue };
            mail.senders.insert(send.number, Sender::Client(at));
            if self.chance.permille(self.doubles_permille)
                && let Some((double, key)) = client.double(history, &mut mail.next_request)
                && let Some(to) = self.chance.pick(&ids).copied()
            {
                mail.senders.insert(double.number, Sender::Double(key));
                let late = self.now + self.chance.between(Duration::ZERO, DOUBLES_WITHIN);
                mail.requests.insert((late, double.number), (to, double));
            }
            let travel = self.replicas.get(&to).and_then(|replica| self.network.travel(CLIENTS_HOST, replica.host));
            if let Some(travel) = travel {
                mail.requests.insert((self.now + travel, send.number), (to, send));
            }
        }
    }

    pub(super) fn deliver_requests(&mut self) {
        while let Some(((at, number), _)) = self.mail.requests.first_key_value()
            && *at <= self.now
        {
            let key = (*at, *number);
            let Some((to, send)) = self.mail.requests.remove(&key) else { break };
            // A connection that nobody takes: the client waits in vain.
            if let Some(replica) = self.replicas.get(&to) {
                replica.request(send.number, send.request);
            }
        }
    }

    pub(super) fn collect_answers(&mut self) {
        for replica in self.replicas.values().filter(|replica| replica.is_up()) {
            for (number, answer) in replica.take_answers() {
                if let Some(travel) = self.network.travel(replica.host, CLIENTS_HOST) {
                    self.mail.answers.insert((self.now + travel, number), answer);
                }
            }
        }
    }

    pub(super) fn deliver_answers(&mut self) -> Result<(), Violation> {
        while let Some(((at, number), _)) = self.mail.answers.first_key_value()
            && *at <= self.now
        {
            let key = (*at, *number);
            let Some(answer) = self.mail.answers.remove(&key) else { break };
            let number = key.1;
            let Some(sender) = self.mail.senders.remove(&number) else { continue };
            self.trace.line(format_args!("{sender:?} hears {} of request {}", answer.status, key.1));
            match sender {
                Sender::Client(client) => {
                    let (history, counts) = (&mut self.history, &mut self.counts);
                    self.clients[client].on_answer(self.now, key.1, &answer, history, counts)?;
                }
                Sender::Double(Some(key)) => Client::on_doubled(&key, &answer, &mut self.history)?,
                Sender::Double(None) => {}
                Sender::Watchdog(at) if matches!(answer.status.as_u16(), 200..=299 | 404 | 409 | 422) => {
                    self.farewells[at].until = Duration::ZERO;
                }
                Sender::Watcher { from } => self.check_events(from, &answer)?,
                Sender::Locker(key) => self.on_lock_answer(key, number, &answer)?,
                Sender::Operator(errand) => self.on_operator_answer(errand, key.1, &answer),
                // What it asks for is sound, whatever has become of it; but what it made is another version by the time
                // that it sees nothing of it and makes it again.
                Sender::Owner
                    if matches!(answer.status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY)
                        && code(&answer).as_deref() != Some("idempotency_conflict") =>
                {
                    return Err(format!("an owner is refused: {}", String::from_utf8_lossy(&answer.body)));
                }
                Sender::Watchdog(_) | Sender::Resumer | Sender::Owner => {}
            }
        }
        Ok(())
    }
}

fn post(path: &str, body: String) -> Request<Body> {
    let request = Request::post(path).header("content-type", "application/json").body(Body::from(body));
    request.unwrap_or_else(|e| unreachable!("a request of plain parts: {e}"))
}
