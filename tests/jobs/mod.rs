//! The life of jobs, end to end: what contract.md says of tasks, as a client sees it, with real processes.
#![allow(clippy::too_many_lines, reason = "a test tells one story; a cluster for each sentence would take minutes")]

mod command_line;
mod control;
mod reading;
mod tasks;

use crate::support::{Answer, Api, Cluster, PATIENCE, Setup, wait_until};
use serde_json::{Value, json};

/// A shell command as a task's command.
fn sh(script: &str) -> Value {
    json!(["sh", "-c", script])
}

async fn logs(api: &Api, job: u64, task: &str, query: &str) -> Answer {
    api.get(&format!("/v1/jobs/{job}/tasks/{task}/0/logs{query}")).await
}

/// Waits for what `look` finds in a file.
async fn file_says<T>(path: &std::path::Path, look: impl Fn(&str) -> Option<T>) -> T {
    wait_until(&format!("{} to say it", path.display()), PATIENCE, || {
        std::future::ready(std::fs::read_to_string(path).ok().and_then(|text| look(&text)))
    })
    .await
}

async fn with_workers(names: &[&str]) -> Cluster {
    let mut cluster = Cluster::start(Setup::default().with("lease_ttl", "2s")).await;
    for name in names {
        cluster.start_worker(name).await;
    }
    cluster
}
