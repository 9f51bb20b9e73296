//! A batch goes where it costs least in all, round after round.

use std::sync::Arc;

use proptest::prelude::*;
use quorate_placement::book::{Constraints, Start};
use quorate_types::policy::PlacementOrder;
use quorate_types::{Policy, Preference, Resources};

use super::world::{World, facts};

/// What each task prefers: a worker and how much it wants that one, up to three times.
type Tasks = Vec<Vec<(usize, u8)>>;

fn tasks(workers: usize) -> impl Strategy<Value = Tasks> {
    let prefers = prop::collection::btree_map(0..workers, 1..=100u8, 0..=3);
    prop::collection::vec(prefers.prop_map(|prefers| prefers.into_iter().collect()), 1..=6)
}

fn rounds() -> impl Strategy<Value = (Vec<u64>, Vec<Tasks>)> {
    (2..=4usize).prop_flat_map(|workers| {
        (prop::collection::vec(1..=3u64, workers), prop::collection::vec(tasks(workers), 1..=3))
    })
}

/// A cluster of workers with so many cores, each of which has a label of its own.
fn world(cores: &[u64]) -> World {
    let mut world = World::new(Policy { placement: PlacementOrder::MinCostFlow, ..Policy::default() });
    for cores in cores {
        world.join(Resources::new(cores * 1_000, 0));
    }
    world
}

fn submit(world: &mut World, prefers: &[(usize, u8)]) {
    let prefer = |(worker, weight): &(usize, u8)| {
        let condition = format!("worker=w{}", worker + 1).parse().unwrap();
        Preference { condition, weight: *weight }
    };
    let mut facts = facts(1, Some(1));
    let prefers = prefers.iter().map(prefer).collect();
    facts.constraints = Some(Arc::new(Constraints { prefers, ..Constraints::default() }));
    world.submit(facts, 1);
}

/// What is met of what they prefer.
fn met(tasks: &Tasks, places: &[usize]) -> u32 {
    let of = |(prefers, place): (&Vec<(usize, u8)>, &usize)| {
        prefers.iter().filter(|(worker, _)| worker == place).map(|(_, weight)| u32::from(*weight)).sum::<u32>()
    };
    tasks.iter().zip(places).map(of).sum()
}

/// The most that any way to place all of them meets.
fn most(tasks: &Tasks, free: &mut [u64], places: &mut Vec<usize>) -> u32 {
    if places.len() == tasks.len() {
        return met(tasks, places);
    }
    let mut best = 0;
    for worker in 0..free.len() {
        if free[worker] > 0 {
            free[worker] -= 1;
            places.push(worker);
            best = best.max(most(tasks, free, places));
            places.pop();
            free[worker] += 1;
        }
    }
    best
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Where all have room. Also when a batch begins where the one before ended.
    #[test]
    fn no_other_way_to_place_a_batch_meets_more_of_what_it_prefers((cores, rounds) in rounds()) {
        let mut world = world(&cores);
        for tasks in rounds {
            let room = cores.iter().sum::<u64>() as usize;
            let tasks: Tasks = tasks.into_iter().take(room).collect();
            tasks.iter().for_each(|prefers| submit(&mut world, prefers));
            let mut starts = world.plan();
            starts.sort_unstable_by_key(|start| start.queued);
            prop_assert_eq!(starts.len(), tasks.len());
            let place = |start: &Start| world.machines.keys().position(|epoch| *epoch == start.epoch).unwrap();
            let places: Vec<usize> = starts.iter().map(place).collect();
            let best = most(&tasks, &mut cores.clone(), &mut Vec::new());
            prop_assert_eq!(met(&tasks, &places), best, "{:?} at {:?}", tasks, places);
            world.start(&starts);
            let end = world.next_end().unwrap();
            world.advance(end);
        }
    }
}
