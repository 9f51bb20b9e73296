//! A replica's resident memory with a million waiting array tasks, and with 100,000 separate jobs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use serde_json::json;
use tokio::task::JoinSet;

use super::load::Door;
use super::report::{Report, median, rounded};
use super::target::doors;
use super::{Bench, noop};
use crate::cluster_process::ProcessCluster;

const ARRAY_TASKS: u32 = 1_000_000;
const JOBS: u32 = 100_000;
const CONNECTIONS_DEFAULT: u32 = 64;
/// Until the replicas have applied everything and given back what they needed for it.
const SETTLE: Duration = Duration::from_secs(3);
const APPLY_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// Refusals of one connection in a row before it gives up.
const REFUSALS_MAX: u32 = 100;

pub(super) async fn run(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    let connections = bench.args.connections.unwrap_or(CONNECTIONS_DEFAULT);
    let (mut idle, mut array, mut jobs) = (Vec::new(), Vec::new(), Vec::new());
    for run in 1..=bench.args.runs() {
        let mut cluster = bench.cluster(&format!("array-{run}")).await?;
        idle.push(settled_mib(&cluster).await?);
        let job = noop::array("waiting", &json!({"command": ["true"]}), ARRAY_TASKS);
        cluster.client()?.submit(&job, None).await?;
        array.push(settled_mib(&cluster).await?);
        cluster.stop().await;

        let mut cluster = bench.cluster(&format!("jobs-{run}")).await?;
        submit_many(&cluster, connections).await?;
        jobs.push(settled_mib(&cluster).await?);
        cluster.stop().await;
        let last = run as usize - 1;
        say(&format!(
            "run {run}: {:.0} MiB idle, {:.0} MiB with the array, {:.0} MiB with the jobs",
            idle[last], array[last], jobs[last]
        ));
    }
    Ok(Report::new("memory", "MiB", &array)
        .detail("idle_mib", median(&idle))
        .detail("array_tasks", ARRAY_TASKS)
        .detail("array_mib", median(&array))
        .detail("jobs", JOBS)
        .detail("jobs_mib", median(&jobs))
        .detail("jobs_runs", jobs))
}

/// The resident memory of the largest replica once all have applied the same.
async fn settled_mib(cluster: &ProcessCluster) -> anyhow::Result<f64> {
    let deadline = Instant::now() + APPLY_WITHIN;
    loop {
        let mut indexes = Vec::new();
        for at in 0..cluster.replicas.len() {
            indexes.push(cluster.client_of(at)?.cluster_stale().await?.index);
        }
        if indexes.iter().all(|index| *index == indexes[0]) {
            break;
        }
        ensure!(Instant::now() < deadline, "the replicas did not reach one index within {APPLY_WITHIN:?}");
        tokio::time::sleep(POLL).await;
    }
    tokio::time::sleep(SETTLE).await;
    Ok(rounded(cluster.largest_resident_mib()?))
}

async fn submit_many(cluster: &ProcessCluster, connections: u32) -> anyhow::Result<()> {
    let left = Arc::new(AtomicU32::new(JOBS));
    let (mut writers, doors) = (JoinSet::new(), doors(cluster));
    for nth in 0..connections as usize {
        writers.spawn(submit_until_none(doors[nth % doors.len()].clone(), left.clone()));
    }
    while let Some(result) = writers.join_next().await {
        result??;
    }
    Ok(())
}

async fn submit_until_none(door: Door, left: Arc<AtomicU32>) -> anyhow::Result<()> {
    let mut connection = door.open().await?;
    let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
    while let Ok(number) = take() {
        let body = format!(r#"{{"name":"job-{number}","command":["process","--input","file-{number}.dat"]}}"#);
        let request = door.post("/v1/jobs", &body);
        let mut refusals = 0;
        loop {
            let reply = connection.send(&request).await?;
            match reply.status {
                201 => break,
                429 | 503 if refusals < REFUSALS_MAX => refusals += 1,
                status => bail!("a job was answered with {status}: {}", String::from_utf8_lossy(&reply.body)),
            }
            tokio::time::sleep(POLL).await;
        }
    }
    Ok(())
}
