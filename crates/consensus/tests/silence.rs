//! A leader that goes silent without closing anything, as after a power cut or SIGSTOP (its kernel still takes
//! bytes, and nothing answers), and one whose process dies.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod harness;

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use harness::{Replica, addresses, eventually, submit};
use quorate_consensus::{Handle, Limits, Start, Timing};
use tokio::runtime::{Builder, Runtime};

/// Replicas with threads of their own.
struct Threads(Vec<(Replica, Runtime)>);

impl Threads {
    fn start(threads_each: usize) -> Self {
        Self::start_with(threads_each, harness::timing())
    }

    fn start_with(threads_each: usize, timing: Timing) -> Self {
        let mut replicas: Vec<_> = (1..=3).map(Replica::new).collect();
        replicas.iter_mut().for_each(|replica| replica.timing = timing);
        let members: BTreeMap<_, _> = replicas.iter().map(|r| (r.id, addresses(r.address))).collect();
        let start = |replica: &mut Replica| {
            let runtime = Builder::new_multi_thread().worker_threads(threads_each).enable_all().build().unwrap();
            let how = Start::Bootstrap(members.clone());
            // What it spawns runs on the replica's own threads.
            runtime.block_on(replica.start(how, Limits::default(), None)).unwrap();
            runtime
        };
        let runtimes: Vec<_> = replicas.iter_mut().map(start).collect();
        Self(replicas.into_iter().zip(runtimes).collect())
    }

    fn leading(&self) -> Option<usize> {
        self.0.iter().position(|(replica, _)| replica.handle().leadership().borrow().local)
    }

    /// Stops a replica's only thread until the sender is dropped.
    fn freeze(&self, at: usize) -> mpsc::Sender<()> {
        let (release, released) = mpsc::channel::<()>();
        let (entered, frozen) = mpsc::channel();
        self.0[at].1.spawn(async move {
            entered.send(()).unwrap();
            let _ = released.recv();
        });
        frozen.recv().unwrap();
        release
    }

    /// Ends a replica as -9 does: its host closes its connections and refuses others.
    fn kill(&mut self, at: usize) {
        let (mut replica, runtime) = self.0.remove(at);
        runtime.block_on(replica.halt());
        runtime.shutdown_timeout(Duration::from_secs(5));
    }

    fn shutdown(self) {
        for (mut replica, runtime) in self.0 {
            runtime.block_on(replica.halt());
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

/// More than there are places for forwarded entries, one after the other, and a read beside each.
async fn ask(handle: &Handle) -> Vec<tokio::task::JoinHandle<()>> {
    let mut tasks = Vec::new();
    for _ in 0..20 {
        let (proposing, reading) = (handle.clone(), handle.clone());
        tasks.push(tokio::spawn(async move { drop(proposing.propose(submit(10)).await.unwrap()) }));
        tasks.push(tokio::spawn(async move { drop(reading.read_barrier().await.unwrap()) }));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tasks
}

#[test]
fn a_silent_leader_is_forgotten_as_soon_as_there_is_another() {
    let cluster = Threads::start(1);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        eventually("there is a leader", || cluster.leading().is_some()).await;
        let leader = cluster.leading().unwrap();
        let followers: Vec<_> = (0..3).filter(|at| *at != leader).map(|at| cluster.0[at].0.handle().clone()).collect();
        for follower in &followers {
            follower.propose(submit(10)).await.unwrap();
            follower.read_barrier().await.unwrap();
        }
        let frozen = cluster.freeze(leader);
        let mut tasks = Vec::new();
        for follower in &followers {
            tasks.extend(ask(follower).await);
        }
        assert!(!tasks.iter().any(tokio::task::JoinHandle::is_finished), "somebody answered: this shows nothing");
        eventually("another one leads", || followers.iter().any(|handle| handle.leadership().borrow().local)).await;
        let elected = Instant::now();
        for task in tasks {
            task.await.unwrap();
        }
        let waited = elected.elapsed();
        assert!(waited < Duration::from_millis(700), "a leader was there, and the old one was waited for: {waited:?}");
        let jobs = followers[0].read_barrier().await.unwrap().state.jobs().count();
        assert_eq!(jobs, 42, "each proposal was applied once");
        drop(frozen);
    });
    cluster.shutdown();
}

#[test]
fn a_dead_leader_is_not_waited_for() {
    let election_min = Duration::from_secs(6);
    let timing = Timing { election_min, election_max: Duration::from_secs(10), ..harness::timing() };
    let mut cluster = Threads::start_with(2, timing);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let leading = async |cluster: &Threads| {
        eventually("there is a leader", || cluster.leading().is_some()).await;
        let leader = cluster.leading().unwrap();
        for (replica, _) in &cluster.0 {
            replica.handle().propose(submit(10)).await.unwrap();
        }
        leader
    };
    let leader = runtime.block_on(leading(&cluster));
    let watched = || cluster.0.iter().filter(|(replica, _)| replica.handle().status().watches_leader).count() == 2;
    runtime.block_on(eventually("both followers watch the leader", watched));
    let killed = Instant::now();
    cluster.kill(leader);
    runtime.block_on(leading(&cluster));
    let waited = killed.elapsed();
    assert!(waited < election_min / 2, "it was waited for: {waited:?}");
    cluster.shutdown();
}

/// A replica that hears heartbeats comes below this again and again.
const FRESH: Duration = Duration::from_millis(300);

async fn staleness_comes_to(handle: &Handle, wanted: impl Fn(Duration) -> bool) {
    let deadline = Instant::now() + harness::PATIENCE;
    loop {
        let stale = handle.staleness().await;
        if stale.is_some_and(&wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "{stale:?} stale");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn staleness_grows_while_apply_is_stuck() {
    // A slow apply occupies one thread; the others go on hearing from the leader.
    let cluster = Threads::start(3);
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        eventually("there is a leader", || cluster.leading().is_some()).await;
        let leader = cluster.leading().unwrap();
        let (replica, _) = &cluster.0[(leader + 1) % 3];
        let (leading, follower) = (cluster.0[leader].0.handle(), replica.handle());
        let committed = leading.propose(submit(10)).await.unwrap();
        follower.wait_applied(committed.index, harness::PATIENCE).await.unwrap();
        // Idle and in order, they hear of each other with every heartbeat.
        let idle = Instant::now();
        for handle in [leading, follower] {
            staleness_comes_to(handle, |stale| stale < FRESH && idle.elapsed() > FRESH * 2).await;
        }

        // Each entry takes long now, while heartbeats come in as ever.
        replica.seen.pause_ms.store(100, std::sync::atomic::Ordering::SeqCst);
        let mut last = committed;
        for _ in 0..8 {
            last = leading.propose(submit(10)).await.unwrap();
        }
        staleness_comes_to(follower, |stale| stale > FRESH).await;
        assert!(follower.version().index < last.index, "it is not behind: this shows nothing");
        follower.wait_applied(last.index, harness::PATIENCE).await.unwrap();
        replica.seen.pause_ms.store(0, std::sync::atomic::Ordering::SeqCst);
        staleness_comes_to(follower, |stale| stale < FRESH).await;
    });
    cluster.shutdown();
}
