//! Array tasks a second, end to end: submitted, placed, assigned, reported and finished, with a worker
//! that executes nothing. Every transition is replicated.

use std::time::Instant;

use anyhow::ensure;
use quorate_client::Client;
use quorate_types::limits::ELEMENTS_PER_JOB_MAX;
use quorate_types::status::JobState;
use serde_json::{Value, json};

use super::Bench;
use super::report::{Report, rounded};

const TASKS_DEFAULT: u32 = 100_000;
const ARRAY_TASKS_MAX: u32 = ELEMENTS_PER_JOB_MAX as u32;
const SLOTS_DEFAULT: u32 = 512;
/// A tenth of a run warms up.
const WARM_UP_PART: u32 = 10;

pub(super) async fn run(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    let tasks = bench.args.tasks.unwrap_or(TASKS_DEFAULT);
    let slots = bench.args.slots.unwrap_or(SLOTS_DEFAULT);
    let mut target = bench.target_with_worker("noop", slots).await?;
    let client = target.client().clone();
    say(&format!("arrays of {tasks} tasks on one worker with {slots} slots; warming up"));
    let task = json!({"driver": "noop"});
    rate(&client, "noop", &task, (tasks / WARM_UP_PART).max(1)).await?;
    let (mut runs, mut memory) = (Vec::new(), Vec::new());
    for run in 1..=bench.args.runs() {
        let rate = rate(&client, "noop", &task, tasks).await?;
        memory.push(target.largest_resident_mib()?.map(rounded));
        say(&format!("run {run}: {rate:.0} tasks/s"));
        runs.push(rate);
    }
    target.stop().await;
    Ok(Report::new("noop", "tasks/s", &runs)
        .detail("tasks_per_run", tasks)
        .detail("slots", slots)
        .detail("memory_mib", memory)
        .detail("replicas", target.doors.len()))
}

/// A job of one array task.
pub(super) fn array(name: &str, task: &Value, count: u32) -> Value {
    let mut task = task.clone();
    task["name"] = "main".into();
    task["count"] = count.into();
    json!({"name": name, "tasks": [task]})
}

/// From the submission to the last result, in tasks a second. More tasks than one array may have are several, one
/// after the other.
pub(super) async fn rate(client: &Client, name: &str, task: &Value, tasks: u32) -> anyhow::Result<f64> {
    let started = Instant::now();
    for first in (0..tasks).step_by(ARRAY_TASKS_MAX as usize) {
        let job = array(name, task, (tasks - first).min(ARRAY_TASKS_MAX));
        let submitted = client.submit(&job, None).await?;
        let view = client.wait_job(submitted.id, None).await?;
        ensure!(view.state == JobState::Succeeded, "job {} ended as {}", view.id, view.state);
    }
    Ok(f64::from(tasks) / started.elapsed().as_secs_f64())
}
