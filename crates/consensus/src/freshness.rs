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
use crate::type_config::{LogId, Metrics, Raft};

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
        self.look().await;
        let tracker = self.tracker.lock().unwrap_or_else(PoisonError::into_inner);
        tracker.complete_at.map(|at| at.elapsed())
    }

    /// Whether this replica leads, and a quorum acknowledged that within the lease. Another one may lead all the
    /// same, after a handover or a false alarm; but it has not led for longer than that.
    pub(crate) fn holds_quorum_lease(&self) -> bool {
        quorum_acked(&self.raft.metrics().borrow_watched()).is_some_and(|at| at.elapsed() < self.lease)
    }

    async fn look(&self) {
        let leads = self.raft.metrics().borrow_watched().state == ServerState::Leader;
        let heard = if leads { self.own() } else { self.heard().await };
        let applied = self.published.version().index;
        if let Some(heard) = heard {
            self.tracker.lock().unwrap_or_else(PoisonError::into_inner).on_heard(heard, applied);
        }
    }

    /// What this replica knows as the leader, as of its last quorum.
    fn own(&self) -> Option<Heard> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let committed = of_term(metrics.local_committed, metrics.current_term)?;
        Some(Heard { at: quorum_acked(&metrics)?, committed })
    }

    /// The last word of the leader that this replica follows.
    async fn heard(&self) -> Option<Heard> {
        let me = self.raft.metrics().borrow_watched().id;
        let heard = self.raft.with_raft_state(move |state| {
            let vote = state.vote_ref();
            // A vote that is not committed is a candidate's; and nobody hears from itself.
            let follows = vote.committed && vote.leader_id.voted_for != me;
            let committed = of_term(state.cluster_committed().copied(), vote.leader_id.term)?;
            let ago = state.vote_last_modified().filter(|_| follows)?.elapsed();
            Some(Heard { at: Instant::now().checked_sub(ago)?, committed })
        });
        timeout(RAFT_WAIT, heard).await.ok()?.ok()?
    }
}

/// When a quorum followed this replica for the last time; none if it does not lead.
fn quorum_acked(metrics: &Metrics) -> Option<Instant> {
    let alone = metrics.membership_config.voter_ids().eq([metrics.id]);
    let ago = if alone { Some(Duration::ZERO) } else { metrics.last_quorum_acked.map(|acked| acked.elapsed()) };
    Instant::now().checked_sub(ago.filter(|_| metrics.state == ServerState::Leader)?)
}

/// A leader knows all that was committed before it only once something of its own term is.
fn of_term(committed: Option<LogId>, term: u64) -> Option<LogIndex> {
    committed.filter(|committed| committed.leader_id.term == term).map(|committed| LogIndex(committed.index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_that_has_committed_nothing_of_its_own_may_lack_something() {
        assert_eq!(of_term(Some(LogId::new_term_index(2, 7)), 2), Some(LogIndex(7)));
        assert_eq!(of_term(Some(LogId::new_term_index(2, 7)), 3), None);
        assert_eq!(of_term(None, 3), None);
    }

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
    }
}
