//! How the worker registers, reconnects, and starts over when a registration is over.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_types::Epoch;
use quorate_types::session::{AttemptKey, Hello, Resume};
use tokio::task::JoinError;
use tokio::time::{Instant, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::health::Verdict;
use super::{Agent, Input, heartbeats, start_keeper};
use crate::clock::Boottime;
use crate::error::WorkerError;
use crate::host;
use crate::leftovers;
use crate::options::Limits;
use crate::session::{DialError, Session, Welcome, dial};
use crate::watchdog::wire::{self, Order};

/// A session that ends within this is one of those that should not be asked for again at once.
const SHORT_SESSION: Duration = Duration::from_secs(1);

/// What the cluster said to a hello.
pub(super) enum Answer {
    /// By the server at this position.
    Welcomed(usize, Session, Welcome),
    /// The registration that was to go on is over.
    Fenced,
}

/// The outcome of [`connect_to_any`].
pub(super) type Dialed = Result<Result<Answer, WorkerError>, JoinError>;

/// Where the worker stands with the cluster.
pub(super) enum Link {
    /// Nothing is under way: at the very start, and while leaving.
    Idle,
    Connecting(AbortOnDropHandle<Result<Answer, WorkerError>>),
    Up(Session),
    /// A registration is over; the watchdog ends what is left of it.
    Ending {
        round: u64,
    },
}

impl Link {
    pub(super) async fn next(&mut self) -> Input {
        match self {
            Self::Connecting(dialing) => Input::Connected(dialing.await),
            Self::Up(session) => Input::Message(session.incoming.recv().await),
            Self::Idle | Self::Ending { .. } => std::future::pending().await,
        }
    }
}

/// Who this worker is for the cluster.
#[derive(Debug)]
pub(super) struct Registration {
    instance: u64,
    /// An instance of which everything has ended.
    replaces: Option<u64>,
    epoch: Option<Epoch>,
    /// The deadline that it started with: what passed before is of an earlier registration.
    first_deadline: Option<Boottime>,
    rounds: u64,
    /// When the present or last session began.
    session_began: Option<Instant>,
    /// Sessions in a row that ended soon after they began.
    short_sessions: u32,
    /// The server to try first.
    server: usize,
    /// Which instance is on disk.
    recorded: Option<u64>,
    /// Groups of attempts that would survive the watchdog.
    groups: HashMap<AttemptKey, libc::pid_t>,
}

impl Registration {
    pub(super) fn new(replaces: Option<u64>) -> Result<Self, WorkerError> {
        let instance = host::random().map_err(WorkerError::Random)?;
        let groups = HashMap::new();
        let (epoch, first_deadline, recorded) = (None, None, None);
        let (rounds, session_began, short_sessions, server) = (0, None, 0, 0);
        Ok(Self {
            instance,
            replaces,
            epoch,
            first_deadline,
            rounds,
            session_began,
            short_sessions,
            server,
            recorded,
            groups,
        })
    }

    fn on_session_lost(&mut self) {
        let soon = self.session_began.is_some_and(|began| began.elapsed() < SHORT_SESSION);
        self.short_sessions = if soon { self.short_sessions + 1 } else { 0 };
    }

    /// Before the first try: nothing, unless session after session ends at once.
    fn pause(&self, limits: &Limits) -> Duration {
        match self.short_sessions.checked_sub(3) {
            None => Duration::ZERO,
            Some(more) => limits.reconnect_first.saturating_mul(1 << more.min(8)).min(limits.reconnect_longest),
        }
    }

    pub(super) fn groups(&mut self) -> &mut HashMap<AttemptKey, libc::pid_t> {
        &mut self.groups
    }
}

impl Agent {
    /// Starts to look for a server: to go on with the registration, or for a new one.
    pub(super) async fn connect(&mut self) -> Result<(), WorkerError> {
        let instance = self.registration.instance;
        if self.registration.recorded != Some(instance) {
            let data_dir = self.data_dir.clone();
            // Before the cluster may know it, so that a successor on this folder can say what it replaces.
            host::blocking(move || leftovers::write_instance(&data_dir, instance)).await??;
            self.registration.recorded = Some(instance);
        }
        self.start_dialing();
        Ok(())
    }

    fn start_dialing(&mut self) {
        let hello = Hello {
            name: self.options.name.clone(),
            labels: self.options.labels.clone(),
            taints: self.options.taints.clone(),
            host: self.options.host.clone(),
            capacity: self.options.capacity.clone(),
            instance: self.registration.instance,
            replaces: self.registration.replaces.filter(|_| self.registration.epoch.is_none()),
            resume: self.registration.epoch.map(|epoch| Resume { epoch, seen: self.table.seen() }),
        };
        let dialing = connect_to_any(
            self.options.servers.clone(),
            self.registration.server,
            self.options.token.clone(),
            Arc::new(hello),
            self.options.limits.clone(),
            self.registration.pause(&self.options.limits),
        );
        self.link = Link::Connecting(AbortOnDropHandle::new(tokio::spawn(dialing)));
    }

    /// Gives up the session and looks for another; what runs goes on while the lease does.
    pub(super) fn reconnect(&mut self, why: &str) {
        if let Link::Up(session) = &self.link {
            tracing::info!(server = session.server, why, "session lost");
            self.registration.on_session_lost();
            // The others first: this one has just failed.
            self.registration.server = (self.registration.server + 1) % self.options.servers.len();
            self.start_dialing();
        }
    }

    pub(super) fn on_connected(&mut self, dialed: Dialed) -> Result<(), WorkerError> {
        self.link = Link::Idle;
        match dialed?? {
            Answer::Welcomed(server, session, welcome) => self.on_welcome(server, session, welcome),
            Answer::Fenced => self.end_registration("the cluster ended it"),
        }
        Ok(())
    }

    fn on_welcome(&mut self, server: usize, session: Session, welcome: Welcome) {
        self.registration.server = server;
        let resumed = self.registration.epoch;
        tracing::info!(server = session.server, epoch = %welcome.epoch, resumed = resumed.is_some(), "session stands");
        if resumed.is_some_and(|epoch| epoch != welcome.epoch) {
            return self.end_registration("another epoch was given");
        }
        self.lease.on_welcome(welcome.hello_sent, welcome.lease_ttl.as_duration());
        if resumed.is_none() {
            self.registration.first_deadline = self.lease.deadline();
        }
        self.registration.epoch = Some(welcome.epoch);
        self.registration.session_began = Some(Instant::now());
        self.spool.set_tail_bytes(welcome.output_tail_bytes);
        self.health.on_session(Instant::now(), welcome.heartbeat_every.as_duration());
        self.heartbeat = heartbeats(welcome.heartbeat_every.as_duration());
        self.table.outbox.on_new_session();
        self.link = Link::Up(session);
        // Before anything is spawned, the watchdog must know until when and whom to tell.
        self.tell_deadline();
        self.tell_registration(welcome.epoch);
    }

    fn tell_registration(&self, epoch: Epoch) {
        let mut servers = self.options.servers.clone();
        servers.rotate_left(self.registration.server);
        let (name, token) = (self.options.name.clone(), self.options.token.clone());
        self.keeper.order(Order::Registration(Some(wire::Registration { epoch, name, servers, token })));
    }

    /// Ends everything of this registration; a new one follows when that is done.
    pub(super) fn end_registration(&mut self, why: &str) {
        tracing::warn!(why, epoch = ?self.registration.epoch, "registration over: ending all attempts");
        self.forget_registration();
        self.registration.rounds += 1;
        let round = self.registration.rounds;
        self.link = Link::Ending { round };
        self.keeper.order(Order::Registration(None));
        self.keeper.order(Order::KillAll { round });
        let seq = self.health.on_kill_order(Instant::now(), self.lease.ttl());
        self.keeper.order(Order::Ping { seq });
    }

    fn forget_registration(&mut self) {
        self.table.reset();
        self.lease.end();
        self.told_deadline = None;
        self.registration.epoch = None;
        self.registration.first_deadline = None;
    }

    pub(super) async fn on_all_ended(&mut self, round: u64) -> Result<(), WorkerError> {
        match self.link {
            Link::Ending { round: awaited } if awaited == round => self.start_over().await,
            _ => Ok(()),
        }
    }

    /// Everything of the registration has ended: asks for a new one, unless the worker is leaving.
    async fn start_over(&mut self) -> Result<(), WorkerError> {
        self.registration.groups.clear();
        self.link = Link::Idle;
        if self.leaving.is_some() {
            return Ok(());
        }
        self.registration.replaces = Some(self.registration.instance);
        self.registration.instance = host::random().map_err(WorkerError::Random)?;
        self.connect().await
    }

    /// The watchdog has found that a deadline passed; the agent may have been stopped meanwhile.
    pub(super) fn on_lapsed(&mut self, deadline: Boottime) {
        if self.registration.first_deadline.is_some_and(|first| first <= deadline) {
            self.end_registration("the watchdog saw the lease run out");
        }
    }

    pub(super) fn look_after_watchdog(&mut self) {
        match self.health.look_at_watchdog(Instant::now()) {
            Verdict::Fine => {}
            Verdict::Ping { seq } => self.keeper.order(Order::Ping { seq }),
            Verdict::Dead => {
                tracing::warn!(pid = self.keeper.pid(), "the watchdog does not answer and is killed");
                self.keeper.kill();
            }
        }
    }

    /// Without a watchdog nothing may run: what it left is ended, and everything starts over with a new one.
    pub(super) async fn on_watchdog_gone(&mut self) -> Result<(), WorkerError> {
        tracing::warn!(pid = self.keeper.pid(), "the watchdog is gone: starting over");
        self.forget_registration();
        // The session goes at once, so that no order comes for a registration that is over.
        self.link = Link::Idle;
        self.keeper.kill();
        let new = start_keeper(&self.options, &self.data_dir).await?;
        self.spool.pass_on_folders(new.namespaced);
        let old = std::mem::replace(&mut self.keeper, new);
        let namespaced = old.namespaced;
        old.reap().await;
        if !namespaced {
            let groups: Vec<_> = self.registration.groups.drain().map(|(_, pid)| pid).collect();
            let attempts = self.data_dir.join(crate::spool::ATTEMPTS);
            let end = move || {
                leftovers::end_groups(groups);
                leftovers::end_marked(&attempts);
            };
            host::blocking(end).await?;
        }
        self.health.on_watchdog(Instant::now());
        self.start_over().await
    }
}

/// Tries the servers in turn, from `first` on, until one grants a session. Fails only when one refuses
/// for good.
async fn connect_to_any(
    servers: Vec<String>,
    first: usize,
    token: Option<String>,
    hello: Arc<Hello>,
    limits: Limits,
    first_pause: Duration,
) -> Result<Answer, WorkerError> {
    sleep(jittered(first_pause)).await;
    let mut pause = limits.reconnect_first;
    loop {
        for at in (0..servers.len()).map(|n| (first + n) % servers.len()) {
            let Some(server) = servers.get(at) else { continue };
            match dial(server, token.as_deref(), Arc::clone(&hello)).await {
                Ok((session, welcome)) => return Ok(Answer::Welcomed(at, session, welcome)),
                Err(DialError::Fenced) if hello.resume.is_some() => return Ok(Answer::Fenced),
                // Whoever runs has been let in before; then it is the server's trouble and not ours.
                Err(DialError::Refused(detail)) if hello.resume.is_none() => return Err(WorkerError::Refused(detail)),
                Err(error @ DialError::RefusedForNow(_)) => {
                    tracing::warn!(server, %error, "no session with this server")
                }
                Err(error) => tracing::info!(server, %error, "no session with this server"),
            }
        }
        sleep(jittered(pause)).await;
        pause = (pause * 2).min(limits.reconnect_longest);
    }
}

/// Half to all of it, so that the workers of a cluster that comes back don't come all at once.
fn jittered(pause: Duration) -> Duration {
    let thousandths = 500 + u32::try_from(host::random().unwrap_or(0) % 501).unwrap_or(0);
    pause * thousandths / 1000
}
