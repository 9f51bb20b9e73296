//! What writes notice of snapshots, with a million distinct tasks in the state: writers that keep to a schedule, from
//! one snapshot of every replica to the next.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use quorate_types::api::Submitted;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant as Tick, interval_at};
use tokio_util::sync::CancellationToken;

use super::Bench;
use super::load::Door;
use super::report::{Latencies, Report};
use super::target::doors;
use crate::cluster_process::ProcessCluster;

const JOBS: usize = 100;
const TASKS_PER_JOB: usize = 10_000;
const CONNECTIONS_DEFAULT: u32 = 16;
/// Of all connections together. A write that is late counts from when it was due.
const WRITES_PER_SECOND: u32 = 1_500;
const PATIENCE: Duration = Duration::from_secs(300);
const POLL: Duration = Duration::from_millis(200);
/// What a replica logs when it has written one.
const WRITTEN: &str = "snapshot written";

pub(super) async fn run(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    let connections = bench.args.connections.unwrap_or(CONNECTIONS_DEFAULT);
    let mut cluster = bench.cluster("snapshot").await?;
    let client = cluster.client()?;
    for number in 0..JOBS {
        client.submit(&job(number), None).await?;
    }
    say(&format!(
        "{} tasks wait; {WRITES_PER_SECOND} writes a second until each replica has a snapshot",
        JOBS * TASKS_PER_JOB
    ));
    let (mut runs, mut all, mut snapshots) = (Vec::new(), Latencies::new()?, 0);
    // The first warms up, and comes to where the next snapshot is as far away as it can be.
    for run in 0..=bench.args.runs() {
        let seen = write_until_snapshots(&cluster, connections, say).await?;
        if run > 0 {
            runs.push(seen.quantile_ms(0.999));
            say(&format!("run {run}: p50 {:.2} ms, p99.9 {:.2} ms", seen.quantile_ms(0.5), runs[runs.len() - 1]));
            all.add(&seen)?;
            snapshots += cluster.replicas.len();
        }
    }
    let resident = cluster.largest_resident_mib()?;
    cluster.stop().await;
    Ok(Report::new("snapshot", "ms", &runs)
        .latency(&all)
        .detail("tasks", JOBS * TASKS_PER_JOB)
        .detail("writes_per_s", WRITES_PER_SECOND)
        .detail("connections", connections)
        .detail("snapshots", snapshots)
        .detail("memory_mib", super::rounded(resident))
        .detail("latency", all.to_json()))
}

fn job(number: usize) -> Value {
    let task =
        |n| json!({"name": format!("t{n}"), "command": ["process", "--input", format!("file-{number}-{n}.dat")]});
    json!({"name": format!("waiting-{number}"), "tasks": (0..TASKS_PER_JOB).map(task).collect::<Vec<_>>()})
}

/// Writes until each replica has written one more snapshot; how long the writes took, each from when it was due.
async fn write_until_snapshots(
    cluster: &ProcessCluster,
    connections: u32,
    say: &impl Fn(&str),
) -> anyhow::Result<Latencies> {
    let (doors, before, done) = (doors(cluster), snapshots(cluster)?, CancellationToken::new());
    let every = Duration::from_secs(1) * connections / WRITES_PER_SECOND;
    let (mut writers, started) = (JoinSet::new(), Instant::now());
    for nth in 0..connections {
        let door = doors[nth as usize % doors.len()].clone();
        // Not all at once.
        let first = Tick::now() + every * nth / connections;
        writers.spawn(write(door, first, every, done.clone()));
    }
    while snapshots(cluster)?.iter().zip(&before).any(|(now, before)| now <= before) {
        ensure!(started.elapsed() < PATIENCE, "no snapshot was written within {PATIENCE:?}");
        tokio::select! {
            // None ends by itself but by failing.
            Some(ended) = writers.join_next() => { ended??; }
            () = tokio::time::sleep(POLL) => {}
        }
    }
    done.cancel();
    let lasted = started.elapsed().as_secs_f64();
    let mut all = Latencies::new()?;
    while let Some(written) = writers.join_next().await {
        all.add(&written??)?;
    }
    say(&format!("{} writes in {lasted:.0} s", all.count()));
    Ok(all)
}

/// Submits jobs, and cancels them in the end: those of several runs would not fit beside the million.
async fn write(door: Door, first: Tick, every: Duration, done: CancellationToken) -> anyhow::Result<Latencies> {
    let (mut latencies, mut connection) = (Latencies::new()?, door.open().await?);
    let request = door.post("/v1/jobs", r#"{"name":"write","command":["true"]}"#);
    let (mut due, mut jobs) = (interval_at(first, every), Vec::new());
    loop {
        let due = due.tick().await;
        // What is overdue at the end is written still: it counts.
        if done.is_cancelled() && due.elapsed() < every {
            break;
        }
        let reply = connection.send(&request).await?;
        ensure!(reply.status == 201, "a job was answered with {}", reply.status);
        latencies.record(due.elapsed());
        jobs.push(serde_json::from_slice::<Submitted>(&reply.body)?.id);
    }
    for job in jobs {
        let reply = connection.send(&door.post(&format!("/v1/jobs/{job}/cancel"), "")).await?;
        ensure!(reply.status == 200, "a cancel was answered with {}", reply.status);
    }
    Ok(latencies)
}

/// How many snapshots each replica has written.
fn snapshots(cluster: &ProcessCluster) -> anyhow::Result<Vec<usize>> {
    let written = |log: &Path| {
        let text = std::fs::read_to_string(log).with_context(|| format!("read {}", log.display()))?;
        Ok(text.matches(WRITTEN).count())
    };
    cluster.replicas.iter().map(|replica| written(replica.process.log())).collect()
}
