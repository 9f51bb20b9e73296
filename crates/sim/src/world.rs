//! The world: machines, network, clients, and the time that passes for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use quorate_consensus::{Limits, Timing};
use quorate_types::event::Cursor;
use quorate_types::{JobId, LogIndex, ReplicaId, Span, Timestamp};
use quorate_worker::host::Registration;
use tempfile::TempDir;

use crate::chance::Chance;
use crate::client::{Client, Counts, Send};
use crate::history::{History, Violation};
use crate::network::{Host, Network};
use crate::replica::{Answer, Replica, Setup};
use crate::trace::Trace;
use crate::watchdog::Physical;
use crate::worker::Worker;

/// Time passes in steps: up to the next thing that arrives anywhere, within these bounds. What machines do
/// within one step reaches the others after it.
const STEP_MIN: Duration = Duration::from_millis(1);
const STEP_MAX: Duration = Duration::from_millis(5);
/// Where clients are.
const CLIENTS_HOST: Host = 900;
/// When the world began, in milliseconds since 1970.
const WALL_CLOCK_START: u64 = 1_750_000_000_000;
const DRIFT_PPM_MAX: usize = 2_000;
/// How often events are asked for, and how often a state is checked as a whole.
const WATCH_PAUSE: Duration = Duration::from_secs(2);
const CHECK_PAUSE: Duration = Duration::from_secs(10);
/// How long a watchdog goes on telling the cluster, and how long it waits between tries.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(10);
const FAREWELL_PAUSE: Duration = Duration::from_millis(50);

/// Requests and answers on their way between clients and replicas.
#[derive(Default)]
struct Mail {
    requests: BTreeMap<(Duration, u64), (ReplicaId, Send)>,
    answers: BTreeMap<(Duration, u64), Answer>,
    /// Which client waits for a request.
    senders: BTreeMap<u64, Sender>,
    next_request: u64,
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug)]
enum Sender {
    Client(usize),
    /// The farewell at this position.
    Watchdog(usize),
    Operator,
    /// It has seen the events before this index.
    Watcher {
        from: LogIndex,
    },
}

/// What a watchdog whose agent died tells the cluster, again and again until it is heard.
struct Farewell {
    host: Host,
    registration: Registration,
    tries: usize,
    next: Duration,
    until: Duration,
}

/// How a world is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) replicas: u64,
    pub(crate) workers: u64,
    pub(crate) clients: usize,
    pub(crate) loud: bool,
}

pub(crate) struct World {
    pub(crate) now: Duration,
    pub(crate) network: Network,
    pub(crate) replicas: BTreeMap<ReplicaId, Replica>,
    pub(crate) workers: BTreeMap<String, Worker>,
    clients: Vec<Client>,
    mail: Mail,
    farewells: Vec<Farewell>,
    pub(crate) physical: Physical,
    pub(crate) history: History,
    pub(crate) counts: Counts,
    pub(crate) chance: Chance,
    pub(crate) trace: Trace,
    applied: Applied,
    leaders: BTreeMap<u64, ReplicaId>,
    failed: BTreeSet<ReplicaId>,
    /// Whether clients begin new things.
    pub(crate) busy: bool,
    watched: LogIndex,
    next_watch: Duration,
    next_check: Duration,
    _folder: TempDir,
}

/// What replicas applied at each index, as a hash: the first to apply it says what it must be.
pub(crate) type Applied = Arc<Mutex<AppliedLog>>;

#[derive(Debug, Default)]
pub(crate) struct AppliedLog {
    hashes: BTreeMap<LogIndex, u64>,
    /// How many events each index has.
    events: BTreeMap<LogIndex, u64>,
    pub(crate) violation: Option<Violation>,
}

impl AppliedLog {
    pub(crate) fn note(&mut self, replica: ReplicaId, index: LogIndex, events: u64, hash: u64) {
        self.events.insert(index, events);
        let first = *self.hashes.entry(index).or_insert(hash);
        if first != hash && self.violation.is_none() {
            self.violation = Some(format!("replica {replica} applied something else at index {index}"));
        }
    }
}

