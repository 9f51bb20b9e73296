//! How replicas talk: TCP, length-delimited frames of bincode, and a connection for each purpose, so that
//! a large snapshot or a slow append never holds up a heartbeat or a vote.
//!
//! `handshake` says who is there and refuses who may not be; `dial` and `server` are its two ends. Three
//! protocols follow it: `append` (pipelined AppendEntries, answered in order), `snapshot` (files and
//! archive records in bounded frames) and `link` (requests with ids, answered in any order: votes,
//! proposals, calls). `network` is what openraft sees of it all,
//! and `net` the seam to the host's network.

pub(crate) mod append;
pub(crate) mod dial;
pub(crate) mod doorway;
pub(crate) mod handshake;
pub(crate) mod link;
pub(crate) mod net;
pub(crate) mod network;
pub(crate) mod server;
pub(crate) mod snapshot;
pub(crate) mod wire;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quorate_types::{Bug, ReplicaId, is_planted};

use self::handshake::Refusal;
use self::net::Network;
use crate::error::FatalError;
use crate::fatal::Fatal;
use crate::machine::Published;
use crate::options::Limits;

/// Connecting and the handshake, each.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_millis(1000);
/// A peer that owes answers and says nothing for this long is given up.
pub(crate) const SILENCE_MAX: Duration = Duration::from_millis(2000);
/// A large job has to be sent, read, stored and applied before it is answered, on a busy machine by slow code: a peer
/// that owes such an answer is no dead one. Far less than what any disk and any build takes.
const BYTES_PER_SECOND: usize = 2 << 20;

/// How much longer than usual something takes that has so many bytes.
pub(crate) fn allowance(bytes: usize) -> Duration {
    Duration::from_secs((bytes / BYTES_PER_SECOND) as u64)
}

/// How long a peer may owe the answer to a frame of this size.
pub(crate) fn patience(frame_bytes: usize) -> Duration {
    SILENCE_MAX + allowance(frame_bytes)
}

/// Who this replica is, towards its peers.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) id: ReplicaId,
    pub(crate) network: Arc<dyn Network>,
    /// The random number of the data folder.
    pub(crate) storage: u64,
    /// 0 while the cluster has no name, or this replica has not heard of it.
    pub(crate) cluster: AtomicU64,
    pub(crate) token: Option<String>,
    pub(crate) published: Published,
    pub(crate) fatal: Fatal,
    pub(crate) limits: Limits,
    /// Who says that this replica belongs to another cluster.
    pub(crate) estranged: Mutex<BTreeSet<ReplicaId>>,
    /// The folders that members have shown before the cluster has recorded them, the first one of each.
    pub(crate) met: Mutex<BTreeMap<ReplicaId, u64>>,
}

impl Local {
    pub(crate) fn cluster(&self) -> u64 {
        self.cluster.load(Ordering::Relaxed)
    }

    /// What is to be done when `peer` refused this replica.
    pub(crate) fn refused_by(&self, peer: ReplicaId, refusal: &Refusal) {
        tracing::warn!(replica = %self.id, %peer, %refusal, "a peer refused this replica");
        match refusal {
            Refusal::OtherStorage => self.fatal.report(FatalError::OtherStorage(self.id)),
            Refusal::Removed => self.fatal.report(FatalError::Removed(self.id)),
            Refusal::Cluster(_) => self.estranged_from(peer),
            Refusal::Version(_) | Refusal::Token | Refusal::Target(_) | Refusal::Garbage | Refusal::Busy => {}
        }
    }

    /// A single peer of another cluster may itself be the stray; a majority is not.
    fn estranged_from(&self, peer: ReplicaId) {
        let voters: BTreeSet<u64> = self.published.membership.borrow().voter_ids().collect();
        let mut estranged = self.estranged.lock().unwrap_or_else(PoisonError::into_inner);
        estranged.insert(peer);
        let strangers = estranged.iter().filter(|id| voters.contains(&id.0)).count();
        if strangers * 2 > voters.len() {
            self.fatal.report(FatalError::OtherCluster { id: self.id, ours: self.cluster() });
        }
    }

    /// Whether a peer that shows this folder may be who it says.
    pub(crate) fn check_peer(&self, peer: ReplicaId, cluster: u64, storage: u64) -> Result<(), Refusal> {
        let ours = self.cluster();
        if ours != 0 && cluster != 0 && ours != cluster {
            return Err(Refusal::Cluster(ours));
        }
        match self.published.version().state.storage_of(peer) {
            Some(recorded) if recorded != storage => Err(Refusal::OtherStorage),
            Some(_) if self.was_removed(peer) && !is_planted(Bug::RemovedNotTold) => Err(Refusal::Removed),
            Some(_) => Ok(()),
            None => self.check_met(peer, storage),
        }
    }

    /// A young cluster may have acknowledged writes before all its folders are recorded: one that was wiped
    /// meanwhile is told by those who have met it before, unless all of them were restarted too.
    fn check_met(&self, peer: ReplicaId, storage: u64) -> Result<(), Refusal> {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        if self.published.membership.borrow().get_node(&peer.0).is_none() {
            met.remove(&peer);
            return Ok(());
        }
        if *met.entry(peer).or_insert(storage) == storage { Ok(()) } else { Err(Refusal::OtherStorage) }
    }

    /// A member is recorded only after the entry that added it, so who is recorded and not a member was removed.
    pub(crate) fn was_removed(&self, peer: ReplicaId) -> bool {
        self.published.version().state.storage_of(peer).is_some()
            && self.published.membership.borrow().get_node(&peer.0).is_none()
    }
}
