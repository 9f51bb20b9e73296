//! The types that openraft is instantiated with.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use openraft::impls::leader_id_std;
use openraft::raft::responder::Responder;
use quorate_state::command;
use quorate_state::outcome::Outcome;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::codec;
use crate::options::Addresses;

/// Node ids are plain numbers in here; the crate's surface speaks of [`quorate_types::ReplicaId`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TypeConfig;

impl openraft::RaftTypeConfig for TypeConfig {
    type D = Commands;
    type R = Vec<Outcome>;
    type NodeId = u64;
    type Node = Addresses;
    type Term = u64;
    // One leader a term, as in the paper: so a term is all that a leader's fence needs.
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = openraft::Vote<Self::LeaderId>;
    type Payload = openraft::EntryPayload<Commands, u64, Addresses>;
    type Entry = openraft::Entry<<Self::LeaderId as openraft::vote::RaftLeaderId>::Committed, Self::Payload>;
    type AsyncRuntime = crate::runtime::Runtime;
    type Responder<T>
        = Callback<T>
    where
        T: openraft::OptionalSend + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: openraft::OptionalSend + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(crate) type Raft = openraft::Raft<TypeConfig, crate::machine::Machine>;
pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
pub(crate) type Metrics = openraft::RaftMetrics<TypeConfig>;

/// One log entry's commands, with the encoding that log and followers share.
#[derive(Clone)]
pub(crate) struct Commands {
    pub(crate) entry: Arc<command::Entry>,
    pub(crate) bytes: Bytes,
}

impl Commands {
    /// `bytes` must be the encoding of `entry`.
    pub(crate) fn new(entry: command::Entry, bytes: Bytes) -> Self {
        Self { entry: Arc::new(entry), bytes }
    }
}

impl PartialEq for Commands {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl fmt::Debug for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Commands({} of {} bytes)", self.entry.proposals.len(), self.bytes.len())
    }
}

impl fmt::Display for Commands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Serialize for Commands {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.bytes.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Commands {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Bytes::deserialize(deserializer)?;
        let entry = codec::from_bytes(&bytes).map_err(de::Error::custom)?;
        Ok(Self::new(entry, bytes))
    }
}

/// Runs when a write was applied or refused. A function rather than a channel: the answers to a whole
/// batch go out without waking a task in between.
pub(crate) struct Callback<T>(Box<dyn FnOnce(T) + Send>);

impl<T> Callback<T> {
    pub(crate) fn new(f: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Box::new(f))
    }
}

impl<T> fmt::Debug for Callback<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Callback")
    }
}

impl<T: Send + 'static> Responder<TypeConfig, T> for Callback<T> {
    fn on_complete(self, result: T) {
        (self.0)(result);
    }
}
