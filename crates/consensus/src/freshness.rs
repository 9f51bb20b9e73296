//! How old this replica's state may be.
//!
//! With each message the leader tells how far the cluster has committed. A replica that has applied that
//! much is as fresh as the message; that messages arrive says nothing while the disk or apply is stuck.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::Instant as _;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use quorate_types::LogIndex;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::machine::Published;
use crate::transport::wire;
use crate::type_config::Raft;

/// What is asked of raft when it is in trouble must not wait for it.
const RAFT_WAIT: Duration = Duration::from_millis(50);

/// The last word of a leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Heard {
    at: Instant,
    committed: LogIndex,
}

/// Remembers when the state was certainly complete.
#[derive(Debug, Default)]
struct Tracker {
    complete_at: Option<Instant>,
    /// What a leader said, and is not applied yet.
    pending: Option<Heard>,
}

impl Tracker {
    fn on_heard(&mut self, heard: Heard, applied: LogIndex) {
        for heard in [self.pending, Some(heard)].into_iter().flatten() {
            if heard.committed <= applied {
                self.complete_at = self.complete_at.max(Some(heard.at));
                self.pending = None;
            }
        }
        // The oldest word that is not fulfilled: a busy replica would otherwise wait for ever newer ones.
        if heard.committed > applied {
            self.pending.get_or_insert(heard);
        }
    }

    fn on_lease(&mut self, now: Instant) {
        self.complete_at = Some(now);
        self.pending = None;
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Freshness {
    raft: Raft,
    published: Published,
    /// How long a quorum's acknowledgement lasts.
    lease: Duration,
    tracker: Arc<Mutex<Tracker>>,
}

impl Freshness {
    pub(crate) fn new(raft: Raft, published: Published, lease: Duration) -> Self {
        Self { raft, published, lease, tracker: Arc::default() }
    }

    /// Looks every now and then, so that a question finds more than the moment it is asked in.
    pub(crate) async fn follow(self, every: Duration) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look().await;
        }
    }

    /// How long ago this replica had applied all that was committed; none: never since it started.
    pub(crate) async fn staleness(&self) -> Option<Duration> {
        if self.holds_quorum_lease() {
            return Some(Duration::ZERO);
        }
        self.look().await;
        let tracker = self.tracker.lock().unwrap_or_else(PoisonError::into_inner);
        tracker.complete_at.map(|at| at.elapsed())
    }

    /// Whether this replica leads, and a quorum acknowledged that so recently that no other replica can
    /// lead yet.
    pub(crate) fn holds_quorum_lease(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let alone = metrics.membership_config.voter_ids().eq([metrics.id]);
        let acked = metrics.last_quorum_acked.is_some_and(|acked| acked.elapsed() < self.lease);
        metrics.state == ServerState::Leader && (acked || alone)
    }

    async fn look(&self) {
        let leads = self.holds_quorum_lease();
        let heard = if leads { None } else { self.heard().await };
        let applied = self.published.version().index;
        let mut tracker = self.tracker.lock().unwrap_or_else(PoisonError::into_inner);
        match heard {
            Some(heard) => tracker.on_heard(heard, applied),
            None if leads => tracker.on_lease(Instant::now()),
            None => {}
        }
    }

    /// The last word of the leader that this replica follows.
    async fn heard(&self) -> Option<Heard> {
        let me = self.raft.metrics().borrow_watched().id;
        let heard = self.raft.with_raft_state(move |state| {
            let vote = state.vote_ref();
            // A vote that is not committed is a candidate's; and nobody hears from itself.
            let follows = vote.committed && vote.leader_id.voted_for != me;
            let committed = wire::index_of(state.cluster_committed().copied())?;
            let ago = state.vote_last_modified().filter(|_| follows)?.elapsed();
            Some(Heard { at: Instant::now().checked_sub(ago)?, committed })
        });
        timeout(RAFT_WAIT, heard).await.ok()?.ok()?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is heard at a second, and how far the state is then; and from which second it is complete.
    #[test]
    fn a_state_is_as_fresh_as_the_last_word_it_fulfils() {
        let start = Instant::now();
        let table = [
            ((1, 10), 9, None),
            ((2, 20), 12, Some(1)),
            ((3, 30), 20, Some(2)),
            // Heartbeats come in, and nothing is applied.
            ((4, 30), 20, Some(2)),
            ((5, 30), 29, Some(2)),
            ((6, 30), 30, Some(6)),
            // The leader is silent.
            ((6, 30), 30, Some(6)),
            ((7, 40), 35, Some(6)),
            ((8, 50), 40, Some(7)),
        ];
        let mut tracker = Tracker::default();
        for ((second, committed), applied, complete) in table {
            let at = |second| start + Duration::from_secs(second);
            tracker.on_heard(Heard { at: at(second), committed: LogIndex(committed) }, LogIndex(applied));
            assert_eq!(tracker.complete_at, complete.map(at), "after second {second}");
        }
        tracker.on_lease(start + Duration::from_secs(9));
        assert_eq!((tracker.complete_at, tracker.pending), (Some(start + Duration::from_secs(9)), None));
    }
}
