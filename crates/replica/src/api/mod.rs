//! The HTTP API: one file for each kind of thing.
//!
//! `server` accepts connections, `router` lists the routes, `layers` guards and marks every request;
//! `read` gives a request its version of the state, `write` proposes; `body`, `query` and `error` are the
//! edge between HTTP and types.

mod body;
mod bulk;
mod cluster;
mod error;
mod events;
mod explain;
mod finished;
mod health;
mod jobs;
mod layers;
mod locks;
mod logs;
mod namespaces;
mod openapi;
mod patient;
mod policy;
mod query;
mod read;
mod refusal;
mod resources;
mod router;
mod schedules;
mod scheduling;
mod server;
mod session;
mod tasks;
mod workers;
mod write;

use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use quorate_consensus::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub(crate) use cluster::view as cluster_view;
pub(crate) use router::router;
pub(crate) use server::serve;

use crate::events::History;
use crate::limits::{
    ANSWERS_BYTES_MAX, BODIES_BYTES_MAX, CONNECTIONS_MAX, DIGESTS_MAX, EXPLANATIONS_MAX, RECALLS_MAX, REQUESTS_MAX,
    SESSIONS_MAX,
};
use crate::memory::Budget;
use crate::scheduling::Scheduling;
use crate::sessions::{Host, Registry};
use crate::waiters::Waiters;

/// What the routes work with. Clones are cheap, as each request makes several, and speak of the same.
#[derive(Clone, Debug)]
pub(crate) struct App(Arc<Parts>);

impl App {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) handle: Handle,
    pub(crate) history: Arc<History>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) scheduling: Scheduling,
    pub(crate) sessions: Host,
    pub(crate) token: Option<Arc<str>>,
    pub(crate) metrics: Option<PrometheusHandle>,
    /// Asks other replicas, for output that is at their workers.
    pub(crate) peers: reqwest::Client,
    pub(crate) shutdown: CancellationToken,
    pub(crate) room: Room,
}

/// What all requests share.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    /// Bytes of bodies, in KiB.
    pub(crate) bodies: Arc<Semaphore>,
    /// Bytes of large answers, in KiB.
    pub(crate) answers: Arc<Semaphore>,
    /// Requests that are worked on.
    pub(crate) requests: Arc<Semaphore>,
    pub(crate) digests: Arc<Semaphore>,
    pub(crate) explanations: Arc<Semaphore>,
    /// Retries of jobs in the archive.
    pub(crate) recalls: Arc<Semaphore>,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) sessions: Arc<Semaphore>,
}

impl Room {
    /// Connections that are open now, and those of them that are sessions of workers.
    fn open_connections(&self) -> (usize, usize) {
        let taken = |room: &Semaphore, of: usize| of.saturating_sub(room.available_permits());
        (taken(&self.connections, CONNECTIONS_MAX), taken(&self.sessions, SESSIONS_MAX))
    }
}

impl Room {
    /// Bodies and large answers each get a part of the memory budget, if there is one.
    pub(crate) fn new(budget: Option<Budget>) -> Self {
        let part = |most: usize| budget.map_or(most, |budget| budget.part(most));
        let bodies = Arc::new(Semaphore::new(part(BODIES_BYTES_MAX) >> 10));
        let answers = Arc::new(Semaphore::new(part(ANSWERS_BYTES_MAX) >> 10));
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let sessions = Arc::new(Semaphore::new(SESSIONS_MAX));
        let (requests, digests) = (Arc::new(Semaphore::new(REQUESTS_MAX)), Arc::new(Semaphore::new(DIGESTS_MAX)));
        let explanations = Arc::new(Semaphore::new(EXPLANATIONS_MAX));
        let recalls = Arc::new(Semaphore::new(RECALLS_MAX));
        Self { bodies, answers, requests, digests, explanations, recalls, connections, sessions }
    }
}

/// A client for requests to other replicas.
pub(crate) fn peer_client() -> reqwest::Client {
    let builder = reqwest::Client::builder().connect_timeout(std::time::Duration::from_secs(2)).tcp_nodelay(true);
    builder.build().unwrap_or_else(|e| unreachable!("a plain client has nothing to fail at: {e}"))
}
