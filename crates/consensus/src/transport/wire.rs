//! Frames and what they hold.

use std::io;

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use quorate_state::command::Proposal;
use quorate_state::outcome::Outcome;
use quorate_types::{LogIndex, ReplicaId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

use super::net::Connection;
use crate::codec;
use crate::error::MembershipError;
use crate::host;
use crate::options::Addresses;
use crate::type_config::{LogId, SnapshotMeta, TypeConfig, Vote};

pub(crate) type Frames = Framed<Box<dyn Connection>, LengthDelimitedCodec>;

/// A stranger's frames are small until the handshake is over.
const HANDSHAKE_FRAME_BYTES: usize = 4096;

pub(crate) fn frames(connection: Box<dyn Connection>) -> Frames {
    let codec = LengthDelimitedCodec::builder().max_frame_length(HANDSHAKE_FRAME_BYTES).new_codec();
    Framed::new(connection, codec)
}

pub(crate) fn encode<T: Serialize>(message: &T) -> io::Result<Bytes> {
    codec::to_bytes(message).map(Bytes::from).map_err(|e| e.at("peer message"))
}

pub(crate) fn decode<T: DeserializeOwned>(frame: &[u8]) -> io::Result<T> {
    host::in_place(frame.len(), || codec::from_bytes(frame)).map_err(|e| e.at("peer message"))
}

/// A request on a link; `id` comes back with the answer.
#[derive(Serialize, Deserialize)]
pub(crate) struct Numbered<T> {
    pub(crate) id: u64,
    pub(crate) message: T,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Answered at once; shows that the connection lives.
    Ping,
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    TransferLeader(TransferLeaderRequest<TypeConfig>),
    Propose(Vec<Proposal>),
    ReadIndex,
    Change(Change),
    Call(Bytes),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Response {
    Pong,
    Vote(VoteResponse<TypeConfig>),
    TransferLeader(TransferLeaderResponse<TypeConfig>),
    /// One for each proposal, in order.
    Propose(Vec<Answer>),
    /// None while the replica does not lead.
    ReadIndex(Option<LogIndex>),
    Change(Result<Option<ReplicaId>, ChangeRefused>),
    Call(Bytes),
    /// The replica is not able to answer.
    Unable,
}

/// What became of a proposal.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Committed {
        index: LogIndex,
        outcome: Outcome,
    },
    /// Not written; another replica leads, or nobody.
    NotLeader,
    /// Perhaps written.
    Unknown,
    /// Not written.
    Overloaded,
}

/// A change of the membership, for the leader.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Change {
    Add { id: ReplicaId, addresses: Addresses },
    Remove { id: ReplicaId },
    Transfer { to: Option<ReplicaId> },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ChangeRefused {
    /// Nothing has happened; ask the leader.
    NotLeader,
    Because(MembershipError),
}

/// AppendEntries on an append connection. A new session begins with each stream of requests; what is
/// still under way of an older one is answered and ignored.
#[derive(Serialize, Deserialize)]
pub(crate) struct Append {
    pub(crate) session: u64,
    pub(crate) request: AppendEntriesRequest<TypeConfig>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Appended {
    pub(crate) session: u64,
    pub(crate) result: StreamAppendResult<TypeConfig>,
}

/// The frames of a snapshot transfer, in this order.
#[derive(Serialize, Deserialize)]
pub(crate) enum SnapshotFrame {
    Begin {
        vote: Vote,
        meta: SnapshotMeta,
    },
    /// A part of the file.
    Chunk(Bytes),
    /// Pieces of the archive.
    Archive(Vec<(Vec<u8>, Vec<u8>)>),
    End,
}

/// The answer to a snapshot, or why there is none.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum SnapshotAnswer {
    Installed(Vote),
    /// The receiver knows a newer leader.
    HigherVote(Vote),
    Failed(String),
}

/// Where a log id stands, for messages to people.
pub(crate) fn index_of(id: Option<LogId>) -> Option<LogIndex> {
    id.map(|id| LogIndex(id.index))
}

#[cfg(test)]
pub(crate) mod fuzz_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::type_config::Commands;

    #[test]
    fn no_message_believes_a_claimed_length() {
        let claim = [&[253][..], &(1_u64 << 62).to_le_bytes()].concat();
        let after = |head: &[u8]| [head, &claim[..]].concat();
        assert!(decode::<Commands>(&claim).is_err());
        assert!(decode::<Numbered<Request>>(&after(&[0, 4])).is_err(), "proposals");
        assert!(decode::<Numbered<Request>>(&after(&[0, 6, 0, 4])).is_err(), "an address");
        assert!(decode::<Numbered<Request>>(&after(&[0, 7])).is_err(), "a call");
        assert!(decode::<Numbered<Response>>(&after(&[0, 3])).is_err(), "answers");
        assert!(decode::<Numbered<Response>>(&after(&[0, 6])).is_err(), "a call's answer");
        assert!(decode::<SnapshotFrame>(&after(&[1])).is_err(), "a chunk");
        assert!(decode::<SnapshotFrame>(&after(&[2, 1])).is_err(), "a piece of the archive");
        assert!(decode::<SnapshotAnswer>(&after(&[2])).is_err(), "a reason");
    }
}
