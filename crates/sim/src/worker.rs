//! A worker in the simulation: the real agent on a simulated machine, with a simulated watchdog.

use std::cell::{Cell, RefCell};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use quorate_types::{Name, Resources, Timestamp};
use quorate_worker::host::{self, Connection, Registration, Simulation, Watchdog};
use quorate_worker::{Limits, Options};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::chance::Chance;
use crate::history::Violation;
use crate::network::{Host, Network};
use crate::node::{Node, hand_off_takes};
use crate::physical::{Physical, zone_of};
use crate::watchdog::{SimWatchdog, Stage};

/// Half of the workers are in one zone, half in the other.
fn zone(worker: &str) -> (Name, String) {
    let label = Name::new("zone").unwrap_or_else(|_| unreachable!("it is a name"));
    (label, zone_of(worker).to_owned())
}

/// Events that wait for the agent.
const EVENTS_MAX: usize = 1024;

/// What the agent sees of its machine.
struct Machine {
    host: Host,
    name: String,
    network: Network,
    boottime: Cell<Duration>,
    chance: RefCell<Chance>,
    /// Watchdogs that the agent has started since the last step, and how often it killed the one that ran.
    new_watchdog: RefCell<Option<SimWatchdog>>,
    kills: Cell<u32>,
}

impl Simulation for Machine {
    fn boottime(&self) -> u64 {
        self.boottime.get().as_nanos() as u64
    }

    fn random(&self) -> u64 {
        self.chance.borrow_mut().number()
    }

    fn hand_off_takes(&self) -> Duration {
        hand_off_takes(&mut self.chance.borrow_mut())
    }

    fn connect(&self, server: &str) -> BoxFuture<'static, io::Result<Box<dyn Connection>>> {
        let (network, host, server) = (self.network.clone(), self.host, server.to_owned());
        Box::pin(async move {
            let connection = network.connect(host, &server).await?;
            Ok(Box::new(connection) as Box<dyn Connection>)
        })
    }

    fn start_watchdog(&self) -> Watchdog {
        let (orders, taken) = mpsc::unbounded_channel();
        let (told, events) = mpsc::channel(EVENTS_MAX);
        let number = self.chance.borrow_mut().number();
        let watchdog = SimWatchdog::new(self.name.clone(), taken, told, Chance::new(number, 0));
        *self.new_watchdog.borrow_mut() = Some(watchdog);
        Watchdog { orders, events }
    }

    fn kill_watchdog(&self) {
        self.kills.set(self.kills.get() + 1);
    }
}

pub(crate) struct Worker {
    pub(crate) name: String,
    pub(crate) host: Host,
    seed: u64,
    servers: Vec<String>,
    folder: PathBuf,
    machine: Rc<Machine>,
    agent: Option<Node>,
    watchdogs: Vec<SimWatchdog>,
    starts: u64,
    drift_ppm: i64,
    cores: u64,
}

