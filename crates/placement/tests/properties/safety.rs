//! What no plan may do, under any policy: see [`World::plan`], which looks at each.

use proptest::prelude::*;
use quorate_placement::book::Start;
use quorate_types::policy::{Backfill, PlacementOrder, QueueOrder};
use quorate_types::{NamespaceRules, Policy, Resources, Span, Timestamp};

use super::world::{World, facts, lineage, name};

#[derive(Clone, Debug)]
enum Step {
    Join(Resources),
    Ready(usize, bool),
    Lose(usize),
    Submit {
        namespace: u8,
        priority: u8,
        request: Resources,
        expected: Option<u64>,
        count: u64,
    },
    Cancel(usize),
    Entitle {
        namespace: u8,
        quota: Option<u64>,
        limit: Option<u64>,
        kind: u8,
    },
    End(usize),
    Wait(u64),
    /// What is planned is started, or not.
    Plan {
        start: bool,
    },
}

fn resources(cpu: std::ops::Range<u64>, other: u64) -> impl Strategy<Value = Resources> {
    (cpu, 0..=other, prop::bool::weighted(0.2), 1..=other.max(1)).prop_map(|(cpu, memory, has_gpu, gpu)| {
        let mut resources = Resources::new(cpu * 500, memory);
        if has_gpu {
            // More kinds than the indexes know.
            for kind in ["gpu", "fpga", "licence", "disk"].iter().take(1 + memory as usize % 4) {
                resources.other_millis.insert(name(kind), gpu * 1_000);
            }
        }
        resources
    })
}

fn step() -> impl Strategy<Value = Step> {
    let submit = (0..4u8, 0..=100u8, resources(0..12, 4), prop::option::of(1..200_000u64), 1..9u64);
    prop_oneof![
        2 => resources(1..24, 8).prop_map(Step::Join),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(which, ready)| Step::Ready(which, ready)),
        1 => any::<usize>().prop_map(Step::Lose),
        6 => submit.prop_map(|(namespace, priority, request, expected, count)| {
            Step::Submit { namespace, priority, request, expected, count }
        }),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => (0..4u8, prop::option::of(0..12u64), prop::option::of(0..24u64), 0..6u8)
            .prop_map(|(namespace, quota, limit, kind)| Step::Entitle { namespace, quota, limit, kind }),
        3 => any::<usize>().prop_map(Step::End),
        2 => (1..100_000u64).prop_map(Step::Wait),
        5 => prop::bool::weighted(0.8).prop_map(|start| Step::Plan { start }),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    let parts = (
        prop::sample::select(QueueOrder::ALL),
        prop::sample::select(Backfill::ALL),
        prop::sample::select(PlacementOrder::ALL),
    );
    parts.prop_map(|(queue, backfill, placement)| Policy { queue, backfill, placement, ..Policy::default() })
}

fn nth<T: Copy>(mut all: impl ExactSizeIterator<Item = T>, which: usize) -> Option<T> {
    let len = all.len();
    if len == 0 { None } else { all.nth(which % len) }
}

/// Everything that was planned.
fn run(policy: Policy, steps: &[Step], keeps_for_all: bool) -> Vec<Start> {
    let mut world = World::new(policy);
    if keeps_for_all {
        world.book.keep_for_all();
    }
    let mut planned = Vec::new();
    for step in steps {
        match step {
            Step::Join(capacity) => {
                world.join(capacity.clone());
            }
            Step::Ready(which, ready) => {
                if let Some(epoch) = nth(world.machines.keys().copied(), *which) {
                    world.set_ready(epoch, *ready);
                }
            }
            Step::Lose(which) => {
                if let Some(epoch) = nth(world.machines.keys().copied(), *which) {
                    world.lose(epoch);
                }
            }
            Step::Submit { namespace, priority, request, expected, count } => {
                let mut facts = facts(0, *expected);
                facts.request = request.clone();
                facts.namespace = name(["a", "b", "c", "d"][*namespace as usize]);
                (facts.priority, facts.submitted) = (*priority, world.now);
                facts.deadline = (priority % 3 == 0).then(|| world.now.plus(Span(u64::from(*priority) * 1_000)));
                facts.path = Span(expected.unwrap_or(0) * 2);
                facts.lineage = lineage(&format!("{namespace}/{}", count % 3));
                world.submit(facts, *count);
            }
            Step::Entitle { namespace, quota, limit, kind } => {
                let kind = name(["cpu", "memory", "gpu", "fpga", "licence", "disk"][*kind as usize]);
                let unit = if kind.as_str() == "memory" { 1 } else { 500 };
                let of = |amount: &Option<u64>| amount.iter().map(|n| (kind.clone(), n * unit)).collect();
                let rules = NamespaceRules { quota: of(quota), limit: of(limit), ..NamespaceRules::default() };
                world.entitle(&name(["a", "b", "c", "d"][*namespace as usize]), rules);
            }
            Step::Cancel(which) => {
                if let Some(queued) = nth(world.waiting.keys().copied(), *which) {
                    world.cancel(queued);
                }
            }
            Step::End(which) => {
                if let Some(key) = nth(world.running.keys().copied(), *which) {
                    world.end(key);
                }
            }
            Step::Wait(ms) => world.advance(Timestamp(world.now.0 + ms)),
            Step::Plan { start } => {
                let starts = world.plan();
                if *start {
                    world.start(&starts);
                }
                planned.extend(starts);
            }
        }
    }
    planned
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 700, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plan_keeps_to_what_is_there_and_the_same_history_gives_the_same(
        policy in policy(),
        machines in prop::collection::vec(resources(1..24, 8), 1..6),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let joined: Vec<Step> = machines.into_iter().map(Step::Join).chain(steps).collect();
        let planned = run(policy.clone(), &joined, true);
        prop_assert_eq!(&planned, &run(policy.clone(), &joined, true));
        // To stop where nothing more can start leaves nothing out.
        prop_assert_eq!(planned, run(policy, &joined, false));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, failure_persistence: None, ..ProptestConfig::default() })]

    /// Requests of nothing find the limit on attempts.
    #[test]
    fn no_worker_gets_more_attempts_than_the_limit(policy in policy(), rounds in 1..4usize) {
        let mut world = World::new(policy);
        world.join(Resources::new(1_000, 0));
        world.join(Resources::new(8_000, 0));
        for namespace in ["a", "b"] {
            let mut nothing = facts(0, Some(1_000_000));
            nothing.namespace = name(namespace);
            world.submit(nothing, 3_000);
        }
        for _ in 0..rounds {
            let starts = world.plan();
            world.start(&starts);
        }
    }
}
