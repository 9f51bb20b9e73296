//! Opening a connection to a peer.

use std::sync::Arc;

use quorate_types::ReplicaId;
use tokio::time::timeout;

use super::handshake::{self, HandshakeError, Purpose};
use super::wire::{self, Frames};
use super::{CONNECT_TIMEOUT, Local};

/// A peer, and what to talk to it about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) id: ReplicaId,
    pub(crate) address: String,
    pub(crate) purpose: Purpose,
}

/// Connects and shakes hands, in bounded time.
pub(crate) async fn dial(local: Arc<Local>, to: Destination) -> Result<Frames, HandshakeError> {
    let connect = timeout(CONNECT_TIMEOUT, local.network.dial(&to.address));
    let connection = connect.await.map_err(|_| HandshakeError::Timeout)??;
    let mut frames = wire::frames(connection);
    let greet = timeout(CONNECT_TIMEOUT, handshake::greet(&local, &mut frames, to.id, to.purpose));
    greet.await.map_err(|_| HandshakeError::Timeout)??;
    Ok(frames)
}
