//! The world: machines, network, clients, and the time that passes for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Duration;

use quorate_consensus::{Limits, Start, Timing};
use quorate_types::{LogIndex, ReplicaId, Span, Timestamp};
use tempfile::TempDir;

use crate::applied::Applied;
use crate::chance::Chance;
use crate::client::{Client, Counts};
use crate::history::{History, Violation};
use crate::network::{Host, Network};
use crate::physical::Physical;
use crate::replica::{Place, Replica, Setup};
use crate::trace::Trace;
use crate::worker::Worker;

use self::lockers::Lockers;
use self::mail::{Farewell, Mail};
use self::operator::Errand;
use self::owner::Owner;
use self::steward::Steward;

mod lockers;
mod look;
mod mail;
mod operator;
mod owner;
mod steward;

/// Time passes in steps: up to the next thing that arrives anywhere, within these bounds. What machines do
/// within one step reaches the others after it.
const STEP_MIN: Duration = Duration::from_millis(2);
const STEP_MAX: Duration = Duration::from_millis(10);
/// Where clients are.
const CLIENTS_HOST: Host = 900;
/// Clients wait while so many jobs for each worker have not ended: more would only make the end late.
const UNFINISHED_PER_WORKER: u64 = 8;
/// When the world began, in milliseconds since 1970.
const WALL_CLOCK_START: u64 = 1_750_000_000_000;
const DRIFT_PPM_MAX: usize = 2_000;
/// How often events are asked for, and how often the state of one replica is checked as a whole.
const WATCH_PAUSE: Duration = Duration::from_secs(2);
const CHECK_PAUSE: Duration = Duration::from_secs(20);
/// How long a watchdog goes on telling the cluster, and how long it waits between tries.
const FAREWELL_PATIENCE: Duration = Duration::from_secs(10);
const FAREWELL_PAUSE: Duration = Duration::from_millis(50);

/// How a world is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) replicas: u64,
    pub(crate) workers: u64,
    pub(crate) clients: usize,
    pub(crate) services: bool,
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
    /// A violation that a fault brought to light.
    pub(crate) complaint: Option<Violation>,
    /// Whether clients begin new things.
    pub(crate) busy: bool,
    /// How many of their requests come twice.
    pub(crate) doubles_permille: u32,
    /// Jobs of the cluster that have not ended, as of this index.
    unfinished: u64,
    counted: LogIndex,
    watched: LogIndex,
    next_watch: Duration,
    next_check: Duration,
    checks: usize,
    /// What operators are about to do.
    pub(crate) errands: BTreeMap<u64, Errand>,
    made_errands: u64,
    /// Whoever has services, if anybody does.
    owner: Option<Owner>,
    /// Whoever has jobs that wait, where somebody has services.
    steward: Option<Steward>,
    /// Of its jobs, those with locks.
    lockers: Option<Lockers>,
    newest_id: ReplicaId,
    founders: u64,
    setup: Setup,
    folder: TempDir,
}

/// By how many parts in a million a machine's clock is off.
fn drift(chance: &mut Chance) -> i64 {
    chance.below(2 * DRIFT_PPM_MAX) as i64 - DRIFT_PPM_MAX as i64
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
            lease_ttl: Span::from_secs(3),
            limits: limits(&mut chance),
            timing: Timing::default(),
            applied: applied.clone(),
        };
        let members: BTreeMap<_, _> = ids.iter().map(|id| (*id, Replica::addresses(id.0 as Host))).collect();
        let replicas = ids.iter().map(|id| {
            let (drift_ppm, network) = (drift(&mut chance), network.clone());
            let place = Place { host: id.0 as Host, folder: folder.path(), network, drift_ppm };
            (*id, Replica::new(*id, setup.clone(), Start::Bootstrap(members.clone()), place))
        });
        let replicas = replicas.collect();
        let servers: Vec<String> = ids.iter().map(|id| Replica::worker_address(id.0 as Host)).collect();
        let workers = (1..=plan.workers).map(|number| {
            // Where somebody has services, workers are not all alike.
            let cores = if plan.services { 4 + number % 3 } else { 4 };
            Worker::new(number, plan.seed, servers.clone(), folder.path(), network.clone(), drift(&mut chance), cores)
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
            trace: Trace::new(),
            applied,
            leaders: BTreeMap::new(),
            failed: BTreeSet::new(),
            complaint: None,
            busy: true,
            doubles_permille: 0,
            unfinished: 0,
            counted: LogIndex(0),
            watched: LogIndex(1),
            next_watch: Duration::ZERO,
            next_check: Duration::ZERO,
            checks: 0,
            errands: BTreeMap::new(),
            made_errands: 0,
            owner: plan.services.then(|| Owner::new(Chance::new(plan.seed, 4))),
            steward: plan.services.then(|| Steward::new(Chance::new(plan.seed, 5), plan.seed)),
            lockers: plan.services.then(|| Lockers::new(Chance::new(plan.seed, 6))),
            newest_id: ReplicaId(plan.replicas),
            founders: plan.replicas,
            setup,
            folder,
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
        self.replicas.get_mut(&id).unwrap_or_else(|| unreachable!("replica {id} was looked up just now"))
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
        let (worker, physical) = self.worker(name);
        worker.start(wall_clock, physical);
    }

    pub(crate) fn leader(&self) -> Option<ReplicaId> {
        let leading = self.replicas.values().filter(|replica| replica.is_running());
        leading.filter_map(|replica| Some((replica.leads()?, replica.id))).max().map(|(_, id)| id)
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
        let mut stirred = self.network.take_stirred();
        for replica in self.replicas.values_mut() {
            replica.advance(step, stirred.remove(&replica.host));
        }
        self.advance_workers(step, &stirred)?;
        self.operate();
        self.say_farewells();
        self.watch_events();
        self.tend_services()?;
        self.have_jobs_that_wait()?;
        self.take_locks();
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

    fn advance_workers(&mut self, step: Duration, stirred: &BTreeSet<Host>) -> Result<(), Violation> {
        for worker in self.workers.values_mut() {
            for registration in worker.advance(step, stirred.contains(&worker.host), &mut self.physical)? {
                let (host, until) = (worker.host, self.now + FAREWELL_PATIENCE);
                self.farewells.push(Farewell { host, registration, tries: 0, next: self.now, until });
            }
        }
        Ok(())
    }

    /// Elements by the policies that were in force when they were assigned.
    pub(crate) fn assigned(&self) -> BTreeMap<String, u64> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner).assigned.clone()
    }

    /// Stands for everything that happened: the trace's lines, and what was applied.
    pub(crate) fn digest(&self) -> u64 {
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        self.trace.digest() ^ applied.digest.digest()
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

/// Small ones, so that snapshots and purges happen often.
fn limits(chance: &mut Chance) -> Limits {
    Limits {
        snapshot_entries: 80 + chance.below(420) as u64,
        entries_behind_snapshot: chance.below(60) as u64,
        purge_batch: 1 + chance.below(32) as u64,
        cached_entries: 16 + chance.below(512),
        ..Limits::default()
    }
}
