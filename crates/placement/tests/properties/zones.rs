//! `spread` is even over the values of a label.

use std::collections::BTreeMap;

use proptest::prelude::*;
use quorate_types::policy::PlacementOrder;
use quorate_types::{Policy, Resources};

use super::world::{World, facts, name};

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// As long as every value has room, whatever ended meanwhile: a plan evens out what it finds.
    #[test]
    fn no_value_gets_a_task_while_another_has_fewer(
        workers in prop::collection::vec(0..4u8, 1..12),
        rounds in prop::collection::vec((1..30u64, prop::collection::vec(any::<prop::sample::Index>(), 0..20)), 1..6),
    ) {
        let label = name("rack");
        let mut world =
            World::new(Policy { placement: PlacementOrder::Spread, spread_label: label.clone(), ..Policy::default() });
        for rack in &workers {
            // One value is to have no label at all.
            let labels = (*rack > 0).then(|| (label.clone(), rack.to_string()));
            world.join_labelled(labels.into_iter().collect(), Resources::new(1_000_000, 0));
        }
        for (count, ends) in rounds {
            let rack_of = |world: &World, epoch| world.machines[&epoch].worker.labels.get(&label).cloned();
            let mut loads: BTreeMap<Option<String>, u64> =
                world.machines.keys().map(|epoch| (rack_of(&world, *epoch), 0)).collect();
            for run in world.running.values() {
                *loads.get_mut(&rack_of(&world, run.epoch)).unwrap() += 1;
            }
            world.submit(facts(1, None), count);
            let starts = world.plan();
            prop_assert_eq!(starts.len() as u64, count);
            for start in &starts {
                let rack = rack_of(&world, start.epoch);
                let fewest = *loads.values().min().unwrap();
                prop_assert_eq!(loads[&rack], fewest, "{:?}", loads);
                *loads.get_mut(&rack).unwrap() += 1;
            }
            world.start(&starts);
            for end in ends {
                let keys: Vec<_> = world.running.keys().copied().collect();
                if !keys.is_empty() {
                    world.end(*end.get(&keys));
                }
            }
        }
    }
}
