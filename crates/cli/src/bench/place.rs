//! Decisions a second, by policy and number of workers, on one core and without a cluster: what a leader's round costs
//! before anything is written; where there is room for all, and behind a full cluster, where each start has to wait for
//! an end.

use std::time::{Duration, Instant};

use anyhow::ensure;
use quorate_sim::lab::churn::Churn;
use quorate_sim::lab::claims::Claims;
use quorate_sim::lab::decisions::{BATCH, Decisions};
use quorate_types::policy::{Backfill, PlacementOrder, Policy, QueueOrder};
use serde_json::{Map, Value};

use super::Bench;
use super::report::{Report, median, rounded};
use crate::args::Rule;

const WORKERS: [u64; 3] = [100, 1_000, 10_000];
/// Tasks that wait behind a full cluster, for each of its workers.
const WAITING: u64 = 100;
/// Rounds before those that count, so that the queue's head waits for room as it will from then on.
const WARM_ROUNDS: usize = 20;
/// Orders under which preemption is measured: by priority, and by the time that is left.
const CLAIMING: [QueueOrder; 2] = [QueueOrder::Priority, QueueOrder::Srtf];
/// The same for preemption, whose index takes some rounds to be built.
const WARM_CLAIMS: usize = 100;
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
            let runs = measured.rates(workers, bench.args.runs())?;
            by_workers.insert(workers.to_string(), median(&runs).into());
            if workers == WORKERS[WORKERS.len() - 1] && measured.has_room() {
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
    /// Behind a full cluster.
    Full(QueueOrder),
    /// The same.
    FullWith(Backfill),
    /// What ends for whom.
    Claims(QueueOrder),
}

impl Measured {
    fn name(self) -> String {
        match self {
            Self::Placement(placement) => placement.to_string(),
            Self::Queue(queue) => format!("queue {queue}"),
            Self::Backfill(backfill) => format!("backfill {backfill}"),
            Self::Full(queue) => format!("full cluster, queue {queue}"),
            Self::FullWith(backfill) => format!("full cluster, backfill {backfill}"),
            Self::Claims(queue) => format!("preemption, queue {queue}"),
        }
    }

    /// Whether everything has a place at once.
    fn has_room(self) -> bool {
        match self {
            Self::Placement(_) | Self::Queue(_) | Self::Backfill(_) => true,
            Self::Full(_) | Self::FullWith(_) | Self::Claims(_) => false,
        }
    }

    fn policy(self) -> Policy {
        let policy = Policy::default();
        match self {
            Self::Placement(placement) => Policy { placement, ..policy },
            Self::Queue(queue) | Self::Full(queue) | Self::Claims(queue) => Policy { queue, ..policy },
            Self::Backfill(backfill) | Self::FullWith(backfill) => Policy { backfill, ..policy },
        }
    }

    /// Decisions a second of each run.
    fn rates(self, workers: u64, runs: u32) -> anyhow::Result<Vec<f64>> {
        match self {
            Self::Placement(_) => in_batches(Decisions::new(self.policy(), workers), runs),
            Self::Queue(_) | Self::Backfill(_) => in_batches(Decisions::ordered(self.policy(), workers), runs),
            Self::Full(_) | Self::FullWith(_) => in_turn(Churn::new(self.policy(), workers, WAITING * workers), runs),
            Self::Claims(queue) => of_claims(Claims::new(queue, workers)?, runs),
        }
    }
}

fn measured(only: &[Rule]) -> Vec<Measured> {
    if only.is_empty() {
        let placements = PlacementOrder::ALL.iter().map(|placement| Measured::Placement(*placement));
        let queues = QueueOrder::ALL.iter().map(|queue| Measured::Queue(*queue));
        let backfills = Backfill::ALL.iter().map(|backfill| Measured::Backfill(*backfill));
        let full = QueueOrder::ALL.iter().map(|queue| Measured::Full(*queue));
        let full_with = Backfill::ALL.iter().map(|backfill| Measured::FullWith(*backfill));
        let claims = CLAIMING.map(Measured::Claims);
        return placements.chain(queues).chain(backfills).chain(full).chain(full_with).chain(claims).collect();
    }
    let mut measured = Vec::new();
    for rule in only {
        match rule {
            Rule::Placement(placement) => measured.push(Measured::Placement(*placement)),
            Rule::Queue(queue) => {
                // A placement may have the name of an order: then both are meant.
                measured.extend(queue.as_str().parse().ok().map(Measured::Placement));
                measured.extend([Measured::Queue(*queue), Measured::Full(*queue)]);
                measured.extend(CLAIMING.contains(queue).then_some(Measured::Claims(*queue)));
            }
            Rule::Backfill(backfill) => {
                measured.extend([Measured::Backfill(*backfill), Measured::FullWith(*backfill)]);
            }
            Rule::LongFirst(_) | Rule::Due(_) | Rule::Workflows(_) => {}
            Rule::Preferring(_) | Rule::Keyed(_) | Rule::Rebalance(_) => {}
        }
    }
    measured
}

/// What is decided from the same state again and again.
fn in_batches(mut decisions: Decisions, runs: u32) -> anyhow::Result<Vec<f64>> {
    let mut batch = || -> anyhow::Result<(usize, Duration)> {
        let started = Instant::now();
        let made = decisions.decide();
        let took = started.elapsed();
        ensure!(made == BATCH, "{made} decisions instead of {BATCH}");
        decisions.take_back();
        Ok((made, took))
    };
    let _ = batch()?;
    rates(runs, batch)
}

/// What is decided whenever something ends, with all that the book is told meanwhile.
fn in_turn(mut churn: Churn, runs: u32) -> anyhow::Result<Vec<f64>> {
    let started: usize = (0..WARM_ROUNDS).map(|_| churn.round()).sum();
    ensure!(started > 0, "nothing starts");
    rates(runs, || {
        let started = Instant::now();
        let made = churn.round();
        Ok((made, started.elapsed()))
    })
}

/// Rounds in which others have to end for one task.
fn of_claims(mut claims: Claims, runs: u32) -> anyhow::Result<Vec<f64>> {
    // The first rounds look at all that runs.
    let found = (0..WARM_CLAIMS).map(|_| claims.claim()).collect::<Result<Vec<_>, _>>()?;
    ensure!(found.iter().any(|(_, ended)| *ended > 0), "nothing is to end");
    rates(runs, || {
        let (took, ended) = claims.claim()?;
        ensure!(ended > 0, "nothing is to end");
        Ok((1, took))
    })
}

/// Each run takes a while at least.
fn rates(runs: u32, mut decide: impl FnMut() -> anyhow::Result<(usize, Duration)>) -> anyhow::Result<Vec<f64>> {
    let mut rates = Vec::new();
    for _ in 0..runs {
        let (mut all, mut took) = (0, Duration::ZERO);
        while took < RUN_MIN {
            let (made, more) = decide()?;
            (all, took) = (all + made, took + more);
        }
        rates.push(rounded(all as f64 / took.as_secs_f64()));
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
