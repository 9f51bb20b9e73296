//! What is read of a batch is enough.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use quorate_state::queue::Queued;
use quorate_types::policy::{PlacementOrder, Policy};
use quorate_types::{Epoch, JobId, Name, Preference, Resources, Timestamp};

use super::rows::Rows;
use super::yard::Yard;
use super::{Batch, Carried};
use crate::book::fleet::Slot;
use crate::book::{Book, Constraints, Crowding, Facts, Tracking, Wish, Worker};
use crate::flow;

/// Workers: how large, how much of cpu and of memory is taken in tenths, and what zone. Tasks: how much they ask for,
/// which zone they prefer, and how many there are.
type Cluster = (Vec<(u64, u64, u64, u64)>, Vec<(u64, u64, Option<u64>, u64)>);

fn cluster() -> impl Strategy<Value = Cluster> {
    // With many zones there are more kinds of workers than have blocks of their own.
    prop_oneof![Just(4_u64), Just(200)].prop_flat_map(|zones| {
        let workers = prop::collection::vec((1..=3_u64, 0..10_u64, 0..10_u64, 0..zones), 1..400);
        let task = (1..4_000_u64, 0..4_000_u64, prop::option::of(0..zones), 1..=4_u64);
        (workers, prop::collection::vec(task, 2..120))
    })
}

