//! Linearizable reads on any replica: ask the leader how far it is (ReadIndex, Raft thesis 6.4), then wait
//! until this replica is as far.
//!
//! Concurrent reads share a question: one is under way, and whoever comes meanwhile is served by the next,
//! which starts after they came.

use std::sync::Arc;
use std::time::Duration;

use openraft::ReadPolicy;
use quorate_types::{LogIndex, ReplicaId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::error::ReadError;
use crate::host;
use crate::leadership::Route;
use crate::machine::Published;
use crate::options::Version;
use crate::transport::dial::Destination;
use crate::transport::handshake::Purpose;
use crate::transport::link::Links;
use crate::transport::wire::{Request, Response};
use crate::type_config::Raft;

/// Reads that wait for the next question: as many as there can be connections, and more.
const WAITING_MAX: usize = 65_536;
/// Between attempts, unless the leader changes before.
const PAUSE: Duration = Duration::from_millis(25);

/// How far everything committed goes, by the leader that a quorum has just confirmed; none on others.
pub(crate) async fn local_read_index(raft: &Raft) -> Option<LogIndex> {
    let linearizer = raft.get_read_linearizer(ReadPolicy::ReadIndex).await.ok()?;
    Some(LogIndex(linearizer.read_log_id().index()))
}

#[derive(Clone, Debug)]
pub(crate) struct Reads {
    queue: mpsc::Sender<oneshot::Sender<LogIndex>>,
    published: Published,
    wait: Duration,
}

pub(crate) struct ReadsTask {
    queue: mpsc::Receiver<oneshot::Sender<LogIndex>>,
    pub(crate) id: ReplicaId,
    pub(crate) raft: Raft,
    pub(crate) links: Links,
    pub(crate) routes: watch::Receiver<Route>,
}

impl Reads {
    pub(crate) fn new(
        published: Published,
        wait: Duration,
        task: impl FnOnce(mpsc::Receiver<oneshot::Sender<LogIndex>>) -> ReadsTask,
    ) -> (Self, ReadsTask) {
        let (sender, queue) = mpsc::channel(WAITING_MAX);
        (Self { queue: sender, published, wait }, task(queue))
    }

    pub(crate) async fn barrier(&self) -> Result<Arc<Version>, ReadError> {
        let deadline = Instant::now() + self.wait;
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(reply).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ReadError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => ReadError::ShuttingDown,
        })?;
        let index = timeout_at(deadline, answer).await.map_err(|_| ReadError::NoLeader)?;
        let index = index.map_err(|_| ReadError::ShuttingDown)?;
        self.wait_applied(index, deadline.saturating_duration_since(Instant::now())).await
    }

    pub(crate) async fn wait_applied(&self, index: LogIndex, wait: Duration) -> Result<Arc<Version>, ReadError> {
        let mut versions = self.published.versions.subscribe();
        match timeout(wait, versions.wait_for(|version| version.index >= index)).await {
            Ok(Ok(version)) => Ok(version.clone()),
            Ok(Err(_)) => Err(ReadError::ShuttingDown),
            Err(_) => Err(ReadError::Lagging),
        }
    }
}

impl ReadsTask {
    pub(crate) fn new(
        queue: mpsc::Receiver<oneshot::Sender<LogIndex>>,
        id: ReplicaId,
        raft: Raft,
        links: Links,
        routes: watch::Receiver<Route>,
    ) -> Self {
        Self { queue, id, raft, links, routes }
    }

    pub(crate) async fn run(mut self) {
        while let Some(first) = self.queue.recv().await {
            let mut waiting = vec![first];
            while let Ok(next) = self.queue.try_recv() {
                waiting.push(next);
            }
            host::hand_off().await;
            let index = self.ask_until_answered(&mut waiting).await;
            host::hand_off().await;
            for reply in waiting {
                // Whoever asked may have stopped waiting.
                let _ = index.map(|index| reply.send(index));
            }
        }
    }

    /// None once nobody waits any more.
    async fn ask_until_answered(&mut self, waiting: &mut Vec<oneshot::Sender<LogIndex>>) -> Option<LogIndex> {
        loop {
            let route = self.routes.borrow_and_update().clone();
            let mut routes = self.routes.clone();
            // A leader that went silent is not waited for once somebody else leads.
            let index = tokio::select! {
                biased;
                index = self.ask(&route) => index,
                Ok(()) = routes.changed() => continue,
            };
            if index.is_some() {
                return index;
            }
            waiting.retain(|reply| !reply.is_closed());
            if waiting.is_empty() {
                return None;
            }
            tokio::select! {
                Ok(()) = self.routes.changed() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn ask(&self, route: &Route) -> Option<LogIndex> {
        let (leader, address) = route.leader.clone()?;
        if leader == self.id {
            return local_read_index(&self.raft).await;
        }
        let to = Destination { id: leader, address, purpose: Purpose::Propose };
        match self.links.to(&to).request(Request::ReadIndex).await {
            Ok(Response::ReadIndex(index)) => index,
            Ok(_) | Err(_) => None,
        }
    }
}
