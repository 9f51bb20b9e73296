//! When machines fail and are repaired: both after exponentially distributed times.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use quorate_types::{Span, Timestamp};

use super::Failures;
use crate::chance::Chance;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    Fails,
    Repaired,
}

/// What happens to the machines, as far as it is known: one change for each.
pub(super) struct Breakdowns {
    rates: Option<(Failures, Chance)>,
    changes: BinaryHeap<Reverse<(Timestamp, u32, Change)>>,
}

impl Breakdowns {
    /// Nothing fails before `begin`.
    pub(super) fn new(machines: usize, failures: Option<Failures>, begin: Timestamp) -> Self {
        let rates = failures.map(|failures| (failures, Chance::new(failures.seed, 0)));
        let mut breakdowns = Self { rates, changes: BinaryHeap::new() };
        (0..machines as u32).for_each(|machine| breakdowns.schedule(machine, Change::Fails, begin));
        breakdowns
    }

    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.changes.peek().map(|Reverse((at, _, _))| *at)
    }

    /// The next change that is due.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<(u32, Change)> {
        let Reverse((at, machine, change)) = *self.changes.peek()?;
        if at > now {
            return None;
        }
        self.changes.pop();
        let next = match change {
            Change::Fails => Change::Repaired,
            Change::Repaired => Change::Fails,
        };
        self.schedule(machine, next, now);
        Some((machine, change))
    }

    fn schedule(&mut self, machine: u32, change: Change, now: Timestamp) {
        let Some((failures, chance)) = &mut self.rates else { return };
        let mean = match change {
            Change::Fails => failures.mtbf,
            Change::Repaired => failures.mttr,
        };
        self.changes.push(Reverse((now.plus(exponential(mean, chance)), machine, change)));
    }
}

/// A draw with this mean, by inversion; at least a millisecond, so that time goes on.
fn exponential(mean: Span, chance: &mut Chance) -> Span {
    // 53 random bits, from just above 0 to 1.
    let uniform = ((chance.number() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    Span(((-uniform.ln() * mean.0 as f64) as u64).max(1))
}
