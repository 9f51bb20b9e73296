//! Puts a replica together and starts it.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Config, SnapshotPolicy, StepDownPolicy};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::archive::{Archive, Overlay};
use crate::clock::LeaderClock;
use crate::disk::{Disk, Files};
use crate::error::{FatalError, StartError};
use crate::fatal::Fatal;
use crate::freshness::Freshness;
use crate::handle::{Closing, Handle, Running};
use crate::host;
use crate::identity::Identity;
use crate::leadership::{self, Leaders};
use crate::log::{LogStore, Writer, WriterThread};
use crate::machine::{Machine, MachineParts, Published};
use crate::membership::Membership;
use crate::naming::Naming;
use crate::options::{Limits, Options, Start, Timing};
use crate::propose::{Batcher, EntryWriter, Forwarder, Origins, Planner, Proposer};
use crate::read::{Reads, ReadsTask};
use crate::snapshot::Snapshots;
use crate::storage::{Folder, Storage};
use crate::transport::Local;
use crate::transport::link::Links;
use crate::transport::network::Network;
use crate::transport::server::{CallHandler, Server};
use crate::type_config::Raft;
use crate::vigil::Vigil;

/// Starts a replica on its data folder.
pub async fn start(options: Options) -> Result<Handle, StartError> {
    let folder = folder(&options);
    let storage = blocking(move || folder.open()).await?;
    Box::pin(run(options, storage)).await
}

/// Starts a replica on another kind of disk: the seam for simulated ones. The lock is a file in the data folder
/// all the same.
pub async fn start_on(options: Options, disk: Arc<dyn Disk>, files: Arc<dyn Files>) -> Result<Handle, StartError> {
    let folder = folder(&options);
    let storage = blocking(move || folder.open_disk(disk, files)).await?;
    Box::pin(run(options, storage)).await
}

fn folder(options: &Options) -> Folder {
    let joins = matches!(options.start, Start::Join);
    Folder { dir: options.dir.clone(), id: options.id, joins, limits: options.limits }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    let done = host::blocking(move || Ok(work())).await;
    done.unwrap_or_else(|e| Err(StartError::Raft(e.to_string())))
}

/// A span in whole milliseconds, as openraft counts.
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// openraft lets an election begin when the lease, which is its `election_timeout_max`, and then a random
/// time up to that same maximum have passed. So half of our maximum makes the whole of it.
fn config(timing: &Timing, limits: &Limits) -> Result<Config, StartError> {
    let election_timeout_max = millis(timing.election_max) / 2;
    let heartbeat_interval = millis(timing.heartbeat);
    let config = Config {
        cluster_name: "quorate".into(),
        heartbeat_interval,
        election_timeout_min: (millis(timing.election_min) / 2).max(heartbeat_interval * 3 / 2),
        election_timeout_max,
        // Only for a network that lets openraft cut its requests short; ours has limits of its own.
        install_snapshot_timeout: 120_000,
        max_payload_entries: limits.append_entries_max,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(limits.snapshot_entries),
        max_in_snapshot_log_to_keep: limits.entries_behind_snapshot,
        purge_batch_size: limits.purge_batch,
        replication_lag_threshold: limits.snapshot_entries * 2 + limits.entries_behind_snapshot,
        removed_leader_step_down: StepDownPolicy::After(heartbeat_interval * 3 / 2),
        enable_pre_vote: Some(true),
        // A leader that was away for a moment asks its peers: standard Raft.
        enable_leader_restore: Some(false),
        ..Config::default()
    };
    config.validate().map_err(|e| StartError::Timing(e.to_string()))
}

/// The open folder, with the writer thread that owns its disk from now on.
struct OpenStorage {
    identity: Identity,
    fatal: Fatal,
    writer: Writer,
    archive: Archive,
    snapshots: Snapshots,
    log: LogStore,
    closing: Closing,
}

fn start_writer(limits: &Limits, storage: Storage) -> io::Result<OpenStorage> {
    let (log, fatal, overlay) = (Arc::new(storage.log), Fatal::new(), Arc::<Overlay>::default());
    let thread = WriterThread {
        disk: storage.disk.clone(),
        log: log.clone(),
        archive: overlay.writer(),
        watermark: storage.watermark,
        fatal: fatal.clone(),
        group_max: limits.write_group,
    };
    let (writer, writer_ended) = thread.spawn(limits.write_queue)?;
    Ok(OpenStorage {
        identity: storage.identity,
        fatal,
        archive: Archive::new(overlay, storage.disk.clone(), writer.clone(), limits.archive_backlog_bytes),
        snapshots: storage.snapshots,
        log: LogStore::new(log, storage.disk, writer.clone(), limits),
        writer,
        closing: Closing { writer_ended, lock: storage.lock },
    })
}

