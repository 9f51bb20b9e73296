//! The errors of the crate's surface.

use std::io;
use std::path::PathBuf;

use quorate_types::ReplicaId;
use serde::{Deserialize, Serialize};

/// Why a replica could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("another process has the data folder {} open", .0.display())]
    FolderInUse(PathBuf),
    #[error("open the data folder {}", dir.display())]
    Folder { dir: PathBuf, source: io::Error },
    #[error("the data folder {} belongs to replica {found}, not to replica {wanted}", dir.display())]
    OtherReplica { dir: PathBuf, found: ReplicaId, wanted: ReplicaId },
    #[error(
        "the data folder {} is damaged: {detail}. This replica can't be repaired: remove it \
         (`quorate cluster remove {id}`) and add it, with an empty folder, under a new id",
        dir.display()
    )]
    Damaged { dir: PathBuf, id: ReplicaId, detail: String },
    #[error("replica {0} is not among the first members of the cluster")]
    NotAMember(ReplicaId),
    #[error("the timing makes no sense: {0}")]
    Timing(String),
    #[error(
        "start raft: {0}. If that speaks of damage (a checksum, corrupted data, logs that are gone), this replica \
         can't be repaired: remove it (`quorate cluster remove ID`) and add it, with an empty folder, under a new id. \
         If it speaks of a full or failing disk, mend that and start the replica again"
    )]
    Raft(String),
}

/// Why a proposal has no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum ProposeError {
    /// Nothing was written.
    #[error("the cluster has no leader")]
    NoLeader,
    /// The proposal may have been written, now or later.
    #[error("the outcome is unknown: the leader went away while it worked on it")]
    OutcomeUnknown,
    /// Nothing was written.
    #[error("too many proposals are waiting")]
    Overloaded,
    /// Nothing was written.
    #[error("the command is too large")]
    TooLarge,
    /// Nothing was written: this replica does not lead in the given term.
    #[error("this replica does not lead in that term")]
    NotLeader,
    #[error("the replica is shutting down")]
    ShuttingDown,
}

/// Why a linearizable read could not be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("the cluster has no leader")]
    NoLeader,
    #[error("this replica has not caught up in time")]
    Lagging,
    #[error("too many reads are waiting")]
    Overloaded,
    #[error("the replica is shutting down")]
    ShuttingDown,
}

/// Why a call to another replica has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("there is no replica {0}")]
    UnknownReplica(ReplicaId),
    /// The request was not sent.
    #[error("replica {0} can't be reached")]
    Unreachable(ReplicaId),
    /// The request may have arrived.
    #[error("replica {0} did not answer")]
    NoAnswer(ReplicaId),
    #[error("too many calls are waiting for replica {0}")]
    Overloaded(ReplicaId),
    #[error("the request is too large")]
    TooLarge,
}

/// Why the membership did not change, or not yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum MembershipError {
    #[error("the cluster has no leader")]
    NoLeader,
    #[error("replica {0} was a member before and was removed; ids are not used again: give it a new one")]
    RemovedBefore(ReplicaId),
    #[error("replica {id} is a member already, as {present}")]
    OtherAddresses { id: ReplicaId, present: String },
    #[error("replica {0} is not a member")]
    NotAMember(ReplicaId),
    #[error("replica {0} is not a voter")]
    NotAVoter(ReplicaId),
    #[error("replica {0} is the last voter")]
    LastVoter(ReplicaId),
    #[error(
        "without replica {0} the cluster would have no majority of voters that answer; mend or remove the others first"
    )]
    NoMajorityWithout(ReplicaId),
    #[error("replica {0} is still catching up; ask again")]
    CatchingUp(ReplicaId),
    #[error("another change of the membership is under way; ask again")]
    InProgress,
    #[error("there is no other voter that could lead")]
    NoCandidate,
    #[error("replica {0} did not take over")]
    NotTakenOver(ReplicaId),
    #[error("the change has not been confirmed; look at the cluster's status and ask again")]
    Unconfirmed,
    #[error("too many requests are waiting")]
    Overloaded,
}

/// Why the archive could not be read.
#[derive(Debug, thiserror::Error)]
#[error("read the archive: {0}")]
pub struct ArchiveError(#[from] pub io::Error);

/// Why this replica can't go on: the process has to exit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FatalError {
    #[error("storage failed: {0}")]
    Storage(String),
    #[error(
        "{detail}. This replica can't be repaired: remove it (`quorate cluster remove {id}`) and add it, with an empty \
         folder, under a new id"
    )]
    Damaged { id: ReplicaId, detail: String },
    #[error(
        "replica {0} was a member with another data folder; its vote and log are gone, so it must not come back \
         under this id: remove it (`quorate cluster remove {0}`) and add it under a new id"
    )]
    OtherStorage(ReplicaId),
    #[error("replica {0} was removed from the cluster; to come back, it needs an empty folder and a new id")]
    Removed(ReplicaId),
    #[error("replica {id} belongs to cluster {ours:016x}, but a majority of its peers to another one")]
    OtherCluster { id: ReplicaId, ours: u64 },
    #[error("raft stopped: {0}")]
    Raft(String),
}
