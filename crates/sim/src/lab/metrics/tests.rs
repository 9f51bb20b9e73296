//! The numbers that others published for their schedules come out of those schedules.

use std::io::Read;
use std::path::Path;

use quorate_types::{Name, Resources, Span};

use super::*;
use crate::lab::machines::{MachineSpec, pool};

fn record(id: u64, submitted: u64, started: u64, finished: u64, cores: u64, machine: u32) -> Record {
    Record {
        id,
        namespace: Name::new("default").unwrap(),
        submitted: Timestamp(submitted * 1000),
        started: Timestamp(started * 1000),
        finished: Timestamp(finished * 1000),
        request: Resources::new(cores * 1000, 0),
        machine,
        interrupted: 0,
        lost: Span(0),
    }
}

/// The schedule of a published file: start = submission + wait. `None` where the file is not.
fn published(name: &str) -> Option<Summary> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/swf").join(name);
    let Ok(file) = std::fs::File::open(path) else {
        eprintln!("skipped: needs shared/data");
        return None;
    };
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    let mut metrics = Metrics::new(&pool(100));
    for line in text.lines().filter(|line| !line.starts_with(';')) {
        let fields: Vec<u64> = line.split_whitespace().take(5).map(|field| field.parse().unwrap()).collect();
        let [id, submitted, wait, run, cores] = fields[..] else { panic!("{line}") };
        metrics.observe(&record(id, submitted, submitted + wait, submitted + wait + run, cores, 0));
    }
    Some(metrics.summary(&Totals::default()))
}

#[test]
fn the_published_easy_schedule_has_the_published_numbers() {
    let Some(summary) = published("KTH-SP2.easy.swf.gz") else { return };
    assert_eq!((summary.jobs, summary.makespan_s), (28_481, 29_363_626.0));
    assert!((summary.mean_bounded_slowdown - 92.57653973362949).abs() < 1e-12, "{summary:?}");
    assert!((summary.mean_wait_s - 6836.872).abs() < 0.0005, "{summary:?}");
    assert!((summary.utilisation - 0.685613).abs() < 5e-7, "{summary:?}");
}

#[test]
fn the_published_sjbf_schedule_has_the_published_slowdown() {
    let Some(summary) = published("KTH-SP2.easysjbf_clairvoyant.swf.gz") else { return };
    assert!((summary.mean_bounded_slowdown - 49.8477189313406).abs() < 1e-12, "{summary:?}");
}

#[test]
fn two_machines_by_hand() {
    let mut machines = Vec::new();
    "2cpu*2".parse::<MachineSpec>().unwrap().append("m", &mut machines);
    let mut metrics = Metrics::new(&machines);
    metrics.observe(&record(1, 100, 100, 120, 2, 0));
    metrics.observe(&Record { interrupted: 1, lost: Span(3000), ..record(2, 100, 115, 120, 2, 1) });
    let summary = metrics.summary(&Totals { failures: 1, ..Totals::default() });
    assert_eq!((summary.makespan_s, summary.mean_wait_s, summary.max_wait_s), (20.0, 7.5, 15.0));
    // 1, and 20 s over the threshold of 10 s.
    assert_eq!((summary.mean_bounded_slowdown, summary.max_bounded_slowdown), (1.5, 2.0));
    assert!((summary.wait_p99_s - 15.0).abs() < 0.02 && summary.wait_p50_s == 0.0, "{summary:?}");
    // 40 + 10 of 80 core seconds; the machines were used fully and to a quarter.
    assert_eq!((summary.utilisation, summary.load_balance_degree, summary.atct_s), (0.625, 0.375, 20.0));
    assert_eq!((summary.interrupted, summary.lost_s, summary.lost_core_s, summary.failures), (1, 3.0, 6.0, 1));
}

#[test]
fn no_job_is_no_division_by_zero() {
    assert_eq!(Metrics::new(&pool(4)).summary(&Totals::default()), Summary::default());
}

#[test]
fn sums_do_not_depend_on_the_order() {
    let mut sum = Sum::default();
    for value in [1.0, 1e100, 1.0, -1e100] {
        sum.add(value);
    }
    assert_eq!(sum.value(), 2.0);
}
