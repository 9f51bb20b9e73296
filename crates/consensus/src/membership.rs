//! Changes of the membership: on the leader, one at a time, and each safe to ask for again.
//!
//! A replica's id is used once. The state remembers the data folder of every id that was ever a member,
//! also after its removal; so an id that is recorded and not a member was removed.

use std::sync::Arc;
use std::time::Duration;

use openraft::ChangeMembers;
use openraft::Instant as _;
use openraft::ServerState;
use openraft::async_runtime::watch::{RecvError, WatchReceiver};
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use quorate_types::ReplicaId;
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, timeout};

use crate::error::MembershipError;
use crate::leadership::{Leadership, Route};
use crate::machine::Published;
use crate::options::{Addresses, Limits, Timing};
use crate::transport::dial::Destination;
use crate::transport::handshake::Purpose;
use crate::transport::link::{LinkError, Links};
use crate::transport::wire::{Change, ChangeRefused, Request, Response};
use crate::type_config::{Metrics, Raft, TypeConfig};

/// A learner this close behind the leader may vote: it needs less than a second for the rest.
const CAUGHT_UP_LAG: u64 = 1000;
/// Between attempts, unless the leader changes before.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, Debug)]
pub(crate) struct Membership {
    pub(crate) id: ReplicaId,
    pub(crate) raft: Raft,
    pub(crate) links: Links,
    pub(crate) routes: watch::Receiver<Route>,
    pub(crate) published: Published,
    pub(crate) timing: Timing,
    pub(crate) limits: Limits,
    pub(crate) one_at_a_time: Arc<Semaphore>,
}

type Changed = Result<Option<ReplicaId>, ChangeRefused>;

fn because(error: MembershipError) -> ChangeRefused {
    ChangeRefused::Because(error)
}

