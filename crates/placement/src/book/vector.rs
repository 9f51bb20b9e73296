//! Amounts of resources as a few plain numbers, which is what indexes compare.

use std::collections::BTreeMap;

use quorate_state::past::Past;
use quorate_types::{Name, Resources};

use crate::book::shapes::Shapes;
use crate::book::traits::Bits;
use crate::book::treap::Summary;

/// Cpu, memory and the first kinds that the workers have besides.
pub(crate) const LANES: usize = 4;
/// The lane of memory.
pub(crate) const MEMORY: usize = 1;

/// An amount of each kind, in the units of [`Resources`]. Kinds beyond the last lane are left out: what fits here
/// may still lack one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Vector([u64; LANES]);

impl Vector {
    /// More of each kind than anybody asks for.
    pub(crate) const UNBOUNDED: Self = Self([u64::MAX; LANES]);

    // Small and asked millions of times in a round: each is to be part of its caller, whatever else is optimised.
    #[inline]
    pub(crate) fn fits(&self, free: &Self) -> bool {
        self.0.iter().zip(&free.0).all(|(wanted, free)| wanted <= free)
    }

    #[inline]
    pub(crate) fn plus(mut self, more: &Self) -> Self {
        self.0.iter_mut().zip(&more.0).for_each(|(a, b)| *a = a.saturating_add(*b));
        self
    }

    pub(crate) fn minus(mut self, less: &Self) -> Self {
        self.0.iter_mut().zip(&less.0).for_each(|(a, b)| *a = a.saturating_sub(*b));
        self
    }

    pub(crate) fn of(lanes: [u64; LANES]) -> Self {
        Self(lanes)
    }

    pub(crate) fn smaller(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a = (*a).min(*b));
        self
    }

    pub(crate) fn larger(mut self, other: &Self) -> Self {
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a = (*a).max(*b));
        self
    }

    /// At most so much of one kind.
    pub(crate) fn capped(mut self, lane: usize, amount: u64) -> Self {
        self.0[lane] = self.0[lane].min(amount);
        self
    }

    #[inline]
    pub(crate) fn lanes(&self) -> &[u64; LANES] {
        &self.0
    }
}

/// The most room of a set of workers and the fewest attempts: what does not go here goes on none of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) free: Vector,
    pub(crate) attempts: u32,
    /// What some of them are.
    pub(crate) traits: Bits,
}

impl Summary for Room {
    fn join(&mut self, other: &Self) {
        self.free.0.iter_mut().zip(&other.free.0).for_each(|(a, b)| *a = (*a).max(*b));
        self.attempts = self.attempts.min(other.attempts);
        self.traits = self.traits.with(other.traits);
    }
}

/// The sum of a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum(pub(crate) Vector);

impl Summary for Sum {
    fn join(&mut self, other: &Self) {
        self.0.0.iter_mut().zip(&other.0.0).for_each(|(a, b)| *a = a.saturating_add(*b));
    }
}

/// The smallest amounts of a set of requests, and the shortest time: where this fits not, none of it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Least {
    pub(crate) request: Vector,
    /// In milliseconds; unknown is the largest number.
    pub(crate) time_ms: u64,
    /// Which shapes are among them.
    pub(crate) shapes: Shapes,
}

impl Summary for Least {
    fn join(&mut self, other: &Self) {
        self.request.0.iter_mut().zip(&other.request.0).for_each(|(a, b)| *a = (*a).min(*b));
        self.time_ms = self.time_ms.min(other.time_ms);
        self.shapes = self.shapes.with(other.shapes);
    }
}

/// Which kind has which lane: first come, first served.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kinds(BTreeMap<Name, usize>);

impl Kinds {
    /// Gives the worker's kinds their lanes; whether one is new.
    pub(crate) fn meet(&mut self, capacity: &Resources) -> bool {
        let known = self.0.len();
        for kind in capacity.other_millis.keys() {
            let next = self.0.len() + 2;
            if next < LANES && !self.0.contains_key(kind) {
                self.0.insert(kind.clone(), next);
            }
        }
        self.0.len() > known
    }

    /// Past use by lanes.
    pub(crate) fn past(&self, past: &Past) -> [u128; LANES] {
        let mut lanes = [past.cpu_millis, past.memory_bytes, 0, 0];
        for (kind, amount) in &past.other_millis {
            if let Some(lane) = self.0.get(kind) {
                lanes[*lane] = *amount;
            }
        }
        lanes
    }

    /// The lane of a kind, if it has one.
    pub(crate) fn lane(&self, kind: &Name) -> Option<usize> {
        match kind.as_str() {
            "cpu" => Some(0),
            "memory" => Some(1),
            _ => self.0.get(kind).copied(),
        }
    }

    pub(crate) fn vector(&self, resources: &Resources) -> Vector {
        let mut lanes = [resources.cpu_millis, resources.memory_bytes, 0, 0];
        for (kind, millis) in &resources.other_millis {
            if let Some(lane) = self.0.get(kind) {
                lanes[*lane] = *millis;
            }
        }
        Vector(lanes)
    }
}
