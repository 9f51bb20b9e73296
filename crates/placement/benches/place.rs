//! What a decision costs: by placement policy and number of workers, by queue order with a million tasks that wait, and
//! when nothing changed.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quorate_placement::book::{Book, Bounds, Facts, Tracking, Worker};
use quorate_state::queue::Queued;
use quorate_types::policy::{PlacementOrder, Policy, QueueOrder};
use quorate_types::{Epoch, JobId, Name, Resources, Span, Timestamp};

/// Decisions of one plan.
const BATCH: usize = 4_096;
const SHAPES: u64 = 1_000;
const NAMESPACES: u64 = 10;

fn name(text: &str) -> Name {
    Name::new(text).expect("a legal name")
}

/// Machines of four sizes.
fn capacity(worker: u64) -> Resources {
    Resources::new(64_000 << (worker % 4), (256 << 30) << (worker % 4))
}

/// What a worker has free of which a random part is taken, of each kind another one, up to seven tenths.
fn left(worker: u64) -> Resources {
    let all = capacity(worker);
    let taken = |kind: u64| (worker * 2 + kind).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let part = |kind: u64, of: u64| of / 1_000 * (1_000 - taken(kind) % 700);
    Resources::new(part(0, all.cpu_millis), part(1, all.memory_bytes))
}

fn book(policy: Policy, workers: u64, tasks: u64) -> Book {
    let tracking = if policy.looks_ahead() { Tracking::Attempts } else { Tracking::Loads };
    let mut book = Book::new(policy, tracking, 1);
    for worker in 0..workers {
        let named = name(&format!("w{worker}"));
        let (epoch, labels) = (Epoch(worker), BTreeMap::new());
        book.worker(Worker { epoch, name: named, labels, capacity: capacity(worker), taints: Vec::new(), ready: true });
    }
    (0..tasks).for_each(|task| book.enqueue(queued(task), facts(task)));
    book
}

fn queued(task: u64) -> Queued {
    Queued { job: JobId(task), task: 0 }
}

/// One of a thousand shapes: up to a core and up to 4 GiB.
fn facts(task: u64) -> Facts {
    let shape = task.wrapping_mul(7_919) % SHAPES;
    let request = Resources::new(1 + shape, (1 + shape * 31 % SHAPES) << 22);
    let mut facts = Facts::new(Timestamp(task), request);
    facts.namespace = name(&format!("n{}", task % NAMESPACES));
    facts.priority = (shape % 100) as u8;
    facts.expected = Some(Span(1_000 + shape * 17));
    facts.deadline = Some(Timestamp(task + shape * 1_000));
    facts.path = Span(shape * 29);
    facts
}

/// The time of so many plans, each from the same state; `before` each something may change.
fn plans(
    book: &mut Book,
    rounds: u64,
    batch: usize,
    free: &impl Fn(u64) -> Resources,
    mut before: impl FnMut(&mut Book),
) -> Duration {
    // A thousand workers: all of a batch may differ.
    let pairs_max = Bounds::default().pairs_max.max(batch * 1_000);
    let bounds = Bounds { assignments_max: batch, pairs_max, ..Bounds::default() };
    let mut spent = Duration::ZERO;
    for _ in 0..rounds {
        before(book);
        book.look_again();
        let start = Instant::now();
        let decision = book.plan(Timestamp(0), bounds, &|_| 1);
        spent += start.elapsed();
        assert_eq!(decision.starts.len(), batch);
        for epoch in book.promised() {
            book.load(epoch, free(epoch.0), 0);
        }
    }
    spent
}

fn placements(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("placement");
    group.sample_size(10).measurement_time(Duration::from_millis(500)).warm_up_time(Duration::from_millis(200));
    group.throughput(Throughput::Elements(BATCH as u64));
    for placement in PlacementOrder::ALL {
        for workers in [100, 1_000, 10_000] {
            let policy = Policy { queue: QueueOrder::Fifo, placement: *placement, ..Policy::default() };
            let mut book = book(policy, workers, 2 * BATCH as u64);
            group.bench_function(BenchmarkId::new(placement.as_str(), workers), |b| {
                b.iter_custom(|rounds| plans(&mut book, rounds, BATCH, &capacity, |_| ()));
            });
        }
    }
    group.finish();
}

