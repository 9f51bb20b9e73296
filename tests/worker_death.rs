//! Workers die in every way a process can: their tasks run again, and at no instant do two attempts of one task run.
//!
//! Each attempt keeps a journal (see `support::attempts`), and so does a grandchild of it in a session of its own.

use std::ffi::OsString;
use std::time::Duration;

use crate::support::attempts::{Seen, now};
use crate::support::namespaces::{ADDRESS_A, TwoHosts, on_thread};
use crate::support::{Cluster, Journal, Setup, WorkerSetup, note, skip, turn, wait_until};
use serde_json::json;

/// Short, so that waiting for its end is short.
const LEASE_TTL: Duration = Duration::from_secs(2);
/// Tasks on the worker that dies.
const TASKS: u64 = 3;
/// Beyond the lease: the leader's notice, a placement, a start, two busy cores.
const SLACK: Duration = Duration::from_secs(4);
/// The promise of issue 2 when only the agent died.
const AGENT_DIED_WITHIN: Duration = Duration::from_secs(1);

/// A cluster in which worker `a` runs all tasks of one job, and worker `b` idles.
struct Scene {
    cluster: Cluster,
    journal: Journal,
    job: u64,
    /// The first attempts, by index.
    first: Vec<Seen>,
}

impl Scene {
    async fn new(setup: Setup, a: WorkerSetup, runs: Duration) -> Self {
        let mut cluster = Cluster::start(setup.with("lease_ttl", "2s")).await;
        let journal = Journal::new(&cluster.dir);
        cluster.start_worker_with("a", a).await;
        let task = journal.task("t", TASKS, runs);
        let job = cluster.any().submit(&json!({"name": "watched", "tasks": [task]})).await;
        let first = wait_until("all tasks to run on worker a", crate::support::PATIENCE, || async {
            let seen: Vec<Vec<Seen>> = (0..TASKS).map(|index| journal.of(job, "t", index)).collect();
            let beats = |seen: &Vec<Seen>| seen.len() == 1 && seen[0].last > seen[0].first;
            seen.iter().all(beats).then(|| seen.into_iter().flatten().collect::<Vec<_>>())
        })
        .await;
        cluster.start_worker("b").await;
        for seen in &first {
            let alive = cluster.worker("a").attempts(Some(seen.fence));
            assert!(alive.len() >= 2, "attempt and grandchild of {seen:?} are expected to live: {alive:?}");
        }
        Self { cluster, journal, job, first }
    }

    async fn plain(runs: Duration) -> Self {
        Self::new(Setup::default(), WorkerSetup::default(), runs).await
    }

    /// Waits for the second attempt of each task, and looks that nothing of the first lives then. Returns how long
    /// after `since` the last of them ran.
    async fn run_again(&mut self, since: Duration, patience: Duration) -> Duration {
        let second = wait_until("every task to run again", patience, || async {
            let seen = (0..TASKS).map(|index| self.journal.of(self.job, "t", index).get(1).cloned());
            seen.collect::<Option<Vec<Seen>>>()
        })
        .await;
        for first in &self.first {
            let left = self.cluster.worker("a").attempts(Some(first.fence));
            assert!(left.is_empty(), "processes of {first:?} live beside the next attempt: {left:?}");
        }
        second.iter().map(|seen| seen.first).max().unwrap().saturating_sub(since)
    }

    fn workers_of_second(&self) -> Vec<String> {
        (0..TASKS).map(|index| self.journal.of(self.job, "t", index)[1].worker.clone()).collect()
    }

