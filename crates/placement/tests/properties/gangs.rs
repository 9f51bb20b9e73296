//! Gangs start whole or not at all (which [`World::plan`] looks at), and neither starve nor hold up others for ever.

use std::collections::BTreeMap;

use proptest::prelude::*;
use quorate_placement::book::Facts;
use quorate_state::queue::Queued;
use quorate_types::policy::{Backfill, PlacementOrder, QueueOrder};
use quorate_types::{Policy, Resources, Span, Timestamp};

use super::world::{World, facts, name};

/// Tasks of a gang: cores and elements.
type Tasks = Vec<(u64, u32)>;

#[derive(Clone, Debug)]
enum Arrival {
    Gang(Tasks, u64),
    Task { cores: u64, count: u64, run: u64 },
}

fn arrival() -> impl Strategy<Value = (u64, Arrival)> {
    let tasks = prop::collection::vec((1..5u64, 1..5u32), 1..4);
    let arrival = prop_oneof![
        1 => (tasks, 1..60u64).prop_map(|(tasks, run)| Arrival::Gang(tasks, run)),
        2 => (1..6u64, 1..4u64, 1..60u64).prop_map(|(cores, count, run)| Arrival::Task { cores, count, run }),
    ];
    (0..30u64, arrival)
}

fn gang(tasks: &Tasks, now: Timestamp, run: Option<u64>) -> Vec<(Facts, u32)> {
    let of = |(cores, count): &(u64, u32)| (Facts { submitted: now, ..facts(*cores, run) }, *count);
    tasks.iter().map(of).collect()
}

