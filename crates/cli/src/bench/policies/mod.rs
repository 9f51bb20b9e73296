//! What each policy does: the same seeded work on a fresh cluster of mixed workers for each, and what
//! `/v1/scheduling` says of it afterwards.
//!
//! Orders of the queue and backfills have more work than there is room for; placements half as much, since where
//! everything is full there is nothing to choose. Rebalancing has long tasks, and workers that join when all run.

use std::time::{Duration, Instant};

use anyhow::ensure;
use quorate_client::Client;
use quorate_types::policy::{
    Backfill, BackfillRequest, PlacementOrder, Policy, PolicyRequest, Quantum, QueueOrder, Rebalance, RebalanceShare,
};
use quorate_types::scheduling::{SchedulingView, Window, WindowView};
use quorate_types::status::JobState;
use quorate_types::{JobId, Name, Span};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::Bench;
use super::report::{Report, rounded};
use crate::args::Rule;
use crate::cluster_process::{ProcessCluster, WorkerSize};
use crate::output::table::{Column, Table};

/// How many workers of how many cores: forty in all.
const WORKERS: [(u16, u64); 3] = [(8, 2), (4, 4), (1, 8)];
const CORES: f64 = 40.0;
/// Those that are there when the work for rebalancing comes, and as many that join while it is done.
const JOINING: [(u16, u64); 1] = [(4, 8)];
const JOINING_CORES: f64 = 32.0;
/// When they join, and how long the tasks run that fill the first ones.
const JOIN_AFTER: Duration = Duration::from_secs(3);
const LONG_RUN: Span = Span::from_secs(40);
/// Turns of `round-robin`: of the run times, a good part is shorter.
const QUANTUM: Span = Span::from_secs(1);
/// For so long jobs come, on average evenly.
const ARRIVALS: Duration = Duration::from_secs(10);
/// Work that comes, over what the workers can do meanwhile.
const CROWDED: f64 = 1.6;
const HALF_LOADED: f64 = 0.5;
/// A task takes from the first on, and most take much less than the longest.
const RUN_MS: (f64, f64) = (200.0, 4_000.0);
/// Requests of tasks in cores, with how many of a hundred tasks have it.
const REQUESTS: [(u64, u32); 4] = [(1, 70), (2, 18), (4, 9), (8, 3)];
/// Who submits, with how many of a hundred tasks.
const NAMESPACES: [(&str, u32); 3] = [("heavy", 70), ("middle", 20), ("light", 10)];
const END_WITHIN: Duration = Duration::from_secs(120);
/// Of the report: one entry for each policy.
pub(crate) const POLICIES: &str = "policies";

/// A job of one task, and when it comes.
struct Work {
    at: Duration,
    core_ms: u64,
    job: Value,
}

pub(super) async fn run(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    let mut measured = Vec::new();
    let mut means = Vec::new();
    for rule in rules(&bench.args.only) {
        let (policy, load) = (policy_of(rule), load_of(rule));
        let view = match rule {
            Rule::Rebalance(_) => play(bench, &policy, &long_work(), &JOINING, Some(JOIN_AFTER)).await?,
            Rule::Queue(_) | Rule::Backfill(_) | Rule::Placement(_) => {
                play(bench, &policy, &work(bench.args.seed, load), &WORKERS, None).await?
            }
        };
        let entry = entry(rule, &policy, load, &view);
        say(&format!("{}: {}", name_of(rule), entry["atct_s"]));
        means.push(entry["atct_s"].as_f64().unwrap_or_default());
        measured.push(entry);
    }
    Ok(Report::new("policies", "s mean completion time, a run for each policy", &means)
        .detail("seed", bench.args.seed)
        .detail("workers", "8 of 2 cores, 4 of 4, 1 of 8")
        .detail(POLICIES, measured))
}

fn rules(only: &[Rule]) -> Vec<Rule> {
    if !only.is_empty() {
        return only.to_vec();
    }
    let queues = QueueOrder::ALL.iter().copied().map(Rule::Queue);
    // Without backfill is what the orders are.
    let backfills = Backfill::ALL.iter().copied().filter(|backfill| *backfill != Backfill::None).map(Rule::Backfill);
    let placements = PlacementOrder::ALL.iter().copied().map(Rule::Placement);
    queues.chain(backfills).chain(placements).chain(Rebalance::ALL.iter().copied().map(Rule::Rebalance)).collect()
}

