//! A simulated watchdog and the processes that it starts. It does what the real one is documented to do;
//! what the simulation checks are the agent and the cluster around it, and that no two attempts of one
//! task ever run at once.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use quorate_types::session::{AttemptKey, Motion};
use quorate_worker::host::{Boottime, Event, Order, Registration, Spawn, Status};
use tokio::sync::mpsc;

use crate::chance::Chance;
use crate::history::Violation;
use crate::physical::{Physical, Program};

/// A process that gets TERM and heeds it ends within this.
const HEEDS_WITHIN: Duration = Duration::from_millis(50);
const IGNORES_TERM_PERMILLE: u32 = 200;
/// What has many threads and much memory dies slowly.
const KILL_TAKES: Duration = Duration::from_millis(150);
const KILL: i32 = 9;
const TERM: i32 = 15;

#[derive(Debug)]
struct Process {
    started: Boottime,
    ends: Boottime,
    program: Program,
    ignores_term: bool,
    /// Where it says what it adds to its job.
    extension: Option<PathBuf>,
    /// A signal that it was sent, and when it works.
    doomed: Option<(Boottime, i32)>,
    /// Since when it stands still.
    frozen_at: Option<Boottime>,
    frozen_for: u64,
}

impl Process {
    fn end(&self) -> (Boottime, Status) {
        match self.doomed {
            Some((at, signal)) if at < self.ends() => (at, Status::Signalled(signal)),
            Some(_) | None => (self.ends(), Status::Exited(self.program.code)),
        }
    }

    /// When it ends by itself, as far as is known.
    fn ends(&self) -> Boottime {
        if self.frozen_at.is_some() { Boottime(u64::MAX) } else { self.ends }
    }

    fn freeze(&mut self, now: Boottime) {
        if self.doomed.is_none() && self.frozen_at.is_none() {
            self.frozen_at = Some(now);
        }
    }

    fn go_on(&mut self, now: Boottime) {
        if let Some(since) = self.frozen_at.take() {
            let stood = now.0.saturating_sub(since.0);
            self.frozen_for += stood;
            self.ends = Boottime(self.ends.0 + stood);
        }
    }

    /// Leaves what it adds to its job.
    fn extend(&self) -> Result<(), Violation> {
        match (self.program.extension(), &self.extension) {
            (Some(text), Some(path)) => std::fs::write(path, text).map_err(|error| format!("{path:?}: {error}")),
            (Some(_), None) => Err("a process was not told where to say what it adds to its job".into()),
            (None, _) => Ok(()),
        }
    }
}

/// The watchdog of one agent.
#[derive(Debug)]
pub(crate) struct SimWatchdog {
    worker: String,
    orders: mpsc::UnboundedReceiver<Order>,
    events: Option<mpsc::Sender<Event>>,
    unsent: VecDeque<Event>,
    processes: BTreeMap<AttemptKey, Process>,
    deadline: Option<Boottime>,
    lapsed: bool,
    rounds: Vec<u64>,
    registration: Option<Registration>,
    chance: Chance,
    /// Stopped, as by SIGSTOP.
    pub(crate) paused: bool,
    leaving: Option<Leave>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    WithFarewell,
    Silently,
}

/// What became of a watchdog with the last step.
pub(crate) enum Stage {
    Works,
    /// It has ended, and has this to tell the cluster.
    Gone(Option<Registration>),
}

impl SimWatchdog {
    pub(crate) fn new(
        worker: String,
        orders: mpsc::UnboundedReceiver<Order>,
        events: mpsc::Sender<Event>,
        chance: Chance,
    ) -> Self {
        Self {
            worker,
            orders,
            events: Some(events),
            unsent: VecDeque::from([Event::Ready]),
            processes: BTreeMap::new(),
            deadline: None,
            lapsed: false,
            rounds: Vec::new(),
            registration: None,
            chance,
            paused: false,
            leaving: None,
        }
    }

    /// Killed: the kernel ends everything that it has started.
    pub(crate) fn kill(&mut self, physical: &mut Physical) {
        for key in std::mem::take(&mut self.processes).into_keys() {
            physical.end(&key);
        }
    }

    /// Lets time pass, up to `now`.
    pub(crate) fn step(&mut self, now: Boottime, physical: &mut Physical) -> Result<Stage, Violation> {
        let ended = self.end_processes(now, physical)?;
        if self.paused {
            // The kernel keeps what it is not asked about yet.
            self.unsent.extend(ended);
            return Ok(Stage::Works);
        }
        self.unsent.extend(ended);
        self.take_orders(now, physical)?;
        self.on_time(now);
        if self.processes.is_empty() {
            let rounds = std::mem::take(&mut self.rounds);
            self.unsent.extend(rounds.into_iter().map(|round| Event::AllEnded { round }));
        }
        self.flush();
        match self.leaving {
            Some(how) if self.processes.is_empty() => {
                self.events = None;
                let farewell = self.registration.take().filter(|_| how == Leave::WithFarewell);
                Ok(Stage::Gone(farewell))
            }
            Some(_) | None => Ok(Stage::Works),
        }
    }

