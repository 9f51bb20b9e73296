//! What is said of a schedule in numbers, added up job by job.
//!
//! Wait, bounded slowdown, makespan and utilisation as in Feitelson, "Metrics for Parallel Job Scheduling and Their
//! Convergence" (JSSPP 2001); the means are plain ones over all jobs.

use hdrhistogram::Histogram;
use quorate_types::Timestamp;
use serde::Serialize;

use super::job::{Machine, Record, Totals};

/// Below this a job counts as that long in its slowdown, so that the shortest ones do not rule the mean
/// (Feitelson and Rudolph, JSSPP 1998).
const SLOWDOWN_THRESHOLD_MS: u64 = 10_000;
/// Percentiles are exact to three digits.
const DIGITS: u8 = 3;
/// Five hundred years; longer waits count as that in percentiles.
const WAIT_MS_MAX: u64 = 1 << 44;

/// A schedule in numbers. Times in seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Jobs that finished.
    pub jobs: u64,
    /// From the first submission to the last end.
    pub makespan_s: f64,
    /// Start − submission; of a job that was interrupted, the start of the attempt that finished.
    pub mean_wait_s: f64,
    pub max_wait_s: f64,
    pub wait_p50_s: f64,
    pub wait_p90_s: f64,
    pub wait_p95_s: f64,
    pub wait_p99_s: f64,
    /// max(1, (wait + run) / max(10 s, run)).
    pub mean_bounded_slowdown: f64,
    pub max_bounded_slowdown: f64,
    /// Cores × run time of all jobs over cores × makespan. What was lost to failures is not use.
    pub utilisation: f64,
    /// Average task completion time: the mean of end − submission.
    pub atct_s: f64,
    /// The mean over the machines of |RUᵢ − mean RU|, RUᵢ being the utilisation of machine i; 0 is perfect balance.
    pub load_balance_degree: f64,
    /// The most jobs that waited at once.
    pub queued_max: u64,
    /// Failures of machines.
    pub failures: u64,
    /// Attempts that failures ended.
    pub interrupted: u64,
    /// How long those had run.
    pub lost_s: f64,
    /// The same times their cores.
    pub lost_core_s: f64,
}

/// Adds up records.
#[derive(Debug)]
pub struct Metrics {
    /// Of each machine: its millicores, and millicores × milliseconds that jobs used.
    machines: Vec<(u64, u128)>,
    jobs: u64,
    first_submission: Timestamp,
    last_end: Timestamp,
    wait_ms: u128,
    completion_ms: u128,
    waits_ms: Histogram<u64>,
    max_wait_ms: u64,
    slowdown: Sum,
    max_slowdown: f64,
    interrupted: u64,
    lost_ms: u128,
    lost_work: u128,
}

impl Metrics {
    pub fn new(machines: &[Machine]) -> Self {
        Self {
            machines: machines.iter().map(|machine| (machine.capacity.cpu_millis, 0)).collect(),
            jobs: 0,
            first_submission: Timestamp(u64::MAX),
            last_end: Timestamp(0),
            wait_ms: 0,
            completion_ms: 0,
            waits_ms: Histogram::new_with_max(WAIT_MS_MAX, DIGITS).expect("three digits are possible"),
            max_wait_ms: 0,
            slowdown: Sum::default(),
            max_slowdown: 0.0,
            interrupted: 0,
            lost_ms: 0,
            lost_work: 0,
        }
    }