impl World {
    pub(crate) fn new(plan: Plan) -> anyhow::Result<Self> {
        let mut chance = Chance::new(plan.seed, 0);
        let folder = folder()?;
        let network = Network::new(Chance::new(plan.seed, 1));
        let ids: Vec<ReplicaId> = (1..=plan.replicas).map(ReplicaId).collect();
        let applied = Applied::default();
        let setup = Setup {
            seed: plan.seed,
            members: ids.iter().map(|id| (*id, Replica::addresses(*id))).collect(),
            lease_ttl: Span::from_secs(3),
            limits: limits(&mut chance),
            timing: Timing::default(),
            applied: applied.clone(),
        };
        let drift = |chance: &mut Chance| chance.below(2 * DRIFT_PPM_MAX) as i64 - DRIFT_PPM_MAX as i64;
        let replicas = ids.iter().map(|id| {
            let drift = drift(&mut chance);
            (*id, Replica::new(*id, setup.clone(), folder.path(), network.clone(), drift))
        });
        let replicas = replicas.collect();
        let servers: Vec<String> = ids.iter().map(|id| Replica::worker_address(*id)).collect();
        let workers = (1..=plan.workers).map(|number| {
            let drift = drift(&mut chance);
            Worker::new(number, plan.seed, servers.clone(), folder.path(), network.clone(), drift)
        });
        let workers: Vec<Worker> = workers.collect();
        let mut world = Self {
            now: Duration::ZERO,
            replicas,
            workers: workers.into_iter().map(|worker| (worker.name.clone(), worker)).collect(),
            farewells: Vec::new(),
            physical: Physical::default(),
            network,
            clients: (0..plan.clients).map(|n| Client::new(n, Chance::new(plan.seed, 100 + n as u64))).collect(),
            mail: Mail::default(),
            history: History::default(),
            counts: Counts::default(),
            chance,
            trace: Trace::new(plan.loud),
            applied,
            leaders: BTreeMap::new(),
            failed: BTreeSet::new(),
            busy: true,
            watched: LogIndex(1),
            next_watch: Duration::ZERO,
            next_check: Duration::ZERO,
            _folder: folder,
        };
        ids.into_iter().for_each(|id| world.start(id));
        let names: Vec<String> = world.workers.keys().cloned().collect();
        names.iter().for_each(|name| world.start_worker(name));
        Ok(world)
    }

    /// What a wall clock that is right shows.
    pub(crate) fn wall_clock(&self) -> Timestamp {
        Timestamp(WALL_CLOCK_START + self.now.as_millis() as u64)
    }

    pub(crate) fn replica(&mut self, id: ReplicaId) -> &mut Replica {
        self.replicas.get_mut(&id).unwrap_or_else(|| unreachable!("replica {id} was made at the start"))
    }

    pub(crate) fn start(&mut self, id: ReplicaId) {
        let wall_clock = self.wall_clock();
        self.trace.line(format_args!("replica {id} starts"));
        self.replica(id).start(wall_clock);
    }

    pub(crate) fn worker(&mut self, name: &str) -> (&mut Worker, &mut Physical) {
        let worker = self.workers.get_mut(name);
        (worker.unwrap_or_else(|| unreachable!("worker {name} was made at the start")), &mut self.physical)
    }

    pub(crate) fn start_worker(&mut self, name: &str) {
        let wall_clock = self.wall_clock();
        self.trace.line(format_args!("worker {name} starts"));
        self.worker(name).0.start(wall_clock);
    }

    pub(crate) fn leader(&self) -> Option<ReplicaId> {
        self.replicas.values().find(|replica| replica.is_up() && replica.leads()).map(|replica| replica.id)
    }

    /// Every host that may be cut off.
    pub(crate) fn hosts(&self) -> Vec<Host> {
        let mut hosts: Vec<Host> = self.replicas.values().map(|replica| replica.host).collect();
        hosts.extend(self.workers.values().map(|worker| worker.host));
        hosts.push(CLIENTS_HOST);
        hosts
    }

    /// Lets one step of time pass.
    pub(crate) fn step(&mut self) -> Result<(), Violation> {
        let step = self.next_step();
        self.now += step;
        self.trace.set_now(self.now);
        self.network.advance(self.now);
        self.deliver_requests();
        for replica in self.replicas.values_mut() {
            replica.advance(step);
        }
        self.advance_workers(step)?;
        self.say_farewells();
        self.watch_events();
        self.collect_answers();
        self.deliver_answers()?;
        self.let_clients_act();
        self.look()
    }

    fn next_step(&self) -> Duration {
        let mail = [
            self.mail.requests.first_key_value().map(|(at, _)| at.0),
            self.mail.answers.first_key_value().map(|(at, _)| at.0),
        ];
        let next = mail.into_iter().flatten().chain(self.network.next_arrival()).min();
        next.map_or(STEP_MAX, |at| at.saturating_sub(self.now)).clamp(STEP_MIN, STEP_MAX)
    }

    fn advance_workers(&mut self, step: Duration) -> Result<(), Violation> {
        for worker in self.workers.values_mut() {
            for registration in worker.advance(step, &mut self.physical)? {
                let (host, until) = (worker.host, self.now + FAREWELL_PATIENCE);
                self.farewells.push(Farewell { host, registration, tries: 0, next: self.now, until });
            }
        }
        Ok(())
    }

