//! Puts a replica together and starts it.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Config, SnapshotPolicy, StepDownPolicy};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::archive::{Archive, Overlay};
use crate::clock::LeaderClock;
use crate::disk::Disk;
use crate::error::{FatalError, StartError};
use crate::fatal::Fatal;
use crate::handle::{Closing, Handle, Running};
use crate::identity::{self, Identity};
use crate::leadership::{self, Leaders};
use crate::log::{LogStore, Writer, WriterThread};
use crate::machine::{Machine, MachineParts, Published};
use crate::membership::Membership;
use crate::naming::Naming;
use crate::options::{Limits, Options, Start, Timing};
use crate::propose::{Batcher, FencedWriter, Forwarder, Origins, Proposer};
use crate::read::{Reads, ReadsTask};
use crate::snapshot::Snapshots;
use crate::storage::{Folder, Storage};
use crate::transport::Local;
use crate::transport::link::Links;
use crate::transport::network::Network;
use crate::transport::server::Server;
use crate::type_config::Raft;

/// Starts a replica on its data folder.
pub async fn start(options: Options) -> Result<Handle, StartError> {
    let folder = folder(&options);
    let storage = blocking(move || folder.open()).await?;
    Box::pin(run(options, storage)).await
}

/// Starts a replica on another kind of disk: the seam for simulated ones. Snapshots and the lock are files
/// in the data folder all the same.
pub async fn start_on(options: Options, disk: Arc<dyn Disk>) -> Result<Handle, StartError> {
    let folder = folder(&options);
    let storage = blocking(move || folder.open_disk(disk)).await?;
    Box::pin(run(options, storage)).await
}

fn folder(options: &Options) -> Folder {
    let joins = matches!(options.start, Start::Join);
    Folder { dir: options.dir.clone(), id: options.id, joins, limits: options.limits }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StartError> + Send + 'static,
) -> Result<T, StartError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(StartError::Raft(e.to_string())))
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

/// What is there before raft is.
struct Ground {
    identity: Identity,
    published: Published,
    fatal: Fatal,
    writer: Writer,
    archive: Archive,
    snapshots: Snapshots,
    log: LogStore,
    closing: Closing,
}

fn lay_ground(options: &Options, storage: Storage) -> io::Result<Ground> {
    let limits = &options.limits;
    let (log, fatal, overlay) = (Arc::new(storage.log), Fatal::new(), Arc::<Overlay>::default());
    let thread = WriterThread {
        disk: storage.disk.clone(),
        log: log.clone(),
        archive: overlay.writer(),
        watermark: storage.watermark,
        fatal: fatal.clone(),
        group_max: limits.write_group,
    };
    let (writer, writer_thread) = thread.spawn(limits.write_queue)?;
    Ok(Ground {
        identity: storage.identity,
        published: Published::new(),
        fatal,
        archive: Archive::new(overlay, storage.disk.clone(), writer.clone(), limits.archive_backlog_bytes),
        snapshots: storage.snapshots,
        log: LogStore::new(log, storage.disk, writer.clone(), limits),
        writer,
        closing: Closing { writer_thread, lock: storage.lock },
    })
}

