//! Answers, made of sums.

use std::collections::BTreeMap;

use quorate_types::scheduling::{QueueView, SchedulingView, WaitView, Window, WindowView};
use quorate_types::{Name, Timestamp};

use super::fairness::{self, Share};
use super::fleet::{Balance, Supply};
use super::kinds::Work;
use super::meter::Meter;
use super::ring;
use super::scope::{Scope, Tally};

/// What a window is about.
struct Frame {
    window: Window,
    from: Timestamp,
    ms: f64,
    supply: Supply,
}

impl Meter {
    /// What is known by the time of the last `on_time`: of a namespace, or of everything.
    pub(super) fn report(&self, namespace: Option<&Name>, windows: &[Window]) -> SchedulingView {
        let empty = |since| Scope::new(since, self.now);
        let (scope, level) = match namespace {
            None => (self.cluster.clone(), self.level),
            Some(name) => {
                let scope = self.spaces.scope(name).cloned();
                let scope = scope.unwrap_or_else(|| empty(self.spaces.since_of_others(self.since)));
                (scope, self.spaces.level(name))
            }
        };
        let windows = windows.iter().map(|window| {
            let frame = self.frame(*window, scope.since);
            let tally = scope.sum(*window, self.now);
            match namespace {
                None => self.of_cluster(&frame, &tally),
                Some(_) => self.of_namespace(&frame, &tally),
            }
        });
        SchedulingView {
            since: scope.since,
            until: self.now,
            namespace: namespace.cloned(),
            queued: level.queued,
            running: level.running,
            workers: self.fleet.workers(),
            windows: windows.collect(),
        }
    }

    fn frame(&self, window: Window, since: Timestamp) -> Frame {
        let from = ring::beginning(window, self.now).max(since);
        Frame { window, from, ms: self.now.since(from).0 as f64, supply: self.fleet.supply(window, self.now) }
    }

    fn of_cluster(&self, frame: &Frame, tally: &Tally) -> WindowView {
        let balances: Vec<(&str, Balance)> = self
            .kinds
            .names()
            .filter_map(|(at, kind)| Some((kind, self.fleet.balance(at, frame.window, self.now)?)))
            .collect();
        let by_kind =
            |of: fn(&Balance) -> f64| balances.iter().map(|(kind, it)| ((*kind).to_owned(), of(it))).collect();
        WindowView {
            resource_utilisation: by_kind(|balance| balance.utilisation),
            load_balance_degree: Some(by_kind(|balance| balance.degree)),
            fairness: self.fairness(frame),
            ..view(frame, tally)
        }
    }

    fn of_namespace(&self, frame: &Frame, tally: &Tally) -> WindowView {
        let part = |(at, kind): (usize, &str)| {
            let all = frame.supply.capacity[at];
            (all > 0.0).then(|| (kind.to_owned(), (tally.held[at] / all).clamp(0.0, 1.0)))
        };
        let resource_utilisation: BTreeMap<String, f64> = self.kinds.names().filter_map(part).collect();
        WindowView { resource_utilisation, ..view(frame, tally) }
    }

    /// By dominant shares: the largest part that a namespace has of any kind of resource.
    fn fairness(&self, frame: &Frame) -> Option<f64> {
        let capacity = &frame.supply.capacity;
        let shares = self.spaces.scopes().map(|(_, scope)| {
            let tally = scope.sum(frame.window, self.now);
            let mut wanted = tally.held;
            super::kinds::add_all(&mut wanted, &tally.wanted);
            Share { got: dominant(&tally.held, capacity), wanted: dominant(&wanted, capacity) }
        });
        fairness::index(&shares.collect::<Vec<_>>())
    }
}

fn dominant(work: &Work, capacity: &Work) -> f64 {
    let parts = work.iter().zip(capacity).filter(|(_, all)| **all > 0.0).map(|(part, all)| part / all);
    parts.fold(0.0, f64::max)
}

/// What a namespace and the cluster have in common.
fn view(frame: &Frame, tally: &Tally) -> WindowView {
    let tasks = tally.tasks() as f64;
    let mean = |sum: f64| (tasks > 0.0).then(|| sum / tasks);
    let over_time = |sum: f64| if frame.ms > 0.0 { (sum / frame.ms).max(0.0) } else { 0.0 };
    let seconds = |ms: f64| ms / 1000.0;
    let percentile = |part| tally.waits.quantile(part).map(seconds);
    let wait = || {
        let (mean, p50, p90) = (mean(seconds(tally.wait_ms as f64))?, percentile(0.5)?, percentile(0.9)?);
        Some(WaitView { mean, p50, p90, p99: percentile(0.99)? })
    };
    let workers_ms = frame.supply.workers_ms;
    WindowView {
        window: frame.window,
        from: frame.from,
        finished: tally.finished,
        throughput_per_s: over_time(tasks) * 1000.0,
        average_task_completion_time_s: mean(seconds(tally.completion_ms as f64)),
        wait_s: wait(),
        bounded_slowdown: mean(tally.slowdown),
        resource_utilisation: BTreeMap::new(),
        load_balance_degree: None,
        load: (workers_ms > 0.0).then(|| (tally.queued_ms + tally.running_ms).max(0.0) / workers_ms),
        fairness: None,
        queue_length: QueueView { mean: over_time(tally.queued_ms), max: tally.queued_max },
        running: over_time(tally.running_ms),
    }
}
