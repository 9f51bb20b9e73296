//! The crate's surface: a handle to a running replica.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Instant, ServerState};
use quorate_state::command::Command;
use quorate_state::outcome::{ArchiveKey, Outcome};
use quorate_types::{LogIndex, ReplicaId, Span, Timestamp};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::archive::Archive;
use crate::clock::LeaderClock;
use crate::error::{ArchiveError, CallError, FatalError, MembershipError, ProposeError, ReadError};
use crate::fatal::Fatal;
use crate::freshness::Freshness;
use crate::host;
use crate::leadership::{Leaders, Leadership};
use crate::log::Writer;
use crate::machine::Published;
use crate::membership::{Membership, is_heard};
use crate::options::{Addresses, Timing, Version};
use crate::propose::{Committed, EntryWriter, Planner, Proposer};
use crate::read::Reads;
use crate::transport::dial::Destination;
use crate::transport::handshake::Purpose;
use crate::transport::link::{LinkError, Links};
use crate::transport::server::CallHandler;
use crate::transport::wire::{self, Change, Request, Response};
use crate::type_config::Raft;

/// How long a leader that is shut down tries to hand over.
const HAND_OVER_WAIT: Duration = Duration::from_secs(1);
/// Raft stops at once, unless a disk hangs.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// A running replica. Clones are cheap and speak of the same one.
#[derive(Clone)]
pub struct Handle(pub(crate) Arc<Running>);

/// Reads one record of the archive, if it is there.
pub type ReadRecord<'a> = dyn Fn(ArchiveKey) -> io::Result<Option<Vec<u8>>> + 'a;

pub(crate) struct Running {
    pub(crate) id: ReplicaId,
    pub(crate) raft: Raft,
    pub(crate) timing: Timing,
    pub(crate) freshness: Freshness,
    pub(crate) frame_bytes_max: usize,
    pub(crate) published: Published,
    pub(crate) proposer: Arc<Proposer>,
    pub(crate) fenced: Arc<EntryWriter>,
    pub(crate) reads: Reads,
    pub(crate) membership: Membership,
    pub(crate) links: Links,
    pub(crate) calls: Arc<OnceLock<CallHandler>>,
    pub(crate) planner: Arc<OnceLock<Arc<dyn Planner>>>,
    pub(crate) archive: Archive,
    pub(crate) writer: Writer,
    pub(crate) leaders: Arc<Leaders>,
    pub(crate) watching: Arc<AtomicBool>,
    pub(crate) clock: Arc<LeaderClock>,
    pub(crate) fatal: Fatal,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// Taken by the shutdown, which waits for the writer thread and gives the folder free.
    pub(crate) storage: Mutex<Option<Closing>>,
}

/// What is closed last.
pub(crate) struct Closing {
    pub(crate) writer_ended: oneshot::Receiver<()>,
    pub(crate) lock: std::fs::File,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("id", &self.0.id).finish_non_exhaustive()
    }
}

/// What a replica does in raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Leader,
    Follower,
    Candidate,
    Learner,
}

/// A replica's view of the cluster.
#[derive(Clone, Debug)]
pub struct Status {
    pub id: ReplicaId,
    pub role: Role,
    pub term: u64,
    pub leader: Option<ReplicaId>,
    /// The last entry of the log here.
    pub last_log: LogIndex,
    /// The last entry that is known to be committed.
    pub committed: LogIndex,
    pub applied: LogIndex,
    /// The last entry in the newest snapshot here.
    pub snapshot: LogIndex,
    /// On the leader: how long ago a quorum acknowledged it.
    pub quorum_ack_ms: Option<u64>,
    /// On a follower: it holds a connection to the leader, and would see its process end at once.
    pub watches_leader: bool,
    /// A change of the membership is not committed yet: for so long the old voters are needed as well.
    pub is_changing: bool,
    pub members: Vec<MemberStatus>,
}

#[derive(Clone, Debug)]
pub struct MemberStatus {
    pub id: ReplicaId,
    pub addresses: Addresses,
    pub voter: bool,
    /// Heard from within the election timeout; false where only the leader knows.
    pub healthy: bool,
    /// The last entry it is known to have; none where only the leader knows.
    pub matched: Option<LogIndex>,
}

impl Handle {
    pub fn id(&self) -> ReplicaId {
        self.0.id
    }

    /// Proposes a command from any replica and waits for its outcome. An outcome means: durable on a
    /// majority, and applied by the leader. This replica may lag behind; see [`Self::wait_applied`].
    pub async fn propose(&self, command: Command) -> Result<Committed, ProposeError> {
        if self.0.stop.is_cancelled() {
            return Err(ProposeError::ShuttingDown);
        }
        Box::pin(self.0.proposer.propose(command)).await
    }

