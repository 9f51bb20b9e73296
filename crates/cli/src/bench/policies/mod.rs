//! What each policy does: the same seeded work on a fresh cluster of mixed workers for each, and what
//! `/v1/scheduling` says of it afterwards.
//!
//! Orders of the queue and backfills have more work than there is room for; some also long tasks that fill everything
//! before short ones come. Placements have half of what there is room for, since where everything is full there is
//! nothing to choose; two of them also bursts of tasks that all prefer one zone, some of them more than others.
//! Rebalancing has long tasks, and workers that join when all run.
//!
//! Layout: `work` (what is done), `table` (what people read).

mod table;
mod work;

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use quorate_client::{Client, LineOutcome};
use quorate_types::policy::{
    Backfill, BackfillRequest, PlacementOrder, Policy, PolicyRequest, Quantum, QueueOrder, Rebalance, RebalanceShare,
};
use quorate_types::scheduling::{SchedulingView, Window, WindowView};
use quorate_types::status::JobState;
use quorate_types::{JobId, Name, Span, Timestamp};
use serde_json::{Value, json};

use super::Bench;
use super::report::{Report, rounded};
use crate::args::Rule;
use crate::cluster_process::{ProcessCluster, WorkerSize};
pub(crate) use table::table;
use work::{Arrivals, PREFERRED, Work, long_first, long_work, work};

/// How many workers of how many cores: forty in all.
const WORKERS: [(u16, u64); 3] = [(8, 2), (4, 4), (1, 8)];
/// The zones of the workers, in turn, as they start: of 18, 10 and 12 cores.
const ZONES: &[&str] = &["a", "b", "c"];
/// Those that are there when the work for rebalancing comes, and as many that join while it is done.
const JOINING: [(u16, u64); 1] = [(4, 8)];
/// When they join.
const JOIN_AFTER: Duration = Duration::from_secs(3);
/// Turns of `round-robin`: of the run times, a good part is shorter.
const QUANTUM: Span = Span::from_secs(1);
/// Work that comes, over what the workers can do meanwhile.
const CROWDED: f64 = 1.6;
const HALF_LOADED: f64 = 0.5;
const END_WITHIN: Duration = Duration::from_secs(120);
/// Of the report: one entry for each policy.
pub(crate) const POLICIES: &str = "policies";

/// When a task ran, and in which of [`ZONES`].
struct Ran {
    zone: usize,
    from: Timestamp,
    to: Timestamp,
}

/// What came of it.
struct Played {
    view: SchedulingView,
    /// See [`in_one_zone`].
    in_one_zone: f64,
    /// Of the weights of all preferences those that were met; none where nothing was preferred.
    preferred: Option<f64>,
}

