//! Consistent hashing moves few keys when a worker comes or goes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use quorate_types::policy::PlacementOrder;
use quorate_types::{Name, Policy, Resources};

use super::world::{World, facts, lineage};

/// A cluster of the workers with these numbers.
fn world(workers: &[u64]) -> World {
    let mut world = World::new(Policy { placement: PlacementOrder::ConsistentHash, ..Policy::default() });
    for worker in workers {
        world.join_as(&format!("node-{worker}"), Resources::new(1_000_000, 0));
    }
    world
}

fn without(workers: &[u64], gone: u64) -> Vec<u64> {
    workers.iter().copied().filter(|worker| *worker != gone).collect()
}

/// Where each key goes if it is the only one.
fn alone(workers: &[u64], keys: u64) -> Vec<Name> {
    let home = |key| {
        let mut world = world(workers);
        let mut facts = facts(1, None);
        facts.lineage = lineage(&format!("key {key}"));
        world.submit(facts, 1);
        let start = world.plan()[0];
        world.machines[&start.epoch].worker.name.clone()
    };
    (0..keys).map(home).collect()
}

/// Where each goes if all are there.
fn together(workers: &[u64], keys: u64) -> Vec<Name> {
    let mut world = world(workers);
    for key in 0..keys {
        let mut facts = facts(1, None);
        facts.lineage = lineage(&format!("key {key}"));
        world.submit(facts, 1);
    }
    let mut starts = world.plan();
    assert_eq!(starts.len() as u64, keys);
    starts.sort_unstable_by_key(|start| start.queued);
    starts.iter().map(|start| world.machines[&start.epoch].worker.name.clone()).collect()
}

fn moved(before: &[Name], after: &[Name]) -> usize {
    before.iter().zip(after).filter(|(before, after)| before != after).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Without load only the keys of the worker that goes (or comes) move: on average a fair share.
    #[test]
    fn only_the_keys_of_who_goes_move(workers in 2..12u64, first in any::<u32>()) {
        let workers: Vec<u64> = (0..workers).map(|nth| u64::from(first) + nth).collect();
        let all = alone(&workers, 40);
        for gone in &workers {
            let left = alone(&without(&workers, *gone), 40);
            for (before, after) in all.iter().zip(&left) {
                let was_there = before.as_str() == format!("node-{gone}");
                prop_assert!(before == after || was_there);
            }
        }
    }

    /// With loads that are bounded, keys that were turned away from a full worker move as well. Nobody has more than
    /// a quarter above the mean, rounded up.
    #[test]
    fn loads_are_bounded_and_keys_stay_the_same_whatever_else_is_there(workers in 2..20u64, each in 1..20u64) {
        let workers: Vec<u64> = (0..workers).collect();
        let keys = each * workers.len() as u64;
        let mut loads: BTreeMap<Name, u64> = BTreeMap::new();
        together(&workers, keys).into_iter().for_each(|home| *loads.entry(home).or_default() += 1);
        prop_assert!(loads.values().all(|load| *load <= (each * 5).div_ceil(4)), "{loads:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whoever goes had at most twice a fair share of the keys: with 32 points each, parts of the ring have a standard
    /// deviation of a sixth (1/√32).
    #[test]
    fn who_goes_moves_at_most_twice_its_fair_share(workers in 2..10u64, first in any::<u32>()) {
        const KEYS: u64 = 1_500;
        let workers: Vec<u64> = (0..workers).map(|nth| u64::from(first) + nth).collect();
        let mut each: BTreeMap<Name, u64> = BTreeMap::new();
        alone(&workers, KEYS).into_iter().for_each(|home| *each.entry(home).or_default() += 1);
        let most = 2 * KEYS / workers.len() as u64;
        prop_assert!(each.values().all(|keys| *keys <= most), "{each:?}, {most} at most");
    }
}

/// The mean over many clusters, in fair shares: the paper's bound is of the order of 1/ε², here 16.
#[test]
fn a_batch_moves_few_times_its_fair_share() {
    let (mut shares, mut count) = (0.0, 0.0);
    for size in [5_u64, 10, 20, 40] {
        let workers: Vec<u64> = (0..size).collect();
        let keys = 20 * size;
        let before = together(&workers, keys);
        for gone in workers.iter().step_by(size as usize / 5) {
            let after = together(&without(&workers, *gone), keys);
            shares += moved(&before, &after) as f64 / 20.0;
            count += 1.0;
        }
    }
    let mean = shares / count;
    assert!(mean < 4.0, "{mean}");
}
