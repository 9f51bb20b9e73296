//! What a replay costs: 300,000 made-up jobs on 1,024 processors, on one core.

#[path = "../tests/support/synthetic.rs"]
mod synthetic;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use quorate_sim::lab::machines::pool;
use quorate_sim::lab::{Backfill, Options, QueueOrder, replay};

const JOBS: u64 = 300_000;

fn replays(criterion: &mut Criterion) {
    let machines = pool(synthetic::PROCESSORS);
    let mut group = criterion.benchmark_group("replay");
    group.sample_size(10).throughput(Throughput::Elements(JOBS));
    for (name, queue, backfill) in [
        ("easy", QueueOrder::Fifo, Backfill::Easy),
        ("recommended", QueueOrder::RECOMMENDED, Backfill::RECOMMENDED),
        ("conservative", QueueOrder::Fifo, Backfill::Conservative),
    ] {
        let options = Options { queue, backfill, ..Options::default() };
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let totals = replay(synthetic::trace(JOBS), &machines, &options, &mut |_| {});
                assert_eq!(totals.map(|totals| totals.finished), Ok(JOBS));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, replays);
criterion_main!(benches);
