//! One job of a million array tasks: how long until it is accepted.

use std::time::{Duration, Instant};

use anyhow::ensure;
use quorate_types::JobId;
use serde_json::{Value, json};

use super::report::{Latencies, Report};
use super::{Bench, noop};

const TASKS_DEFAULT: u32 = 1_000_000;
/// A cancelled job has ended by then.
const END_WITHIN: Duration = Duration::from_secs(30);

pub(super) async fn run(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    let tasks = bench.args.tasks.unwrap_or(TASKS_DEFAULT);
    let mut target = bench.target("array").await?;
    let (client, door) = (target.client().clone(), target.door(0));
    let job = noop::array("array", &json!({"command": ["true"]}), tasks).to_string();
    let (mut runs, mut latencies) = (Vec::new(), Latencies::new()?);
    let mut connection = door.open().await?;
    // The first one warms up.
    for run in 0..=bench.args.runs() {
        let request = door.post("/v1/jobs", &job);
        let sent = Instant::now();
        let reply = connection.send(&request).await?;
        let took = sent.elapsed();
        ensure!(reply.status == 201, "the array was answered with {}", reply.status);
        let id: JobId = serde_json::from_value(serde_json::from_slice::<Value>(&reply.body)?["id"].take())?;
        client.cancel(id).await?;
        client.wait_job(id, Some(END_WITHIN)).await?;
        if run > 0 {
            latencies.record(took);
            runs.push(took.as_secs_f64() * 1000.0);
            say(&format!("run {run}: {:.2} ms", runs[runs.len() - 1]));
        }
    }
    target.stop().await;
    Ok(Report::new("array", "ms", &runs).latency(&latencies).detail("tasks", tasks))
}