/// Whether the tasks fit a cluster on which nothing else runs: the largest first, each where it leaves the least room.
/// What fits so need not be all that fits, and is all that is promised.
fn fits_empty(workers: &[u64], tasks: &Tasks) -> bool {
    let mut free: Vec<u64> = workers.to_vec();
    let mut cores: Vec<u64> = tasks.iter().flat_map(|(cores, count)| vec![*cores; *count as usize]).collect();
    cores.sort_unstable();
    cores.into_iter().rev().all(|cores| {
        let found = free.iter_mut().filter(|free| **free >= cores).min();
        found.map(|free| *free -= cores).is_some()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes, in the end everything has run that an empty cluster has room for.
    #[test]
    fn all_of_them_run(
        queue in prop::sample::select(QueueOrder::ALL),
        backfill in prop::sample::select(Backfill::ALL),
        placement in prop::sample::select(PlacementOrder::ALL),
        workers in prop::collection::vec(1..10u64, 1..6),
        arrivals in prop::collection::vec(arrival(), 1..30),
        known in any::<bool>(),
    ) {
        let mut world = World::new(Policy { queue, backfill, placement, ..Policy::default() });
        workers.iter().for_each(|cores| { world.join(Resources::new(cores * 1_000, 0)); });
        let mut arrivals = arrivals.iter().scan(0, |at, (wait, arrival)| { *at += wait; Some((Timestamp(*at), arrival)) });
        let mut next = arrivals.next();
        let mut gangs: BTreeMap<Queued, Tasks> = BTreeMap::new();
        let mut runs: BTreeMap<Queued, u64> = BTreeMap::new();
        loop {
            let at = [next.map(|(at, _)| at), world.next_end().filter(|at| *at != Timestamp(u64::MAX)), world.wake_at];
            let Some(at) = at.into_iter().flatten().min() else { break };
            world.advance(at);
            while let Some((_, arrival)) = next.filter(|(due, _)| *due <= world.now) {
                let (queued, run) = match arrival {
                    Arrival::Gang(tasks, run) => {
                        let queued = world.submit_gang(&gang(tasks, world.now, known.then_some(*run)));
                        gangs.insert(queued, tasks.clone());
                        (queued, *run)
                    }
                    Arrival::Task { cores, count, run } => {
                        let of = facts((*cores).min(*workers.iter().max().unwrap()), known.then_some(*run));
                        (world.submit(Facts { submitted: world.now, ..of }, *count), *run)
                    }
                };
                runs.insert(queued, run);
                next = arrivals.next();
            }
            let starts = world.plan();
            world.start(&starts);
            // Nobody was told, but they end all the same.
            let now = world.now;
            for (key, run) in world.running.iter_mut().filter(|(_, run)| run.end == Timestamp(u64::MAX)) {
                run.end = now.plus(Span(runs[&Queued { job: key.job, task: 0 }]));
            }
        }
        for (queued, waiting) in &world.waiting {
            let stuck = gangs.get(queued).is_none_or(|tasks| fits_empty(&workers, tasks));
            prop_assert!(!stuck, "{queued:?} waits for ever: {waiting:?}");
        }
    }

    /// Small tasks come without end, so that no worker is ever empty by chance: two gangs that want most of the cluster
    /// start all the same, the first one when what ran at its arrival has ended.
    #[test]
    fn small_tasks_do_not_starve_them(
        backfill in prop::sample::select(Backfill::ALL),
        placement in prop::sample::select(PlacementOrder::ALL),
        workers in 2..6u64,
        cores in 2..4u64,
        run in 5..50u64,
        known in any::<bool>(),
    ) {
        let mut world = World::new(Policy { queue: QueueOrder::Fifo, backfill, placement, ..Policy::default() });
        (0..workers).for_each(|_| { world.join(Resources::new(cores * 1_000, 0)); });
        let small = |at: u64| Facts { submitted: Timestamp(at), ..facts(1, known.then_some(run)) };
        let size = workers as u32;
        let (mut first, mut second) = (None, None);
        for at in 0..20 * run {
            world.advance(Timestamp(at));
            if at == 2 * run {
                first = Some(world.submit_gang(&gang(&vec![(cores, size)], world.now, known.then_some(run))));
                second = Some(world.submit_gang(&gang(&vec![(cores, size - 1), (1, 1)], world.now, known.then_some(run))));
            }
            // Before the gangs come, no more than can start.
            let busy = world.running.len() as u64;
            let count = 1 + workers * cores / run;
            let count = if at < 2 * run { count.min(workers * cores - busy) } else { count };
            if count > 0 {
                world.submit(small(at), count);
            }
            let starts = world.plan();
            world.start(&starts);
            for running in world.running.values_mut().filter(|running| running.end == Timestamp(u64::MAX)) {
                running.end = Timestamp(at + run);
            }
            if at >= 3 * run {
                prop_assert!(!world.waiting.contains_key(&first.unwrap()), "the first gang waits at {at}");
            }
        }
        prop_assert!(!world.waiting.contains_key(&second.unwrap()), "the second gang waits");
    }

    /// A gang starts no later than it was first told, as long as nothing runs for longer than expected.
    #[test]
    fn reservations_are_kept(
        backfill in prop::sample::select(&[Backfill::Easy, Backfill::EasySjbf, Backfill::Conservative][..]),
        placement in prop::sample::select(PlacementOrder::ALL),
        workers in prop::collection::vec(1..10u64, 1..5),
        arrivals in prop::collection::vec(arrival(), 1..40),
    ) {
        let mut world = World::new(Policy { queue: QueueOrder::Fifo, backfill, placement, ..Policy::default() });
        workers.iter().for_each(|cores| { world.join(Resources::new(cores * 1_000, 0)); });
        let mut told: BTreeMap<Queued, Timestamp> = BTreeMap::new();
        let mut arrivals = arrivals.iter().scan(0, |at, (wait, arrival)| { *at += wait; Some((Timestamp(*at), arrival)) });
        let mut next = arrivals.next();
        loop {
            let at = [next.map(|(at, _)| at), world.next_end(), world.wake_at].into_iter().flatten().min();
            let Some(at) = at else { break };
            world.advance(at);
            while let Some((_, arrival)) = next.filter(|(due, _)| *due <= world.now) {
                match arrival {
                    // One that fits by luck, now and then, would come before others that were told a time.
                    Arrival::Gang(tasks, run) if fits_empty(&workers, tasks) => {
                        world.submit_gang(&gang(tasks, world.now, Some(*run)));
                    }
                    Arrival::Gang(..) => {}
                    Arrival::Task { cores, count, run } => {
                        world.submit(Facts { submitted: world.now, ..facts(*cores, Some(*run)) }, *count);
                    }
                };
                next = arrivals.next();
            }
            let starts = world.plan();
            for start in &starts {
                if let Some(latest) = told.get(&Queued { task: 0, ..start.queued }) {
                    prop_assert!(world.now <= *latest, "{start:?} at {:?} instead of {latest:?}", world.now);
                }
            }
            for (queued, waiting) in world.waiting.iter().filter(|(_, waiting)| waiting.facts.gang.is_some()) {
                let reserved: Vec<Timestamp> = world.book.reserved(*queued).collect();
                prop_assert!(reserved.windows(2).all(|pair| pair[0] == pair[1]), "{waiting:?} has {reserved:?}");
                reserved.first().into_iter().for_each(|at| { told.entry(*queued).or_insert(*at); });
            }
            world.start(&starts);
        }
    }
}

#[test]
fn a_gang_in_a_namespace_takes_one_turn() {
    let mut world = World::new(Policy { queue: QueueOrder::FairShare, ..Policy::default() });
    world.join(Resources::new(6_000, 0));
    for namespace in ["a", "b"] {
        let of = |cores| Facts { namespace: name(namespace), ..facts(cores, None) };
        world.submit_gang(&[(of(1), 1), (of(1), 2)]);
    }
    let starts = world.plan();
    let jobs: Vec<u64> = starts.iter().map(|start| start.queued.job.0).collect();
    assert_eq!(jobs, [1, 1, 1, 2, 2, 2], "neither is torn by the other's turn");
}
