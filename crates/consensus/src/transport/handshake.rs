//! The first frames of a connection: the dialer's hello, the acceptor's answer, the dialer's verdict on it.
//!
//! Both ends check the other: the cluster, the id, and the data folder that the cluster has recorded for
//! that id. A replica that comes back with an empty folder has lost its vote and its log; let in, it could
//! help to elect a leader without entries that it had acknowledged.

use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use quorate_types::ReplicaId;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::Local;
use super::wire::{self, Frames};

const MAGIC: [u8; 4] = *b"QRTE";
/// Of this handshake and all that follows it.
const PROTOCOL: u16 = 9;
/// A stranger has this long for its hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(2);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) enum Purpose {
    Append,
    Heartbeat,
    Snapshot,
    Vote,
    Propose,
    Call,
    /// To see it end.
    Vigil,
}

#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    /// 0: not known yet.
    cluster: u64,
    from: ReplicaId,
    to: ReplicaId,
    storage: u64,
    purpose: Purpose,
    token: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Answer {
    Welcome { cluster: u64, storage: u64 },
    Refused(Refusal),
}

#[derive(Debug, Serialize, Deserialize)]
enum Verdict {
    Proceed,
    Refused { refusal: Refusal, cluster: u64 },
}

/// Why a connection is closed right after it began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    Garbage,
    /// The refusing side's version.
    Version(u16),
    Token,
    /// The refusing side's cluster.
    Cluster(u64),
    /// The refusing side's id.
    Target(ReplicaId),
    OtherStorage,
    Removed,
    Busy,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Garbage => f.write_str("that is not Quorate's peer protocol"),
            Self::Version(ours) => write!(f, "the peer protocol here has version {ours}"),
            Self::Token => f.write_str("the peer token is wrong"),
            Self::Cluster(ours) => write!(f, "this is cluster {ours:016x}"),
            Self::Target(id) => write!(f, "this is replica {id}"),
            Self::OtherStorage => f.write_str("that replica is known with another data folder"),
            Self::Removed => f.write_str("that replica was removed from the cluster"),
            Self::Busy => f.write_str("too many connections"),
        }
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the peer refused: {0}")]
    Refused(Refusal),
    #[error("refused the peer: {0}")]
    Refusing(Refusal),
    #[error("the peer was silent")]
    Timeout,
}

/// Who came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visitor {
    pub(crate) from: ReplicaId,
    pub(crate) purpose: Purpose,
}

/// The dialer's side.
pub(crate) async fn greet(
    local: &Local,
    frames: &mut Frames,
    to: ReplicaId,
    purpose: Purpose,
) -> Result<(), HandshakeError> {
    let (cluster, from, storage) = (local.cluster(), local.id, local.storage);
    let hello = Hello { cluster, from, to, storage, purpose, token: local.token.clone() };
    let mut frame = [&MAGIC[..], &PROTOCOL.to_le_bytes()].concat();
    frame.extend_from_slice(&wire::encode(&hello)?);
    frames.send(Bytes::from(frame)).await?;
    match read(frames).await? {
        Answer::Welcome { cluster, storage } => match local.check_peer(to, cluster, storage) {
            Ok(()) => {
                frames.send(wire::encode(&Verdict::Proceed)?).await?;
                frames.codec_mut().set_max_frame_length(local.limits.peer_frame_bytes_max);
                Ok(())
            }
            Err(refusal) => {
                let verdict = Verdict::Refused { refusal: refusal.clone(), cluster: local.cluster() };
                frames.send(wire::encode(&verdict)?).await?;
                Err(HandshakeError::Refusing(refusal))
            }
        },
        Answer::Refused(refusal) => {
            local.refused_by(to, &refusal);
            Err(HandshakeError::Refused(refusal))
        }
    }
}

