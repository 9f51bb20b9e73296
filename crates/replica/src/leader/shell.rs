//! The leader's clockwork: waits for a change, a timer or an expiry, and proposes what is due.

use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use quorate_consensus::host::hand_off;
use quorate_consensus::{Handle, ProposeError, Version};
use quorate_state::command::{Command, Entry};
use quorate_types::{Bug, Epoch, Name, Timestamp, is_planted};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::duties::{self, Admission, Duties};
use super::liveness::{Liveness, Moment};
use crate::telemetry;

/// The longest sleep: a bound on how late a missed wake-up is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// A round that took at least this long is followed by a rest of the same length, so that what is applied
/// meanwhile shares the next one, and rounds take half of one core at most. Quicker ones need no rest: they
/// wait for their own proposal anyway, and timers are no finer than this.
const ROUND_QUICK: Duration = Duration::from_millis(1);
/// Between two looks at ticks that are due and can't be decided, since no new jobs are taken.
const TICK_PAUSE: Duration = Duration::from_millis(10);
/// After a proposal that failed; the leadership most likely just changed.
const PAUSE: Duration = Duration::from_millis(20);

/// The duties of the leader, at rest while another replica leads.
#[derive(Debug)]
pub(crate) struct Leader {
    handle: Handle,
    liveness: Mutex<Liveness>,
    rounds: Mutex<Rounds>,
    started: Instant,
}

/// Rounds of placement, one after the other.
#[derive(Debug)]
struct Rounds {
    duties: Duties,
    /// When the next may begin.
    rested: Instant,
    /// The last one took so long that nobody should have to wait for the next.
    slow: bool,
}

impl Rounds {
    fn new(seed: u64) -> Self {
        // The first round looks at everything.
        Self { duties: Duties::new(seed), rested: Instant::now(), slow: true }
    }

    /// Notes a round that began at `started`.
    fn done(&mut self, started: Instant) {
        let took = started.elapsed();
        telemetry::round_done(took);
        self.slow = took >= ROUND_QUICK;
        if self.slow {
            self.rested = started + took * 2;
        }
    }
}

impl Leader {
    pub(crate) fn new(handle: Handle) -> Arc<Self> {
        Arc::new(Self {
            handle,
            liveness: Mutex::default(),
            rounds: Mutex::new(Rounds::new(0)),
            started: Instant::now(),
        })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    fn now(&self) -> Moment {
        Moment(self.started.elapsed())
    }

    fn liveness(&self) -> std::sync::MutexGuard<'_, Liveness> {
        self.liveness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes heartbeats; for each whether it may be acknowledged. The quorum's lease is looked at after
    /// they were noted, so that a leader that was deposed or paused acknowledges nothing.
    pub(crate) fn on_heartbeats(&self, heartbeats: &[(Name, Epoch)]) -> Vec<bool> {
        if !self.handle.leadership().borrow().local && !is_planted(Bug::DeposedLeaderAcknowledges) {
            return vec![false; heartbeats.len()];
        }
        // The time is taken with the books in hand: who was given up while this waited for them is not renewed.
        let mut liveness = self.liveness();
        let now = self.now();
        liveness.on_state(now, &self.handle.version().state);
        let noted: Vec<bool> =
            heartbeats.iter().map(|(name, epoch)| liveness.on_heartbeat(now, name, *epoch)).collect();
        drop(liveness);
        if self.handle.holds_quorum_lease() || is_planted(Bug::DeposedLeaderAcknowledges) {
            noted
        } else {
            vec![false; heartbeats.len()]
        }
    }

    /// Runs until shutdown.
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let mut leadership = self.handle.leadership();
        loop {
            let term = {
                let present = leadership.borrow_and_update();
                present.local.then_some(present.term)
            };
            let led = async {
                match term {
                    Some(term) => self.lead(term).await,
                    None => {
                        // What was known while leading is old by the next time, and holds a version of the state.
                        *self.rounds() = Rounds::new(0);
                        std::future::pending().await
                    }
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = led => tokio::time::sleep(PAUSE).await,
                changed = leadership.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Leads one term; returns when a proposal says that it is over.
    async fn lead(&self, term: u64) {
        info!(replica = %self.handle.id(), term, "leading");
        self.liveness().on_lead();
        *self.rounds() = Rounds::new(term.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut versions = self.handle.watch();
        loop {
            let rested = self.rounds().rested;
            if rested > Instant::now() {
                tokio::time::sleep_until(rested).await;
            }
            let version = versions.borrow_and_update().clone();
            let commands = self.decide(&version);
            if commands.is_empty() {
                self.rest(&mut versions, &version).await;
                continue;
            }
            debug!(term, index = %version.index, commands = commands.len(), "proposing duties");
            hand_off().await;
            match self.handle.propose_as_leader(term, commands).await {
                Ok(outcomes) => outcomes.iter().for_each(telemetry::duty_done),
                Err(ProposeError::Overloaded) => tokio::time::sleep(PAUSE).await,
                Err(error) => {
                    warn!(term, %error, "duties were not accepted");
                    return;
                }
            }
        }
    }

    fn rounds(&self) -> std::sync::MutexGuard<'_, Rounds> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is placed together with `entry`, the next of the log after `version`. Raft's threads ask: they don't
    /// wait for a round that is under way, and hold none themselves while rounds take long.
    pub(crate) fn plan_ahead(&self, version: &Version, entry: &Entry) -> Vec<Command> {
        let mut rounds = match self.rounds.try_lock() {
            Ok(rounds) => rounds,
            Err(TryLockError::Poisoned(rounds)) => rounds.into_inner(),
            Err(TryLockError::WouldBlock) => return Vec::new(),
        };
        let started = Instant::now();
        if rounds.slow || rounds.rested > started {
            return Vec::new();
        }
        let planned = rounds.duties.plan_ahead(&version.state, entry);
        if planned.is_some() {
            rounds.done(started);
        }
        planned.unwrap_or_default()
    }

    fn decide(&self, version: &Version) -> Vec<Command> {
        // Heartbeats wait for the books, and with them raft's threads: a placement round must not hold them.
        let expired = duties::expired(self.now(), &version.state, &mut self.liveness());
        let admission = if self.handle.refuses_jobs() { Admission::Closed } else { Admission::Open };
        let mut rounds = self.rounds();
        let started = Instant::now();
        let commands = rounds.duties.decide(self.handle.leader_time(), &version.state, expired, admission);
        rounds.done(started);
        commands
    }

    /// Waits until something may be due.
    async fn rest(&self, versions: &mut tokio::sync::watch::Receiver<Arc<Version>>, version: &Version) {
        let until_expiry = self.liveness().next_expiry().map(|at| at.0.saturating_sub(self.now().0));
        let due_in = |at: Timestamp| at.since(self.handle.leader_time()).as_duration();
        let until_timer = version.state.next_timer().map(due_in);
        let (tick, round) = {
            let rounds = self.rounds();
            (rounds.duties.next_tick(), rounds.duties.next_round())
        };
        let until_tick = tick.map(due_in).map(|due| due.max(TICK_PAUSE));
        let sleep = [until_expiry, until_timer, until_tick, round.map(due_in)]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(SLEEP_MAX)
            .min(SLEEP_MAX);
        tokio::select! {
            // A moment more, so that what was due at this millisecond is past.
            () = tokio::time::sleep(sleep + Duration::from_millis(1)) => {}
            changed = versions.changed() => if changed.is_err() { std::future::pending().await },
        }
    }
}
