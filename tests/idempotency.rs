//! Ten thousand submissions with idempotency keys, through any replica, while leaders die: as many jobs as keys.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::http::id_of;
use crate::support::{Api, Cluster, note, turn, wait_until};
use serde_json::json;
use tokio::task::JoinSet;

const KEYS: usize = 10_000;
const CLIENTS: usize = 32;
const KILLS: usize = 3;
/// For one key, through all retries.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Shared {
    next: AtomicUsize,
    done: AtomicUsize,
    retries: AtomicUsize,
    ids: Mutex<BTreeMap<usize, u64>>,
}

/// Submits one key until it is accepted, each time through another replica.
async fn submit(apis: &[Api], key: usize, shared: &Shared) -> u64 {
    let name = format!("key-{key}");
    let job = json!({"name": name, "command": ["true"], "namespace": "idempotency"});
    let started = Instant::now();
    for attempt in 0.. {
        assert!(started.elapsed() < PATIENCE, "{name} was not accepted within {PATIENCE:?}");
        match apis[(key + attempt) % apis.len()].try_submit(&job, Some(&name)).await {
            Ok(answer) if answer.is_success() => return id_of(&answer),
            // Not accepted yet; anything but an outage would be a wrong answer to a good request.
            Ok(answer) => assert!(matches!(answer.status, 429 | 503), "{name}: {} {}", answer.status, answer.text()),
            Err(_) => {}
        }
        shared.retries.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    unreachable!("the loop ends by success or panic")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_jobs_as_keys_whatever_dies() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    let apis = cluster.apis();
    let shared = Arc::new(Shared::default());
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let (shared, apis) = (shared.clone(), apis.iter().map(Api::fresh).collect::<Vec<_>>());
        clients.spawn(async move {
            loop {
                let key = shared.next.fetch_add(1, Ordering::Relaxed);
                if key >= KEYS {
                    return;
                }
                let id = submit(&apis, key, &shared).await;
                shared.ids.lock().unwrap().insert(key, id);
                shared.done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let started = Instant::now();
    for kill in 1..=KILLS {
        let share = KEYS * kill / (KILLS + 1);
        wait_until(&format!("{share} keys"), Duration::from_secs(120), || async {
            (shared.done.load(Ordering::Relaxed) >= share).then_some(())
        })
        .await;
        let leader = cluster.leader().await;
        cluster.kill(leader);
        cluster.leader().await;
        cluster.restart(leader).await;
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    let retries = shared.retries.load(Ordering::Relaxed);
    note(&format!("{KEYS} keys in {:.1} s with {retries} retries", started.elapsed().as_secs_f64()));
    assert!(retries > 0, "no client noticed any of {KILLS} kills: the faults did not happen");

    let ids = std::mem::take(&mut *shared.ids.lock().unwrap());
    assert_eq!(ids.len(), KEYS);
    let jobs = cluster.any().all("/v1/jobs?namespace=idempotency&limit=1000").await;
    assert_eq!(jobs.len(), KEYS, "not as many jobs as keys");
    let listed: BTreeMap<&str, u64> =
        jobs.iter().map(|job| (job["name"].as_str().unwrap(), job["id"].as_u64().unwrap())).collect();
    for (key, id) in &ids {
        assert_eq!(listed.get(format!("key-{key}").as_str()), Some(id), "key {key} has another job than it was told");
    }
    // Again, through another replica: the first answer, and no further job.
    for (key, id) in ids.iter().step_by(50) {
        let name = format!("key-{key}");
        let job = json!({"name": name, "command": ["true"], "namespace": "idempotency"});
        let answer = apis[(key + 1) % 3].try_submit(&job, Some(&name)).await.unwrap();
        assert_eq!((answer.status, id_of(&answer)), (200, *id), "{}", answer.text());
    }
    assert_eq!(cluster.any().all("/v1/jobs?namespace=idempotency&limit=1000").await.len(), KEYS);
    cluster.digests_agree().await;
    cluster.finish();
}
