//! The agent: one task that owns everything and never waits for disk, processes or the network. The lease
//! and the attempt table decide; this feeds them with what happens and carries out what they say.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quorate_types::session::{FromWorker, ToWorker};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use self::health::Health;
use self::leave::Leaving;
use self::registration::{Link, Registration};
use crate::clock::Boottime;
use crate::disk::{Disk, Job};
use crate::error::WorkerError;
use crate::host;
use crate::keeper::Keeper;
use crate::lease::Lease;
use crate::leftovers;
use crate::options::Options;
use crate::output::Outputs;
use crate::session::host_of;
use crate::spool::Spool;
use crate::table::{Bounds, Table};
use crate::watchdog::wire::{Event, Order};

mod events;
mod health;
mod leave;
mod registration;

/// How often silence of the session and health of the watchdog are looked at, and the lease, should a timer be late:
/// timers don't count the time that the host sleeps.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The files of running attempts are looked at once in so many looks: sizes of outputs, and progress, which is
/// reported.
const LOOKS_PER_OBSERVATION: u64 = 4;
/// Old folders are looked for once in so many looks.
const LOOKS_PER_PRUNE: u64 = 40;
/// Events of one source that are taken in a row before the others have their turn.
const EVENTS_IN_A_ROW: usize = 256;
/// Before a replica says how often it wants heartbeats, and in case it says "always".
const HEARTBEAT_EVERY_MIN: Duration = Duration::from_millis(10);

/// Runs a worker until `shutdown`; then ends its attempts, sends the last reports and signs off.
pub async fn run(options: Options, shutdown: CancellationToken) -> Result<(), WorkerError> {
    let mut agent = Agent::start(options).await?;
    let outcome = agent.work(&shutdown).await;
    agent.finish().await;
    outcome
}

struct Agent {
    options: Options,
    data_dir: PathBuf,
    /// Held until the worker ends.
    _folder_lock: File,
    spool: Arc<Spool>,
    outputs: Outputs,
    disk: Disk,
    keeper: Keeper,
    table: Table,
    lease: Lease,
    registration: Registration,
    link: Link,
    health: Health,
    heartbeat: Interval,
    /// The deadline that the watchdog knows.
    told_deadline: Option<Boottime>,
    looks: u64,
    /// A look at the running attempts is under way.
    observing: bool,
    leaving: Option<Leaving>,
}

/// What happened next.
enum Input {
    Message(Option<ToWorker>),
    Connected(registration::Dialed),
    Watchdog(Option<Event>),
    Disk(Option<crate::disk::Done>),
    Heartbeat,
    Look,
    Timer,
    Shutdown,
}

impl Agent {
    async fn start(options: Options) -> Result<Self, WorkerError> {
        check_servers(&options.servers)?;
        let data_dir = make_folder(&options.data_dir)?;
        let folder_lock = leftovers::lock(&data_dir)?;
        let (spool, previous) = {
            let (dir, name, limits) = (data_dir.clone(), options.name.clone(), options.limits.clone());
            let servers = options.servers.clone();
            let prepare = move || {
                // Nothing outlives a simulated machine's processes.
                if !host::is_simulated() {
                    leftovers::end_all(&dir);
                }
                Spool::open(&dir, name, &servers, &limits).map(|spool| (spool, leftovers::read_instance(&dir)))
            };
            host::blocking(prepare).await??
        };
        let keeper = start_keeper(&options, &data_dir).await?;
        let spool = Arc::new(spool);
        spool.pass_on_folders(keeper.namespaced);
        let limits = &options.limits;
        Ok(Self {
            table: Table::new(Bounds { attempts: limits.attempts, grace: limits.grace }),
            outputs: Outputs::new(Arc::clone(&spool)),
            disk: Disk::start(&spool)?,
            registration: Registration::new(previous)?,
            _folder_lock: folder_lock,
            spool,
            keeper,
            lease: Lease::default(),
            link: Link::Idle,
            health: Health::new(Instant::now()),
            heartbeat: heartbeats(LOOK_EVERY),
            told_deadline: None,
            looks: 0,
            observing: false,
            leaving: None,
            data_dir,
            options,
        })
    }

    /// Works until it has left, or until it can't go on.
    async fn work(&mut self, shutdown: &CancellationToken) -> Result<(), WorkerError> {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.connect().await?;
        while !self.has_left() {
            let input = self.next_input(shutdown, &mut looks).await;
            host::hand_off().await;
            self.on_input(input).await?;
            let now = Boottime::now();
            if self.lease.is_over(now) {
                self.end_registration("the lease ran out");
            }
            let timed_out = self.table.on_time(now);
            self.carry_out(timed_out);
            self.tell_deadline();
            self.send_reports();
        }
        Ok(())
    }