async fn run(options: Options, storage: Storage) -> Result<Handle, StartError> {
    let config = config(&options.timing, &options.limits)?;
    let lease = Duration::from_millis(config.election_timeout_max);
    let dir = options.dir.clone();
    let failed = |source| StartError::Folder { dir: dir.clone(), source };
    let ground = lay_ground(&options, storage).map_err(failed)?;
    let incarnation = identity::random().map_err(failed)?;

    let local = Arc::new(Local {
        id: options.id,
        storage: ground.identity.storage,
        cluster: AtomicU64::new(ground.identity.cluster),
        token: options.token.clone(),
        published: ground.published.clone(),
        fatal: ground.fatal.clone(),
        limits: options.limits,
        estranged: Mutex::default(),
    });
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let links = Links::new(local.clone(), tasks.clone(), stop.clone());
    let network = Network { local: local.clone(), links: links.clone(), archive: ground.archive.clone() };
    let machine = Machine::new(MachineParts {
        published: ground.published.clone(),
        observer: options.observer.clone(),
        archive: ground.archive.clone(),
        snapshots: ground.snapshots.clone(),
        snapshot_log_bytes: options.limits.snapshot_log_bytes,
    });
    let raft = Raft::new(options.id.0, Arc::new(config), network, ground.log.clone(), machine).await;
    let raft = raft.map_err(|e| StartError::Raft(e.to_string()))?;
    found(&raft, &options.start, &ground.identity).await?;
    let workshop = Workshop { options, ground, local, raft, links, tasks, stop, incarnation, lease };
    Ok(workshop.open())
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

/// Everything that the tasks and the handle are made of.
struct Workshop {
    options: Options,
    ground: Ground,
    local: Arc<Local>,
    raft: Raft,
    links: Links,
    tasks: TaskTracker,
    stop: CancellationToken,
    incarnation: u64,
    lease: Duration,
}

impl Workshop {
    fn open(self) -> Handle {
        let (timing, limits) = (self.options.timing, self.options.limits);
        let (raft, published) = (self.raft.clone(), self.ground.published.clone());
        let clock = Arc::<LeaderClock>::default();
        let leaders = Arc::new(Leaders { leadership: watch::Sender::default(), routes: watch::Sender::default() });
        self.spawn(leadership::follow(raft.clone(), leaders.clone()));

        let (batcher, batcher_task) = Batcher::new(raft.clone(), clock.clone(), published.clone(), limits);
        self.spawn(batcher_task.run());
        let (forwarder, forwarder_task) = Forwarder::new(self.links.clone(), limits, self.tasks.clone());
        self.spawn(forwarder_task.run());
        let routes = leaders.routes.subscribe();
        let (reads, reads_task) = Reads::new(published.clone(), timing.propose_wait, |queue| {
            ReadsTask::new(queue, self.local.id, raft.clone(), self.links.clone(), routes.clone())
        });
        self.spawn(reads_task.run());

        let proposer = Arc::new(Proposer {
            id: self.local.id,
            batcher: batcher.clone(),
            forwarder,
            origins: Origins::new(self.incarnation),
            routes: routes.clone(),
            wait: timing.propose_wait,
            command_bytes_max: limits.command_bytes_max,
            stop: self.stop.clone(),
        });
        let fenced = FencedWriter { raft: raft.clone(), clock: clock.clone(), published: published.clone(), limits };
        let membership = Membership {
            id: self.local.id,
            raft: raft.clone(),
            links: self.links.clone(),
            routes,
            published: published.clone(),
            timing,
            limits,
            one_at_a_time: Arc::new(Semaphore::new(1)),
        };
        let running = Running {
            id: self.local.id,
            raft,
            timing,
            lease: self.lease,
            frame_bytes_max: limits.peer_frame_bytes_max,
            published,
            proposer,
            fenced: Arc::new(fenced),
            reads,
            membership,
            links: self.links.clone(),
            calls: Arc::new(OnceLock::new()),
            archive: self.ground.archive.clone(),
            writer: self.ground.writer.clone(),
            leaders,
            clock,
            fatal: self.ground.fatal.clone(),
            stop: self.stop.clone(),
            tasks: self.tasks.clone(),
            storage: Mutex::default(),
        };
        self.finish(running, batcher)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(task));
    }

    fn finish(self, mut running: Running, batcher: Batcher) -> Handle {
        let naming = Naming {
            local: self.local.clone(),
            identity: self.ground.identity,
            writer: self.ground.writer.clone(),
            proposer: running.proposer.clone(),
            fenced: running.fenced.clone(),
            leadership: running.leaders.leadership.subscribe(),
        };
        self.spawn(naming.run());
        self.spawn(take_due_snapshots(running.raft.clone(), running.published.clone()));
        self.spawn(watch_raft(running.raft.clone(), self.ground.fatal.clone()));
        let server = Arc::new(Server {
            local: self.local.clone(),
            raft: running.raft.clone(),
            snapshots: self.ground.snapshots.clone(),
            archive: self.ground.archive.clone(),
            batcher,
            membership: running.membership.clone(),
            calls: running.calls.clone(),
        });
        let Self { options, ground, tasks, stop, .. } = self;
        tasks.spawn(server.run(options.listener, tasks.clone(), stop));
        running.storage = Mutex::new(Some(ground.closing));
        Handle(Arc::new(running))
    }
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
    let mut metrics = raft.metrics();
    let running = |state: &Result<(), openraft::errors::Fatal<_>>| match state {
        Ok(()) | Err(openraft::errors::Fatal::Stopped) => None,
        Err(error) => Some(error.to_string()),
    };
    loop {
        if let Some(error) = running(&metrics.borrow_and_update().running_state) {
            return fatal.report(FatalError::Raft(error));
        }
        if metrics.changed().await.is_err() {
            return;
        }
    }
}
