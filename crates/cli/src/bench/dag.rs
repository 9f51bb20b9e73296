//! Dependencies, with a worker that executes nothing: a chain of a thousand tasks, a random graph of ten thousand, and
//! the largest graph that one job may be.

use std::time::Instant;

use anyhow::ensure;
use quorate_client::Client;
use quorate_types::limits;
use quorate_types::status::JobState;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::Bench;
use super::report::{Report, median};

const CHAIN: usize = 1_000;
const GRAPH: usize = 10_000;
/// What a task of the graph needs at most.
const NEEDS_MAX: usize = 4;
/// And how far back.
const REACH: usize = 500;
const LARGEST: usize = limits::TASKS_PER_JOB_MAX;
/// What each of its tasks needs, but for the first ones: a million in all.
const LARGEST_NEEDS: usize = limits::EDGES_PER_JOB_MAX / LARGEST;
/// How far apart those are, so that many tasks may run at a time.
const LARGEST_STEP: usize = 100;
const SLOTS_DEFAULT: u32 = 512;
const WARM_UP_CHAIN: usize = 100;

pub(super) async fn run(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    let slots = bench.args.slots.unwrap_or(SLOTS_DEFAULT);
    let mut target = bench.target_with_worker("dag", slots).await?;
    let client = target.client().clone();
    seconds(&client, &chain(WARM_UP_CHAIN)).await?;
    let (mut links, mut rates) = (Vec::new(), Vec::new());
    for run in 1..=bench.args.runs() {
        links.push(seconds(&client, &chain(CHAIN)).await? * 1000.0 / CHAIN as f64);
        rates.push(GRAPH as f64 / seconds(&client, &graph(u64::from(run))).await?);
        let last = run as usize - 1;
        say(&format!("run {run}: {:.3} ms a link, {:.0} tasks/s of the graph", links[last], rates[last]));
    }
    let (accepted, rate) = largest(&client).await?;
    say(&format!("{LARGEST} tasks: accepted in {accepted:.0} ms, {rate:.0} tasks/s"));
    target.stop().await;
    Ok(Report::new("dag", "tasks/s", &rates)
        .detail("graph_tasks", GRAPH)
        .detail("needs_max", NEEDS_MAX)
        .detail("slots", slots)
        .detail("largest_tasks", LARGEST)
        .detail("largest_needs_each", LARGEST_NEEDS)
        .detail("largest_accepted_ms", accepted)
        .detail("largest_tasks_per_s", rate)
        .detail("chain_tasks", CHAIN)
        .detail("chain_ms_per_link", median(&links))
        .detail("chain_runs", links))
}

/// Each task needs the one before it.
fn chain(length: usize) -> Value {
    let needs = |n: usize| if n == 0 { Vec::new() } else { vec![format!("t{}", n - 1)] };
    job("chain", (0..length).map(needs))
}

/// Each task needs up to four of the five hundred before it.
fn graph(seed: u64) -> Value {
    let mut random = StdRng::seed_from_u64(seed);
    let needs = |n: usize| {
        let count = random.random_range(0..=NEEDS_MAX.min(n));
        let mut needs: Vec<usize> = (0..count).map(|_| random.random_range(n.saturating_sub(REACH)..n)).collect();
        needs.sort_unstable();
        needs.dedup();
        needs.into_iter().map(|need| format!("t{need}")).collect()
    };
    job("graph", (0..GRAPH).map(needs))
}

/// Milliseconds until the largest graph is accepted, and how many of its tasks then end in a second.
async fn largest(client: &Client) -> anyhow::Result<(f64, f64)> {
    let needs = |n: usize| {
        let back = (1..=LARGEST_NEEDS).map(|nth| nth * LARGEST_STEP);
        back.filter_map(|back| n.checked_sub(back)).map(|need| format!("t{need}")).collect()
    };
    let job = job("largest", (0..LARGEST).map(needs));
    let started = Instant::now();
    let submitted = client.submit(&job, None).await?;
    let accepted = started.elapsed();
    let view = client.wait_job(submitted.id, None).await?;
    ensure!(view.state == JobState::Succeeded, "job {} ended as {}", view.id, view.state);
    let rest = started.elapsed() - accepted;
    Ok((accepted.as_secs_f64() * 1000.0, LARGEST as f64 / rest.as_secs_f64()))
}

fn job(name: &str, needs: impl Iterator<Item = Vec<String>>) -> Value {
    let task = |(n, needs)| json!({"name": format!("t{n}"), "driver": "noop", "needs": needs});
    json!({"name": name, "tasks": needs.enumerate().map(task).collect::<Vec<_>>()})
}

/// From the submission to the last result.
async fn seconds(client: &Client, job: &Value) -> anyhow::Result<f64> {
    let started = Instant::now();
    let submitted = client.submit(job, None).await?;
    let view = client.wait_job(submitted.id, None).await?;
    ensure!(view.state == JobState::Succeeded, "job {} ended as {}", view.id, view.state);
    Ok(started.elapsed().as_secs_f64())
}
