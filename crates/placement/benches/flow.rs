//! How long a batch takes: from scratch, and after one task in a hundred was replaced by another.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use quorate_placement::flow::{Group, Offer, Problem, Worker, resolve, solve};

/// Numbers that look random and are the same in every run (splitmix64).
fn scrambled(number: u64) -> u64 {
    let mut x = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// What the offers cost.
#[derive(Clone, Copy, Debug)]
enum Costs {
    /// Each pair has its own, from 0 to 999.
    Mixed,
    /// The load of the worker, the same for every task: all want the same workers.
    Load,
}

/// Distinct tasks, each with an offer of every worker; ten slots a worker, as many as tasks.
/// Of every hundred tasks one depends on `version`.
fn problem(tasks: u64, workers: u16, costs: Costs, version: u64) -> Problem {
    let mut problem = Problem::new(vec![Worker { slots: 10, step: 0 }; workers.into()]).expect("a legal problem");
    for task in 0..tasks {
        let seed = if task % 100 == 0 { task + version * tasks } else { task };
        let offers = (0..workers).map(|worker| {
            let number = match costs {
                Costs::Mixed => seed << 16 | u64::from(worker),
                Costs::Load => worker.into(),
            };
            Offer { worker, fits: 1, cost: (scrambled(number) % 1_000) as u32 }
        });
        problem.add(Group { tasks: 1, unplaced: 1_000_000 }, offers).expect("a legal group");
    }
    problem
}

fn flow(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flow");
    group.sample_size(10);
    for costs in [Costs::Mixed, Costs::Load] {
        for (tasks, workers) in [(1_000, 100), (10_000, 1_000)] {
            let before = problem(tasks, workers, costs, 0);
            group.bench_function(format!("{costs:?} {tasks}x{workers} from scratch"), |b| b.iter(|| solve(&before)));
        }
    }
    let start = solve(&problem(10_000, 1_000, Costs::Mixed, 0)).start;
    let after = problem(10_000, 1_000, Costs::Mixed, 1);
    let moved = || start.moved(1_000, |task| (task % 100 != 0).then_some(task), Some);
    group.bench_function("Mixed 10000x1000 after 1 % change", |b| {
        b.iter_batched(moved, |start| resolve(&after, &start), BatchSize::LargeInput)
    });
    group.finish();
}

criterion_group!(benches, flow);
criterion_main!(benches);
