//! The peers as openraft sees them: a network for each target and task.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use openraft::alias::SnapshotOf;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, OptionalSync};
use quorate_types::ReplicaId;

use super::Local;
use super::append::Appender;
use super::dial::Destination;
use super::handshake::Purpose;
use super::link::{LinkError, Links};
use super::snapshot;
use super::wire::{Request, Response};
use crate::archive::Archive;
use crate::disk::Files;
use crate::options::Addresses;
use crate::snapshot::SnapshotFile;
use crate::type_config::{TypeConfig, Vote};

type Rpc = RPCError<TypeConfig>;

/// Between attempts to reach a peer that is away: it must be found soon after it is back.
const BACKOFF: [Duration; 4] =
    [Duration::from_millis(20), Duration::from_millis(50), Duration::from_millis(100), Duration::from_millis(200)];

/// Makes networks.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) local: Arc<Local>,
    pub(crate) links: Links,
    pub(crate) archive: Archive,
    /// Where snapshots are.
    pub(crate) files: Arc<dyn Files>,
}

impl Network {
    fn peer(&self, target: u64, node: &Addresses, purpose: Purpose) -> Peer {
        let to = Destination { id: ReplicaId(target), address: node.peer.clone(), purpose };
        let appender = Appender::new(self.local.clone(), to.clone());
        Peer { network: self.clone(), to, appender }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &Addresses) -> Peer {
        self.peer(target, node, Purpose::Append)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Addresses) -> Peer {
        self.peer(target, node, Purpose::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Addresses) -> Peer {
        self.peer(target, node, Purpose::Snapshot)
    }
}

/// One target, for one of openraft's tasks.
#[derive(Debug)]
pub(crate) struct Peer {
    network: Network,
    to: Destination,
    appender: Appender,
}

impl Peer {
    /// Votes go over a link that all the short-lived networks of an election share.
    async fn ask(&self, request: Request) -> Result<Response, Rpc> {
        let to = Destination { purpose: Purpose::Vote, ..self.to.clone() };
        self.network.links.to(&to).request(request).await.map_err(|error| match error {
            LinkError::NotSent | LinkError::Full => RPCError::Unreachable(Unreachable::from_string("not connected")),
            LinkError::Lost => network_error("the connection was lost"),
        })
    }

    async fn append_stream<S>(
        &mut self,
        requests: S,
    ) -> Result<BoxStream<'_, Result<StreamAppendResult<TypeConfig>, Rpc>>, Rpc>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        let session = self.appender.begin(requests).await?;
        let answers = stream::unfold(session, |mut session| async move {
            let answer = session.next().await?;
            Some((answer, session))
        });
        Ok(answers.boxed())
    }
}

fn network_error(message: &str) -> Rpc {
    RPCError::Network(NetworkError::from_string(message))
}

impl RaftNetworkV2<TypeConfig> for Peer
where
    Self: OptionalSync,
{
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Rpc> {
        let mut answers = self.append_stream(stream::iter([request])).await?;
        match answers.next().await {
            Some(answer) => Ok(answer?.into()),
            None => Err(network_error("no answer")),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        requests: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, Rpc>>, Rpc>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(self.append_stream(requests))
    }

    async fn vote(&mut self, request: VoteRequest<TypeConfig>, _: RPCOption) -> Result<VoteResponse<TypeConfig>, Rpc> {
        match self.ask(Request::Vote(request)).await? {
            Response::Vote(response) => Ok(response),
            _ => Err(network_error("an answer to something else")),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Rpc> {
        match self.ask(Request::PreVote(request)).await? {
            Response::Vote(response) => Ok(response),
            _ => Err(network_error("an answer to something else")),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        _: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Rpc> {
        match self.ask(Request::TransferLeader(request)).await? {
            Response::TransferLeader(response) => Ok(response),
            _ => Err(network_error("an answer to something else")),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let Network { local, archive, files, .. } = &self.network;
        let send = snapshot::send(local, &self.to, archive, files.clone(), vote, snapshot);
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = send => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(error) => Err(unreachable(&error)),
            }
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let last = BACKOFF[BACKOFF.len() - 1];
        Some(Backoff::new(BACKOFF.into_iter().chain(std::iter::repeat(last))))
    }
}

/// A snapshot that could not be sent is tried again after a pause, whatever the reason was.
fn unreachable(error: &io::Error) -> StreamingError<TypeConfig> {
    StreamingError::Unreachable(Unreachable::new(error))
}