pub(super) async fn run(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    let mut measured = Vec::new();
    let mut means = Vec::new();
    for rule in rules(&bench.args.only) {
        let (policy, load) = (policy_of(rule), load_of(rule));
        let work = match rule {
            Rule::Rebalance(_) => long_work(),
            Rule::LongFirst(_) => long_first(bench.args.seed),
            Rule::Queue(_) | Rule::Backfill(_) | Rule::Placement(_) => work(bench.args.seed, load, Arrivals::Steady),
            Rule::Preferring(_) => work(bench.args.seed, load, Arrivals::Bursts),
        };
        let played = match rule {
            Rule::Rebalance(_) => play(bench, &policy, &work, &JOINING, Some(JOIN_AFTER)).await?,
            Rule::Queue(_) | Rule::LongFirst(_) | Rule::Backfill(_) | Rule::Placement(_) | Rule::Preferring(_) => {
                play(bench, &policy, &work, &WORKERS, None).await?
            }
        };
        let entry = entry(rule, &policy, load, &played);
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
    let preferring = [PlacementOrder::LeastLoad, PlacementOrder::MinCostFlow].map(Rule::Preferring);
    let rebalances = Rebalance::ALL.iter().copied().map(Rule::Rebalance);
    let long_first = [QueueOrder::Fifo, QueueOrder::RoundRobin, QueueOrder::Srtf].map(Rule::LongFirst);
    queues.chain(long_first).chain(backfills).chain(placements).chain(preferring).chain(rebalances).collect()
}

fn policy_of(rule: Rule) -> Policy {
    let plain = Policy { queue: QueueOrder::Fifo, ..Policy::default() };
    match rule {
        Rule::Queue(queue) | Rule::LongFirst(queue) => {
            Policy { queue, quantum: Quantum::try_from(QUANTUM).unwrap_or_default(), ..plain }
        }
        Rule::Backfill(backfill) => Policy { backfill, ..plain },
        Rule::Placement(placement) | Rule::Preferring(placement) => Policy { placement, ..plain },
        // All of it at once: the run is short.
        Rule::Rebalance(rebalance) => {
            Policy { rebalance, rebalance_share: RebalanceShare::try_from(1_000).unwrap_or_default(), ..plain }
        }
    }
}

const fn load_of(rule: Rule) -> f64 {
    match rule {
        Rule::Queue(_) | Rule::LongFirst(_) | Rule::Backfill(_) => CROWDED,
        Rule::Placement(_) | Rule::Preferring(_) | Rule::Rebalance(_) => HALF_LOADED,
    }
}

fn name_of(rule: Rule) -> String {
    let name = match rule {
        Rule::Queue(queue) => queue.as_str(),
        Rule::LongFirst(queue) => return format!("long-first={queue}"),
        Rule::Backfill(backfill) => backfill.as_str(),
        Rule::Placement(placement) => placement.as_str(),
        Rule::Preferring(placement) => return format!("preferring={placement}"),
        Rule::Rebalance(Rebalance::Off) => "rebalance=off",
        Rule::Rebalance(Rebalance::On) => "rebalance=on",
    };
    name.to_owned()
}

/// Has it done, and asks what was measured. As many workers again join after `join_after`.
async fn play(
    bench: &Bench,
    policy: &Policy,
    work: &[Work],
    workers: &[(u16, u64)],
    join_after: Option<Duration>,
) -> anyhow::Result<Played> {
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
    for id in &submitted {
        let view = client.wait_job(*id, Some(END_WITHIN)).await?;
        ensure!(view.state == JobState::Succeeded, "job {id} is {} after {END_WITHIN:?}", view.state);
    }
    let ran = where_they_ran(&client, &submitted).await?;
    let view = client.scheduling(None::<&Name>, Some(Window::Hour)).await?;
    let counted = view.windows.first().map_or(0, |window| window.finished.succeeded);
    ensure!(counted == work.len() as u64, "{counted} tasks of {} were measured", work.len());
    cluster.stop().await;
    let preferring: u64 = work.iter().map(|work| work.weight).sum();
    let met = work.iter().zip(&ran).filter(|(_, ran)| ZONES[ran.zone] == PREFERRED).map(|(work, _)| work.weight);
    let preferred = (preferring > 0).then(|| met.sum::<u64>() as f64 / preferring as f64);
    Ok(Played { view, preferred, in_one_zone: in_one_zone(&ran) })
}

/// Where and when each job of one task ran at last.
async fn where_they_ran(client: &Client, jobs: &[JobId]) -> anyhow::Result<Vec<Ran>> {
    let mut all = Vec::new();
    for id in jobs {
        let tasks = client.all_tasks(*id).await?;
        let task = tasks.first().context("a job without a task")?;
        let worker = task.worker.as_ref().context("a job that ran nowhere")?;
        let number = worker.as_str().rsplit('-').next().and_then(|number| number.parse::<usize>().ok());
        let number = number.with_context(|| format!("the number of {worker}"))?;
        let (from, to) = task.started_at.zip(task.finished_at).context("a job that did not end")?;
        all.push(Ran { zone: (number - 1) % ZONES.len(), from, to });
    }
    Ok(all)
}

/// The part of what runs that is in the zone where most is, over time, weighed by how much runs.
fn in_one_zone(all: &[Ran]) -> f64 {
    let starts = all.iter().map(|ran| (ran.from, 1, ran.zone));
    let mut changes: Vec<(Timestamp, i64, usize)> =
        starts.chain(all.iter().map(|ran| (ran.to, -1, ran.zone))).collect();
    changes.sort_unstable();
    let (mut running, mut since) = (vec![0_i64; ZONES.len()], Timestamp(0));
    let (mut most, mut sum) = (0.0, 0.0);
    for (at, change, zone) in changes {
        let span = at.since(since).0 as f64;
        most += running.iter().max().map_or(0.0, |most| *most as f64) * span;
        sum += running.iter().sum::<i64>() as f64 * span;
        running[zone] += change;
        since = at;
    }
    most / sum
}

async fn start(cluster: &mut ProcessCluster, workers: &[(u16, u64)]) -> anyhow::Result<()> {
    for (count, cores) in workers {
        cluster.start_workers(*count, &WorkerSize { cpu_millis: Some(cores * 1000), zones: ZONES }).await?;
    }
    Ok(())
}

/// Each in its time, and together what comes together.
async fn submit(client: &Client, work: &[Work]) -> anyhow::Result<Vec<JobId>> {
    let started = Instant::now();
    let mut submitted = Vec::new();
    for burst in work.chunk_by(|a, b| a.at == b.at) {
        tokio::time::sleep(burst[0].at.saturating_sub(started.elapsed())).await;
        let lines: Vec<Bytes> = burst.iter().map(|work| work.job.to_string().into()).collect();
        for outcome in client.submit_lines(&lines).await? {
            match outcome {
                LineOutcome::Accepted { id, .. } => submitted.push(id),
                LineOutcome::Rejected { error } => bail!("a job was refused: {error}"),
            }
        }
    }
    Ok(submitted)
}

fn entry(rule: Rule, policy: &Policy, load: f64, played: &Played) -> Value {
    let Some(window) = played.view.windows.first() else { return Value::Null };
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
        "in_one_zone": rounded(played.in_one_zone),
        "preferred": number(played.preferred),
    })
}

