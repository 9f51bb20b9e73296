//! A task's worker dies: how long until the task runs on the other one.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use quorate_client::Client;
use quorate_types::{JobId, Name};
use serde_json::json;

use super::relay::Relay;
use crate::args::Death;
use crate::bench::Bench;
use crate::cluster_process::{ProcessCluster, WorkerSize};

const WORKERS: usize = 2;
/// Longer than the default lease, by far.
const RUNS_AGAIN_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(1);

pub(super) async fn run(
    bench: &Bench,
    death: Death,
    rounds: u32,
    say: &impl Fn(&str),
) -> anyhow::Result<Vec<Duration>> {
    let mut cluster = bench.cluster(death.as_str()).await?;
    let targets: Vec<SocketAddr> = cluster.replicas.iter().map(|replica| replica.http).collect();
    let mut relays = Vec::new();
    for _ in 0..WORKERS {
        let relay = Relay::start(targets.clone()).await?;
        cluster.start_worker_through(&relay.url(), &WorkerSize { cpu_millis: Some(1000), zones: &[] }).await?;
        relays.push(relay);
    }
    let mut gaps = Vec::new();
    for round in 1..=rounds {
        let starts = bench.folder.path().join(format!("starts-{}-{round}", death.as_str()));
        let gap = once(&mut cluster, &relays, death, &starts).await?;
        say(&format!("{} {round}: runs elsewhere after {:.0} ms", death.as_str(), gap.as_secs_f64() * 1000.0));
        gaps.push(gap);
    }
    cluster.stop().await;
    Ok(gaps)
}

async fn once(cluster: &mut ProcessCluster, relays: &[Relay], death: Death, starts: &Path) -> anyhow::Result<Duration> {
    let client = cluster.client()?;
    // Each attempt says that it runs.
    let script = "echo started >> \"$0\" && exec sleep 600";
    let job = json!({"name": "failover", "command": ["sh", "-c", script, starts.to_string_lossy()]});
    let id = client.submit(&job, None).await?.id;
    wait_for_starts(starts, 1).await?;
    let at = position(cluster, &runs_on(&client, id).await?)?;

    let died = Instant::now();
    match death {
        Death::Agent => cluster.workers[at].kill()?,
        Death::Host => relays[at].cut(),
        Death::Kill | Death::Stop | Death::Graceful => bail!("{} is no death of a worker", death.as_str()),
    }
    wait_for_starts(starts, 2).await?;
    let gap = died.elapsed();

    client.cancel(id).await?;
    client.wait_job(id, Some(RUNS_AGAIN_WITHIN)).await?;
    relays[at].mend();
    if death == Death::Agent {
        cluster.workers[at].start()?;
    }
    cluster.wait_workers_ready().await?;
    Ok(gap)
}

/// The worker that runs the job's one task.
async fn runs_on(client: &Client, id: JobId) -> anyhow::Result<Name> {
    let deadline = Instant::now() + RUNS_AGAIN_WITHIN;
    loop {
        let tasks = client.all_tasks(id).await?;
        if let Some(worker) = tasks.into_iter().find_map(|task| task.worker) {
            return Ok(worker);
        }
        ensure!(Instant::now() < deadline, "job {id} runs nowhere");
        tokio::time::sleep(POLL).await;
    }
}

fn position(cluster: &ProcessCluster, worker: &Name) -> anyhow::Result<usize> {
    let found = cluster.workers.iter().position(|process| process.name() == worker.as_str());
    found.with_context(|| format!("{worker} is not a worker of this cluster"))
}

async fn wait_for_starts(path: &Path, count: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + RUNS_AGAIN_WITHIN;
    while std::fs::read_to_string(path).unwrap_or_default().lines().count() < count {
        ensure!(Instant::now() < deadline, "the task did not start {count} times within {RUNS_AGAIN_WITHIN:?}");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}
