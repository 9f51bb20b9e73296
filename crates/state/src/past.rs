//! What namespaces used before: an average of what they held, with a half-life. Fair orders go by it, and it is in the
//! state so that a leader that begins knows it.
//!
//! A namespace that has held a tenth of the cluster for long is charged with a tenth for that, and with half as much a
//! half-life after its last attempt ended. Amounts are whole numbers, so that every replica has the same.

use std::collections::BTreeMap;

use imbl::{OrdMap, OrdSet};
use quorate_types::{Name, Resources, Span, Timestamp};
use serde::{Deserialize, Serialize};

use crate::decay::{EXPONENT_BITS, FACTOR_BITS, ONE, half_to};
use crate::limits::PAST_USES_MAX;
use crate::spaces::Space;
use crate::state::{Cluster, State};

/// After so long past use counts half: an hour, so that a night's work is forgiven in the morning and the last minutes
/// are not.
pub const HALF_LIFE: Span = Span::from_secs(3_600);

static NOTHING: Resources = Resources { cpu_millis: 0, memory_bytes: 0, other_millis: BTreeMap::new() };

/// Fractional bits of an amount of past use.
pub const PAST_BITS: u32 = 20;

/// What is left of past use after `span`, with [`FACTOR_BITS`] behind the point.
pub fn left_after(span: Span) -> u64 {
    half_to((u128::from(span.0) << EXPONENT_BITS) / u128::from(HALF_LIFE.0))
}

/// One amount, after `span` in which so much was held.
pub fn averaged(past: u128, held: u64, left: u64) -> u128 {
    let kept = past.saturating_mul(u128::from(left)) >> FACTOR_BITS;
    kept.saturating_add((u128::from(held) * u128::from(ONE - left)) >> (FACTOR_BITS - PAST_BITS))
}

/// The past use of a namespace, with [`PAST_BITS`] bits behind the point.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    as_of: Timestamp,
    pub cpu_millis: u128,
    pub memory_bytes: u128,
    /// By kind; none is nothing.
    pub other_millis: BTreeMap<Name, u128>,
}

impl Past {
    /// Until now so much was held.
    fn settle(&mut self, held: &Resources, now: Timestamp) {
        let span = now.since(self.as_of);
        if span == Span(0) {
            return;
        }
        self.as_of = now;
        let left = left_after(span);
        self.cpu_millis = averaged(self.cpu_millis, held.cpu_millis, left);
        self.memory_bytes = averaged(self.memory_bytes, held.memory_bytes, left);
        for kind in held.other_millis.keys() {
            self.other_millis.entry(kind.clone()).or_default();
        }
        self.other_millis.iter_mut().for_each(|(kind, past)| *past = averaged(*past, held.other(kind), left));
        self.other_millis.retain(|_, past| *past > 0);
    }

    /// Whether it is as much as a hundredth of a core or a device, or 16 MiB, on average: what is less is forgotten
    /// with the namespace's last job.
    fn counts(&self) -> bool {
        let least = 10 << PAST_BITS;
        self.cpu_millis >= least
            || self.memory_bytes >> PAST_BITS >= 16 << 20
            || self.other_millis.values().any(|past| *past >= least)
    }
}

/// By namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pasts {
    by_name: OrdMap<Name, Past>,
    /// Derived: those without jobs in memory, the one that used something the longest ago first.
    alone: OrdSet<(Timestamp, Name)>,
}

