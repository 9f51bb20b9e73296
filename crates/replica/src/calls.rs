//! What replicas ask each other besides Raft: relayed heartbeats and the leader's view of the cluster.

use bytes::Bytes;
use quorate_types::api::ClusterView;
use quorate_types::limits::SESSION_FRAME_BYTES_MAX;
use quorate_types::{Epoch, Name};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Call {
    /// To the leader: these workers were heard of just now.
    Heartbeats(Vec<(Name, Epoch)>),
    /// To the leader: who is in the cluster, and how far.
    Cluster,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// For each heartbeat whether a leader that holds its quorum's lease has noted it.
    Heartbeats(Vec<bool>),
    Cluster(Box<ClusterView>),
    /// The one asked does not lead, or did not understand.
    Refused,
}

pub(crate) fn encode<T: Serialize>(message: &T) -> Bytes {
    let bytes = bincode::serde::encode_to_vec(message, bincode::config::standard());
    bytes.map(Bytes::from).unwrap_or_else(|e| unreachable!("encoding into memory: {e}"))
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, bincode::error::DecodeError> {
    // A length within a message can't be larger than what a frame may hold.
    let config = bincode::config::standard().with_limit::<SESSION_FRAME_BYTES_MAX>();
    Ok(bincode::serde::decode_from_slice(bytes, config)?.0)
}
