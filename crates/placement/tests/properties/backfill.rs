//! Reservations are kept as long as everything runs as long as it is expected to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;
use quorate_placement::book::{Facts, Start};
use quorate_state::job::ElementKey;
use quorate_state::queue::Queued;
use quorate_types::policy::{Backfill, PlacementOrder, QueueOrder};
use quorate_types::{Epoch, Policy, Resources, Span, Timestamp};

use super::world::{World, facts};

/// Jobs in the order of their arrival: how long after the one before, cores, run time, elements.
type Arrivals = Vec<(u64, u64, u64, u64)>;

fn arrivals(elements: u64) -> impl Strategy<Value = Arrivals> {
    prop::collection::vec((0..40u64, 1..10u64, 1..100u64, 1..=elements), 1..50)
}

fn workers() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(1..10u64, 1..4)
}

fn world(backfill: Backfill, placement: PlacementOrder, workers: &[u64]) -> World {
    let mut world = World::new(Policy { queue: QueueOrder::Fifo, backfill, placement, ..Policy::default() });
    for cores in workers {
        world.join(capacity(*cores));
    }
    world
}

/// Who has many cores has little memory, so that either may be what a task waits for.
fn capacity(cores: u64) -> Resources {
    Resources::new(cores * 1_000, 12 - cores)
}

/// What runs for longer has more memory, or hardly any.
fn job(cores: u64, run: u64) -> Facts {
    let mut facts = facts(cores, Some(run));
    facts.request.memory_bytes = run % 9;
    facts
}

/// Goes from event to event; `planned` sees each plan before it is started. Expected times are real, but every
/// job whose number `early` divides ends at half of them.
fn replay(world: &mut World, arrivals: &Arrivals, early: u64, planned: &mut dyn FnMut(&mut World, &[Start])) {
    let mut arrivals = arrivals.iter();
    let mut next = arrivals.next().map(|arrival| (Timestamp(arrival.0), arrival));
    loop {
        let at = [next.map(|(at, _)| at), world.next_end(), world.wake_at].into_iter().flatten().min();
        let Some(at) = at else { break };
        world.advance(at);
        while let Some((_, (_, cores, run, count))) = next.filter(|(due, _)| *due <= world.now) {
            world.submit(job(*cores, *run), *count);
            next = arrivals.next().map(|arrival| (world.now.plus(quorate_types::Span(arrival.0)), arrival));
        }
        let starts = world.plan();
        planned(world, &starts);
        world.start(&starts);
        if early > 0 {
            let now = world.now;
            let sooner = world.running.iter_mut().filter(|(key, run)| key.job.0 % early == 0 && run.end > now);
            sooner.for_each(|(_, run)| run.end = run.end.min(Timestamp(now.0 + (run.end.0 - now.0).div_ceil(2))));
        }
    }
    let fits = |request: &Resources| world.machines.values().any(|machine| request.fits(&machine.worker.capacity));
    let stuck = world.waiting.values().find(|waiting| fits(&waiting.facts.request));
    assert!(stuck.is_none(), "everything that can run has run: {stuck:?}");
}

