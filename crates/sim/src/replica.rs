//! A replica in the simulation: the real consensus and the real node, on a simulated machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt;
use quorate_consensus::{Addresses, Handle, Limits, Observer, Options, Start, Timing, Version};
use quorate_replica::{Feed, Node as Works, Settings};
use quorate_state::outcome as state;
use quorate_types::{ReplicaId, Span, Timestamp};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use xxhash_rust::xxh3::xxh3_64;

use crate::chance::Chance;
use crate::disk::SimDisk;
use crate::network::{Host, Network};
use crate::node::Node;
use crate::world::Applied;

/// An answer of the API.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// Answers that are ready, by request.
type Answers = Arc<Mutex<BTreeMap<u64, Answer>>>;

/// What runs while the process does.
#[derive(Clone)]
struct Running {
    handle: Handle,
    router: Router,
}

/// What the start of a process comes to.
type Started = Arc<Mutex<Option<Result<Running, String>>>>;

/// How replicas are set up.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) members: BTreeMap<ReplicaId, Addresses>,
    pub(crate) lease_ttl: Span,
    pub(crate) limits: Limits,
    pub(crate) timing: Timing,
    pub(crate) applied: Applied,
}

/// Hands on what is applied, and notes it.
struct Watching {
    replica: ReplicaId,
    applied: Applied,
    feed: Arc<dyn Observer>,
}

impl Observer for Watching {
    fn applied(&self, version: &Arc<Version>, applied: state::Applied) {
        let hash = xxh3_64(format!("{:?} {:?} {:?}", applied.time, applied.outcomes, applied.events).as_bytes());
        self.applied.lock().unwrap_or_else(PoisonError::into_inner).note(
            self.replica,
            applied.index,
            applied.events.len() as u64,
            hash,
        );
        self.feed.applied(version, applied);
    }

    fn restored(&self, version: &Arc<Version>) {
        self.feed.restored(version);
    }
}

pub(crate) struct Replica {
    pub(crate) id: ReplicaId,
    pub(crate) host: Host,
    pub(crate) disk: SimDisk,
    setup: Setup,
    folder: PathBuf,
    network: Network,
    pub(crate) node: Option<Node>,
    started: Started,
    answers: Answers,
    starts: u64,
    pub(crate) drift_ppm: i64,
}

impl Replica {
    pub(crate) fn new(id: ReplicaId, setup: Setup, folder: &Path, network: Network, drift_ppm: i64) -> Self {
        Self {
            id,
            host: id.0 as Host,
            disk: SimDisk::default(),
            setup,
            folder: folder.join(format!("replica-{id}")),
            network,
            node: None,
            started: Started::default(),
            answers: Answers::default(),
            starts: 0,
            drift_ppm,
        }
    }

    pub(crate) fn peer_address(id: ReplicaId) -> String {
        format!("replica-{id}:7170")
    }

    pub(crate) fn worker_address(id: ReplicaId) -> String {
        format!("replica-{id}:7070")
    }

    pub(crate) fn addresses(id: ReplicaId) -> Addresses {
        Addresses { http: Self::worker_address(id), peer: Self::peer_address(id) }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.node.is_some()
    }

    /// Up, and with nothing wrong that the simulation made.
    pub(crate) fn is_well(&self) -> bool {
        self.is_running() && self.disk.is_healthy() && self.handle().is_some()
    }

    /// Whether the disk has refused to do something, and the process lives on all the same.
    pub(crate) fn goes_on_regardless(&self) -> bool {
        self.disk.has_refused() && self.is_running() && self.running().is_some()
    }

    /// Has the leader make another replica the leader.
    pub(crate) fn hand_over(&self) {
        if let (Some(node), Some(handle)) = (&self.node, self.handle()) {
            node.enter(|runtime| {
                runtime.spawn(async move {
                    // Whether it works does not matter here.
                    let _ = handle.transfer_leader(None).await;
                });
            });
        }
    }