impl Worker {
    pub(crate) fn new(
        number: u64,
        seed: u64,
        servers: Vec<String>,
        folder: &Path,
        network: Network,
        drift_ppm: i64,
        cores: u64,
    ) -> Self {
        let (name, host) = (format!("w{number}"), 100 + number as Host);
        let machine = Machine {
            host,
            name: name.clone(),
            network,
            boottime: Cell::new(Duration::from_secs(1000 * number)),
            chance: RefCell::new(Chance::new(seed, 10_000 + number)),
            new_watchdog: RefCell::default(),
            kills: Cell::new(0),
        };
        Self {
            folder: folder.join(&name),
            name,
            host,
            seed,
            servers,
            machine: Rc::new(machine),
            agent: None,
            watchdogs: Vec::new(),
            starts: 0,
            drift_ppm,
            cores,
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.agent.is_some()
    }

    /// Starts the agent. Before it asks for anything, the real one ends what an earlier one has left.
    pub(crate) fn start(&mut self, wall_clock: Timestamp, physical: &mut Physical) {
        for mut watchdog in std::mem::take(&mut self.watchdogs) {
            watchdog.kill(physical);
        }
        self.starts += 1;
        let node = Node::new(self.seed, u64::from(self.host) * 1_000_000 + self.starts, wall_clock, self.drift_ppm);
        let options = Options {
            servers: self.servers.iter().map(|server| format!("http://{server}")).collect(),
            name: Name::new(&self.name).unwrap_or_else(|_| unreachable!("w and a number is a name")),
            labels: [zone(&self.name)].into(),
            taints: Vec::new(),
            host: self.name.clone(),
            capacity: Resources::new(self.cores * 1_000, 4 << 30),
            data_dir: self.folder.clone(),
            token: None,
            watchdog_command: Vec::new(),
            limits: Limits::default(),
        };
        host::simulate(Some(self.machine.clone()));
        node.spawn(async move {
            if let Err(error) = quorate_worker::run(options, CancellationToken::new()).await {
                tracing::warn!(%error, "the simulated worker ended");
            }
        });
        host::simulate(None);
        self.agent = Some(node);
    }

    /// Kills the agent; its watchdog goes on.
    pub(crate) fn kill_agent(&mut self) {
        self.drop_agent();
    }

    /// Kills agent and watchdog at the same instant, or cuts the power of the machine.
    pub(crate) fn kill_all(&mut self, physical: &mut Physical) {
        for mut watchdog in std::mem::take(&mut self.watchdogs) {
            watchdog.kill(physical);
        }
        self.machine.new_watchdog.borrow_mut().take();
        self.drop_agent();
    }

    fn drop_agent(&mut self) {
        self.machine.network.hang_up(self.host);
        host::simulate(Some(self.machine.clone()));
        self.agent = None;
        host::simulate(None);
    }

    pub(crate) fn kill_watchdog(&mut self, physical: &mut Physical) -> bool {
        let running = self.watchdogs.pop();
        running.map(|mut watchdog| watchdog.kill(physical)).is_some()
    }

    pub(crate) fn pause_agent(&mut self) {
        if let Some(agent) = &mut self.agent {
            agent.pause();
        }
    }

    pub(crate) fn resume_agent(&mut self) {
        host::simulate(Some(self.machine.clone()));
        if let Some(agent) = &mut self.agent {
            agent.resume();
        }
        host::simulate(None);
    }

    pub(crate) fn is_agent_paused(&self) -> bool {
        self.agent.as_ref().is_some_and(Node::is_paused)
    }

    pub(crate) fn pause_watchdog(&mut self) {
        if let Some(watchdog) = self.watchdogs.last_mut() {
            watchdog.paused = true;
        }
    }

    pub(crate) fn resume_watchdog(&mut self) {
        self.watchdogs.iter_mut().for_each(|watchdog| watchdog.paused = false);
    }

    pub(crate) fn is_watchdog_paused(&self) -> bool {
        self.watchdogs.iter().any(|watchdog| watchdog.paused)
    }

    /// Lets time pass; whether something `happened` to the agent. Returns the farewells of watchdogs that have ended.
    pub(crate) fn advance(
        &mut self,
        time: Duration,
        happened: bool,
        physical: &mut Physical,
    ) -> Result<Vec<Registration>, Violation> {
        let own = crate::node::drifted(time, self.drift_ppm);
        self.machine.boottime.set(self.machine.boottime.get() + own);
        host::simulate(Some(self.machine.clone()));
        if let Some(agent) = &mut self.agent {
            agent.advance(time, happened);
        }
        host::simulate(None);
        if self.machine.kills.replace(0) > 0 {
            self.kill_watchdog(physical);
        }
        self.watchdogs.extend(self.machine.new_watchdog.borrow_mut().take());
        let now = quorate_worker::host::Boottime(self.machine.boottime.get().as_nanos() as u64);
        let mut farewells = Vec::new();
        let mut works = Vec::new();
        for mut watchdog in std::mem::take(&mut self.watchdogs) {
            match watchdog.step(now, physical)? {
                Stage::Works => works.push(watchdog),
                Stage::Gone(farewell) => farewells.extend(farewell),
            }
        }
        self.watchdogs = works;
        Ok(farewells)
    }
}
