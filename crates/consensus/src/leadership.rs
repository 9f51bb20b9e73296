//! Who leads, as the rest of the replica needs to know it.

use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use quorate_types::ReplicaId;
use tokio::sync::watch;

use crate::type_config::{Metrics, Raft};

/// Who leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub leader: Option<ReplicaId>,
    pub term: u64,
    /// This replica leads, and has applied all that was committed before its term: its state is complete.
    pub local: bool,
}

/// Where proposals go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) leader: Option<(ReplicaId, String)>,
}

/// The leader, as far as it is known. A replica that led before a restart still has its own vote, but
/// does not lead.
fn leader_of(metrics: &Metrics) -> Option<u64> {
    let leads = metrics.state == ServerState::Leader;
    metrics.current_leader.filter(|leader| *leader != metrics.id || leads)
}

impl Leadership {
    pub(crate) fn of(metrics: &Metrics) -> Self {
        let leads = leader_of(metrics) == Some(metrics.id);
        let applied_term = metrics.last_applied.map(|last| last.leader_id.term);
        Self {
            leader: leader_of(metrics).map(ReplicaId),
            term: metrics.current_term,
            local: leads && applied_term == Some(metrics.current_term),
        }
    }
}

impl Route {
    fn of(metrics: &Metrics) -> Self {
        let leader = leader_of(metrics).and_then(|id| {
            let node = metrics.membership_config.get_node(&id)?;
            Some((ReplicaId(id), node.peer.clone()))
        });
        Self { leader }
    }
}

/// What [`follow`] keeps up to date.
#[derive(Debug)]
pub(crate) struct Leaders {
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) routes: watch::Sender<Route>,
}

/// Follows raft's metrics until raft stops.
pub(crate) async fn follow(raft: Raft, leaders: std::sync::Arc<Leaders>) {
    let mut metrics = raft.metrics();
    loop {
        let (leadership, route) = {
            let metrics = metrics.borrow_and_update();
            (Leadership::of(&metrics), Route::of(&metrics))
        };
        let changed = leaders.leadership.send_if_modified(|present| replace(present, leadership));
        leaders.routes.send_if_modified(|present| replace(present, route));
        if changed {
            let Leadership { leader, term, local } = leadership;
            tracing::info!(leader = ?leader.map(|id| id.0), term, local, "leadership");
        }
        if metrics.changed().await.is_err() {
            leaders.leadership.send_modify(|present| present.local = false);
            return;
        }
    }
}

fn replace<T: PartialEq>(present: &mut T, new: T) -> bool {
    let changed = *present != new;
    *present = new;
    changed
}