    /// The end that all of these tests have.
    async fn ends_well(self) {
        let Self { cluster, journal, job, .. } = self;
        cluster.any().ends_as(job, "succeeded").await;
        for (element, seen) in journal.check() {
            assert!(seen.len() >= 2 && seen.last().unwrap().ended, "{element}: {seen:?}");
        }
        cluster.digests_agree().await;
        cluster.events_agree(&[job]).await;
        cluster.finish();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_agent_is_killed_its_tasks_run_elsewhere_within_a_second() {
    let _turn = turn().await;
    let mut scene = Scene::plain(Duration::from_secs(3)).await;
    let killed = now();
    scene.cluster.worker("a").process.kill();
    let took = scene.run_again(killed, LEASE_TTL + SLACK).await;
    note(&format!("after the agent's death all tasks run elsewhere within {} ms", took.as_millis()));
    assert!(took < AGENT_DIED_WITHIN, "running elsewhere only after {took:?}");
    assert_eq!(scene.workers_of_second(), ["b", "b", "b"]);
    // The same folder, a new agent: a new registration under the old name.
    scene.cluster.worker("a").process.start();
    scene.cluster.any().worker_is("a", "ready").await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_watchdog_is_killed_its_tasks_run_again() {
    let _turn = turn().await;
    let mut scene = Scene::plain(Duration::from_secs(3)).await;
    let killed = now();
    assert!(crate::support::sys::signal(scene.cluster.worker("a").watchdog(), libc::SIGKILL));
    let took = scene.run_again(killed, LEASE_TTL + SLACK).await;
    note(&format!("after the watchdog's death all tasks run again within {} ms", took.as_millis()));
    scene.cluster.expected_errors = vec!["the watchdog is gone"];
    scene.cluster.any().worker_is("a", "ready").await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_agent_and_watchdog_are_killed_together_its_tasks_run_elsewhere() {
    let _turn = turn().await;
    let mut scene = Scene::plain(Duration::from_secs(3)).await;
    let (agent, watchdog) = (scene.cluster.worker("a").agent(), scene.cluster.worker("a").watchdog());
    let killed = now();
    // Stopped first, so that neither has a moment in which it could act on the other's death.
    for signal in [libc::SIGSTOP, libc::SIGKILL] {
        crate::support::sys::signal(watchdog, signal);
        crate::support::sys::signal(agent, signal);
    }
    scene.cluster.worker("a").process.kill();
    let took = scene.run_again(killed, LEASE_TTL + SLACK).await;
    assert!(took > LEASE_TTL / 2, "nobody was left to tell, and yet the cluster knew after {took:?}");
    assert_eq!(scene.workers_of_second(), ["b", "b", "b"]);
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_comes_back_at_once_frees_its_tasks_at_once() {
    let _turn = turn().await;
    let mut scene = Scene::plain(Duration::from_secs(3)).await;
    let (agent, watchdog) = (scene.cluster.worker("a").agent(), scene.cluster.worker("a").watchdog());
    let killed = now();
    crate::support::sys::signal(watchdog, libc::SIGKILL);
    crate::support::sys::signal(agent, libc::SIGKILL);
    scene.cluster.worker("a").process.kill();
    scene.cluster.worker("a").process.start();
    let took = scene.run_again(killed, LEASE_TTL + SLACK).await;
    note(&format!("after both died and the agent came back all tasks run again within {} ms", took.as_millis()));
    scene.cluster.any().worker_is("a", "ready").await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_agent_is_stopped_its_tasks_run_elsewhere() {
    let _turn = turn().await;
    let mut scene = Scene::plain(Duration::from_secs(4)).await;
    let stopped = now();
    scene.cluster.worker("a").process.signal(libc::SIGSTOP);
    let took = scene.run_again(stopped, LEASE_TTL + SLACK).await;
    assert!(took > LEASE_TTL / 2, "the agent may have been slow only, and yet the cluster knew after {took:?}");
    assert_eq!(scene.workers_of_second(), ["b", "b", "b"]);
    // It learns that it was given up, and starts anew without doing harm.
    scene.cluster.worker("a").process.signal(libc::SIGCONT);
    scene.cluster.any().worker_is("a", "ready").await;
    scene.ends_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_watchdog_is_stopped_its_tasks_run_again() {
    let _turn = turn().await;
    // The agent is patient with a slow watchdog as long as its lease holds.
    let patience = Duration::from_secs(12);
    let mut scene = Scene::plain(patience + LEASE_TTL + SLACK).await;
    let watchdog = scene.cluster.worker("a").watchdog();
    let stopped = now();
    assert!(crate::support::sys::signal(watchdog, libc::SIGSTOP));
    let took = scene.run_again(stopped, patience + LEASE_TTL + SLACK).await;
    note(&format!("after the watchdog was stopped all tasks run again within {} ms", took.as_millis()));
    assert!(
        crate::support::sys::seen(watchdog).is_none_or(|seen| seen.state == 'Z'),
        "the stopped watchdog is still there"
    );
    // Long enough to show that they run; their end is not needed.
    let api = scene.cluster.any();
    assert!(api.post(&format!("/v1/jobs/{}/cancel", scene.job), &json!(null)).await.is_success());
    api.ends_as(scene.job, "cancelled").await;
    scene.journal.check();
    scene.cluster.digests_agree().await;
    scene.cluster.expected_errors = vec!["the watchdog does not answer and is killed", "the watchdog is gone"];
    scene.cluster.finish();
}

#[test]
fn when_the_worker_is_cut_off_its_tasks_run_elsewhere() {
    let hosts = match TwoHosts::new() {
        Ok(hosts) => hosts,
        Err(why) => return skip("when_the_worker_is_cut_off_its_tasks_run_elsewhere", &why),
    };
    let (there, on_b) = (hosts.path_a(), hosts.on_b());
    let enter = move || crate::support::sys::enter_network(&there);
    on_thread(enter, move || async move {
        let _turn = turn().await;
        cut_off(&hosts, on_b).await;
    });
}

async fn cut_off(hosts: &TwoHosts, on_b: Vec<OsString>) {
    let insecure = Setup { host: ADDRESS_A.into(), ..Setup::default() }.with("insecure", "true");
    let a = WorkerSetup { wrapper: on_b, ..WorkerSetup::default() };
    let mut scene = Scene::new(insecure, a, Duration::from_secs(4)).await;
    let cut = now();
    hosts.cut();
    let took = scene.run_again(cut, LEASE_TTL + SLACK).await;
    note(&format!("after the cut all tasks run elsewhere within {} ms", took.as_millis()));
    assert_eq!(scene.workers_of_second(), ["b", "b", "b"]);
    let first_ends: Vec<Duration> =
        (0..TASKS).map(|index| scene.journal.of(scene.job, "t", index)[0].last.saturating_sub(cut)).collect();
    assert!(first_ends.iter().all(|end| *end < LEASE_TTL), "outlived their lease: {first_ends:?}");
    hosts.heal();
    scene.cluster.any().worker_is("a", "ready").await;
    scene.ends_well().await;
}

/// Checkers are tests too: this one must find what it is there for.
mod the_interval_checker {
    use crate::support::attempts::check;

    fn complaint(text: &'static str) -> String {
        let panic = std::panic::catch_unwind(|| check("t", text)).expect_err("the checker saw nothing");
        panic.downcast_ref::<String>().unwrap().clone()
    }

    #[test]
    fn finds_attempts_that_overlap() {
        let seen = check("t", "start 1 7 1 a\nbeat 3 7 1 a\nstart 5 9 2 b\nend 6 9 2 b\n");
        assert_eq!(seen.iter().map(|s| (s.fence, s.ended)).collect::<Vec<_>>(), [(7, false), (9, true)]);
        assert!(complaint("start 1 7 1 a\nstart 5 9 2 b\nbeat 6 7 1 a\n").contains("lives beside"));
        assert!(complaint("start 1 7 1 a\nstart 5 9 2 b\nchild 6 7 1 a\n").contains("lives beside"));
        assert!(complaint("start 1 7 1 a\nbeat 6 7 1 a\nstart 5 9 2 b\n").contains("at one time"));
        assert!(complaint("start 1 7 1 a\nstart 2 7 1 a\n").contains("twice"));
    }
}
