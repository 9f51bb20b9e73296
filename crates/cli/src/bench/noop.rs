//! Array tasks a second, end to end: submitted, placed, assigned, reported and finished, with a worker
//! that executes nothing. Every transition is replicated.

use std::time::Instant;

use anyhow::ensure;
use quorate_client::Client;
use quorate_types::status::JobState;
use serde_json::{Value, json};

use super::Bench;
use super::report::Report;

const TASKS_DEFAULT: u32 = 100_000;
const SLOTS_DEFAULT: u32 = 512;
/// A tenth of a run warms up.
const WARM_UP_PART: u32 = 10;

pub(super) async fn run(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    let tasks = bench.args.tasks.unwrap_or(TASKS_DEFAULT);
    let slots = bench.args.slots.unwrap_or(SLOTS_DEFAULT);
    let mut cluster = bench.cluster_with_worker("noop", slots).await?;
    let client = cluster.client()?;
    say(&format!("arrays of {tasks} tasks on one worker with {slots} slots; warming up"));
    rate(&client, &array("noop", &json!({"driver": "noop"}), (tasks / WARM_UP_PART).max(1)), tasks / WARM_UP_PART)
        .await?;
    let mut runs = Vec::new();
    for run in 1..=bench.args.runs {
        let rate = rate(&client, &array("noop", &json!({"driver": "noop"}), tasks), tasks).await?;
        say(&format!("run {run}: {rate:.0} tasks/s"));
        runs.push(rate);
    }
    cluster.stop().await;
    Ok(Report::new("noop", "tasks/s", &runs)
        .detail("tasks_per_run", tasks)
        .detail("slots", slots)
        .detail("workers", 1)
        .detail("replicas", cluster.replicas.len()))
}

/// A job of one array task.
pub(super) fn array(name: &str, task: &Value, count: u32) -> Value {
    let mut task = task.clone();
    task["name"] = "main".into();
    task["count"] = count.into();
    json!({"name": name, "tasks": [task]})
}

/// From the submission to the last result, in tasks a second.
pub(super) async fn rate(client: &Client, job: &Value, tasks: u32) -> anyhow::Result<f64> {
    let started = Instant::now();
    let submitted = client.submit(job, None).await?;
    let view = client.wait_job(submitted.id, None).await?;
    let took = started.elapsed();
    ensure!(view.state == JobState::Succeeded, "job {} ended as {}", view.id, view.state);
    Ok(f64::from(tasks) / took.as_secs_f64())
}
