//! The memory budget: jobs are refused before it is used up, everything else goes on, and when memory is free again
//! jobs are taken again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use super::calm::{Calm, MemoryWatch};
use super::mib;
use super::wire::{Wire, submission};
use crate::support::{Cluster, PATIENCE, Setup, note, shared, wait_until};

const BUDGET: u64 = 384 << 20;
/// Between two looks at its memory a replica may take this much more.
const ALLOWANCE: u64 = 32 << 20;
/// Jobs are poured in by so many clients at once, and are as large as this.
const CLIENTS: usize = 12;
const JOB_BYTES: usize = 1 << 20;
/// So many refusals in a row, from all replicas, are no passing matter.
const REFUSED_IN_A_ROW: usize = 60;
/// Long before this many jobs the budget is used up.
const JOBS_MAX: usize = 1_000;

/// Submits large jobs until all clients are refused; the jobs that were taken.
async fn pour(cluster: &Cluster) -> Vec<u64> {
    let task = |n| json!({"name": format!("t{n}"), "command": ["true"], "stdin": "x".repeat(JOB_BYTES / 4 - 100)});
    let job = json!({"name": "large", "tasks": (0..4).map(task).collect::<Vec<_>>()}).to_string();
    let request: Arc<[u8]> = submission(&job).into();
    let refused = Arc::<AtomicUsize>::default();
    let mut clients = JoinSet::new();
    let addresses: Vec<String> = cluster.replicas.values().map(|replica| replica.http.clone()).collect();
    for n in 0..CLIENTS {
        let (address, request, refused) = (addresses[n % addresses.len()].clone(), request.clone(), refused.clone());
        clients.spawn(async move {
            let mut taken = Vec::new();
            while refused.load(Ordering::Relaxed) < REFUSED_IN_A_ROW && taken.len() < JOBS_MAX / CLIENTS {
                let reply = async { Wire::open(&address).await?.ask(&request).await }.await.unwrap();
                match reply.id() {
                    Some(id) if reply.status == 201 => {
                        taken.push(id);
                        refused.store(0, Ordering::Relaxed);
                    }
                    _ => {
                        assert!(reply.is_refusal() && reply.code() == "overloaded", "{}", reply.text());
                        refused.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
            }
            taken
        });
    }
    let taken: Vec<u64> = clients.join_all().await.concat();
    assert!(taken.len() < JOBS_MAX / CLIENTS * CLIENTS, "{} jobs of {JOB_BYTES} bytes were taken", taken.len());
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn near_the_budget_new_jobs_are_refused_and_everything_else_goes_on() {
    let _shared = shared().await;
    let setup = Setup::default().with("memory_budget", &format!("{}MiB", mib(BUDGET)));
    let mut cluster = Cluster::start(setup).await;
    cluster.start_worker_with("w", crate::support::WorkerSetup { cpu: "1", ..Default::default() }).await;
    let gate = cluster.dir.join("gate");
    let script = format!("while [ ! -e {} ]; do sleep 0.05; done", gate.display());
    let runs = cluster.any().submit(&json!({"name": "runs", "priority": 100, "command": ["sh", "-c", script]})).await;
    cluster.any().task_is(runs, "main", 0, "running").await;
    let calm = Calm::of(&cluster.any()).await;

    let memory = MemoryWatch::start(&cluster);
    let taken = pour(&cluster).await;
    // Reads, on every replica.
    for api in cluster.apis() {
        assert_eq!(api.job(taken[0]).await["name"], "large");
        assert_eq!(api.get("/v1/jobs?limit=10").await.status, 200);
    }
    // What the worker reports. From now on it has nothing to do: the rest is cancelled.
    cluster.any().post("/v1/workers/w/drain", &json!(null)).await.ok();
    std::fs::write(&gate, "").unwrap();
    cluster.any().ends_as(runs, "succeeded").await;
    // Cancels, and forgetting.
    let since = Instant::now();
    for id in &taken {
        cluster.any().post(&format!("/v1/jobs/{id}/cancel"), &json!(null)).await.ok();
        wait_until("a cancelled job to be forgotten", PATIENCE, || async {
            cluster.any().delete(&format!("/v1/jobs/{id}")).await.is_success().then_some(())
        })
        .await;
    }
    for api in cluster.apis() {
        wait_until("jobs to be taken again", PATIENCE, || async {
            (api.post("/v1/jobs", &json!({"command": ["true"]})).await.status == 201).then_some(())
        })
        .await;
    }
    let most = memory.end().await;
    note(&format!(
        "with a budget of {} MiB {} jobs of 1 MiB were taken, at most {:?} MiB of memory; taken again {:?} after the first was cancelled",
        mib(BUDGET),
        taken.len(),
        most.values().copied().map(mib).collect::<Vec<_>>(),
        since.elapsed()
    ));
    assert!(most.values().all(|most| *most < BUDGET + ALLOWANCE), "{most:?}");
    let after = Calm::of(&cluster.any()).await;
    assert_eq!((after.leader, after.term), (calm.leader, calm.term));
    cluster.digests_agree().await;
    cluster.finish();
}