    /// Whether new jobs are taken: of this replica's clients and, while it leads, of everybody's. Refused ones
    /// are answered as overloaded; all other commands are taken in any case.
    pub fn admit_jobs(&self, admitted: bool) {
        self.0.proposer.batcher.admission().set(admitted);
    }

    /// Whether a new job would be refused as too much: to be asked before anything is done for it.
    pub fn refuses_jobs(&self) -> bool {
        self.0.proposer.refuses_jobs()
    }

    /// Proposes commands if this replica leads in `term`, and else does nothing. They share an entry, as
    /// far as they fit. Not deduplicated: an unknown outcome is for the caller to look up in the state.
    pub async fn propose_as_leader(&self, term: u64, commands: Vec<Command>) -> Result<Vec<Outcome>, ProposeError> {
        if self.0.stop.is_cancelled() {
            return Err(ProposeError::ShuttingDown);
        }
        Box::pin(self.0.fenced.write(term, commands)).await
    }

    /// A version that holds everything committed before the call, whichever replica this is.
    pub async fn read_barrier(&self) -> Result<Arc<Version>, ReadError> {
        self.0.reads.barrier().await
    }

    /// Waits until this replica has applied `index`.
    pub async fn wait_applied(&self, index: LogIndex, timeout: Duration) -> Result<Arc<Version>, ReadError> {
        self.0.reads.wait_applied(index, timeout).await
    }

    /// The newest version here; as stale as this replica is.
    pub fn version(&self) -> Arc<Version> {
        self.0.published.version()
    }

    pub fn watch(&self) -> watch::Receiver<Arc<Version>> {
        self.0.published.versions.subscribe()
    }

    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.0.leaders.leadership.subscribe()
    }

    /// How long ago this replica had applied all that was committed, as far as its leader had told it, or its
    /// quorum if it leads. `None`: never since it started.
    pub async fn staleness(&self) -> Option<Duration> {
        self.0.freshness.staleness().await
    }

    /// Whether this replica leads, and a quorum acknowledged that within the lease. Another one may lead already,
    /// after a handover or a false alarm, but not for longer than that.
    pub fn holds_quorum_lease(&self) -> bool {
        self.0.freshness.holds_quorum_lease()
    }

    /// The time the leader stamps entries with now; on other replicas an estimate of it.
    pub fn leader_time(&self) -> Timestamp {
        let leadership = *self.0.leaders.leadership.borrow();
        let known = self.0.published.version().state.now();
        if leadership.local { self.0.clock.now(leadership.term, known) } else { host::wall_clock().max(known) }
    }

    /// Sends a request to another replica's [`Self::on_call`] handler, over a connection for such requests.
    pub async fn call(&self, to: ReplicaId, request: Bytes) -> Result<Bytes, CallError> {
        const ENVELOPE: usize = 64;
        if request.len() + ENVELOPE > self.0.frame_bytes_max {
            return Err(CallError::TooLarge);
        }
        if to == self.0.id {
            let handler = self.0.calls.get().ok_or(CallError::Unreachable(to))?;
            return Ok(handler(to, request).await);
        }
        let address = {
            let metrics = self.0.raft.metrics();
            let metrics = metrics.borrow_watched();
            let node = metrics.membership_config.get_node(&to.0);
            node.ok_or(CallError::UnknownReplica(to))?.peer.clone()
        };
        let link = self.0.links.to(&Destination { id: to, address, purpose: Purpose::Call });
        match link.request(Request::Call(request)).await {
            Ok(Response::Call(answer)) => Ok(answer),
            Ok(Response::Unable) => Err(CallError::Overloaded(to)),
            Ok(_) | Err(LinkError::Lost) => Err(CallError::NoAnswer(to)),
            Err(LinkError::NotSent) => Err(CallError::Unreachable(to)),
            Err(LinkError::Full) => Err(CallError::Overloaded(to)),
        }
    }

    /// Sets what answers the calls of other replicas; the first one stays.
    pub fn on_call(&self, handler: CallHandler) {
        if self.0.calls.set(handler).is_err() {
            tracing::warn!(replica = %self.0.id, "a handler of calls is set already");
        }
    }

    /// Sets what the leader adds to entries; the first one stays.
    pub fn plan_with(&self, planner: Arc<dyn Planner>) {
        if self.0.planner.set(planner).is_err() {
            tracing::warn!(replica = %self.0.id, "a planner is set already");
        }
    }

    /// Adds a replica: as a learner, and once it has caught up, as a voter. May be repeated.
    pub async fn add_replica(&self, id: ReplicaId, addresses: Addresses) -> Result<(), MembershipError> {
        Box::pin(self.0.membership.change(Change::Add { id, addresses })).await.map(|_| ())
    }

    /// Removes a replica. Its id is not used again. May be repeated.
    pub async fn remove_replica(&self, id: ReplicaId) -> Result<(), MembershipError> {
        Box::pin(self.0.membership.change(Change::Remove { id })).await.map(|_| ())
    }

    /// Makes another voter the leader: the given one, or the one that has most of the log.
    pub async fn transfer_leader(&self, to: Option<ReplicaId>) -> Result<ReplicaId, MembershipError> {
        let leader = Box::pin(self.0.membership.change(Change::Transfer { to })).await?;
        leader.ok_or(MembershipError::Unconfirmed)
    }

    /// Reads a record of the archive.
    pub async fn archived(&self, key: ArchiveKey) -> Result<Option<Vec<u8>>, ArchiveError> {
        self.read_archive(move |read| read(key)).await
    }

    /// Reads records of the archive, as many as `reading` asks for, one after the other.
    pub async fn read_archive<T: Send + 'static>(
        &self,
        reading: impl FnOnce(&ReadRecord<'_>) -> io::Result<T> + Send + 'static,
    ) -> Result<T, ArchiveError> {
        let archive = self.0.archive.clone();
        let read = host::blocking(move || reading(&|key| archive.read(key))).await;
        if let Err(error) = &read {
            self.0.fatal.report_damage(self.0.id, error);
        }
        Ok(read?)
    }

    /// Resolves when this replica can't go on: the process has to exit.
    pub async fn fatal(&self) -> FatalError {
        self.0.fatal.reported().await
    }

    pub fn status(&self) -> Status {
        self.0.status()
    }

    /// Stops at once and hands nothing over: to the others it looks like a crash.
    pub async fn halt(&self) {
        Box::pin(self.0.stop()).await;
    }

    /// Hands leadership over if need be, stops, and closes the storage. Bounded, and safe to repeat.
    pub async fn shutdown(&self) {
        Box::pin(self.0.hand_over()).await;
        Box::pin(self.0.stop()).await;
    }
}

