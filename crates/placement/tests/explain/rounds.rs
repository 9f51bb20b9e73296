//! What is said to start now is what a leader that begins now starts, and no place is given twice.

use std::collections::BTreeMap;

use proptest::prelude::*;
use quorate_placement::{Bounds, Planner, explain};
use quorate_state::queue::Queued;
use quorate_types::explain::StartBasis;
use quorate_types::policy::{Backfill, QueueOrder};
use quorate_types::{Name, Span, TaskIndex};

use super::world::World;

#[derive(Clone, Debug)]
struct Task {
    cpu: u8,
    count: u8,
    expected: u8,
    priority: u8,
    namespace: u8,
    max_parallel: u8,
}

fn tasks(most: usize) -> impl Strategy<Value = Vec<Task>> {
    let task = (1..6_u8, 1..5_u8, 0..90_u8, 0..100_u8, 0..3_u8, 0..3_u8).prop_map(
        |(cpu, count, expected, priority, namespace, max_parallel)| Task {
            cpu,
            count,
            expected,
            priority,
            namespace,
            max_parallel,
        },
    );
    prop::collection::vec(task, 1..most)
}

fn submit(world: &mut World, task: &Task) {
    let Task { cpu, count, expected, priority, namespace, max_parallel } = task;
    let expected = if *expected < 30 { String::new() } else { format!(r#","expected":"{expected}s""#) };
    let parallel = if *max_parallel == 0 { String::new() } else { format!(r#","max_parallel":{max_parallel}"#) };
    world.job(&format!(
        r#"{{"namespace":"n{namespace}","priority":{priority},
            "tasks":[{{"name":"t","command":["x"],"count":{count},"resources":{{"cpu":{cpu}}}{expected}{parallel}}}]}}"#
    ));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_said_to_start_starts(
        queue in prop::sample::select(QueueOrder::ALL),
        backfill in prop::sample::select(Backfill::ALL),
        workers in prop::collection::vec(1..8_u8, 1..4),
        before in tasks(4),
        after in tasks(6),
    ) {
        let mut world = World::under(&format!(r#"{{"queue":"{queue}","backfill":"{backfill}"}}"#));
        for (n, cpu) in workers.iter().enumerate() {
            world.worker(&format!("w{n}"), &format!(r#"{{"cpu":{cpu}}}"#));
        }
        before.iter().for_each(|task| submit(&mut world, task));
        world.round();
        world.pass(Span::from_secs(5));
        after.iter().for_each(|task| submit(&mut world, task));
        let plan = Planner::new(0).round(&world.state, world.now, Bounds::default());
        let planned: BTreeMap<_, Name> = plan.assignments.iter().map(|item| {
            let worker = world.state.worker_of(item.epoch).unwrap().name.clone();
            ((item.job, item.task, item.index), worker)
        }).collect();
        let mut places: BTreeMap<(Option<Name>, u64), Queued> = BTreeMap::new();
        for queued in world.state.queue().iter() {
            let count = world.state.job(queued.job).unwrap().task(queued.task).unwrap().head.count;
            for index in (0..count).map(TaskIndex) {
                let said = explain::element(&world.state, world.now, queued.job, queued.task, index).unwrap();
                let starts = said.start.filter(|start| start.basis == StartBasis::Now).map(|start| start.worker);
                prop_assert_eq!(starts.as_ref(), planned.get(&(queued.job, queued.task, index)));
                let Some(place) = said.queue else { continue };
                prop_assert!((1..=place.of).contains(&place.place));
                let line = (queue == QueueOrder::FairShare).then_some(place.namespace);
                let other = places.insert((line, place.place), queued);
                prop_assert!(other.is_none_or(|other| other == queued), "two tasks at one place");
                let survey = said.workers.unwrap();
                let is_open = survey.listed.iter().any(|worker| worker.obstacles.is_empty());
                prop_assert_eq!(is_open, starts.is_some(), "a worker without an obstacle is one it starts on");
            }
        }
    }
}
