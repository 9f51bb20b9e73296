//! What a replica is started with, and every bound it keeps.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use quorate_state::State;
use quorate_state::outcome::Applied;
use quorate_types::{LogIndex, ReplicaId};
use serde::{Deserialize, Serialize};

use crate::transport::net::{Listener, Network};

/// Everything [`crate::start`] needs.
pub struct Options {
    pub id: ReplicaId,
    /// The data folder. One replica, for ever: it is bound to `id` when it is created.
    pub dir: PathBuf,
    /// Where peers connect. Bound by the caller, so that port 0 works.
    pub listener: Box<dyn Listener>,
    /// How this replica reaches the others.
    pub network: Arc<dyn Network>,
    /// What the other replicas and the clients are told.
    pub advertise: Addresses,
    /// Ignored when the folder already holds a replica.
    pub start: Start,
    /// What peers must present; compared in constant time.
    pub token: Option<String>,
    pub timing: Timing,
    pub limits: Limits,
    pub observer: Arc<dyn Observer>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("id", &self.id)
            .field("dir", &self.dir)
            .field("advertise", &self.advertise)
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

/// Where a replica is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    pub http: String,
    pub peer: String,
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http={} peer={}", self.http, self.peer)
    }
}

/// How an empty folder becomes a replica.
#[derive(Clone, Debug)]
pub enum Start {
    /// One of the first members; every one of them is given the same map.
    Bootstrap(BTreeMap<ReplicaId, Addresses>),
    /// Wait until the cluster adds this replica.
    Join,
}

/// The cluster's clockwork. All replicas should agree on it.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub heartbeat: Duration,
    /// A follower asks for an election between `election_min` and `election_max` after it last heard from
    /// the leader.
    pub election_min: Duration,
    pub election_max: Duration,
    /// How long proposals and reads wait out an election.
    pub propose_wait: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_millis(70),
            election_min: Duration::from_millis(350),
            election_max: Duration::from_millis(700),
            propose_wait: Duration::from_secs(5),
        }
    }
}

/// Every bound of this crate.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Commands that share a log entry. Applying them is one uninterrupted step, a millisecond or so.
    pub entry_commands_max: usize,
    /// An entry is closed once it is this large, so that followers acknowledge in small steps.
    pub entry_bytes_soft: usize,
    /// The largest single command: a job of 32 MiB, whose encoding is longer where tasks leave all to defaults. With
    /// `entry_bytes_soft` it must stay below `peer_frame_bytes_max`.
    pub command_bytes_max: usize,
    /// Entries between proposal and apply. More would only make smaller entries, while these few are on their way
    /// to the disks, the next one fills; and the leader plans ahead only for an entry that is under way alone.
    pub entries_in_flight: usize,
    /// Frames of proposals on their way from here to the leader.
    pub forwards_in_flight: usize,
    /// Proposals that wait for an entry, here and to be forwarded: about a second of a busy leader's work.
    pub queued_proposals: usize,
    /// The same, in encoded bytes.
    pub queued_proposal_bytes: usize,
    /// The largest frame a peer may send: the largest command, and an entry's worth of others.
    pub peer_frame_bytes_max: usize,
    /// Inbound peer connections: seven purposes, a dozen peers, and room for reconnects.
    pub peer_connections: usize,
    /// Inbound connections that have not shaken hands yet. They have no part in `peer_connections`, and when
    /// there are too many, the one that came first goes: a stranger's silence keeps no member out.
    pub peer_handshakes: usize,
    /// Requests under way on one peer connection; more are refused at once.
    pub peer_requests: usize,
    /// AppendEntries requests in flight to one follower.
    pub append_pipeline: usize,
    /// Entries in one AppendEntries request.
    pub append_entries_max: u64,
    /// Bytes in one AppendEntries request, unless a single entry is larger.
    pub append_bytes_soft: usize,
    /// A snapshot is taken after this many entries ...
    pub snapshot_entries: u64,
    /// ... or this many bytes of them: it bounds both the disk and the time a restart replays.
    pub snapshot_log_bytes: u64,
    /// Entries kept behind a snapshot, so that a follower that was away briefly needs no snapshot.
    pub entries_behind_snapshot: u64,
    /// Entries are given up in lots of this size.
    pub purge_batch: u64,
    /// Recent entries kept in memory, so that replication never reads the disk in normal operation.
    pub cached_entries: usize,
    /// The same, in bytes.
    pub cached_bytes: usize,
    /// Archive writes that apply may be ahead of the disk, in bytes.
    pub archive_backlog_bytes: usize,
    /// Writes that wait for the one writer thread; beyond it the raft core waits.
    pub write_queue: usize,
    /// Writes that share one sync.
    pub write_group: usize,
    /// sled's page cache.
    pub page_cache_bytes: u64,
    /// How long a new replica may take to catch up before `add_replica` says so and can be repeated.
    pub catch_up_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entry_commands_max: 1024,
            entry_bytes_soft: 1 << 20,
            command_bytes_max: 40 << 20,
            entries_in_flight: 2,
            forwards_in_flight: 4,
            queued_proposals: 16_384,
            queued_proposal_bytes: 64 << 20,
            peer_frame_bytes_max: 64 << 20,
            peer_connections: 256,
            peer_handshakes: 64,
            peer_requests: 256,
            append_pipeline: 32,
            append_entries_max: 512,
            append_bytes_soft: 2 << 20,
            snapshot_entries: 50_000,
            snapshot_log_bytes: 256 << 20,
            entries_behind_snapshot: 10_000,
            purge_batch: 4096,
            cached_entries: 16_384,
            cached_bytes: 48 << 20,
            archive_backlog_bytes: 32 << 20,
            write_queue: 1024,
            write_group: 512,
            page_cache_bytes: 48 << 20,
            catch_up_wait: Duration::from_secs(60),
        }
    }
}

/// Learns, in log order, what was applied. Called from the apply path: it must not block.
pub trait Observer: Send + Sync {
    /// An entry was applied; after a restart, replayed entries come by again.
    fn applied(&self, version: &Arc<Version>, applied: Applied);
    /// The state was replaced by a snapshot, at start or from the leader.
    fn restored(&self, version: &Arc<Version>);
}

/// The state after one log index.
#[derive(Clone, Debug, Default)]
pub struct Version {
    pub index: LogIndex,
    pub state: State,
}