async fn run(options: Options, storage: Storage) -> Result<Handle, StartError> {
    let config = config(&options.timing, &options.limits)?;
    let lease = Duration::from_millis(config.election_timeout_max);
    let failed = |source| StartError::Folder { dir: options.dir.clone(), source };
    let storage = start_writer(&options.limits, storage).map_err(failed)?;
    let incarnation = host::random().map_err(failed)?;
    let tasks = Tasks { tracker: TaskTracker::new(), stop: CancellationToken::new() };
    let peers = Peers::new(&options, &storage, &tasks);
    let raft = start_raft(&options, config, &storage, &peers).await?;
    found(&raft, &options.start, &storage.identity).await?;

    let services = Services::start(&options, &raft, &peers, &tasks, ServiceOptions { incarnation, lease });
    services.spawn_housekeeping(&storage, &peers, &tasks);
    let server = services.server(&storage, &peers);
    tasks.tracker.spawn(server.run(options.listener, tasks.tracker.clone(), tasks.stop.clone()));
    Ok(Handle(Arc::new(services.into_running(options.timing, peers, storage, tasks))))
}

/// What runs beside raft, and how it is stopped.
struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tracker.spawn(self.stop.clone().run_until_cancelled_owned(task));
    }
}

/// This replica towards its peers, and the way to them.
struct Peers {
    local: Arc<Local>,
    links: Links,
}

impl Peers {
    fn new(options: &Options, storage: &OpenStorage, tasks: &Tasks) -> Self {
        let local = Arc::new(Local {
            id: options.id,
            network: options.network.clone(),
            storage: storage.identity.storage,
            cluster: AtomicU64::new(storage.identity.cluster),
            token: options.token.clone(),
            published: Published::new(),
            fatal: storage.fatal.clone(),
            limits: options.limits,
            estranged: Mutex::default(),
            met: Mutex::default(),
        });
        let links = Links::new(local.clone(), tasks.tracker.clone(), tasks.stop.clone());
        Self { local, links }
    }
}

async fn start_raft(
    options: &Options,
    config: Config,
    storage: &OpenStorage,
    peers: &Peers,
) -> Result<Raft, StartError> {
    let (local, links, archive) = (peers.local.clone(), peers.links.clone(), storage.archive.clone());
    let machine = Machine::new(MachineParts {
        published: local.published.clone(),
        observer: options.observer.clone(),
        archive: archive.clone(),
        snapshots: storage.snapshots.clone(),
        snapshot_log_bytes: options.limits.snapshot_log_bytes,
    });
    let network = Network { local, links, archive, files: storage.snapshots.files.clone() };
    let raft = Raft::new(options.id.0, Arc::new(config), network, storage.log.clone(), machine).await;
    raft.map_err(|e| StartError::Raft(e.to_string()))
}

/// Makes the first membership, if this replica is one of the first and has none.
async fn found(raft: &Raft, start: &Start, identity: &Identity) -> Result<(), StartError> {
    let failed = |e: &dyn std::error::Error| StartError::Raft(e.to_string());
    let Start::Bootstrap(members) = start else { return Ok(()) };
    if identity.joins || raft.is_initialized().await.map_err(|e| failed(&e))? {
        return Ok(());
    }
    if !members.contains_key(&identity.id) {
        return Err(StartError::NotAMember(identity.id));
    }
    let members: BTreeMap<u64, _> = members.iter().map(|(id, addresses)| (id.0, addresses.clone())).collect();
    match raft.initialize(members).await {
        Ok(()) => Ok(()),
        // Another member was faster, and its entries are here already.
        Err(error) if error.api_error().is_some() => {
            tracing::info!(%error, "the first membership is here already");
            Ok(())
        }
        Err(error) => Err(failed(&error)),
    }
}

/// The parts of a replica that work on top of raft; their tasks run.
struct Services {
    raft: Raft,
    leaders: Arc<Leaders>,
    clock: Arc<LeaderClock>,
    freshness: Freshness,
    batcher: Batcher,
    proposer: Arc<Proposer>,
    fenced: Arc<EntryWriter>,
    reads: Reads,
    membership: Membership,
    calls: Arc<OnceLock<CallHandler>>,
    planner: Arc<OnceLock<Arc<dyn Planner>>>,
    /// Whether this replica would see the leader's process end.
    watching: Arc<AtomicBool>,
}

#[derive(Clone, Copy)]
struct ServiceOptions {
    /// Random for each start.
    incarnation: u64,
    /// How long a quorum's acknowledgement lasts.
    lease: Duration,
}