    pub fn observe(&mut self, record: &Record) {
        let (wait_ms, run_ms) = (wait_ms(record), run_ms(record));
        let slowdown = bounded_slowdown(record);
        self.jobs += 1;
        self.first_submission = self.first_submission.min(record.submitted);
        self.last_end = self.last_end.max(record.finished);
        self.wait_ms += u128::from(wait_ms);
        self.completion_ms += u128::from(record.finished.since(record.submitted).0);
        self.waits_ms.saturating_record(wait_ms);
        self.max_wait_ms = self.max_wait_ms.max(wait_ms);
        self.slowdown.add(slowdown);
        self.max_slowdown = self.max_slowdown.max(slowdown);
        self.interrupted += u64::from(record.interrupted);
        self.lost_ms += u128::from(record.lost.0);
        self.lost_work += u128::from(record.lost.0) * u128::from(record.request.cpu_millis);
        if let Some((_, used)) = self.machines.get_mut(record.machine as usize) {
            *used += u128::from(run_ms) * u128::from(record.request.cpu_millis);
        }
    }

    pub fn summary(&self, totals: &Totals) -> Summary {
        if self.jobs == 0 {
            return Summary { failures: totals.failures, queued_max: totals.queued_max, ..Summary::default() };
        }
        let jobs = self.jobs as f64;
        let makespan_ms = self.last_end.since(self.first_submission).0;
        let percentile = |q: f64| self.waits_ms.value_at_quantile(q) as f64 / 1000.0;
        Summary {
            jobs: self.jobs,
            makespan_s: makespan_ms as f64 / 1000.0,
            mean_wait_s: self.wait_ms as f64 / 1000.0 / jobs,
            max_wait_s: self.max_wait_ms as f64 / 1000.0,
            wait_p50_s: percentile(0.5),
            wait_p90_s: percentile(0.9),
            wait_p95_s: percentile(0.95),
            wait_p99_s: percentile(0.99),
            mean_bounded_slowdown: self.slowdown.value() / jobs,
            max_bounded_slowdown: self.max_slowdown,
            utilisation: self.utilisation(makespan_ms),
            atct_s: self.completion_ms as f64 / 1000.0 / jobs,
            load_balance_degree: self.load_balance_degree(makespan_ms),
            queued_max: totals.queued_max,
            failures: totals.failures,
            interrupted: self.interrupted,
            lost_s: self.lost_ms as f64 / 1000.0,
            lost_core_s: self.lost_work as f64 / 1e6,
        }
    }

    fn utilisation(&self, makespan_ms: u64) -> f64 {
        let capacity: u128 = self.machines.iter().map(|(millis, _)| u128::from(*millis)).sum();
        let used: u128 = self.machines.iter().map(|(_, used)| used).sum();
        share(used, capacity, makespan_ms)
    }

    fn load_balance_degree(&self, makespan_ms: u64) -> f64 {
        let each = self.machines.iter().map(|(millis, used)| share(*used, u128::from(*millis), makespan_ms));
        let each: Vec<f64> = each.collect();
        let mean = each.iter().sum::<f64>() / each.len() as f64;
        each.iter().map(|share| (share - mean).abs()).sum::<f64>() / each.len() as f64
    }
}

fn share(used: u128, capacity_millis: u128, makespan_ms: u64) -> f64 {
    match capacity_millis * u128::from(makespan_ms) {
        0 => 0.0,
        most => used as f64 / most as f64,
    }
}

pub(super) fn wait_ms(record: &Record) -> u64 {
    record.started.since(record.submitted).0
}

pub(super) fn run_ms(record: &Record) -> u64 {
    record.finished.since(record.started).0
}

/// max(1, (wait + run) / max(10 s, run)).
pub(super) fn bounded_slowdown(record: &Record) -> f64 {
    let (wait, run) = (wait_ms(record) as f64, run_ms(record) as f64);
    ((wait + run) / run.max(SLOWDOWN_THRESHOLD_MS as f64)).max(1.0)
}

/// A sum that keeps what rounding would lose (Neumaier, ZAMM 1974), so that the order of the jobs does not matter.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        let (large, small) = if self.sum.abs() >= value.abs() { (self.sum, value) } else { (value, self.sum) };
        self.lost += (large - sum) + small;
        self.sum = sum;
    }

    fn value(self) -> f64 {
        self.sum + self.lost
    }
}

#[cfg(test)]
mod tests;
