//! Replicas in this process, over loopback, on temporary folders.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its part; a failed set-up is a failed test"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quorate_consensus::{Addresses, Handle, Limits, Observer, Options, Start, StartError, Timing, Version, start};
use quorate_state::command::Command;
use quorate_state::outcome::{Applied, Outcome};
use quorate_types::job::JobRequest;
use quorate_types::{LogIndex, ReplicaId};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// Nothing in these tests takes longer, unless it is broken.
pub const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub struct Seen {
    pub last: AtomicU64,
    pub restored: AtomicU64,
    /// Makes the replica slow: milliseconds for each entry.
    pub pause_ms: AtomicU64,
}

impl Observer for Seen {
    fn applied(&self, version: &Arc<Version>, applied: Applied) {
        assert_eq!(applied.index, version.index);
        let before = self.last.swap(version.index.0, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(self.pause_ms.load(Ordering::SeqCst)));
        assert!(before < version.index.0 || version.index.0 == 0, "{before} then {}", version.index);
    }

    fn restored(&self, version: &Arc<Version>) {
        self.last.store(version.index.0, Ordering::SeqCst);
        self.restored.fetch_add(1, Ordering::SeqCst);
    }
}

pub struct Replica {
    pub id: ReplicaId,
    pub dir: TempDir,
    pub address: SocketAddr,
    pub handle: Option<Handle>,
    pub seen: Arc<Seen>,
    pub timing: Timing,
    listener: Option<std::net::TcpListener>,
}

pub struct Cluster {
    pub replicas: Vec<Replica>,
    pub limits: Limits,
    pub token: Option<String>,
    members: BTreeMap<ReplicaId, Addresses>,
}

pub fn addresses(address: SocketAddr) -> Addresses {
    Addresses { http: format!("http://{address}"), peer: address.to_string() }
}

/// Quick to elect, but not so quick that a busy machine disturbs it.
pub fn timing() -> Timing {
    Timing::default()
}

pub fn small_limits() -> Limits {
    Limits {
        snapshot_entries: 40,
        entries_behind_snapshot: 5,
        purge_batch: 1,
        cached_entries: 16,
        catch_up_wait: Duration::from_secs(20),
        ..Limits::default()
    }
}

impl Replica {
    pub fn new(id: u64) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self {
            id: ReplicaId(id),
            dir: tempfile::tempdir().unwrap(),
            address: listener.local_addr().unwrap(),
            handle: None,
            seen: Arc::default(),
            timing: timing(),
            listener: Some(listener),
        }
    }

    pub fn handle(&self) -> &Handle {
        self.handle.as_ref().unwrap()
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn options(&mut self, start: Start, limits: Limits, token: Option<String>) -> Options {
        let listener = self.listener.take().unwrap_or_else(|| std::net::TcpListener::bind(self.address).unwrap());
        listener.set_nonblocking(true).unwrap();
        self.seen = Arc::default();
        Options {
            id: self.id,
            dir: self.path(),
            listener: Box::new(TcpListener::from_std(listener).unwrap()),
            network: Arc::new(quorate_consensus::Tcp),
            advertise: addresses(self.address),
            start,
            token,
            timing: self.timing,
            limits,
            observer: self.seen.clone(),
        }
    }

    pub async fn start(&mut self, how: Start, limits: Limits, token: Option<String>) -> Result<(), StartError> {
        let options = self.options(how, limits, token);
        self.handle = Some(start(options).await?);
        Ok(())
    }

    /// Takes the handle and stops as a crash would.
    pub async fn halt(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.halt().await;
        }
    }

    /// Takes the handle and shuts down.
    pub async fn shutdown(&mut self) {
        if let Some(handle) = self.handle.take() {
            handle.shutdown().await;
        }
    }
}

impl Cluster {
    /// How often this replica's state was replaced by a snapshot, its own at start included.
    pub fn restored(&self, at: usize) -> u64 {
        self.replicas[at].seen.restored.load(Ordering::SeqCst)
    }

    pub async fn start(size: u64) -> Self {
        Self::start_with(size, Limits::default()).await
    }

    pub async fn start_with(size: u64, limits: Limits) -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let replicas: Vec<_> = (1..=size).map(Replica::new).collect();
        let members = replicas.iter().map(|replica| (replica.id, addresses(replica.address))).collect();
        let mut cluster = Self { replicas, limits, token: Some("secret".into()), members };
        for at in 0..cluster.replicas.len() {
            cluster.restart(at).await;
        }
        cluster
    }

    pub async fn restart(&mut self, at: usize) {
        self.try_restart(at).await.unwrap();
    }

    pub async fn try_restart(&mut self, at: usize) -> Result<(), StartError> {
        let (start, limits, token) = (Start::Bootstrap(self.members.clone()), self.limits, self.token.clone());
        self.replicas[at].start(start, limits, token).await
    }

    /// A new replica that waits to be added.
    pub async fn join(&mut self, id: u64) -> usize {
        let mut replica = Replica::new(id);
        replica.start(Start::Join, self.limits, self.token.clone()).await.unwrap();
        self.replicas.push(replica);
        self.replicas.len() - 1
    }

    pub fn handle(&self, at: usize) -> &Handle {
        self.replicas[at].handle()
    }

    pub fn running(&self) -> impl Iterator<Item = &Handle> {
        self.replicas.iter().filter_map(|replica| replica.handle.as_ref())
    }

    /// The position of the leader, once there is one whose state is complete.
    pub async fn leader(&self) -> usize {
        let find = || {
            let leads =
                |replica: &Replica| replica.handle.as_ref().is_some_and(|handle| handle.leadership().borrow().local);
            self.replicas.iter().position(leads)
        };
        eventually("there is a leader", || find().is_some()).await;
        find().unwrap()
    }

    pub async fn follower(&self) -> usize {
        let leader = self.leader().await;
        (0..self.replicas.len()).find(|at| *at != leader && self.replicas[*at].handle.is_some()).unwrap()
    }

    /// Waits until all running replicas have applied what the leader has, and compares their states.
    pub async fn converge(&self) -> LogIndex {
        let leader = self.leader().await;
        let index = self.handle(leader).read_barrier().await.unwrap().index;
        // Whoever has not shown its folder yet writes an entry soon; so compare at one index.
        eventually("the states are the same", || {
            let versions: Vec<_> = self.running().map(Handle::version).collect();
            let first = &versions[0];
            first.index >= index
                && versions.iter().all(|v| v.index == first.index && v.state.digest() == first.state.digest())
        })
        .await;
        index
    }

    pub async fn shutdown(mut self) {
        for replica in &mut self.replicas {
            replica.shutdown().await;
        }
    }
}

pub async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "in vain waited that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A job that is worth about `bytes` bytes.
pub fn submit(bytes: usize) -> Command {
    let command = vec!["echo".to_owned(), "x".repeat(bytes)];
    let request = JobRequest { command: Some(command), ..JobRequest::default() };
    Command::Submit(Arc::new(request.validate().unwrap()))
}

pub fn job_of(outcome: &Outcome) -> quorate_types::JobId {
    match outcome {
        Outcome::Submitted { job, .. } => *job,
        other => panic!("{other:?}"),
    }
}
