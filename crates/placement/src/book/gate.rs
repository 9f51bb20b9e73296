//! What an element has to get besides room on a worker: counted resources of the cluster, and tokens of a rate.
//!
//! In a decision they go by the queue's order: a task that finds too little of a kind, but not more than there is of it
//! at all, keeps what is left of that kind from those behind it, so that it does not starve. It holds no worker
//! meanwhile, and what asks for other kinds goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_types::{Name, Rate, TaskSpec, Timestamp};

use super::Surroundings;

/// Something of which each element of a task needs some to start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    Resource { name: Name, amount: u32 },
    Rate { namespace: Name, rate: Rate },
}

/// What there is behind a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateRoom {
    pub total: u64,
    pub left: u64,
    /// When time alone brings more.
    pub next: Option<Timestamp>,
}

impl GateRoom {
    pub const UNBOUNDED: Self = Self { total: u64::MAX, left: u64::MAX, next: None };
}

impl Gate {
    /// None if room on a worker is enough.
    pub fn all_of(namespace: &Name, spec: &TaskSpec) -> Option<Arc<[Self]>> {
        if spec.is_ungated() {
            return None;
        }
        let resources = spec.cluster_resources.iter();
        let resources = resources.map(|(name, amount)| Self::Resource { name: name.clone(), amount: *amount });
        let rate = spec.rate.as_deref();
        let rate = rate.map(|rate| Self::Rate { namespace: namespace.clone(), rate: rate.clone() });
        Some(resources.chain(rate).collect())
    }

    /// What all elements of a gang need together, of tasks with so many each. They have no rates.
    pub fn of_gang<'a>(tasks: impl Iterator<Item = (Option<&'a [Self]>, u32)>) -> Option<Arc<[Self]>> {
        let mut amounts: BTreeMap<&Name, u32> = BTreeMap::new();
        for (gates, count) in tasks {
            for gate in gates.into_iter().flatten() {
                if let Self::Resource { name, amount } = gate {
                    let all = amounts.entry(name).or_default();
                    *all = all.saturating_add(amount.saturating_mul(count));
                }
            }
        }
        let all = amounts.into_iter().map(|(name, amount)| Self::Resource { name: name.clone(), amount });
        Some(all.collect()).filter(|gates: &Arc<[Self]>| !gates.is_empty())
    }

    pub(crate) fn amount(&self) -> u64 {
        match self {
            Self::Resource { amount, .. } => u64::from(*amount),
            Self::Rate { .. } => 1,
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Resource { name, .. } => Kind::Resource(name.clone()),
            Self::Rate { namespace, rate } => Kind::Rate(namespace.clone(), rate.key.clone()),
        }
    }
}

/// What gates share, however much is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Resource(Name),
    Rate(Name, Name),
}

/// What a decision has given away of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gauge {
    given: BTreeMap<Kind, u64>,
    /// What is left of these is kept for one that needs more.
    closed: BTreeSet<Kind>,
    /// When time alone opens one of the gates that somebody found closed.
    pub(crate) wake_at: Option<Timestamp>,
}

impl Gauge {
    /// How many elements more may pass all of these gates.
    pub(crate) fn elements(&self, gates: &[Gate], around: &dyn Surroundings, now: Timestamp) -> u64 {
        gates.iter().map(|gate| self.left(gate, around, now) / gate.amount()).min().unwrap_or(u64::MAX)
    }

    /// Whether not even one element may pass.
    pub(crate) fn is_closed(&self, gate: &Gate, around: &dyn Surroundings, now: Timestamp) -> bool {
        self.left(gate, around, now) < gate.amount()
    }

    fn left(&self, gate: &Gate, around: &dyn Surroundings, now: Timestamp) -> u64 {
        let kind = gate.kind();
        if self.closed.contains(&kind) {
            return 0;
        }
        around.room(gate, now).left.saturating_sub(self.given.get(&kind).copied().unwrap_or(0))
    }

    /// An element passes.
    pub(crate) fn take(&mut self, gates: &[Gate]) {
        for gate in gates {
            *self.given.entry(gate.kind()).or_default() += gate.amount();
        }
    }

    /// An element has found one of these closed; `waits` tells whether nothing but that keeps it.
    pub(crate) fn on_closed(
        &mut self,
        gates: &[Gate],
        around: &dyn Surroundings,
        now: Timestamp,
        mut waits: impl FnMut() -> bool,
    ) {
        for gate in gates {
            if !self.is_closed(gate, around, now) {
                continue;
            }
            let room = around.room(gate, now);
            self.wake_at = [self.wake_at, room.next].into_iter().flatten().min();
            let some_left = self.left(gate, around, now) > 0;
            if some_left && gate.amount() <= room.total && waits() {
                self.closed.insert(gate.kind());
            }
        }
    }
}
