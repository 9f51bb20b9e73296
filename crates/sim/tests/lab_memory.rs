//! The memory of a replay is in proportion to what is queued and running, not to the trace. The only test of its
//! process, since it looks at all of the process's memory.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "support/synthetic.rs"]
mod synthetic;

use std::fs;

use quorate_sim::lab::machines::pool;
use quorate_sim::lab::{Backfill, Metrics, Options, QueueOrder, replay};

/// What ten times the jobs may cost. Each job that is kept costs some 300 bytes: 270,000 of them are 77 MiB.
const GROWTH_MAX_KIB: u64 = 16 << 10;

/// The most that was resident since the last call, in KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let peak = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    // Linux begins anew with what is resident now.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    peak
}

/// The peak of a replay, and the most jobs that waited.
fn replayed(jobs: u64, options: &Options) -> (u64, u64) {
    peak_kib();
    let machines = pool(synthetic::PROCESSORS);
    let mut metrics = Metrics::new(&machines);
    let totals = replay(synthetic::trace(jobs), &machines, options, &mut |record| metrics.observe(record)).unwrap();
    assert_eq!(totals.finished, jobs);
    (peak_kib(), totals.queued_max)
}

#[test]
fn memory_does_not_grow_with_the_trace() {
    let easy = Options { queue: QueueOrder::Fifo, backfill: Backfill::Easy, ..Options::default() };
    let (short, _) = replayed(30_000, &easy);
    let (long, queued) = replayed(300_000, &easy);
    assert!(
        (10..3_000).contains(&queued),
        "{queued} jobs waited at once: no queue to speak of, or one that only grows"
    );
    assert!(long < short + GROWTH_MAX_KIB, "{short} KiB for 30,000 jobs, {long} KiB for 300,000");
}