    fn say_farewells(&mut self) {
        let ids: Vec<ReplicaId> = self.replicas.keys().copied().collect();
        for (at, farewell) in self.farewells.iter_mut().enumerate() {
            if self.now < farewell.next || self.now >= farewell.until {
                continue;
            }
            farewell.next = self.now + FAREWELL_PAUSE;
            let to = ids[farewell.tries % ids.len()];
            farewell.tries += 1;
            let (name, epoch) = (&farewell.registration.name, farewell.registration.epoch);
            let request = post(&format!("/v1/workers/{name}/ended"), format!("{{\"epoch\":{epoch}}}"));
            self.mail.next_request += 1;
            let number = self.mail.next_request;
            self.mail.senders.insert(number, Sender::Watchdog(at));
            if let Some(travel) = self.network.travel(farewell.host, to.0 as Host) {
                self.mail.requests.insert((self.now + travel, number), (to, Send { request, number }));
            }
        }
    }

    /// Asks a replica for the events since the last time.
    fn watch_events(&mut self) {
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

    /// Every event since `from`, once and in order; or the word that they are gone.
    fn check_events(&mut self, from: LogIndex, answer: &Answer) -> Result<(), Violation> {
        if answer.status == StatusCode::GONE {
            let text = String::from_utf8_lossy(&answer.body);
            let first = text.split("before index ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
            let first = first.ok_or_else(|| format!("events are gone, and nobody says from where on: {text}"))?;
            // Nobody may have them any more; what comes after must be there.
            self.watched = self.watched.max(LogIndex(first));
        }
        if !answer.status.is_success() {
            return Ok(());
        }
        let until = crate::client::index_of(answer).ok_or("events without an index")?;
        let text = String::from_utf8_lossy(&answer.body);
        let cursor = |line: &str| {
            let event: serde_json::Value = serde_json::from_str(line).ok()?;
            event["cursor"].as_str()?.parse::<Cursor>().ok()
        };
        let told: Vec<Cursor> = text.lines().filter_map(cursor).collect();
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let known = applied.events.range(from..).take_while(|(index, _)| **index <= until);
        let known = known.flat_map(|(index, count)| {
            let index = *index;
            (0..*count).map(move |nth| Cursor { index, nth: nth as u32 })
        });
        if !known.eq(told.iter().copied()) {
            return Err(format!("the events from {from} to {until} have gaps, or some came twice"));
        }
        self.counts.events += told.len() as u64;
        self.watched = self.watched.max(LogIndex(until.0 + 1));
        Ok(())
    }

    /// Lets jobs that clients paused go on.
    pub(crate) fn resume_jobs(&mut self) {
        let jobs: Vec<JobId> = self.history.accepted().values().copied().collect();
        let Some(to) = self.leader() else { return };
        for job in jobs {
            self.mail.next_request += 1;
            let number = self.mail.next_request;
            self.mail.senders.insert(number, Sender::Operator);
            let request = post(&format!("/v1/jobs/{job}/resume"), String::new());
            self.mail.requests.insert((self.now, number), (to, Send { request, number }));
        }
    }

    fn let_clients_act(&mut self) {
        let ids: Vec<ReplicaId> = self.replicas.keys().copied().collect();
        for (at, client) in self.clients.iter_mut().enumerate() {
            let (history, mail) = (&self.history, &mut self.mail);
            let Some(send) = client.on_time(self.now, history, &mut self.counts, &mut mail.next_request, self.busy)
            else {
                continue;
            };
            let Some(to) = self.chance.pick(&ids).copied() else { continue };
            mail.senders.insert(send.number, Sender::Client(at));
            if let Some(travel) = self.network.travel(CLIENTS_HOST, to.0 as Host) {
                mail.requests.insert((self.now + travel, send.number), (to, send));
            }
        }
    }

    fn deliver_requests(&mut self) {
        while let Some(((at, number), _)) = self.mail.requests.first_key_value()
            && *at <= self.now
        {
            let key = (*at, *number);
            let Some((to, send)) = self.mail.requests.remove(&key) else { break };
            // A connection that nobody takes: the client waits in vain.
            self.replica(to).request(send.number, send.request);
        }
    }

    fn collect_answers(&mut self) {
        for replica in self.replicas.values().filter(|replica| replica.is_up()) {
            for (number, answer) in replica.take_answers() {
                if let Some(travel) = self.network.travel(replica.host, CLIENTS_HOST) {
                    self.mail.answers.insert((self.now + travel, number), answer);
                }
            }
        }
    }

    fn deliver_answers(&mut self) -> Result<(), Violation> {
        while let Some(((at, number), _)) = self.mail.answers.first_key_value()
            && *at <= self.now
        {
            let key = (*at, *number);
            let Some(answer) = self.mail.answers.remove(&key) else { break };
            let Some(sender) = self.mail.senders.remove(&key.1) else { continue };
            self.trace.line(format_args!("{sender:?} hears {} of request {}", answer.status, key.1));
            match sender {
                Sender::Client(client) => {
                    let (history, counts) = (&mut self.history, &mut self.counts);
                    self.clients[client].on_answer(self.now, key.1, &answer, history, counts)?;
                }
                Sender::Watchdog(at) if matches!(answer.status.as_u16(), 200..=299 | 404 | 409 | 422) => {
                    self.farewells[at].until = Duration::ZERO;
                }
                Sender::Watcher { from } => self.check_events(from, &answer)?,
                Sender::Watchdog(_) | Sender::Operator => {}
            }
        }
        Ok(())
    }

    /// Looks at what must hold at any time.
    fn look(&mut self) -> Result<(), Violation> {
        if let Some(panic) = crate::panics::take() {
            return Err(format!("a panic: {panic}"));
        }
        if let Some(violation) = self.applied.lock().unwrap_or_else(PoisonError::into_inner).violation.take() {
            return Err(violation);
        }
        if self.now >= self.next_check {
            self.next_check = self.now + CHECK_PAUSE;
            for replica in self.replicas.values().filter_map(|replica| Some((replica.id, replica.handle()?))) {
                let (id, handle) = replica;
                handle.version().state.check().map_err(|e| format!("the state of replica {id}: {e}"))?;
            }
        }
        let mut news = Vec::new();
        for replica in self.replicas.values() {
            if let Some(handle) = replica.handle() {
                let leadership = *handle.leadership().borrow();
                if leadership.local {
                    news.push((leadership.term, replica.id));
                }
            }
            if let Some(failure) = replica.failure()
                && self.failed.insert(replica.id)
            {
                self.trace.line(format_args!("replica {} failed: {failure}", replica.id));
            }
        }
        for (term, id) in news {
            match self.leaders.get(&term) {
                Some(known) if *known != id => {
                    return Err(format!("replicas {known} and {id} both lead in term {term}"));
                }
                Some(_) => {}
                None => {
                    self.trace.line(format_args!("replica {id} leads in term {term}"));
                    self.leaders.insert(term, id);
                }
            }
        }
        Ok(())
    }

    /// After everything was healed, and clients have ended what they began: all replicas agree, and what was
    /// accepted is there.
    pub(crate) fn drained(&mut self) -> Result<(), Violation> {
        if !self.clients.iter().all(Client::is_idle) {
            return Err("clients still wait for answers".into());
        }
        let mut digests = BTreeMap::new();
        for replica in self.replicas.values() {
            let Some(handle) = replica.handle() else { return Err(format!("replica {} is not up", replica.id)) };
            let state = handle.version().state.clone();
            state.check().map_err(|e| format!("the state of replica {}: {e}", replica.id))?;
            for (key, job) in self.history.accepted() {
                if !state.knows_job(*job) {
                    return Err(format!(
                        "job {job} of key {key} was accepted, and replica {} does not know it",
                        replica.id
                    ));
                }
            }
            let totals = state.job_states();
            let live: u64 = totals.iter().filter(|(job_state, _)| !job_state.is_finished()).map(|(_, n)| n).sum();
            if live > 0 {
                return Err(format!("replica {} has jobs that do not end: {totals:?}", replica.id));
            }
            digests.insert(replica.id, (state.index(), state.digest()));
        }
        let mut values = digests.values();
        let first = values.next();
        if values.any(|other| Some(other) != first) {
            return Err(format!("the replicas differ at the end: {digests:?}"));
        }
        Ok(())
    }

    /// The last lines of the trace.
    pub(crate) fn into_story(self) -> Vec<String> {
        self.trace.into_last()
    }

    pub(crate) fn elections(&self) -> usize {
        self.leaders.len()
    }
}

/// Snapshots and spools are real files; in memory if the host has a place for that.
fn folder() -> std::io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("quorate-sim-");
    builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir())
}

fn post(path: &str, body: String) -> Request<Body> {
    let request = Request::post(path).header("content-type", "application/json").body(Body::from(body));
    request.unwrap_or_else(|e| unreachable!("a request of plain parts: {e}"))
}

/// Small ones, so that snapshots and purges happen often.
fn limits(chance: &mut Chance) -> Limits {
    Limits {
        snapshot_entries: 50 + chance.below(350) as u64,
        entries_behind_snapshot: chance.below(60) as u64,
        purge_batch: 1 + chance.below(32) as u64,
        cached_entries: 16 + chance.below(512),
        ..Limits::default()
    }
}