/// The acceptor's side.
pub(crate) async fn receive(local: &Local, frames: &mut Frames) -> Result<Visitor, HandshakeError> {
    let hello = match timeout(HELLO_TIMEOUT, frames.next()).await {
        Ok(Some(Ok(frame))) => examine(local, &frame),
        Ok(Some(Err(_))) => Err(Refusal::Garbage),
        Ok(None) => return Err(HandshakeError::Io(io::ErrorKind::UnexpectedEof.into())),
        Err(_) => return Err(HandshakeError::Timeout),
    };
    let visitor = match hello {
        Ok(visitor) => visitor,
        Err(refusal) => {
            frames.send(wire::encode(&Answer::Refused(refusal.clone()))?).await?;
            return Err(HandshakeError::Refusing(refusal));
        }
    };
    let welcome = Answer::Welcome { cluster: local.cluster(), storage: local.storage };
    frames.send(wire::encode(&welcome)?).await?;
    match read(frames).await? {
        Verdict::Proceed => {
            frames.codec_mut().set_max_frame_length(local.limits.peer_frame_bytes_max);
            Ok(visitor)
        }
        Verdict::Refused { refusal, cluster } => {
            // Only the own cluster is believed; who does not know its cluster yet believes any.
            let ours = local.cluster.load(Ordering::Relaxed);
            if cluster != 0 && (ours == 0 || ours == cluster) {
                local.refused_by(visitor.from, &refusal);
            }
            Err(HandshakeError::Refused(refusal))
        }
    }
}

async fn read<T: serde::de::DeserializeOwned>(frames: &mut Frames) -> Result<T, HandshakeError> {
    match timeout(HELLO_TIMEOUT, frames.next()).await {
        Ok(Some(frame)) => Ok(wire::decode(&frame?)?),
        Ok(None) => Err(HandshakeError::Io(io::ErrorKind::UnexpectedEof.into())),
        Err(_) => Err(HandshakeError::Timeout),
    }
}

fn examine(local: &Local, frame: &[u8]) -> Result<Visitor, Refusal> {
    let (magic, rest) = frame.split_first_chunk().ok_or(Refusal::Garbage)?;
    if *magic != MAGIC {
        return Err(Refusal::Garbage);
    }
    let (version, rest) = rest.split_first_chunk().ok_or(Refusal::Garbage)?;
    if u16::from_le_bytes(*version) != PROTOCOL {
        return Err(Refusal::Version(PROTOCOL));
    }
    let hello: Hello = wire::decode(rest).map_err(|_| Refusal::Garbage)?;
    if !same_token(local.token.as_deref(), hello.token.as_deref()) {
        return Err(Refusal::Token);
    }
    if hello.to != local.id || hello.from == local.id {
        return Err(Refusal::Target(local.id));
    }
    local.check_peer(hello.from, hello.cluster, hello.storage)?;
    Ok(Visitor { from: hello.from, purpose: hello.purpose })
}

/// Compares in a time that does not depend on where the texts differ.
fn same_token(wanted: Option<&str>, given: Option<&str>) -> bool {
    match (wanted, given) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wanted), Some(given)) => {
            let differences = wanted.bytes().zip(given.bytes()).fold(0, |all, (a, b)| all | (a ^ b));
            // `black_box` keeps the compiler from leaving the loop at the first difference.
            std::hint::black_box(differences) == 0 && wanted.len() == given.len()
        }
    }
}

#[cfg(test)]
mod fuzz_tests;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use openraft::Membership;

    use super::fuzz_tests::local;
    use super::*;
    use crate::options::Addresses;
    use crate::type_config::StoredMembership;

    #[test]
    fn a_member_keeps_the_folder_it_first_showed_and_a_stranger_has_none() {
        let local = local(ReplicaId(1));
        let nodes = BTreeMap::from([1, 2, 3].map(|id| (id, Addresses::default())));
        let members = Membership::new(vec![BTreeSet::from([1, 2, 3])], nodes).unwrap();
        local.published.membership.send_replace(StoredMembership::new(None, members));
        let (member, stranger) = (ReplicaId(2), ReplicaId(4));
        assert_eq!(local.check_peer(member, 0, 7), Ok(()));
        assert_eq!(local.check_peer(member, 0, 7), Ok(()));
        assert_eq!(local.check_peer(member, 0, 8), Err(Refusal::OtherStorage), "it was wiped");
        assert_eq!(local.check_peer(ReplicaId(3), 0, 8), Ok(()));
        assert_eq!(local.check_peer(stranger, 0, 7), Ok(()));
        assert_eq!(local.check_peer(stranger, 0, 8), Ok(()), "it may be wiped until it is a member");
    }

    #[test]
    fn tokens_are_compared_whole() {
        assert!(same_token(None, None));
        assert!(same_token(None, Some("any")));
        assert!(same_token(Some("secret"), Some("secret")));
        for given in [None, Some(""), Some("secre"), Some("secrets"), Some("Secret")] {
            assert!(!same_token(Some("secret"), given), "{given:?}");
        }
    }
}
