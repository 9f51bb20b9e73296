//! Processes of `true` a second, end to end, beside what the machine can spawn at all.

use serde_json::json;

use super::noop::rate;
use super::report::{Report, median};
use super::{Bench, rounded, spawn};

const TASKS_DEFAULT: u32 = 5_000;
const SLOTS_DEFAULT: u32 = 64;
const WARM_UP_PART: u32 = 10;

pub(super) async fn run(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    let tasks = bench.args.tasks.unwrap_or(TASKS_DEFAULT);
    let slots = bench.args.slots.unwrap_or(SLOTS_DEFAULT);
    let mut target = bench.target_with_worker("process", slots).await?;
    let client = target.client().clone();
    let task = json!({"command": ["true"]});
    say(&format!("arrays of {tasks} processes on one worker with {slots} slots; warming up"));
    rate(&client, "true", &task, (tasks / WARM_UP_PART).max(1)).await?;
    let (mut runs, mut limits) = (Vec::new(), Vec::new());
    for run in 1..=bench.args.runs() {
        // In turns, so that a disturbance of the machine meets both.
        let limit = tokio::task::spawn_blocking(move || spawn::rate(tasks)).await??;
        let rate = rate(&client, "true", &task, tasks).await?;
        say(&format!("run {run}: {rate:.0} processes/s; the machine's limit {limit:.0}/s"));
        limits.push(rounded(limit));
        runs.push(rate);
    }
    target.stop().await;
    let limit = median(&limits);
    Ok(Report::new("process", "processes/s", &runs)
        .detail("tasks_per_run", tasks)
        .detail("slots", slots)
        .detail("spawn_limit", limit)
        .detail("spawn_limit_runs", limits)
        .detail("of_spawn_limit", rounded(median(&runs) / limit)))
}
