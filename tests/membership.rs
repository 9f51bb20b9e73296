//! Replicas come, go and hand over.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::load::{Load, lost};
use crate::support::{Api, Cluster, PATIENCE, Setup, cli, turn, wait_until};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// A write that falls into a hand-over waits for it, and is not refused.
const HAND_OVER_GAP: Duration = Duration::from_secs(2);

async fn replica(api: &Api, id: u64) -> Option<Value> {
    let cluster = api.read("/v1/cluster").await;
    cluster["replicas"].as_array().unwrap().iter().find(|replica| replica["id"] == id).cloned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fourth_replica_joins_votes_and_is_removed() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    let load = Load::start(&cluster.apis(), 2, "before");
    load.reaches(50).await;
    let before = load.stop().await;

    cluster.add_joining(4, 2);
    cluster.replica(4).process.start();
    let joined = wait_until("replica 4 to vote", PATIENCE, || async {
        replica(&cluster.at(1), 4).await.filter(|seen| seen["voter"] == true && seen["healthy"] == true)
    })
    .await;
    assert_eq!((&joined["role"], joined["http"].as_str()), (&json!("follower"), Some(&*cluster.replicas[&4].http)));
    cluster.ready(4).await;
    cluster.digests_agree().await;
    assert!(lost(&cluster.at(4), &before).await.is_empty());
    assert_eq!(cluster.at(1).read("/v1/cluster").await["failure_tolerance"], 1);

    // It counts: with the leader dead, and later another one, the majority of four needs it.
    let leader = cluster.leader().await;
    cluster.kill(leader);
    let id = cluster.at(4).submit(&json!({"name": "by four", "command": ["true"]})).await;
    cluster.restart(leader).await;
    assert_eq!(cluster.at(leader).job(id).await["name"], "by four");

    // A follower that is removed says why and ends; its id is never used again.
    let follower = cluster.follower().await;
    let server = cluster.url(cluster.leader().await);
    cli::quorate(&server, &["cluster", "remove", &follower.to_string()], "").await.exits(0);
    let status = cluster.replica(follower).process.wait_exit(PATIENCE).await;
    let log = cluster.replica(follower).process.log_tail();
    assert!(!status.success() && log.contains("was removed"), "{status}: {log}");
    assert_eq!(replica(&cluster.any(), follower).await, None);
    let add =
        json!({"id": follower, "http": cluster.replicas[&follower].http, "peer": cluster.replicas[&follower].peer});
    let refused = cluster.any().post("/v1/cluster/replicas", &add).await;
    assert_eq!(refused.code(), "conflict", "{}", refused.text());
    cluster.any().submit(&json!({"command": ["true"]})).await;
    cluster.digests_agree().await;
    cluster.expected_errors = vec!["was removed", "can't go on"];
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_where_it_is_sent() {
    let _turn = turn().await;
    let cluster = Cluster::of_three().await;
    let term = cluster.any().read("/v1/cluster").await["term"].as_u64().unwrap();
    let leader = cluster.leader().await;
    let target = cluster.follower().await;
    // Asked through a third one, which has to pass it on.
    let third = cluster.ids().into_iter().find(|id| *id != leader && *id != target).unwrap();
    let asked = Instant::now();
    let answer = cluster.at(third).post("/v1/cluster/transfer-leader", &json!({"to": target})).await.ok();
    assert_eq!(answer.json()["leader"], target, "{}", answer.text());
    let id = cluster.at(third).submit(&json!({"command": ["true"]})).await;
    assert!(asked.elapsed() < HAND_OVER_GAP, "{:?}", asked.elapsed());
    assert_eq!(cluster.leader().await, target);
    assert!(cluster.any().read("/v1/cluster").await["term"].as_u64().unwrap() > term);
    assert_eq!(cluster.at(leader).job(id).await["id"], id);
    // Without a target, and by the command line: to any other.
    cli::quorate(&cluster.urls(), &["cluster", "transfer-leader"], "").await.exits(0);
    assert_ne!(cluster.leader().await, target);
    let unknown = cluster.any().post("/v1/cluster/transfer-leader", &json!({"to": 99})).await;
    assert!(["not_found", "conflict"].contains(&unknown.code().as_str()), "{}", unknown.text());
    cluster.digests_agree().await;
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_whose_folder_was_wiped_is_refused_and_told_what_to_do() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    let id = cluster.any().submit(&json!({"command": ["true"]})).await;
    let wiped = cluster.follower().await;
    cluster.kill(wiped);
    std::fs::remove_dir_all(&cluster.replicas[&wiped].data).unwrap();
    cluster.replica(wiped).process.start();
    let status = cluster.replica(wiped).process.wait_exit(PATIENCE).await;
    assert!(!status.success(), "{status}");
    let log = cluster.replica(wiped).process.log_tail();
    assert!(log.contains(&format!("quorate cluster remove {wiped}")) && log.contains("new id"), "{log}");
    assert!(!log.contains("panicked"), "{log}");

    // What it was told to do works: remove the old id, come back under a new one.
    cli::quorate(&cluster.urls(), &["cluster", "remove", &wiped.to_string()], "").await.exits(0);
    let through = cluster.alive()[0];
    cluster.add_joining(4, through);
    cluster.replica(4).process.start();
    wait_until("replica 4 to vote", PATIENCE, || async {
        replica(&cluster.at(through), 4).await.filter(|seen| seen["voter"] == true)
    })
    .await;
    cluster.ready(4).await;
    assert_eq!(cluster.at(4).job(id).await["id"], id);
    cluster.digests_agree().await;
    cluster.expected_errors = vec!["was a member with another data folder", "can't go on"];
    cluster.finish();
}

/// Writes one after the other: none may fail, and none may wait for long.
async fn write_until_aborted(apis: Vec<Api>, prefix: String, written: Arc<AtomicUsize>) {
    for n in 0.. {
        let started = Instant::now();
        let name = format!("{prefix}-{n}");
        let answer = apis[n % apis.len()].try_submit(&json!({"name": name, "command": ["true"]}), None).await;
        let answer = answer.unwrap_or_else(|e| panic!("{name}: {e:?}"));
        assert_eq!(answer.status, 201, "{name}: {}", answer.text());
        assert!(started.elapsed() < HAND_OVER_GAP, "{name} took {:?}", started.elapsed());
        written.fetch_add(1, Ordering::Relaxed);
    }
}

async fn writes_reach(written: &AtomicUsize, writer: &JoinHandle<()>, wanted: usize) {
    wait_until(&format!("{wanted} writes"), PATIENCE, || async {
        assert!(!writer.is_finished(), "a write failed; its panic is above");
        (written.load(Ordering::Relaxed) >= wanted).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_stopped_in_peace_hands_over_first() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    for round in 0..2 {
        let leader = cluster.leader().await;
        let others: Vec<Api> =
            cluster.alive().into_iter().filter(|id| *id != leader).map(|id| cluster.at(id)).collect();
        let written = Arc::new(AtomicUsize::new(0));
        let writer = tokio::spawn(write_until_aborted(others, format!("round-{round}"), written.clone()));
        writes_reach(&written, &writer, 30).await;
        let process = &mut cluster.replica(leader).process;
        process.signal(libc::SIGTERM);
        let status = process.wait_exit(PATIENCE).await;
        assert!(status.success(), "{status}");
        writes_reach(&written, &writer, written.load(Ordering::Relaxed) + 30).await;
        writer.abort();
        assert!(cluster.replicas[&leader].process.log_text().contains("handed_over=true"), "no hand-over was logged");
        cluster.restart(leader).await;
    }
    cluster.digests_agree().await;
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_alone_is_a_cluster_that_others_may_join() {
    let _turn = turn().await;
    let mut cluster = Cluster::start(Setup { replicas: 1, ..Setup::default() }).await;
    let id = cluster.any().submit(&json!({"command": ["true"]})).await;
    assert_eq!(cluster.any().read("/v1/cluster").await["failure_tolerance"], 0);
    for new in [2, 3] {
        cluster.add_joining(new, 1);
        cluster.replica(new).process.start();
        wait_until("the new replica to vote", PATIENCE, || async {
            replica(&cluster.at(1), new).await.filter(|seen| seen["voter"] == true)
        })
        .await;
    }
    // A voter is one from the first step of the change on; only after the last the others can do without the first.
    wait_until("one replica to be dispensable", PATIENCE, || async {
        (cluster.at(1).read("/v1/cluster").await["failure_tolerance"] == 1).then_some(())
    })
    .await;
    cluster.kill(1);
    cluster.leader().await;
    assert_eq!(cluster.at(3).job(id).await["id"], id);
    cluster.at(2).submit(&json!({"command": ["true"]})).await;
    cluster.restart(1).await;
    cluster.digests_agree().await;
    cluster.finish();
}