impl Membership {
    /// Asks the leader for a change, wherever it is.
    pub(crate) async fn change(&self, change: Change) -> Result<Option<ReplicaId>, MembershipError> {
        let mut routes = self.routes.clone();
        let (deadline, mut perhaps_done) = (Instant::now() + self.timing.propose_wait, false);
        loop {
            let route = routes.borrow_and_update().clone();
            match self.ask(&route, change.clone()).await {
                Some(Ok(done)) => return Ok(done),
                Some(Err(ChangeRefused::Because(error))) => return Err(error),
                Some(Err(ChangeRefused::NotLeader)) => {}
                None => perhaps_done = true,
            }
            if Instant::now() >= deadline {
                return Err(if perhaps_done { MembershipError::Unconfirmed } else { MembershipError::NoLeader });
            }
            tokio::select! {
                Ok(()) = routes.changed() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    /// None if the answer was lost.
    async fn ask(&self, route: &Route, change: Change) -> Option<Changed> {
        let Some((leader, address)) = route.leader.clone() else { return Some(Err(ChangeRefused::NotLeader)) };
        if leader == self.id {
            return Some(self.change_here(change).await);
        }
        let to = Destination { id: leader, address, purpose: Purpose::Propose };
        match self.links.to(&to).request(Request::Change(change)).await {
            Ok(Response::Change(changed)) => Some(changed),
            Ok(Response::Unable) | Err(LinkError::NotSent | LinkError::Full) => Some(Err(ChangeRefused::NotLeader)),
            Ok(_) | Err(LinkError::Lost) => None,
        }
    }

    /// Does a change, if this replica leads.
    pub(crate) async fn change_here(&self, change: Change) -> Changed {
        let Ok(_one) = self.one_at_a_time.try_acquire() else { return Err(because(MembershipError::InProgress)) };
        match change {
            Change::Add { id, addresses } => self.add(id, addresses).await.map(|()| None),
            Change::Remove { id } => self.remove(id).await.map(|()| None),
            Change::Transfer { to } => self.transfer(to).await.map(Some),
        }
    }

    /// Raft's metrics, if this replica leads and its state is complete.
    fn leading(&self) -> Result<Metrics, ChangeRefused> {
        let metrics = self.raft.metrics().borrow_watched().clone();
        if Leadership::of(&metrics).local { Ok(metrics) } else { Err(ChangeRefused::NotLeader) }
    }

    fn was_member(&self, id: ReplicaId) -> bool {
        self.published.version().state.storage_of(id).is_some()
    }

    async fn add(&self, id: ReplicaId, addresses: Addresses) -> Result<(), ChangeRefused> {
        let metrics = self.leading()?;
        match metrics.membership_config.get_node(&id.0) {
            // The first members have no http address here; where clients go is the state's business.
            Some(present) if present.peer != addresses.peer => {
                return Err(because(MembershipError::OtherAddresses { id, present: present.to_string() }));
            }
            Some(_) if is_settled_voter(&metrics, id) => return Ok(()),
            // An earlier attempt came this far; what it lacked is done now.
            Some(_) => {}
            None if self.was_member(id) => return Err(because(MembershipError::RemovedBefore(id))),
            None => {
                self.raft.add_learner(id.0, addresses, false).await.map_err(refused)?;
                tracing::info!(replica = %id, "added as a learner");
            }
        }
        self.wait_caught_up(id).await?;
        let voters = ChangeMembers::AddVoterIds([id.0].into());
        self.raft.change_membership(voters, true).await.map_err(refused)?;
        tracing::info!(replica = %id, "is a voter now");
        Ok(())
    }

    /// Waits until a learner has nearly all of the log and has shown its data folder.
    async fn wait_caught_up(&self, id: ReplicaId) -> Result<(), ChangeRefused> {
        let caught_up = async {
            let (mut metrics, mut versions) = (self.raft.metrics(), self.published.versions.subscribe());
            loop {
                if is_close(&self.leading()?, id) && self.was_member(id) {
                    return Ok(());
                }
                tokio::select! {
                    changed = metrics.changed() => changed.map_err(|_| ChangeRefused::NotLeader)?,
                    changed = versions.changed() => changed.map_err(|_| ChangeRefused::NotLeader)?,
                }
            }
        };
        let waited = timeout(self.limits.catch_up_wait, caught_up).await;
        waited.unwrap_or(Err(because(MembershipError::CatchingUp(id))))
    }

    async fn remove(&self, id: ReplicaId) -> Result<(), ChangeRefused> {
        let metrics = self.leading()?;
        let members = metrics.membership_config.clone();
        let voters: Vec<u64> = members.voter_ids().collect();
        let change = match members.get_node(&id.0) {
            None if self.was_member(id) => return Ok(()),
            None => return Err(because(MembershipError::NotAMember(id))),
            Some(_) if voters == [id.0] => return Err(because(MembershipError::LastVoter(id))),
            // Begun, such a change could neither be finished nor taken back.
            Some(_) if voters.contains(&id.0) && !self.has_majority_without(&metrics, id) => {
                return Err(because(MembershipError::NoMajorityWithout(id)));
            }
            Some(_) if voters.contains(&id.0) => ChangeMembers::RemoveVoters([id.0].into()),
            Some(_) => ChangeMembers::RemoveNodes([id.0].into()),
        };
        self.raft.change_membership(change, false).await.map_err(refused)?;
        tracing::info!(replica = %id, "removed");
        Ok(())
    }

    /// Whether most of the other voters were heard from within the election timeout.
    fn has_majority_without(&self, metrics: &Metrics, id: ReplicaId) -> bool {
        let others = || metrics.membership_config.voter_ids().filter(|voter| *voter != id.0);
        let answering = others().filter(|voter| is_heard(metrics, *voter, self.timing.election_max)).count();
        answering > others().count() / 2
    }

    async fn transfer(&self, to: Option<ReplicaId>) -> Result<ReplicaId, ChangeRefused> {
        let metrics = self.leading()?;
        let to = match to {
            Some(to) if to == self.id => return Ok(to),
            Some(to) if metrics.membership_config.voter_ids().any(|voter| voter == to.0) => to,
            Some(to) => return Err(because(MembershipError::NotAVoter(to))),
            None => best_successor(&metrics).ok_or(because(MembershipError::NoCandidate))?,
        };
        self.raft.trigger().transfer_leader(to.0).await.map_err(|_| ChangeRefused::NotLeader)?;
        let mut server = self.raft.server_metrics();
        let taken_over = async {
            while server.borrow_and_update().current_leader != Some(to.0) {
                server.changed().await?;
            }
            Ok::<_, RecvError>(())
        };
        match timeout(self.timing.election_max * 2, taken_over).await {
            Ok(Ok(())) => Ok(to),
            Ok(Err(_)) | Err(_) => Err(because(MembershipError::NotTakenOver(to))),
        }
    }
}

/// Whether a replica votes, alone with the other voters of one committed configuration. In a joint one, or
/// one that may still be lost with its leader, it does not count yet.
fn is_settled_voter(metrics: &Metrics, id: ReplicaId) -> bool {
    let members = &metrics.membership_config;
    let committed = members.log_id().is_some_and(|at| Some(at) <= metrics.local_committed);
    match &members.get_joint_config()[..] {
        [voters] => committed && voters.contains(&id.0),
        _ => false,
    }
}

/// Whether the leader, whose metrics these are, has heard of a member within this time.
pub(crate) fn is_heard(metrics: &Metrics, id: u64, within: Duration) -> bool {
    let heard = metrics.heartbeat.as_ref().and_then(|heard| *heard.get(&id)?);
    let recently = heard.is_some_and(|heard| heard.elapsed() < within);
    recently || (id == metrics.id && metrics.state == ServerState::Leader)
}

fn is_close(metrics: &Metrics, id: ReplicaId) -> bool {
    let matched = metrics.replication.as_ref().and_then(|matched| *matched.get(&id.0)?);
    matched.is_some_and(|matched| matched.index + CAUGHT_UP_LAG >= metrics.last_log_index.unwrap_or_default())
}

/// The voter that has most of the log, and of several the one that answered last.
fn best_successor(metrics: &Metrics) -> Option<ReplicaId> {
    if metrics.state != ServerState::Leader {
        return None;
    }
    let (matched, heard) = (metrics.replication.as_ref()?, metrics.heartbeat.as_ref()?);
    let voters = metrics.membership_config.voter_ids().filter(|id| *id != metrics.id);
    let rank = |id: &u64| (matched.get(id).copied().flatten(), heard.get(id).copied().flatten());
    voters.max_by_key(rank).map(ReplicaId)
}

fn refused(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ChangeRefused {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => ChangeRefused::NotLeader,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(
            ChangeMembershipError::InProgress(_) | ChangeMembershipError::UncommittedLeaderLog(_),
        )) => because(MembershipError::InProgress),
        RaftError::APIError(error) => {
            tracing::warn!(%error, "a change of the membership failed");
            because(MembershipError::Unconfirmed)
        }
        RaftError::Fatal(_) => because(MembershipError::Unconfirmed),
    }
}
