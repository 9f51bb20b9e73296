//! Decisions a second, by policy and number of workers, on one core and without a cluster: what a leader's round costs
//! before anything is written.

use std::time::{Duration, Instant};

use anyhow::ensure;
use quorate_sim::lab::decisions::{BATCH, Decisions};
use quorate_types::policy::{Backfill, PlacementOrder, Policy, QueueOrder};
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
    let measured = measured(&bench.args.only);
    ensure!(!measured.is_empty(), "--only names no order, backfill or placement");
    let mut all = Vec::new();
    let mut details = Vec::new();
    for measured in measured {
        let mut by_workers = Map::new();
        for workers in WORKERS {
            let runs = measure(measured, workers, bench.args.runs)?;
            by_workers.insert(workers.to_string(), median(&runs).into());
            if workers == WORKERS[WORKERS.len() - 1] {
                all.extend(runs);
            }
        }
        say(&format!("{}: {}", measured.name(), Value::from(by_workers.clone())));
        details.push((measured, by_workers));
    }
    let report = Report::new("place", "decisions/s on one core at 10,000 workers, each run of each policy", &all);
    let report = details
        .into_iter()
        .fold(report, |report, (measured, by_workers)| report.detail(&measured.name(), Value::from(by_workers)));
    let report = report.detail("round_of_10000_distinct_tasks_x_1000_workers_ms", together()?);
    Ok(report.detail("nothing_changed_ns", nothing_changed()?))
}

/// What differs from the default policy.
#[derive(Clone, Copy)]
enum Measured {
    Placement(PlacementOrder),
    Queue(QueueOrder),
    Backfill(Backfill),
}

impl Measured {
    fn name(self) -> String {
        match self {
            Self::Placement(placement) => placement.to_string(),
            Self::Queue(queue) => format!("queue {queue}"),
            Self::Backfill(backfill) => format!("backfill {backfill}"),
        }
    }

    /// What is to be decided under it.
    fn decisions(self, workers: u64) -> Decisions {
        let policy = Policy::default();
        match self {
            Self::Placement(placement) => Decisions::new(Policy { placement, ..policy }, workers),
            Self::Queue(queue) => Decisions::ordered(Policy { queue, ..policy }, workers),
            Self::Backfill(backfill) => Decisions::ordered(Policy { backfill, ..policy }, workers),
        }
    }
}

fn measured(only: &[Rule]) -> Vec<Measured> {
    if only.is_empty() {
        let placements = PlacementOrder::ALL.iter().map(|placement| Measured::Placement(*placement));
        let queues = QueueOrder::ALL.iter().map(|queue| Measured::Queue(*queue));
        let backfills = Backfill::ALL.iter().map(|backfill| Measured::Backfill(*backfill));
        return placements.chain(queues).chain(backfills).collect();
    }
    let mut measured = Vec::new();
    for rule in only {
        match rule {
            Rule::Placement(placement) => measured.push(Measured::Placement(*placement)),
            Rule::Queue(queue) => {
                // A placement may have the name of an order: then both are meant.
                measured.extend(queue.as_str().parse().ok().map(Measured::Placement));
                measured.push(Measured::Queue(*queue));
            }
            Rule::Backfill(backfill) => measured.push(Measured::Backfill(*backfill)),
            Rule::LongFirst(_) | Rule::Due(_) | Rule::Workflows(_) => {}
            Rule::Preferring(_) | Rule::Keyed(_) | Rule::Rebalance(_) => {}
        }
    }
    measured
}

/// Decisions a second of each run.
fn measure(measured: Measured, workers: u64, runs: u32) -> anyhow::Result<Vec<f64>> {
    let mut decisions = measured.decisions(workers);
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
