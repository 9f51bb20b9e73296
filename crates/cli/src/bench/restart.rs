//! A follower is killed and started again: how long until it is ready, with a million tasks that wait and with nothing.

use std::time::Instant;

use serde_json::json;

use super::report::{Report, median};
use super::{Bench, noop};
use crate::cluster_process::ProcessCluster;

const TASKS_DEFAULT: u32 = 1_000_000;

pub(super) async fn run(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    let tasks = bench.args.tasks.unwrap_or(TASKS_DEFAULT);
    let mut cluster = bench.cluster("restart").await?;
    let mut empty = Vec::new();
    for _ in 0..bench.args.runs() {
        empty.push(restart_ms(&mut cluster).await?);
    }
    let job = noop::array("waiting", &json!({"command": ["true"]}), tasks);
    cluster.client()?.submit(&job, None).await?;
    let mut runs = Vec::new();
    for run in 1..=bench.args.runs() {
        runs.push(restart_ms(&mut cluster).await?);
        say(&format!("run {run}: {:.0} ms", runs[runs.len() - 1]));
    }
    cluster.stop().await;
    Ok(Report::new("restart", "ms", &runs).detail("tasks", tasks).detail("without_tasks_ms", median(&empty)))
}

/// From the start of the process until it says that it is ready, in milliseconds.
async fn restart_ms(cluster: &mut ProcessCluster) -> anyhow::Result<f64> {
    let follower = (cluster.leader().await? + 1) % cluster.replicas.len();
    cluster.replicas[follower].process.kill()?;
    let started = Instant::now();
    cluster.replicas[follower].process.start()?;
    cluster.wait_replica_ready(follower).await?;
    Ok(started.elapsed().as_secs_f64() * 1000.0)
}