impl Pasts {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Name, &Past)> {
        self.by_name.iter()
    }

    pub(crate) fn take_up(&mut self, name: Name, past: Past) {
        self.by_name.insert(name, past);
    }

    /// From what was taken up.
    pub(crate) fn derive(&mut self, spaces: &OrdMap<Name, Space>) {
        let alone = self.by_name.iter().filter(|(name, _)| !spaces.contains_key(*name));
        self.alone = alone.map(|(name, past)| (past.as_of, name.clone())).collect();
    }

    /// The namespace has jobs in memory again.
    pub(crate) fn accompany(&mut self, name: &Name) {
        if let Some(past) = self.by_name.get(name) {
            self.alone.remove(&(past.as_of, name.clone()));
        }
    }

    /// The namespace has none any more: what counts is remembered, of so many namespaces.
    pub(crate) fn leave_alone(&mut self, name: &Name, now: Timestamp) {
        let Some(past) = self.by_name.get_mut(name) else { return };
        past.settle(&NOTHING, now);
        if past.counts() {
            self.alone.insert((past.as_of, name.clone()));
        } else {
            self.by_name.remove(name);
        }
        while self.alone.len() > PAST_USES_MAX {
            if let Some((_, oldest)) = self.alone.remove_min() {
                self.by_name.remove(&oldest);
            }
        }
    }

    /// What must hold of those of a cluster with these namespaces.
    pub(crate) fn check(&self, spaces: &OrdMap<Name, Space>, now: Timestamp) -> Result<(), String> {
        let mut derived = Self { by_name: self.by_name.clone(), alone: OrdSet::new() };
        derived.derive(spaces);
        let is_sound = |past: &Past| {
            let mut amounts =
                [past.cpu_millis, past.memory_bytes].into_iter().chain(past.other_millis.values().copied());
            past.as_of <= now && amounts.all(|amount| amount >> PAST_BITS <= u128::from(u64::MAX))
        };
        if let Some((name, past)) = self.by_name.iter().find(|(_, past)| !is_sound(past)) {
            return Err(format!("{name} used {past:?} before {now:?}"));
        }
        if self.alone.len() > PAST_USES_MAX || derived.alone != self.alone {
            return Err(format!(
                "{} namespaces without jobs are noted, {} there",
                self.alone.len(),
                derived.alone.len()
            ));
        }
        Ok(())
    }
}

impl Cluster {
    /// What the namespace holds is about to change.
    pub(crate) fn settle_past(&mut self, namespace: &Name) {
        let now = self.scalars.now;
        let Some(space) = self.spaces.get(namespace) else { return };
        if self.past.by_name.get(namespace).is_some_and(|past| past.as_of == now) {
            return;
        }
        match self.past.by_name.get_mut(namespace) {
            Some(past) => past.settle(&space.held, now),
            None => drop(self.past.by_name.insert(namespace.clone(), Past { as_of: now, ..Past::default() })),
        }
    }
}

impl State {
    /// What namespaces used before, as of the state's time.
    pub fn past_uses(&self) -> impl Iterator<Item = (&Name, Past)> {
        self.cluster.past.iter().map(|(name, past)| {
            let mut past = past.clone();
            past.settle(self.space(name).map_or(&NOTHING, |space| &space.held), self.now());
            (name, past)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(past: &Past) -> f64 {
        past.cpu_millis as f64 / f64::from(1 << PAST_BITS)
    }

    #[test]
    fn use_is_charged_while_it_lasts_and_forgiven_by_half_an_hour_later() {
        let (held, none) = (Resources::new(4_000, 0), Resources::new(0, 0));
        let mut past = Past::default();
        past.settle(&none, Timestamp(0));
        past.settle(&held, Timestamp(HALF_LIFE.0));
        assert!((share(&past) - 2_000.0).abs() < 0.01, "half of the average is there after one half-life");
        past.settle(&none, Timestamp(3 * HALF_LIFE.0));
        assert!((share(&past) - 500.0).abs() < 0.01);
        assert!(past.counts());
        past.settle(&none, Timestamp(9 * HALF_LIFE.0));
        assert!(!past.counts());
    }

    /// However often it is settled.
    #[test]
    fn the_average_does_not_depend_on_how_often_it_is_made() {
        let held: Resources = serde_json::from_str(r#"{"cpu":4,"memory":"1GiB","gpu":2}"#).unwrap();
        let (mut once, mut often) = (Past::default(), Past::default());
        once.settle(&held, Timestamp(1_700_000));
        (0..=100_000).for_each(|at| often.settle(&held, Timestamp(at * 17)));
        assert!((share(&once) - share(&often)).abs() < 0.1, "{once:?} {often:?}");
        assert_eq!(once.other_millis.len(), 1);
    }
}