/// Several blocks of one sort.
fn of_one_size() -> impl Strategy<Value = Cluster> {
    let workers = prop::collection::vec((Just(2_u64), 0..10_u64, 0..10_u64, Just(1_u64)), 200..400);
    let task = (1..9_000_u64, 0..9_000_u64, Just(None), Just(1_u64));
    (workers, prop::collection::vec(task, 2..60))
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn book((workers, tasks): &Cluster) -> Book {
    let policy = Policy { placement: PlacementOrder::MinCostFlow, ..Policy::default() };
    let mut book = Book::new(policy, Tracking::Loads, 1);
    for (epoch, (size, cpu, memory, zone)) in (1..).map(Epoch).zip(workers) {
        // Those in the first zone have no memory at all.
        let memory_size = if *zone == 0 { 0 } else { size * 8_000 };
        let capacity = Resources::new(size * 8_000, memory_size);
        let labels = BTreeMap::from([(name("zone"), format!("z{zone}"))]);
        let named = name(&format!("w{}", epoch.0));
        book.worker(Worker { epoch, name: named, labels, capacity, taints: Vec::new(), ready: true });
        book.load(epoch, Resources::new(size * 800 * (10 - cpu), memory_size / 10 * (10 - memory)), 1);
    }
    for (nth, (cpu, memory, zone, _)) in (0..).zip(tasks) {
        let mut facts = Facts::new(Timestamp(nth), Resources::new(*cpu, *memory));
        let prefers =
            zone.iter().map(|zone| Preference { condition: format!("zone=z{zone}").parse().unwrap(), weight: 3 });
        let constraints = Constraints { prefers: prefers.collect(), ..Constraints::default() };
        facts.constraints = Some(constraints.into());
        book.enqueue(queued(nth), facts);
    }
    book
}

fn queued(nth: u64) -> Queued {
    Queued { job: JobId(nth), task: 0 }
}

fn batch(book: &Book, (_, tasks): &Cluster) -> Batch {
    let mut batch = Batch::default();
    for (nth, (.., elements)) in (0..).zip(tasks) {
        batch.add(queued(nth), book.waiting.entry(queued(nth)).unwrap(), *elements);
    }
    batch
}

/// About where prices are not told apart any more.
const FAMINE: i64 = (1 << 31) - 150;

/// What a task would cost on a worker of the yard.
fn value(yard: &Yard, at: usize, wish: &Wish<'_>) -> Option<i64> {
    let able = &yard.able[at];
    Some(i64::from(able.offerer.offer(wish, 1)?.cost) + able.price)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// As good as if all offers of all workers had been read, with the same proof.
    #[test]
    fn offers_that_were_not_read_would_change_nothing(cluster in cluster()) {
        let book = book(&cluster);
        let batch = batch(&book, &cluster);
        let crowding = Crowding::new(&|_| 1);
        let mut some = Rows::new(&book, &batch, &crowding, usize::MAX);
        let solved = some.solve(&Carried::default(), &batch.by_shape).unwrap();
        let mut all = Rows::new(&book, &batch, &crowding, usize::MAX);
        let best = flow::solve(&all.everything().unwrap());
        prop_assert_eq!(solved.solution.cost, best.solution.cost);
    }

    /// Whatever the prices are, those of famine as well.
    #[test]
    fn workers_that_are_passed_over_are_no_cheaper(
        cluster in prop_oneof![cluster(), of_one_size()],
        level in 0..130_i64,
        noise in prop::collection::vec(prop_oneof![4 => Just(0_i64), 1 => 0..60_i64, 1 => FAMINE..FAMINE + 60], 400),
        below in prop_oneof![4 => 0..300_i64, 1 => FAMINE..FAMINE + 300],
    ) {
        let book = book(&cluster);
        let batch = batch(&book, &cluster);
        let crowding = Crowding::new(&|_| 1);
        let mut yard = Yard::of(&book, &batch);
        yard.reprice(|able| (level - able.load.0).max(0) + noise[able.slot as usize]);
        for alike in &batch.alike {
            let wish = Wish::new(alike.queued, &alike.entry, &crowding);
            let mut passed_over: BTreeSet<usize> = (0..yard.able.len()).collect();
            for (least, block) in yard.worth(&wish, below).0 {
                for at in yard.cheaper(block, below).map(|nth| yard.order[nth]) {
                    passed_over.remove(&at);
                }
                for at in yard.blocks[block].range.clone().map(|nth| yard.order[nth]) {
                    prop_assert!(value(&yard, at, &wish).is_none_or(|value| value >= least));
                }
            }
            for at in passed_over {
                prop_assert!(value(&yard, at, &wish).is_none_or(|value| value >= below), "{at}");
            }
        }
    }

    /// Where looks run out nothing is proven, but what there is keeps to what the workers have.
    #[test]
    fn few_looks_do_no_harm(cluster in cluster(), looks in prop_oneof![Just(0), 0..20_000_usize]) {
        let book = book(&cluster);
        let batch = batch(&book, &cluster);
        let crowding = Crowding::new(&|_| 1);
        let mut rows = Rows::new(&book, &batch, &crowding, looks);
        let solved = rows.solve(&Carried::default(), &batch.by_shape).unwrap();
        let slots: Vec<Slot> = rows.workers().collect();
        for placement in &solved.solution.placements {
            // Each shape alone has room; what all of them take is checked as they start.
            let (free, tasks) = (&book.fleet.member(slots[placement.worker]).free, u64::from(placement.tasks));
            let request = &batch.alike[placement.group].entry.facts.request;
            prop_assert!(request.cpu_millis * tasks <= free.cpu_millis, "{placement:?}");
            prop_assert!(request.memory_bytes * tasks <= free.memory_bytes, "{placement:?}");
        }
        prop_assert!(looks > 0 || solved.solution.placements.is_empty(), "an offer without a look");
    }

    /// Nor does it matter where it begins.
    #[test]
    fn what_an_earlier_batch_left_is_only_a_beginning(before in cluster(), tasks in cluster()) {
        let crowding = Crowding::new(&|_| 1);
        let (first, second) = (book(&before), book(&(before.0.clone(), tasks.1.clone())));
        let earlier = batch(&first, &before);
        let mut rows = Rows::new(&first, &earlier, &crowding, usize::MAX);
        let solved = rows.solve(&Carried::default(), &earlier.by_shape).unwrap();
        let carried = Carried::of(solved.start, &rows, &first, &earlier);
        let batch = batch(&second, &tasks);
        let mut on = Rows::new(&second, &batch, &crowding, usize::MAX);
        let mut anew = Rows::new(&second, &batch, &crowding, usize::MAX);
        prop_assert_eq!(
            on.solve(&carried, &batch.by_shape).unwrap().solution.cost,
            anew.solve(&Carried::default(), &batch.by_shape).unwrap().solution.cost
        );
    }
}

/// A look says that nothing of a sort is cheap enough, and few of a block are looked at.
#[test]
fn what_is_too_dear_is_passed_over_together() {
    let workers = (0..600).map(|nth| (2, nth % 10, 0, 1)).collect();
    let cluster: Cluster = (workers, vec![(100, 100, None, 1), (200, 100, None, 1)]);
    let book = book(&cluster);
    let batch = batch(&book, &cluster);
    let crowding = Crowding::new(&|_| 1);
    let mut yard = Yard::of(&book, &batch);
    yard.reprice(|_| 0);
    let wish = Wish::new(batch.alike[0].queued, &batch.alike[0].entry, &crowding);
    let looks = |below| yard.worth(&wish, below).1;
    // Those of which nothing is taken are a sort of their own, in one block.
    assert_eq!((yard.blocks.len(), looks(0)), (10, 2));
    // With a third of it taken, and less, three tenths of the workers.
    let cheap: usize = yard.worth(&wish, 40).0.iter().map(|(_, block)| yard.cheaper(*block, 40).len()).sum();
    assert_eq!(cheap, 600 * 4 / 10);
}

/// Where all tasks have room and most workers are alike, little is read.
#[test]
fn a_large_cluster_is_not_read_as_a_whole() {
    let cluster: Cluster = (
        (0..4_000).map(|nth| (1 + nth % 3, nth % 5, nth % 7, nth % 4)).collect(),
        (0..400).map(|nth| (100 + nth, 500 - nth, None, 1 + nth % 3)).collect(),
    );
    let book = book(&cluster);
    let batch = batch(&book, &cluster);
    let crowding = Crowding::new(&|_| 1);
    let mut rows = Rows::new(&book, &batch, &crowding, usize::MAX);
    rows.solve(&Carried::default(), &batch.by_shape).unwrap();
    let looks = usize::MAX - rows.looks_left();
    assert!(looks < 400 * 4_000 / 8, "{looks} looks");
}