    async fn next_input(&mut self, shutdown: &CancellationToken, looks: &mut Interval) -> Input {
        let timer = sleep(self.next_timer(Boottime::now()));
        let connected = matches!(self.link, Link::Up(_));
        tokio::select! {
            input = self.link.next() => input,
            event = self.keeper.events.recv() => Input::Watchdog(event),
            done = self.disk.done.recv() => Input::Disk(done),
            _ = self.heartbeat.tick(), if connected => Input::Heartbeat,
            _ = looks.tick() => Input::Look,
            () = timer => Input::Timer,
            () = shutdown.cancelled(), if self.leaving.is_none() => Input::Shutdown,
        }
    }

    fn next_timer(&self, now: Boottime) -> Duration {
        let next = self.lease.deadline().into_iter().chain(self.table.next_time()).min();
        let next = next.map_or(LOOK_EVERY, |at| at.since(now));
        let due = self.health.due().map_or(LOOK_EVERY, |at| at.saturating_duration_since(Instant::now()));
        next.min(due).min(LOOK_EVERY)
    }

    async fn on_input(&mut self, input: Input) -> Result<(), WorkerError> {
        match input {
            Input::Message(Some(message)) => self.on_message(message),
            Input::Message(None) => self.reconnect("the connection closed"),
            Input::Connected(dialed) => self.on_connected(dialed)?,
            Input::Watchdog(Some(event)) => self.on_events(event).await?,
            Input::Watchdog(None) => self.on_watchdog_gone().await?,
            Input::Disk(done) => self.on_disk_done(done),
            Input::Heartbeat => {
                let seq = self.lease.on_heartbeat(Boottime::now());
                self.send(FromWorker::Heartbeat { seq });
            }
            Input::Look => self.look(),
            Input::Timer => self.look_after_watchdog(),
            Input::Shutdown => self.leave(),
        }
        Ok(())
    }

    /// The regular look at everything that tells of itself only by silence.
    fn look(&mut self) {
        self.looks += 1;
        if self.health.is_session_silent(Instant::now()) && matches!(self.link, Link::Up(_)) {
            self.reconnect("the replica is silent");
        }
        self.look_after_watchdog();
        if self.looks.is_multiple_of(LOOKS_PER_OBSERVATION) && !self.observing {
            let keys: Vec<_> = self.table.running().collect();
            self.observing = !keys.is_empty();
            if self.observing {
                self.disk.submit(Job::Observe { keys });
            }
        }
        if self.looks.is_multiple_of(LOOKS_PER_PRUNE) {
            self.disk.submit(Job::Prune);
        }
    }

    fn tell_deadline(&mut self) {
        if let Some(deadline) = self.lease.deadline()
            && self.told_deadline != Some(deadline)
        {
            self.told_deadline = Some(deadline);
            self.keeper.order(Order::Deadline(deadline));
        }
    }

    fn send_reports(&mut self) {
        while let Link::Up(session) = &self.link
            && let Some(batch) = self.table.outbox.next_batch()
        {
            let message = FromWorker::Reports { seq: batch.seq, reports: batch.reports.clone() };
            if session.outgoing.try_send(message).is_err() {
                self.reconnect("the connection takes no more");
            }
        }
    }

    fn send(&mut self, message: FromWorker) {
        if let Link::Up(session) = &self.link
            && session.outgoing.try_send(message).is_err()
        {
            self.reconnect("the connection takes no more");
        }
    }
}

fn heartbeats(every: Duration) -> Interval {
    let mut heartbeats = interval(every.max(HEARTBEAT_EVERY_MIN));
    heartbeats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    heartbeats
}

fn check_servers(servers: &[String]) -> Result<(), WorkerError> {
    if servers.is_empty() {
        return Err(WorkerError::NoServers);
    }
    match servers.iter().find(|server| host_of(server).is_none()) {
        Some(server) => Err(WorkerError::Server(server.clone())),
        None => Ok(()),
    }
}

/// Makes the worker's folder and returns its absolute path, which tasks get to see.
fn make_folder(path: &Path) -> Result<PathBuf, WorkerError> {
    std::fs::create_dir_all(path).map_err(WorkerError::file("create folder", path))?;
    path.canonicalize().map_err(WorkerError::file("find folder", path))
}

async fn start_keeper(options: &Options, data_dir: &Path) -> Result<Keeper, WorkerError> {
    let keeper = Keeper::start(&options.watchdog_command, options.limits.pid_namespace).await?;
    leftovers::record_watchdog(data_dir, keeper.pid())?;
    tracing::info!(pid = keeper.pid(), namespaced = keeper.namespaced, "the watchdog is up");
    Ok(keeper)
}