    /// Starts the process.
    pub(crate) fn start(&mut self, wall_clock: Timestamp) {
        self.starts += 1;
        let stream = self.id.0 * 1_000_000 + self.starts;
        let node = Node::new(self.setup.seed, stream, wall_clock, self.drift_ppm);
        self.started = Started::default();
        self.answers = Answers::default();
        let (options, feed) = self.options();
        let run = run(Process {
            options,
            feed,
            disk: self.disk.clone(),
            settings: Settings {
                advertise: Self::addresses(self.id),
                token: None,
                lease_ttl: self.setup.lease_ttl,
                output_tail_bytes: 256,
            },
            workers: self.network.listen(self.host, &Self::worker_address(self.id)),
            started: self.started.clone(),
        });
        node.enter(|runtime| runtime.spawn(run));
        self.node = Some(node);
    }

    fn options(&self) -> (Options, Feed) {
        let feed = Feed::new();
        let options = Options {
            id: self.id,
            dir: self.folder.clone(),
            listener: Box::new(self.network.listen(self.host, &Self::peer_address(self.id))),
            network: Arc::new(self.network.of(self.host)),
            advertise: Self::addresses(self.id),
            start: Start::Bootstrap(self.setup.members.clone()),
            token: None,
            timing: self.setup.timing,
            limits: self.setup.limits,
            observer: Arc::new(Watching {
                replica: self.id,
                applied: self.setup.applied.clone(),
                feed: feed.observer(),
            }),
        };
        (options, feed)
    }

    /// Kills the process; the machine goes on.
    pub(crate) fn kill(&mut self) {
        self.node = None;
        self.started = Started::default();
        self.disk.process_ends();
    }

    /// Cuts the power of the machine. Returns how many writes were lost.
    pub(crate) fn cut_power(&mut self, chance: &mut Chance) -> usize {
        self.network.silence(self.host);
        self.node = None;
        self.started = Started::default();
        self.disk.power_cut(chance)
    }

    fn running(&self) -> Option<Running> {
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.as_ref().and_then(|started| started.as_ref().ok().cloned())
    }

    /// Why the process did not come up, or went down by itself.
    pub(crate) fn failure(&self) -> Option<String> {
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.as_ref().and_then(|started| started.as_ref().err().cloned())
    }

    pub(crate) fn handle(&self) -> Option<Handle> {
        self.running().map(|running| running.handle)
    }

    /// In which term the process leads, if it does.
    pub(crate) fn leads(&self) -> Option<u64> {
        let leadership = *self.handle()?.leadership().borrow();
        leadership.local.then_some(leadership.term)
    }

    /// Whether the process is there and not stopped.
    pub(crate) fn is_running(&self) -> bool {
        self.node.as_ref().is_some_and(|node| !node.is_paused())
    }

    /// Gives a request to the process. Its answer is asked for with [`Self::answer`]; false if nobody is there.
    pub(crate) fn request(&self, number: u64, request: Request<Body>) -> bool {
        let (Some(node), Some(running)) = (&self.node, self.running()) else { return false };
        let answers = self.answers.clone();
        node.enter(|runtime| {
            runtime.spawn(async move {
                let Ok(response) = running.router.oneshot(request).await;
                let (parts, body) = response.into_parts();
                let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let answer = Answer { status: parts.status, headers: parts.headers, body };
                answers.lock().unwrap_or_else(PoisonError::into_inner).insert(number, answer);
            });
        });
        true
    }

    /// Answers that have become ready.
    pub(crate) fn take_answers(&self) -> BTreeMap<u64, Answer> {
        std::mem::take(&mut self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn advance(&mut self, time: Duration) {
        if let Some(node) = &mut self.node {
            node.advance(time);
        }
    }
}

struct Process {
    options: Options,
    feed: Feed,
    disk: SimDisk,
    settings: Settings,
    workers: crate::network::Listener,
    started: Started,
}

/// The life of the process; ends with the runtime, or when the replica can't go on.
async fn run(process: Process) {
    let Process { options, feed, disk, settings, workers, started } = process;
    let put = |what| *started.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
    let handle = match quorate_consensus::start_on(options, Arc::new(disk)).await {
        Ok(handle) => handle,
        Err(error) => return put(Err(error.to_string())),
    };
    let stop = CancellationToken::new();
    let works = Works::start(&handle, &feed, settings, None, &stop);
    put(Ok(Running { handle: handle.clone(), router: works.router() }));
    tokio::select! {
        fatal = handle.fatal() => {
            stop.cancel();
            handle.halt().await;
            put(Err(fatal.to_string()));
        }
        () = async {
            loop {
                let (connection, _from) = workers.accept().await;
                tokio::spawn(works.serve_worker(connection));
            }
        } => {}
    }
}