impl Running {
    async fn hand_over(&self) {
        if self.stop.is_cancelled() || self.raft.metrics().borrow_watched().state != ServerState::Leader {
            return;
        }
        let transfer = self.membership.change_here(Change::Transfer { to: None });
        match timeout(HAND_OVER_WAIT, transfer).await {
            Ok(Ok(to)) => tracing::info!(replica = %self.id, ?to, "handed leadership over"),
            Ok(Err(reason)) => tracing::info!(replica = %self.id, ?reason, "leadership was not handed over"),
            Err(_) => tracing::info!(replica = %self.id, "leadership was not handed over in time"),
        }
    }

    /// Stops without handing anything over.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        self.leaders.leadership.send_modify(|leadership| leadership.local = false);
        if timeout(STOP_WAIT, self.raft.shutdown()).await.is_err() {
            tracing::warn!(replica = %self.id, "raft did not stop in time");
        }
        self.tasks.close();
        self.tasks.wait().await;
        self.writer.stop().await;
        let taken = self.storage.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(storage) = taken else { return };
        let Closing { mut writer_ended, lock } = storage;
        match timeout(STOP_WAIT, &mut writer_ended).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => tracing::warn!(replica = %self.id, "the writer thread did not end well"),
            Err(_) => {
                tracing::warn!(replica = %self.id, "the writer thread hangs in the disk; the folder stays locked");
                // Whether it ends or not: nobody else opens the folder before.
                tokio::spawn(async move {
                    let _ = writer_ended.await;
                    drop(lock);
                });
            }
        }
    }

    fn status(&self) -> Status {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
        let member = |(id, addresses): (&u64, &Addresses)| {
            let matched = metrics.replication.as_ref().and_then(|matched| *matched.get(id)?);
            MemberStatus {
                id: ReplicaId(*id),
                addresses: addresses.clone(),
                voter: voters.contains(id),
                healthy: is_heard(&metrics, *id, self.timing.election_max),
                matched: wire::index_of(matched),
            }
        };
        let membership = &metrics.membership_config;
        let is_joint = membership.membership().get_joint_config().len() > 1;
        Status {
            id: self.id,
            is_changing: is_joint || *membership.log_id() > metrics.local_committed,
            role: match metrics.state {
                ServerState::Leader => Role::Leader,
                ServerState::Follower => Role::Follower,
                ServerState::Candidate => Role::Candidate,
                ServerState::Learner | ServerState::Shutdown => Role::Learner,
            },
            term: metrics.current_term,
            leader: Leadership::of(&metrics).leader,
            last_log: LogIndex(metrics.last_log_index.unwrap_or_default()),
            committed: wire::index_of(metrics.local_committed).unwrap_or_default(),
            applied: self.published.version().index,
            snapshot: wire::index_of(metrics.snapshot).unwrap_or_default(),
            quorum_ack_ms: metrics.last_quorum_acked.map(|acked| Span::from(acked.elapsed()).0),
            watches_leader: self.watching.load(Ordering::Relaxed),
            members: metrics.membership_config.nodes().map(member).collect(),
        }
    }
}
