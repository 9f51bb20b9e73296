//! The tasks of a namespace, or of the whole cluster.

use quorate_types::Timestamp;
use quorate_types::scheduling::{FinishedTasks, Window};

use super::histogram::Histogram;
use super::kinds::{Units, Work, add_all, add_work};
use super::ring::Rings;

/// Below this a task counts as that long in its slowdown, so that the shortest ones do not rule the mean (Feitelson
/// and Rudolph, JSSPP 1998). The policy lab has the same.
const SLOWDOWN_THRESHOLD_MS: u64 = 10_000;

/// What waits and runs at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Level {
    /// Tasks that could be placed, and what they ask for.
    pub(super) queued: u64,
    pub(super) wanted: Units,
    /// Tasks with an attempt, and what those hold.
    pub(super) running: u64,
    pub(super) held: Units,
}

impl Level {
    pub(super) fn add(&mut self, more: &Self) {
        self.queued += more.queued;
        self.running += more.running;
        each(&mut self.wanted, &more.wanted, u64::saturating_add);
        each(&mut self.held, &more.held, u64::saturating_add);
    }

    pub(super) fn subtract(&mut self, less: &Self) {
        self.queued = self.queued.saturating_sub(less.queued);
        self.running = self.running.saturating_sub(less.running);
        each(&mut self.wanted, &less.wanted, u64::saturating_sub);
        each(&mut self.held, &less.held, u64::saturating_sub);
    }
}

fn each(sum: &mut Units, other: &Units, change: fn(u64, u64) -> u64) {
    sum.iter_mut().zip(other).for_each(|(sum, other)| *sum = change(*sum, *other));
}

/// How a task ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Succeeded,
    Failed,
}

/// A task that ended: when it was submitted, and the last attempt's times.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) end: End,
    pub(super) submitted: Timestamp,
    pub(super) started: Timestamp,
    pub(super) finished: Timestamp,
}

/// Sums over some time.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) finished: FinishedTasks,
    pub(super) completion_ms: u64,
    pub(super) wait_ms: u64,
    pub(super) slowdown: f64,
    pub(super) waits: Histogram,
    /// Tasks × milliseconds.
    pub(super) queued_ms: f64,
    pub(super) queued_max: u64,
    pub(super) running_ms: f64,
    pub(super) held: Work,
    pub(super) wanted: Work,
}

impl Tally {
    pub(super) fn end(&mut self, ended: &Ended) {
        let wait_ms = ended.started.since(ended.submitted).0;
        let run_ms = ended.finished.since(ended.started).0;
        match ended.end {
            End::Succeeded => self.finished.succeeded += 1,
            End::Failed => self.finished.failed += 1,
        }
        self.completion_ms += ended.finished.since(ended.submitted).0;
        self.wait_ms += wait_ms;
        self.waits.record(wait_ms);
        let bounded_ms = run_ms.max(SLOWDOWN_THRESHOLD_MS);
        self.slowdown += ((wait_ms + run_ms) as f64 / bounded_ms as f64).max(1.0);
    }

    pub(super) fn add(&mut self, more: &Self) {
        self.finished.succeeded += more.finished.succeeded;
        self.finished.failed += more.finished.failed;
        self.completion_ms += more.completion_ms;
        self.wait_ms += more.wait_ms;
        self.slowdown += more.slowdown;
        self.waits.add(&more.waits);
        self.queued_ms += more.queued_ms;
        self.queued_max = self.queued_max.max(more.queued_max);
        self.running_ms += more.running_ms;
        add_all(&mut self.held, &more.held);
        add_all(&mut self.wanted, &more.wanted);
    }

    fn pass(&mut self, level: &Level, ms: u64) {
        self.queued_ms += level.queued as f64 * ms as f64;
        self.queued_max = self.queued_max.max(level.queued);
        self.running_ms += level.running as f64 * ms as f64;
        add_work(&mut self.held, &level.held, ms as f64);
        add_work(&mut self.wanted, &level.wanted, ms as f64);
    }

    pub(super) const fn tasks(&self) -> u64 {
        self.finished.succeeded + self.finished.failed
    }
}

/// Its sums, by window.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) since: Timestamp,
    /// Up to here its level is in the sums.
    until: Timestamp,
    /// When it last changed.
    pub(super) changed: Timestamp,
    /// All that ended since it is measured.
    pub(super) finished: FinishedTasks,
    rings: Rings<Tally>,
}

impl Scope {
    pub(super) fn new(since: Timestamp, now: Timestamp) -> Self {
        Self { since, until: now, changed: now, finished: FinishedTasks::default(), rings: Rings::default() }
    }

    /// So it was until now.
    pub(super) fn pass(&mut self, now: Timestamp, level: &Level) {
        self.rings.spread(self.until, now, |tally, ms| tally.pass(level, ms));
        self.until = self.until.max(now);
    }

    /// This came besides, and made the level what it is now.
    pub(super) fn note(&mut self, now: Timestamp, besides: &Tally, level: &Level) {
        self.changed = now;
        self.finished.succeeded += besides.finished.succeeded;
        self.finished.failed += besides.finished.failed;
        self.rings.note(now, |tally| {
            tally.add(besides);
            tally.queued_max = tally.queued_max.max(level.queued);
        });
    }

    pub(super) fn sum(&self, window: Window, now: Timestamp) -> Tally {
        let mut sum = Tally::default();
        self.rings.within(window, now).for_each(|tally| sum.add(tally));
        sum
    }
}
