//! What works in a replica on top of consensus, whatever brings it its connections: the leader's duties,
//! the relay of heartbeats, the routes, the workers' sessions.

use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::Router;
use metrics_exporter_prometheus::PrometheusHandle;
use quorate_consensus::{Addresses, Handle, Planner, Version};
use quorate_state::command::{Command, Entry};
use quorate_state::outcome::Outcome;
use quorate_types::Span;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::{self, App};
use crate::calls::{Answer, Call, decode, encode};
use crate::feed::Feed;
use crate::leader::Leader;
use crate::memory::Budget;
use crate::scheduling::Scheduling;
use crate::sessions::{self, Host, Relay};
use crate::telemetry;

/// Between tries to announce.
const PAUSE: Duration = Duration::from_millis(200);

/// The settings of a [`Node`].
#[derive(Clone, Debug)]
pub struct Settings {
    /// What clients and the other replicas are told.
    pub advertise: Addresses,
    /// What clients and workers must present.
    pub token: Option<String>,
    /// How long a worker that is not heard of keeps the right to run its tasks.
    pub lease_ttl: Span,
    /// How much of the end of each output stream the cluster keeps.
    pub output_tail_bytes: u32,
    /// What the process may take; none: not looked at.
    pub memory_budget: Option<Budget>,
}

/// A replica at work; its listeners are somebody else's business.
#[derive(Debug)]
pub struct Node {
    app: App,
    background: [JoinHandle<()>; 2],
}

impl Node {
    /// Starts what works in the background. `feed` must be the observer of `handle`.
    pub fn start(
        handle: &Handle,
        feed: &Feed,
        settings: Settings,
        metrics: Option<PrometheusHandle>,
        stop: &CancellationToken,
    ) -> Self {
        let leader = Leader::new(handle.clone());
        answer_calls(handle, &leader);
        handle.plan_with(Arc::new(Ahead(Arc::downgrade(&leader))));
        let sessions = Host {
            handle: handle.clone(),
            registry: feed.registry.clone(),
            relay: Relay::start(handle.clone(), leader.clone(), stop.clone()),
            reading: Arc::default(),
            lease_ttl: settings.lease_ttl,
            output_tail_bytes: settings.output_tail_bytes,
            shutdown: stop.clone(),
        };
        let background = [
            tokio::spawn(leader.run(stop.clone())),
            tokio::spawn(announce(handle.clone(), settings.advertise, stop.clone())),
        ];
        let app = App::new(api::Parts {
            handle: handle.clone(),
            history: feed.history.clone(),
            registry: feed.registry.clone(),
            waiters: feed.waiters.clone(),
            scheduling: Scheduling::new(handle.clone(), feed.restored.clone()),
            sessions,
            token: settings.token.map(Arc::from),
            metrics,
            peers: api::peer_client(),
            shutdown: stop.clone(),
            room: api::Room::new(settings.memory_budget),
        });
        Self { app, background }
    }

    pub(crate) fn app(&self) -> App {
        self.app.clone()
    }

    /// The HTTP API.
    pub fn router(&self) -> Router {
        api::router(self.app.clone())
    }

    /// Serves a worker on a connection whose upgrade is done, until its session ends.
    pub fn serve_worker<T>(&self, connection: T) -> impl Future<Output = ()> + Send + use<T>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        sessions::serve(self.app.sessions.clone(), connection)
    }

    /// Ends what works in the background, at once.
    pub(crate) fn abort(&self) {
        self.background.iter().for_each(JoinHandle::abort);
    }
}

/// Other replicas ask for as long as there is somebody to answer.
fn answer_calls(handle: &Handle, leader: &Arc<Leader>) {
    let leader = Arc::downgrade(leader);
    handle.on_call(Arc::new(move |_from, request| {
        let leader = leader.upgrade();
        Box::pin(async move { encode(&leader.map_or(Answer::Refused, |leader| answer(&leader, &request))) })
    }));
}

/// What an entry makes possible shares it.
#[derive(Debug)]
struct Ahead(Weak<Leader>);

impl Planner for Ahead {
    fn plan(&self, version: &Version, entry: &Entry) -> Vec<Command> {
        self.0.upgrade().map_or_else(Vec::new, |leader| leader.plan_ahead(version, entry))
    }

    fn done(&self, outcomes: &[Outcome]) {
        outcomes.iter().for_each(telemetry::duty_done);
    }
}

fn answer(leader: &Leader, request: &[u8]) -> Answer {
    let replica = leader.handle();
    match decode(request) {
        Ok(Call::Heartbeats(heartbeats)) => Answer::Heartbeats(leader.on_heartbeats(&heartbeats)),
        Ok(Call::Cluster) if replica.leadership().borrow().leader == Some(replica.id()) => {
            Answer::Cluster(Box::new(api::cluster_view(replica)))
        }
        Ok(Call::Cluster) | Err(_) => Answer::Refused,
    }
}

/// Tells the cluster where this replica serves HTTP, unless it knows.
async fn announce(handle: Handle, advertise: Addresses, stop: CancellationToken) {
    let replica = handle.id();
    let mut leadership = handle.leadership();
    loop {
        let has_leader = leadership.borrow_and_update().leader.is_some();
        // Through a barrier: an older state may still hold what was announced before a restart.
        let known = has_leader && handle.read_barrier().await.is_ok();
        if known && handle.version().state.http_of(replica) == Some(advertise.http.as_str()) {
            return;
        }
        if known {
            let command = Command::AnnounceReplica { replica, http: advertise.http.clone() };
            if handle.propose(command).await.is_ok() {
                return;
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(PAUSE) => {}
            _ = leadership.changed() => {}
        }
    }
}