    fn end_processes(&mut self, now: Boottime, physical: &mut Physical) -> Result<Vec<Event>, Violation> {
        let due: Vec<AttemptKey> =
            self.processes.iter().filter(|(_, process)| process.end().0 <= now).map(|(key, _)| *key).collect();
        let mut events = Vec::new();
        for key in due {
            let Some(process) = self.processes.remove(&key) else { continue };
            let (at, status) = process.end();
            physical.end(&key);
            if status == Status::Exited(0) {
                physical.succeed(&key, &process.program.task);
                process.extend()?;
            }
            let stood = process.frozen_for + process.frozen_at.map_or(0, |since| at.0.saturating_sub(since.0));
            let ran_ms = at.0.saturating_sub(process.started.0).saturating_sub(stood) / 1_000_000;
            events.push(Event::Exited { key, status, ordered: process.doomed.is_some(), ran_ms });
        }
        Ok(events)
    }

    fn on_time(&mut self, now: Boottime) {
        if let Some(deadline) = self.deadline.filter(|deadline| !self.lapsed && *deadline <= now) {
            self.lapsed = true;
            self.kill_all(now);
            self.unsent.push_back(Event::Lapsed { deadline });
        }
    }

    fn kill_all(&mut self, now: Boottime) {
        let keys: Vec<AttemptKey> = self.processes.keys().copied().collect();
        for key in keys {
            let takes = self.chance.between(Duration::ZERO, KILL_TAKES);
            self.signal(key, Boottime(now.0 + takes.as_nanos() as u64), KILL);
        }
    }

    fn signal(&mut self, key: AttemptKey, at: Boottime, signal: i32) {
        if let Some(process) = self.processes.get_mut(&key) {
            let sooner = process.doomed.is_none_or(|(doomed, _)| at < doomed);
            if sooner {
                process.doomed = Some((at, signal));
            }
        }
    }

    fn take_orders(&mut self, now: Boottime, physical: &mut Physical) -> Result<(), Violation> {
        while self.leaving.is_none() {
            match self.orders.try_recv() {
                Ok(order) => self.carry_out(order, now, physical)?,
                Err(mpsc::error::TryRecvError::Empty) => break,
                Err(mpsc::error::TryRecvError::Disconnected) => self.leave(Leave::WithFarewell, now),
            }
        }
        Ok(())
    }

    fn leave(&mut self, how: Leave, now: Boottime) {
        self.leaving = Some(how);
        self.kill_all(now);
    }

    fn carry_out(&mut self, order: Order, now: Boottime, physical: &mut Physical) -> Result<(), Violation> {
        match order {
            Order::Spawn(spawn) => self.spawn(&spawn, now, physical)?,
            Order::Terminate { key, grace_ms } => {
                if let Some(process) = self.processes.get_mut(&key) {
                    process.go_on(now);
                }
                let ignores = self.processes.get(&key).is_some_and(|process| process.ignores_term);
                let (after, signal) = if ignores {
                    (Duration::from_millis(grace_ms), KILL)
                } else {
                    (self.chance.between(Duration::ZERO, HEEDS_WITHIN), TERM)
                };
                self.signal(key, Boottime(now.0 + after.as_nanos() as u64), signal);
            }
            Order::Kill { key } => self.signal(key, now, KILL),
            Order::KillAll { round } => {
                self.kill_all(now);
                self.rounds.push(round);
            }
            Order::Deadline(deadline) => {
                self.deadline = Some(deadline);
                self.lapsed = false;
            }
            Order::Registration(registration) => self.registration = registration,
            Order::Ping { seq } => self.unsent.push_back(Event::Pong { seq }),
            Order::Shutdown => self.leave(Leave::Silently, now),
            Order::Probe { spawn, .. } => {
                let key = spawn.key;
                let lives = self.processes.get(&key).is_some_and(|process| process.doomed.is_none());
                let well = lives && Program::of(&spawn.argv).code == 0;
                self.unsent.push_back(Event::Probed { key, well });
            }
            Order::Move { key, motion } => {
                if let Some(process) = self.processes.get_mut(&key) {
                    match motion {
                        Motion::Frozen => process.freeze(now),
                        Motion::Going => process.go_on(now),
                    }
                }
            }
        }
        Ok(())
    }

    fn spawn(&mut self, spawn: &Spawn, now: Boottime, physical: &mut Physical) -> Result<(), Violation> {
        let key = spawn.key;
        self.on_time(now);
        if self.lapsed {
            self.unsent.push_back(Event::NotStarted { key, detail: "the worker's lease is over".into() });
            return Ok(());
        }
        let program = Program::of(&spawn.argv);
        physical.start(&self.worker, key, &program)?;
        let process = Process {
            started: now,
            ends: Boottime(now.0 + program.millis_of(key.index) * 1_000_000),
            program,
            extension: spawn.env.iter().find(|(name, _)| name == "QUORATE_EXTEND").map(|(_, path)| path.into()),
            ignores_term: self.chance.permille(IGNORES_TERM_PERMILLE),
            doomed: None,
            frozen_at: None,
            frozen_for: 0,
        };
        self.processes.insert(key, process);
        self.unsent.push_back(Event::Spawned { key, pid: 1 });
        Ok(())
    }

    fn flush(&mut self) {
        while let (Some(events), Some(event)) = (&self.events, self.unsent.pop_front()) {
            match events.try_send(event) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(event)) => {
                    self.unsent.push_front(event);
                    return;
                }
                // The agent is gone: its orders end as well.
                Err(mpsc::error::TrySendError::Closed(_)) => return,
            }
        }
    }
}
