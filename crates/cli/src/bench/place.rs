//! Decisions a second, by placement policy and number of workers, on one core and without a cluster: what a leader's
//! round costs before anything is written.

use std::time::{Duration, Instant};

use anyhow::ensure;
use quorate_sim::lab::decisions::{BATCH, Decisions};
use quorate_types::policy::{PlacementOrder, Policy};
use serde_json::{Map, Value};

use super::Bench;
use super::report::{Report, median, rounded};
use crate::args::Rule;

const WORKERS: [u64; 3] = [100, 1_000, 10_000];
/// Of the round that places all its tasks together: workers and tasks, no two of them alike.
const TOGETHER: (u64, u64) = (1_000, 10_000);
/// One run repeats batches for so long at least, so that the clock's grain does not count.
const RUN_MIN: Duration = Duration::from_millis(100);
/// A round in which nothing changed takes nanoseconds.
const IDLE_ROUNDS: u32 = 1_000_000;

pub(super) fn run(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    let placements = placements(&bench.args.only);
    ensure!(!placements.is_empty(), "--only names no placement");
    let mut all = Vec::new();
    let mut details = Vec::new();
    for placement in placements {
        let mut by_workers = Map::new();
        for workers in WORKERS {
            let runs = measure(placement, workers, bench.args.runs)?;
            by_workers.insert(workers.to_string(), median(&runs).into());
            if workers == WORKERS[WORKERS.len() - 1] {
                all.extend(runs);
            }
        }
        say(&format!("{placement}: {}", Value::from(by_workers.clone())));
        details.push((placement, by_workers));
    }
    let report = Report::new("place", "decisions/s on one core at 10,000 workers, each run of each placement", &all);
    let report = details
        .into_iter()
        .fold(report, |report, (placement, by_workers)| report.detail(placement.as_str(), Value::from(by_workers)));
    let report = report.detail("round_of_10000_distinct_tasks_x_1000_workers_ms", together()?);
    Ok(report.detail("nothing_changed_ns", nothing_changed()?))
}

fn placements(only: &[Rule]) -> Vec<PlacementOrder> {
    let named = only.iter().filter_map(|rule| match rule {
        Rule::Placement(placement) => Some(*placement),
        // A placement may have the name of an order, which comes first where both are meant.
        Rule::Queue(queue) => queue.as_str().parse().ok(),
        Rule::Backfill(_) | Rule::LongFirst(_) | Rule::Preferring(_) | Rule::Rebalance(_) => None,
    });
    if only.is_empty() { PlacementOrder::ALL.to_vec() } else { named.collect() }
}

/// Decisions a second of each run.
fn measure(placement: PlacementOrder, workers: u64, runs: u32) -> anyhow::Result<Vec<f64>> {
    let mut decisions = Decisions::new(Policy { placement, ..Policy::default() }, workers);
    let batch = |decisions: &mut Decisions| -> anyhow::Result<Duration> {
        let started = Instant::now();
        let made = decisions.decide();
        let took = started.elapsed();
        ensure!(made == BATCH, "{made} decisions instead of {BATCH}");
        decisions.take_back();
        Ok(took)
    };
    batch(&mut decisions)?;
    let mut rates = Vec::new();
    for _ in 0..runs {
        let (mut took, mut batches) = (Duration::ZERO, 0_u32);
        while took < RUN_MIN {
            took += batch(&mut decisions)?;
            batches += 1;
        }
        rates.push(rounded(f64::from(batches) * BATCH as f64 / took.as_secs_f64()));
    }
    Ok(rates)
}

/// A whole round under `min-cost-flow`, from scratch, in milliseconds.
fn together() -> anyhow::Result<f64> {
    let (workers, tasks) = TOGETHER;
    let mut decisions = Decisions::together(workers, tasks);
    let started = Instant::now();
    let made = decisions.decide() as u64;
    let took = started.elapsed();
    ensure!(made == tasks, "{made} decisions instead of {tasks}");
    Ok(rounded(took.as_secs_f64() * 1e3))
}

/// The cost of a round in which nothing changed, with 10,000 workers, in nanoseconds.
fn nothing_changed() -> anyhow::Result<f64> {
    let workers = WORKERS[WORKERS.len() - 1];
    let mut decisions = Decisions::new(Policy::default(), workers);
    decisions.fill(workers);
    let started = Instant::now();
    let made: usize = (0..IDLE_ROUNDS).map(|_| std::hint::black_box(&mut decisions).decide_nothing()).sum();
    let took = started.elapsed();
    ensure!(made == 0, "{made} decisions where nothing had changed");
    Ok(rounded(took.as_nanos() as f64 / f64::from(IDLE_ROUNDS)))
}