#[cfg(test)]
mod tests {
    use super::work::{ARRIVALS, CORES};
    use super::*;

    #[test]
    fn a_seed_makes_the_same_work_again() {
        let of = |seed, load, arrivals| {
            let work = work(seed, load, arrivals);
            work.iter().map(|work| (work.at, work.job.to_string())).collect::<Vec<_>>()
        };
        for arrivals in [Arrivals::Steady, Arrivals::Bursts] {
            assert_eq!(of(1, CROWDED, arrivals), of(1, CROWDED, arrivals));
            assert_ne!(of(1, CROWDED, arrivals), of(2, CROWDED, arrivals));
        }
        let bursts = work(1, HALF_LOADED, Arrivals::Bursts);
        let core_s: f64 = bursts.iter().map(|work| work.core_ms as f64 / 1000.0).sum();
        let wanted = CORES * HALF_LOADED * ARRIVALS.as_secs_f64();
        assert!((wanted..wanted + 32.0).contains(&core_s), "{core_s} of {wanted}");
        // Ten bursts of several, in which all want the same and not as much as each other.
        assert!(bursts.chunk_by(|a, b| a.at == b.at).count() <= 10);
        assert!(bursts.iter().all(|work| (1..=100).contains(&work.weight)));
    }

    #[test]
    fn how_much_is_in_one_zone_is_a_mean_over_time() {
        let ran = |zone, from, to| Ran { zone, from: Timestamp(from), to: Timestamp(to) };
        assert_eq!(in_one_zone(&[ran(0, 0, 10), ran(1, 0, 10), ran(2, 0, 10)]), 1.0 / 3.0);
        // Two in one zone for ten, then one in each of two for ten more.
        assert_eq!(in_one_zone(&[ran(0, 0, 20), ran(0, 0, 10), ran(1, 10, 20)]), 0.75);
    }

    #[test]
    fn all_policies_are_there_once() {
        let names: Vec<String> = rules(&[]).into_iter().map(name_of).collect();
        let all =
            QueueOrder::ALL.len() + Backfill::ALL.len() - 1 + PlacementOrder::ALL.len() + 5 + Rebalance::ALL.len();
        assert_eq!(names.len(), all);
        for name in ["sjf", "easy", "least-load", "preferring=min-cost-flow"] {
            assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
        }
    }
}