/// Whole rounds of ten thousand tasks and a thousand workers, all placed together: by a leader that has just begun, and
/// after one task in a hundred was replaced by another.
fn together(criterion: &mut Criterion) {
    const TASKS: u64 = 10_000;
    let mut group = criterion.benchmark_group("round of 10000 tasks x 1000 workers");
    group.sample_size(10).measurement_time(Duration::from_secs(1)).warm_up_time(Duration::from_millis(1));
    group.throughput(Throughput::Elements(TASKS));
    let policy = Policy { placement: PlacementOrder::MinCostFlow, queue: QueueOrder::Fifo, ..Policy::default() };
    for (case, distinct, loaded) in [
        ("a thousand shapes", 1, false),
        ("none alike", TASKS, false),
        ("none alike, workers that are loaded", TASKS, true),
    ] {
        // Bytes more or less make a shape of its own.
        let of = |task: u64| {
            let mut facts = facts(task);
            facts.request.memory_bytes += task % distinct;
            facts
        };
        let free = |worker: u64| if loaded { left(worker) } else { capacity(worker) };
        let fill = || {
            let mut book = book(policy.clone(), 1_000, 0);
            (0..1_000).for_each(|worker| book.load(Epoch(worker), free(worker), 0));
            (0..TASKS).for_each(|task| book.enqueue(queued(task), of(task)));
            book
        };
        group.bench_function(BenchmarkId::new("from scratch", case), |b| {
            b.iter_custom(|rounds| (0..rounds).map(|_| plans(&mut fill(), 1, TASKS as usize, &free, |_| ())).sum());
        });
        let (mut book, mut version) = (fill(), 0);
        group.bench_function(BenchmarkId::new("after 1 % change", case), |b| {
            let mut change = |book: &mut Book| {
                version += 1;
                for task in (0..TASKS).step_by(100) {
                    book.enqueue(queued(task), of(task + version));
                }
            };
            b.iter_custom(|rounds| plans(&mut book, rounds, TASKS as usize, &free, &mut change));
        });
    }
    group.finish();
}

/// Where single attempts are followed, a plan first takes back what nobody started of the one before.
fn queues(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue of a million");
    group.sample_size(10).measurement_time(Duration::from_millis(500)).warm_up_time(Duration::from_millis(200));
    for queue in QueueOrder::ALL {
        let policy = Policy { queue: *queue, ..Policy::default() };
        let mut book = book(policy, 1_000, 1_000_000);
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function(BenchmarkId::new("plan", queue.as_str()), |b| {
            b.iter_custom(|rounds| plans(&mut book, rounds, BATCH, &capacity, |_| ()));
        });
        group.throughput(Throughput::Elements(1));
        let mut task = 0;
        group.bench_function(BenchmarkId::new("one goes and comes", queue.as_str()), |b| {
            b.iter(|| {
                task = (task + 7_919) % 1_000_000;
                let facts = book.dequeue(queued(task)).expect("it waits");
                book.enqueue(queued(task), facts);
            });
        });
    }
    group.finish();
}

/// Nothing fits, and nothing has changed since that was found out.
fn unchanged(criterion: &mut Criterion) {
    let policy = Policy { queue: QueueOrder::Fifo, ..Policy::default() };
    let mut book = book(policy, 10_000, 1_000_000);
    for worker in 0..10_000 {
        book.load(Epoch(worker), Resources::default(), 1);
    }
    let _ = book.plan(Timestamp(0), Bounds::default(), &|_| 1);
    criterion.bench_function("nothing changed, 10000 workers, a million tasks", |b| {
        b.iter(|| book.plan(Timestamp(0), Bounds::default(), &|_| 1));
    });
}

criterion_group!(benches, placements, together, queues, unchanged);
criterion_main!(benches);