/// When the task would have room first, if only `starts` were started now.
fn opening(world: &World, starts: &[Start], request: &Resources) -> Option<Timestamp> {
    let able = world.machines.iter().filter(|(_, machine)| request.fits(&machine.worker.capacity));
    let at = |epoch: Epoch, mut free: Resources| {
        let running = world.running.values().filter(|run| run.epoch == epoch);
        let mut ends: Vec<(Timestamp, Resources)> = running.map(|run| (run.end, run.request.clone())).collect();
        for start in starts.iter().filter(|start| start.epoch == epoch) {
            let facts = &world.waiting[&start.queued].facts;
            free.subtract(&facts.request);
            ends.push((world.now.plus(facts.expected.unwrap()), facts.request.clone()));
        }
        ends.sort_by_key(|(end, _)| *end);
        if request.fits(&free) {
            return Some(world.now);
        }
        ends.into_iter().find_map(|(end, given_back)| {
            free.add(&given_back);
            request.fits(&free).then_some(end)
        })
    };
    able.filter_map(|(epoch, machine)| at(*epoch, machine.free.clone())).min()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 250, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn easy_never_delays_the_head(
        backfill in prop::sample::select(&[Backfill::Easy, Backfill::EasySjbf][..]),
        placement in prop::sample::select(PlacementOrder::ALL),
        workers in workers(),
        arrivals in arrivals(3),
    ) {
        let mut world = world(backfill, placement, &workers);
        // When the next element of a task with so many left starts at the latest, as of when it first was the head.
        let mut told: BTreeMap<(Queued, u64), Timestamp> = BTreeMap::new();
        replay(&mut world, &arrivals, 0, &mut |world, starts| {
            let mut left: BTreeMap<Queued, u64> = world.waiting.iter().map(|(at, task)| (*at, task.pending)).collect();
            for start in starts {
                let pending = left.get_mut(&start.queued).unwrap();
                if let Some(latest) = told.get(&(start.queued, *pending)) {
                    assert!(world.now <= *latest, "{start:?} at {:?} instead of {latest:?}", world.now);
                }
                *pending -= 1;
            }
            let request = |queued: &Queued| &world.waiting[queued].facts.request;
            let fits = |queued: &Queued| workers.iter().any(|cores| request(queued).fits(&capacity(*cores)));
            let Some((head, pending)) = left.iter().find(|(queued, pending)| **pending > 0 && fits(queued)) else {
                return;
            };
            let ahead: Vec<Start> = starts.iter().filter(|start| start.queued <= *head).copied().collect();
            let soonest = opening(world, &ahead, request(head)).unwrap();
            told.entry((*head, *pending)).or_insert(soonest);
        });
    }

    #[test]
    fn conservative_never_delays_anybody(
        placement in prop::sample::select(PlacementOrder::ALL),
        workers in workers(),
        arrivals in arrivals(4),
        early in 0..4u64,
    ) {
        let mut world = world(Backfill::Conservative, placement, &workers);
        let mut told: BTreeMap<Queued, VecDeque<Timestamp>> = BTreeMap::new();
        replay(&mut world, &arrivals, early, &mut |world, starts| {
            for start in starts {
                if let Some(latest) = told.get_mut(&start.queued).and_then(VecDeque::pop_front) {
                    assert!(world.now <= latest, "{start:?} at {:?} instead of {latest:?}", world.now);
                }
            }
            let mut has_all = true;
            for (queued, waiting) in &world.waiting {
                let now: VecDeque<Timestamp> = world.book.reserved(*queued).collect();
                let started = starts.iter().filter(|start| start.queued == *queued).count() as u64;
                let fits = workers.iter().any(|cores| waiting.facts.request.fits(&capacity(*cores)));
                has_all &= !fits || now.len() as u64 == waiting.pending - started;
                let before = told.entry(*queued).or_default();
                assert!(before.len() <= now.len(), "{queued:?} had {before:?} and has {now:?}");
                assert!(before.iter().zip(&now).all(|(before, now)| now <= before), "{before:?} became {now:?}");
                *before = now;
            }
            let reserved: usize = told.values().map(VecDeque::len).sum();
            assert!(has_all || reserved >= 100, "each that can run has a reservation, up to a hundred");
        });
    }

    /// Small tasks that never cease to come, and that each run a little longer than expected, do not keep a large one
    /// from its worker for longer than ten times what it was told first, and what then runs there.
    #[test]
    fn ends_that_come_late_starve_nobody(
        backfill in prop::sample::select(&[Backfill::Easy, Backfill::EasySjbf, Backfill::Conservative][..]),
        placement in prop::sample::select(PlacementOrder::ALL),
        cores in 2..6u64,
        small_workers in 0..3usize,
        run in (20..80u64).prop_map(|secs| secs * 1_000),
        over in 1..30_000u64,
        gang in any::<bool>(),
    ) {
        const STEP: u64 = 5_000;
        const PATIENCE: u64 = 10;
        const AT: u64 = 300_000;
        let workers: Vec<u64> = std::iter::once(cores).chain(std::iter::repeat_n(1, small_workers)).collect();
        let mut world = world(backfill, placement, &workers);
        let mut late: BTreeSet<ElementKey> = BTreeSet::new();
        let mut large = None;
        let most = AT + (PATIENCE + 1) * (run + over) + 4 * STEP;
        for now in (0..=most).step_by(STEP as usize) {
            world.advance(Timestamp(now));
            if now == AT {
                // Nobody stands before it.
                world.waiting.keys().copied().collect::<Vec<_>>().into_iter().for_each(|small| world.cancel(small));
                large = Some(match gang {
                    true => world.submit_gang(&[(facts(1, Some(run)), cores as u32)]),
                    false => world.submit(facts(cores, Some(run)), 1),
                });
            }
            world.submit(facts(1, Some(run)), 1 + cores / 2);
            let starts = world.plan();
            world.start(&starts);
            for (key, run) in &mut world.running {
                if late.insert(*key) {
                    run.end = run.end.plus(Span(over));
                }
            }
        }
        prop_assert!(!world.waiting.contains_key(&large.unwrap()), "it waits at {most}, and came at {AT}");
    }
}