fn policy_of(rule: Rule) -> Policy {
    let plain = Policy { queue: QueueOrder::Fifo, ..Policy::default() };
    match rule {
        Rule::Queue(queue) => Policy { queue, quantum: Quantum::try_from(QUANTUM).unwrap_or_default(), ..plain },
        Rule::Backfill(backfill) => Policy { backfill, ..plain },
        Rule::Placement(placement) => Policy { placement, ..plain },
        // All of it at once: the run is short.
        Rule::Rebalance(rebalance) => {
            Policy { rebalance, rebalance_share: RebalanceShare::try_from(1_000).unwrap_or_default(), ..plain }
        }
    }
}

const fn load_of(rule: Rule) -> f64 {
    match rule {
        Rule::Queue(_) | Rule::Backfill(_) => CROWDED,
        Rule::Placement(_) | Rule::Rebalance(_) => HALF_LOADED,
    }
}

fn name_of(rule: Rule) -> &'static str {
    match rule {
        Rule::Queue(queue) => queue.as_str(),
        Rule::Backfill(backfill) => backfill.as_str(),
        Rule::Placement(placement) => placement.as_str(),
        Rule::Rebalance(Rebalance::Off) => "rebalance=off",
        Rule::Rebalance(Rebalance::On) => "rebalance=on",
    }
}

/// The same for the same seed and load.
fn work(seed: u64, load: f64) -> Vec<Work> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut work = Vec::new();
    let mut left = CORES * load * ARRIVALS.as_secs_f64() * 1000.0;
    while left > 0.0 {
        let next = one(&mut random, work.len());
        left -= next.core_ms as f64;
        work.push(next);
    }
    work.sort_by_key(|work| work.at);
    work
}

fn one(random: &mut StdRng, nth: usize) -> Work {
    let at = ARRIVALS.mul_f64(random.random_range(0.0..1.0));
    // Evenly in the logarithm: as many from 0.2 to 0.4 s as from 2 to 4 s.
    let run_ms = RUN_MS.0 * (RUN_MS.1 / RUN_MS.0).powf(random.random_range(0.0..1.0));
    let run_ms = run_ms as u64;
    let cores = pick(random, &REQUESTS);
    let namespace = pick(random, &NAMESPACES);
    let priority: u32 = random.random_range(0..=100);
    // An order, and long enough for all to keep it: who misses it fails.
    let slack_s: u64 = random.random_range(60..=120);
    let task = json!({
        "name": "main",
        "command": ["sleep", format!("{}.{:03}", run_ms / 1000, run_ms % 1000)],
        "resources": {"cpu": cores},
        "expected": format!("{run_ms}ms"),
    });
    let job = json!({
        "name": format!("work-{}", nth % 8), "namespace": namespace, "priority": priority,
        "deadline": format!("{slack_s}s"), "tasks": [task],
    });
    Work { at, core_ms: run_ms * cores, job }
}

/// One of several, each as often as it weighs in a hundred.
fn pick<T: Copy>(random: &mut StdRng, of: &[(T, u32)]) -> T {
    let mut drawn: u32 = random.random_range(0..of.iter().map(|(_, weight)| weight).sum());
    for (value, weight) in of {
        match drawn.checked_sub(*weight) {
            Some(left) => drawn = left,
            None => return *value,
        }
    }
    of[0].0
}

/// A task for each core of the workers that are there first.
fn long_work() -> Vec<Work> {
    let task = json!({"command": ["sleep", (LONG_RUN.0 / 1000).to_string()], "movable": true});
    let one = || Work { at: Duration::ZERO, core_ms: LONG_RUN.0, job: json!({"name": "long", "tasks": [task]}) };
    std::iter::repeat_with(one).take(JOINING_CORES as usize).collect()
}

/// Has it done, and asks what was measured. As many workers again join after `join_after`.
async fn play(
    bench: &Bench,
    policy: &Policy,
    work: &[Work],
    workers: &[(u16, u64)],
    join_after: Option<Duration>,
) -> anyhow::Result<SchedulingView> {
    let Policy { queue, backfill, placement, rebalance, .. } = policy;
    let folder = format!("policies-{queue}-{backfill}-{placement}-{rebalance}");
    let mut cluster: ProcessCluster = bench.cluster(&folder).await?;
    let client = cluster.client()?;
    let change = PolicyRequest {
        queue: Some(policy.queue),
        backfill: Some(BackfillRequest::Named(policy.backfill)),
        placement: Some(policy.placement),
        spread_label: Some(policy.spread_label.clone()),
        quantum: Some(policy.quantum),
        rebalance: Some(policy.rebalance),
        rebalance_share: Some(policy.rebalance_share),
    };
    client.change_policy(change).await?;
    start(&mut cluster, workers).await?;
    let submitted = submit(&client, work).await?;
    if let Some(after) = join_after {
        tokio::time::sleep(after).await;
        start(&mut cluster, workers).await?;
    }
    for id in submitted {
        let view = client.wait_job(id, Some(END_WITHIN)).await?;
        ensure!(view.state == JobState::Succeeded, "job {id} is {} after {END_WITHIN:?}", view.state);
    }
    let view = client.scheduling(None::<&Name>, Some(Window::Hour)).await?;
    let counted = view.windows.first().map_or(0, |window| window.finished.succeeded);
    ensure!(counted == work.len() as u64, "{counted} tasks of {} were measured", work.len());
    cluster.stop().await;
    Ok(view)
}

