//! The life of a replica process: start, serve, shut down.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use nix::sys::socket::{Backlog, listen};
use quorate_consensus::{Addresses, Handle, Limits, Options};
use quorate_types::{Problem, ReplicaId};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::api;
use crate::config::Config;
use crate::feed::Feed;
use crate::limits::SHUTDOWN_WAIT;
use crate::memory;
use crate::node::{Node, Settings};
use crate::raft_runtime::RaftRuntime;
use crate::scheduling;
use crate::telemetry;

/// A handover takes a few milliseconds, or does not happen.
const HAND_OVER_WAIT: Duration = Duration::from_secs(1);
/// Between tries to join.
const PAUSE: Duration = Duration::from_millis(200);

/// Runs a replica until `shutdown`, or until it can't go on.
///
/// # Errors
/// If the configuration is refused, the folder can't be opened, or storage failed while it ran.
pub async fn run(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let config = config.checked()?;
    let http = listen_on(&config.http).await.with_context(|| format!("listen for HTTP on {}", config.http))?;
    let budget = config.memory_budget()?;
    let raft = RaftRuntime::start().context("start the threads of raft")?;
    let peer = config.peer.clone();
    let peer = raft.run(async move { listen_on(&peer).await }).await;
    let peer = peer.with_context(|| format!("listen for peers on {}", config.peer))?;
    let advertise = Addresses {
        http: advertised(config.advertise_http.as_deref(), &config.http, &http)?,
        peer: advertised(config.advertise_peer.as_deref(), &config.peer, &peer)?,
    };
    let feed = Feed::new();
    let options = Options {
        id: ReplicaId(config.id),
        dir: config.data.clone(),
        listener: Box::new(peer),
        network: Arc::new(quorate_consensus::Tcp),
        advertise: advertise.clone(),
        start: config.start(&advertise)?,
        token: config.peer_token.clone(),
        timing: config.timing(),
        limits: budget.limits(Limits { snapshot_entries: config.snapshot_entries, ..Limits::default() }),
        observer: feed.observer(),
    };
    let handle = raft.run(quorate_consensus::start(options)).await;
    let handle = handle.with_context(|| format!("start replica {} on {}", config.id, config.data.display()))?;
    info!(replica = config.id, http = %advertise.http, peer = %advertise.peer, "replica started");

    // Not a child of `shutdown`: clients and workers are served until leadership is somewhere else.
    let stop = CancellationToken::new();
    let settings = Settings {
        advertise: advertise.clone(),
        token: config.token.clone(),
        lease_ttl: config.lease_ttl,
        output_tail_bytes: config.output_tail_bytes,
        memory_budget: Some(budget),
    };
    let memory = tokio::spawn(memory::watch(budget, handle.clone()));
    let metrics = telemetry::install();
    let upkeep = metrics.clone().map(|metrics| tokio::spawn(telemetry::keep_up(metrics)));
    let node = Node::start(&handle, &feed, settings, metrics, &stop);
    let measuring = tokio::spawn(scheduling::watch(node.app().scheduling.clone()));
    let joining = join(handle.clone(), config.clone(), advertise, stop.clone());
    let server = tokio::spawn(api::serve(node.app(), http, stop.clone()));
    let ended = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        fatal = handle.fatal() => Err(anyhow!(fatal)),
        refused = joining => Err(anyhow!("the cluster does not take this replica up: {refused}")),
    };
    info!(replica = config.id, "shutting down");
    // Leadership goes first, while clients are still served: they see a short wait and no error.
    if ended.is_ok() && handle.leadership().borrow().local {
        let handed = tokio::time::timeout(HAND_OVER_WAIT, handle.transfer_leader(None)).await;
        info!(replica = config.id, handed_over = matches!(handed, Ok(Ok(_))), "leadership");
    }
    stop.cancel();
    if tokio::time::timeout(SHUTDOWN_WAIT, server).await.is_err() {
        warn!(replica = config.id, "some connections did not end in time");
    }
    node.abort();
    memory.abort();
    measuring.abort();
    upkeep.inspect(JoinHandle::abort);
    handle.shutdown().await;
    if ended.is_err() {
        // Dropped, the database would write and sync once more, and panic if that failed. A disk that has failed is
        // not tried again; the process ends right after this.
        std::mem::forget(handle);
    }
    ended
}

/// With the longest queue that the kernel allows: of a crowd that comes at once nobody should have to knock again,
/// which takes a second and more, or wait for an answer to a connection that was never there.
async fn listen_on(address: &str) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await?;
    listen(&listener, Backlog::MAXCONN)?;
    Ok(listener)
}

/// The address that others use: as configured, with the port that was really bound.
fn advertised(given: Option<&str>, configured: &str, listener: &TcpListener) -> anyhow::Result<String> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let port = listener.local_addr().context("ask for the bound address")?.port();
    let host = configured.rsplit_once(':').map_or(configured, |(host, _)| host);
    Ok(format!("{host}:{port}"))
}

/// Asks a replica of the cluster to take this one up, until it is a voter. Ends only when it is refused
/// for good, with the reason.
async fn join(handle: Handle, config: Config, advertise: Addresses, stop: CancellationToken) -> String {
    let Some(url) = &config.join else { return std::future::pending().await };
    let client = api::peer_client();
    let target = format!("{}/v1/cluster/replicas", url.trim_end_matches('/'));
    let body = serde_json::json!({"id": config.id, "http": advertise.http, "peer": advertise.peer});
    while !stop.is_cancelled() && !handle.status().members.iter().any(|m| m.id == handle.id() && m.voter) {
        let mut request = client.post(&target).json(&body).timeout(Duration::from_secs(90));
        if let Some(token) = &config.token {
            request = request.bearer_auth(token);
        }
        match request.send().await {
            Ok(answer) if answer.status().is_success() => info!(replica = config.id, "joined the cluster"),
            Ok(answer) => match answer.json::<Problem>().await {
                Ok(problem) if !problem.retryable => return problem.detail,
                Ok(problem) => warn!(replica = config.id, %problem, "not taken up yet"),
                Err(error) => warn!(replica = config.id, %error, "the answer is none of a replica"),
            },
            Err(error) => warn!(replica = config.id, %error, "can't reach the cluster to join"),
        }
        tokio::time::sleep(PAUSE * 5).await;
    }
    std::future::pending().await
}