impl Services {
    fn start(options: &Options, raft: &Raft, peers: &Peers, tasks: &Tasks, own: ServiceOptions) -> Self {
        let (timing, limits, published) = (options.timing, options.limits, &peers.local.published);
        let leaders = Arc::new(Leaders { leadership: watch::Sender::default(), routes: watch::Sender::default() });
        tasks.spawn(leadership::follow(raft.clone(), leaders.clone()));
        let freshness = Freshness::new(raft.clone(), published.clone(), own.lease);
        tasks.spawn(freshness.clone().follow(timing.heartbeat));

        let clock = Arc::<LeaderClock>::default();
        let fenced = EntryWriter {
            raft: raft.clone(),
            clock: clock.clone(),
            published: published.clone(),
            limits,
            places: Arc::new(Semaphore::new(limits.entries_in_flight)),
        };
        let planner = Arc::<OnceLock<Arc<dyn Planner>>>::default();
        let (batcher, batcher_task) = Batcher::new(fenced.clone(), planner.clone());
        tasks.spawn(batcher_task.run());
        let proposer = start_proposer(options, peers, tasks, &leaders, &batcher, own.incarnation);
        let (id, links, routes) = (options.id, peers.links.clone(), leaders.routes.subscribe());
        let (reads, reads_task) = Reads::new(published.clone(), timing.propose_wait, |queue| {
            ReadsTask::new(queue, id, raft.clone(), links.clone(), routes.clone())
        });
        tasks.spawn(reads_task.run());

        let (raft, published) = (raft.clone(), published.clone());
        let one_at_a_time = Arc::new(Semaphore::new(1));
        let membership = Membership { id, raft: raft.clone(), links, routes, published, timing, limits, one_at_a_time };
        let (fenced, calls, watching) = (Arc::new(fenced), Arc::default(), Arc::default());
        Self { raft, leaders, clock, freshness, batcher, proposer, fenced, reads, membership, calls, planner, watching }
    }

    /// Names, snapshots, and an eye on raft.
    fn spawn_housekeeping(&self, storage: &OpenStorage, peers: &Peers, tasks: &Tasks) {
        let naming = Naming {
            local: peers.local.clone(),
            identity: storage.identity,
            writer: storage.writer.clone(),
            proposer: self.proposer.clone(),
            fenced: self.fenced.clone(),
            leadership: self.leaders.leadership.subscribe(),
        };
        tasks.spawn(naming.run());
        let (routes, watching) = (self.leaders.routes.subscribe(), self.watching.clone());
        tasks.spawn(Vigil { local: peers.local.clone(), raft: self.raft.clone(), routes, watching }.run());
        tasks.spawn(take_due_snapshots(self.raft.clone(), peers.local.published.clone()));
        tasks.spawn(watch_raft(self.raft.clone(), storage.fatal.clone()));
    }

    fn server(&self, storage: &OpenStorage, peers: &Peers) -> Arc<Server> {
        Arc::new(Server {
            local: peers.local.clone(),
            raft: self.raft.clone(),
            snapshots: storage.snapshots.clone(),
            archive: storage.archive.clone(),
            batcher: self.batcher.clone(),
            membership: self.membership.clone(),
            calls: self.calls.clone(),
        })
    }

    fn into_running(self, timing: Timing, peers: Peers, storage: OpenStorage, tasks: Tasks) -> Running {
        Running {
            id: peers.local.id,
            raft: self.raft,
            timing,
            freshness: self.freshness,
            frame_bytes_max: peers.local.limits.peer_frame_bytes_max,
            published: peers.local.published.clone(),
            proposer: self.proposer,
            fenced: self.fenced,
            reads: self.reads,
            membership: self.membership,
            links: peers.links,
            calls: self.calls,
            planner: self.planner,
            archive: storage.archive,
            writer: storage.writer,
            leaders: self.leaders,
            watching: self.watching,
            clock: self.clock,
            fatal: storage.fatal,
            stop: tasks.stop,
            tasks: tasks.tracker,
            storage: Mutex::new(Some(storage.closing)),
        }
    }
}

fn start_proposer(
    options: &Options,
    peers: &Peers,
    tasks: &Tasks,
    leaders: &Leaders,
    batcher: &Batcher,
    incarnation: u64,
) -> Arc<Proposer> {
    let (links, routes, limits) = (peers.links.clone(), leaders.routes.subscribe(), options.limits);
    let (forwarder, task) = Forwarder::new(links, routes.clone(), limits, tasks.tracker.clone());
    tasks.spawn(task.run());
    Arc::new(Proposer {
        id: options.id,
        batcher: batcher.clone(),
        forwarder,
        origins: Origins::new(incarnation),
        routes,
        wait: options.timing.propose_wait,
        command_bytes_max: limits.command_bytes_max,
        stop: tasks.stop.clone(),
    })
}

/// Takes a snapshot when many bytes were applied; openraft itself only counts entries.
async fn take_due_snapshots(raft: Raft, published: Published) {
    loop {
        published.snapshot_due.notified().await;
        if raft.trigger().snapshot().await.is_err() {
            return;
        }
    }
}

/// Reports when raft stops of itself.
async fn watch_raft(raft: Raft, fatal: Fatal) {
    // These change seldom, and end with raft; by then the others, which change all the time, say why.
    let mut server = raft.server_metrics();
    while server.changed().await.is_ok() {}
    match &raft.metrics().borrow_watched().running_state {
        Ok(()) | Err(openraft::errors::Fatal::Stopped) => {}
        Err(error) => fatal.report(FatalError::Raft(error.to_string())),
    }
}