async fn start(cluster: &mut ProcessCluster, workers: &[(u16, u64)]) -> anyhow::Result<()> {
    for (count, cores) in workers {
        cluster.start_workers(*count, &WorkerSize { cpu_millis: Some(cores * 1000) }).await?;
    }
    Ok(())
}

/// Each in its time.
async fn submit(client: &Client, work: &[Work]) -> anyhow::Result<Vec<JobId>> {
    let started = Instant::now();
    let mut submitted = Vec::new();
    for Work { at, job, .. } in work {
        tokio::time::sleep(at.saturating_sub(started.elapsed())).await;
        submitted.push(client.submit(job, None).await?.id);
    }
    Ok(submitted)
}

fn entry(rule: Rule, policy: &Policy, load: f64, view: &SchedulingView) -> Value {
    let Some(window) = view.windows.first() else { return Value::Null };
    let WindowView { finished, wait_s, .. } = window;
    let number = |value: Option<f64>| value.map(rounded);
    json!({
        "rule": name_of(rule),
        "policy": policy,
        "load": load,
        "tasks": finished.succeeded,
        "atct_s": number(window.average_task_completion_time_s),
        "wait_p50_s": number(wait_s.map(|wait| wait.p50)),
        "wait_p90_s": number(wait_s.map(|wait| wait.p90)),
        "wait_p99_s": number(wait_s.map(|wait| wait.p99)),
        "bounded_slowdown": number(window.bounded_slowdown),
        "cpu_utilisation": number(window.resource_utilisation.get("cpu").copied()),
        "load_balance_degree": number(window.load_balance_degree.as_ref().and_then(|all| all.get("cpu")).copied()),
        "fairness": number(window.fairness),
        "queue_mean": rounded(window.queue_length.mean),
    })
}

/// The entries of a report for people.
pub(crate) fn table(entries: &Value) -> String {
    const COLUMNS: &[Column] = &[
        Column::Left("POLICY"),
        Column::Right("TASKS"),
        Column::Right("ATCT (S)"),
        Column::Right("WAIT P50"),
        Column::Right("P90"),
        Column::Right("P99"),
        Column::Right("SLOWDOWN"),
        Column::Right("UTILISATION"),
        Column::Right("BALANCE"),
        Column::Right("FAIRNESS"),
        Column::Right("QUEUE"),
    ];
    let mut table = Table::new(COLUMNS);
    for entry in entries.as_array().into_iter().flatten() {
        let figure = |name: &str| match &entry[name] {
            Value::Null => "-".to_owned(),
            number => number.to_string(),
        };
        let rule = entry["rule"].as_str().unwrap_or("-").to_owned();
        let numbers = [
            "tasks",
            "atct_s",
            "wait_p50_s",
            "wait_p90_s",
            "wait_p99_s",
            "bounded_slowdown",
            "cpu_utilisation",
            "load_balance_degree",
            "fairness",
            "queue_mean",
        ];
        table.row(std::iter::once(rule).chain(numbers.iter().map(|name| figure(name))));
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_work_again() {
        let of = |seed, load| work(seed, load).iter().map(|work| (work.at, work.job.to_string())).collect::<Vec<_>>();
        assert_eq!(of(1, CROWDED), of(1, CROWDED));
        assert_ne!(of(1, CROWDED), of(2, CROWDED));
        let core_s: f64 = work(1, HALF_LOADED).iter().map(|work| work.core_ms as f64 / 1000.0).sum();
        let wanted = CORES * HALF_LOADED * ARRIVALS.as_secs_f64();
        assert!((wanted..wanted + 32.0).contains(&core_s), "{core_s} of {wanted}");
    }

    #[test]
    fn all_policies_are_there_once() {
        let names: Vec<&str> = rules(&[]).into_iter().map(name_of).collect();
        let all = QueueOrder::ALL.len() + Backfill::ALL.len() - 1 + PlacementOrder::ALL.len() + Rebalance::ALL.len();
        assert_eq!(names.len(), all);
        assert!(names.contains(&"sjf") && names.contains(&"easy") && names.contains(&"least-load"), "{names:?}");
    }
}
