//! The accepting end: a task for each connection, within bounds.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt};
use quorate_types::ReplicaId;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::doorway::{Handshake, Handshakes};
use super::handshake::{self, HandshakeError, Purpose, Visitor};
use super::net::{Connection, Listener};
use super::wire::{self, Frames, Numbered, Request, Response};
use super::{Local, SILENCE_MAX, append, snapshot};
use crate::archive::Archive;
use crate::host;
use crate::membership::Membership;
use crate::propose::Batcher;
use crate::snapshot::Snapshots;
use crate::type_config::Raft;

/// Answers calls of other replicas.
pub type CallHandler = Arc<dyn Fn(ReplicaId, Bytes) -> BoxFuture<'static, Bytes> + Send + Sync>;

/// A peer of which nothing is heard for so long is gone, and its place is free; the peers say something four
/// times as often.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// After the listener failed (out of file descriptors, most likely).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What the connections' tasks share.
pub(crate) struct Server {
    pub(crate) local: Arc<Local>,
    pub(crate) raft: Raft,
    pub(crate) snapshots: Snapshots,
    pub(crate) archive: Archive,
    pub(crate) batcher: Batcher,
    pub(crate) membership: Membership,
    pub(crate) calls: Arc<OnceLock<CallHandler>>,
}

impl Server {
    /// Accepts connections until stopped.
    pub(crate) async fn run(
        self: Arc<Self>,
        mut listener: Box<dyn Listener>,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) {
        let places = Arc::new(Semaphore::new(self.local.limits.peer_connections));
        let mut handshakes = Handshakes::new(self.local.limits.peer_handshakes);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let (connection, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accept a peer connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let handshake = handshakes.begin();
            let serve = self.clone().serve(connection, from, handshake, places.clone());
            tasks.spawn(stop.clone().run_until_cancelled_owned(serve));
        }
    }

    async fn serve(
        self: Arc<Self>,
        connection: Box<dyn Connection>,
        address: String,
        handshake: Handshake,
        places: Arc<Semaphore>,
    ) {
        let (visitor, frames) = match handshake.within(self.welcome(connection)).await {
            Some(Ok(welcomed)) => welcomed,
            Some(Err(error)) => {
                tracing::warn!(address, %error, "a peer connection was refused");
                return;
            }
            None => {
                tracing::warn!(address, "too many connections without a handshake; the first of them was closed");
                return;
            }
        };
        // Beyond the bound the connection is closed without a word: the peer tries again later.
        let Ok(_place) = places.try_acquire() else {
            tracing::warn!(peer = %visitor.from, "too many peer connections");
            return;
        };
        self.serve_visitor(visitor, frames).await;
    }

    async fn serve_visitor(&self, visitor: Visitor, frames: Frames) {
        let served = match visitor.purpose {
            Purpose::Append | Purpose::Heartbeat => {
                append::serve(self.raft.clone(), frames, self.local.limits.append_pipeline).await
            }
            Purpose::Snapshot => {
                let (raft, snapshots, archive) = (self.raft.clone(), &self.snapshots, &self.archive);
                Box::pin(snapshot::receive(raft, frames, snapshots, archive)).await
            }
            Purpose::Vote | Purpose::Propose | Purpose::Call | Purpose::Vigil => self.answer(frames, visitor).await,
        };
        if let Err(error) = served {
            tracing::debug!(peer = %visitor.from, purpose = ?visitor.purpose, %error, "a peer connection ended");
        }
    }

    async fn welcome(&self, connection: Box<dyn Connection>) -> Result<(Visitor, Frames), HandshakeError> {
        let mut frames = wire::frames(connection);
        let visitor = handshake::receive(&self.local, &mut frames).await?;
        Ok((visitor, frames))
    }

    /// Serves the requests of a link, several at a time.
    async fn answer(&self, frames: Frames, visitor: Visitor) -> io::Result<()> {
        let (mut sink, mut source) = frames.split();
        let mut under_way = FuturesUnordered::new();
        loop {
            let response = tokio::select! {
                frame = timeout(IDLE_MAX, source.next()) => match frame.map_err(|_| io::ErrorKind::TimedOut)? {
                    Some(frame) => {
                        let request: Numbered<Request> = wire::decode(&frame?)?;
                        // One that was removed while its connection stood may not know: nobody sends it the log
                        // any more. Closed, it dials again, and is told.
                        let campaigns = matches!(request.message, Request::Vote(_) | Request::PreVote(_));
                        if campaigns && self.local.was_removed(visitor.from) {
                            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "a removed replica campaigns"));
                        }
                        // Also beyond the bound everything is read, so that a ping gets through.
                        if under_way.len() < self.local.limits.peer_requests || matches!(request.message, Request::Ping) {
                            under_way.push(self.handle(visitor, request));
                            continue;
                        }
                        Numbered { id: request.id, message: Response::Unable }
                    }
                    None => return Ok(()),
                },
                Some(response) = under_way.next() => response,
            };
            let sent = timeout(SILENCE_MAX, sink.send(wire::encode(&response)?));
            sent.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        }
    }

    async fn handle(&self, visitor: Visitor, request: Numbered<Request>) -> Numbered<Response> {
        let message = Box::pin(self.respond(visitor, request.message)).await;
        Numbered { id: request.id, message: message.unwrap_or(Response::Unable) }
    }

    /// None when raft has stopped.
    async fn respond(&self, visitor: Visitor, request: Request) -> Option<Response> {
        // Proposals stay in their order.
        if !matches!(request, Request::Propose(_)) {
            host::hand_off().await;
        }
        Some(match request {
            Request::Ping => Response::Pong,
            Request::Vote(request) => Response::Vote(self.raft.vote(request).await.ok()?),
            Request::PreVote(request) => Response::Vote(self.raft.pre_vote(request).await.ok()?),
            Request::TransferLeader(request) => {
                Response::TransferLeader(self.raft.handle_transfer_leader(request).await.ok()?)
            }
            Request::Propose(proposals) => Response::Propose(self.batcher.submit_all(proposals).await),
            Request::ReadIndex => Response::ReadIndex(crate::read::local_read_index(&self.raft).await),
            Request::Change(change) => Response::Change(self.membership.change_here(change).await),
            Request::Call(request) => match self.calls.get() {
                Some(handler) => Response::Call(handler(visitor.from, request).await),
                None => Response::Unable,
            },
        })
    }
}
