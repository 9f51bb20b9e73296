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
use quorate_consensus::{Addresses, Handle, Leadership, Limits, Observer, Options, Start, Timing, Version};
use quorate_replica::{Feed, Node as Works, Settings};
use quorate_state::outcome as state;
use quorate_types::{ReplicaId, Span, Timestamp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::applied::Applied;
use crate::chance::Chance;
use crate::disk::SimDisk;
use crate::network::{Host, Network};
use crate::node::Node;

/// An answer of the API.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The one that answers keeps something that has changed by itself.
    pub(crate) damaged: bool,
}

/// Answers that are ready, by request.
type Answers = Arc<Mutex<BTreeMap<u64, Answer>>>;

/// What runs while the process does.
#[derive(Clone)]
struct Running {
    handle: Handle,
    leadership: watch::Receiver<Leadership>,
    router: Router,
}

/// What the start of a process comes to.
type Started = Arc<Mutex<Option<Result<Running, String>>>>;

/// How replicas are set up.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
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
        self.applied.lock().unwrap_or_else(PoisonError::into_inner).note(self.replica, &version.state, &applied);
        self.feed.applied(version, applied);
    }

    fn restored(&self, version: &Arc<Version>) {
        self.feed.restored(version);
    }
}

pub(crate) struct Replica {
    pub(crate) id: ReplicaId,
    /// Where it is. Whoever takes its place takes over its addresses: that is how workers find it.
    pub(crate) host: Host,
    pub(crate) disk: SimDisk,
    pub(crate) fate: Fate,
    setup: Setup,
    start: Start,
    folder: PathBuf,
    network: Network,
    pub(crate) node: Option<Node>,
    started: Started,
    answers: Answers,
    starts: u64,
    pub(crate) drift_ppm: i64,
}

/// What is to become of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Stays,
    /// Its machine is gone.
    Gone,
    /// It is being removed, and has to stop by itself.
    Leaves,
}

/// Where a replica is put, and on which machine.
pub(crate) struct Place<'a> {
    pub(crate) host: Host,
    pub(crate) folder: &'a Path,
    pub(crate) network: Network,
    pub(crate) drift_ppm: i64,
}

impl Replica {
    pub(crate) fn new(id: ReplicaId, setup: Setup, start: Start, place: Place<'_>) -> Self {
        Self {
            id,
            host: place.host,
            disk: SimDisk::default(),
            fate: Fate::Stays,
            setup,
            start,
            folder: place.folder.join(format!("replica-{id}")),
            network: place.network,
            node: None,
            started: Started::default(),
            answers: Answers::default(),
            starts: 0,
            drift_ppm: place.drift_ppm,
        }
    }

    pub(crate) fn peer_address(host: Host) -> String {
        format!("replica-{host}:7170")
    }

    pub(crate) fn worker_address(host: Host) -> String {
        format!("replica-{host}:7070")
    }

    pub(crate) fn addresses(host: Host) -> Addresses {
        Addresses { http: Self::worker_address(host), peer: Self::peer_address(host) }
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
            node.spawn(async move {
                // Whether it works does not matter here.
                let _ = handle.transfer_leader(None).await;
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
                advertise: Self::addresses(self.host),
                token: None,
                lease_ttl: self.setup.lease_ttl,
                output_tail_bytes: 256,
                memory_budget: None,
            },
            workers: self.network.listen(self.host, &Self::worker_address(self.host)),
            started: self.started.clone(),
        });
        node.spawn(run);
        self.node = Some(node);
    }

    fn options(&self) -> (Options, Feed) {
        let feed = Feed::new();
        let options = Options {
            id: self.id,
            dir: self.folder.clone(),
            listener: Box::new(self.network.listen(self.host, &Self::peer_address(self.host))),
            network: Arc::new(self.network.of(self.host)),
            advertise: Self::addresses(self.host),
            start: self.start.clone(),
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
        self.end_process();
        self.disk.process_ends();
    }

    /// Whoever is killed does nothing more, not even on its way out.
    fn end_process(&mut self) {
        self.disk.freeze();
        self.network.hang_up(self.host);
        self.node = None;
        self.started = Started::default();
    }

    /// The machine is gone for good.
    pub(crate) fn give_up(&mut self) {
        self.network.silence(self.host);
        self.end_process();
        self.fate = Fate::Gone;
    }

    /// Cuts the power of the machine. Returns how many writes were lost.
    pub(crate) fn cut_power(&mut self, chance: &mut Chance) -> usize {
        self.network.silence(self.host);
        self.end_process();
        self.disk.power_cut(chance)
    }

    fn running(&self) -> Option<Running> {
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        started.as_ref().and_then(|started| started.as_ref().ok().cloned())
    }

    /// Why the process did not come up, or went down by itself.
    pub(crate) fn failure(&self) -> Option<String> {
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let failure = started.as_ref().and_then(|started| started.as_ref().err().cloned());
        // Where the simulation's files are differs from run to run.
        failure.map(|failure| failure.replace(&self.folder.display().to_string(), "DIR"))
    }

    pub(crate) fn handle(&self) -> Option<Handle> {
        self.running().map(|running| running.handle)
    }

    /// In which term the process leads, if it does.
    pub(crate) fn leads(&self) -> Option<u64> {
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let leadership = *started.as_ref()?.as_ref().ok()?.leadership.borrow();
        leadership.local.then_some(leadership.term)
    }

    /// Whether the process is there and not stopped.
    pub(crate) fn is_running(&self) -> bool {
        self.node.as_ref().is_some_and(|node| !node.is_paused())
    }

    /// Gives a request to the process. Its answer is asked for with [`Self::answer`]; false if nobody is there.
    pub(crate) fn request(&self, number: u64, request: Request<Body>) -> bool {
        let (Some(node), Some(running)) = (&self.node, self.running()) else { return false };
        let (answers, damaged) = (self.answers.clone(), self.disk.is_damaged());
        node.spawn(async move {
            let Ok(response) = running.router.oneshot(request).await;
            let (parts, body) = response.into_parts();
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let answer = Answer { status: parts.status, headers: parts.headers, body, damaged };
            answers.lock().unwrap_or_else(PoisonError::into_inner).insert(number, answer);
        });
        true
    }

    /// Answers that have become ready.
    pub(crate) fn take_answers(&self) -> BTreeMap<u64, Answer> {
        std::mem::take(&mut self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets time pass; whether something `happened` to the process.
    pub(crate) fn advance(&mut self, time: Duration, happened: bool) {
        if let Some(node) = &mut self.node {
            node.advance(time, happened);
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
    let handle = match quorate_consensus::start_on(options, Arc::new(disk.clone()), Arc::new(disk)).await {
        Ok(handle) => handle,
        Err(error) => return put(Err(error.to_string())),
    };
    let stop = CancellationToken::new();
    let works = Works::start(&handle, &feed, settings, None, &stop);
    put(Ok(Running { handle: handle.clone(), leadership: handle.leadership(), router: works.router() }));
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
