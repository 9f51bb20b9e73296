//! Several runs at once, on work that leaves no choice: what comes out is the same under every policy.

use std::io::Read;
use std::sync::atomic::AtomicU64;

use quorate_types::{Resources, Span, Timestamp};

use super::*;
use crate::lab::machines::pool;
use crate::lab::{Backfill, Estimates, PlacementOrder, QueueOrder};

/// Jobs of one core and ten seconds, one every five seconds.
fn stream(jobs: u64) -> Vec<Job> {
    let job = |id| Job {
        limit: Some(Span(10_000)),
        ..Job::new(id, Timestamp(id * 5000), Span(10_000), Resources::new(1000, 0))
    };
    (1..=jobs).map(job).collect()
}

#[test]
fn every_policy_is_run_once_in_order() {
    let machines = pool(1);
    let workload = Workload::of_jobs(stream(3), &machines, None).unwrap();
    let variants = Variant::product(
        &[QueueOrder::Fifo],
        &[Backfill::None, Backfill::Easy],
        &[PlacementOrder::BestFit],
        &[Estimates::User, Estimates::Exact],
    );
    let wanted = Wanted { starts: true, jobs: true, fates: true, plots: None };
    let (scene, rules) = (&Scene::default(), Rules::default());
    let experiment = Experiment { workload: &workload, scene, machines: &machines, variants: &variants, rules, wanted };
    let finished = AtomicU64::new(0);
    let runs = experiment.run(&|more| {
        finished.fetch_add(more, Ordering::Relaxed);
    });
    let runs = runs.unwrap();
    assert_eq!((runs.len(), finished.into_inner()), (4, 12));
    for (run, variant) in runs.into_iter().zip(&variants) {
        assert_eq!(run.variant, *variant);
        assert_eq!((run.summary.jobs, run.summary.makespan_s, run.summary.mean_wait_s), (3, 30.0, 5.0));
        assert_eq!(run.to_json()["backfill"], variant.backfill.as_str());
        assert_eq!(run.fates.unwrap().iter().map(|fate| fate.finished.0).collect::<Vec<_>>(), [15_000, 25_000, 35_000]);
        let mut text = String::new();
        run.starts.unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "1,5\n2,15\n3,25\n");
        text.clear();
        run.jobs.unwrap().read_to_string(&mut text).unwrap();
        assert!(text.ends_with("3,job,default,15,25,35,10,10,2.000000,1,0,pool-1,0,0\n"), "{text}");
    }
}

#[test]
fn what_breaks_off_in_the_middle_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.swf");
    std::fs::write(&path, "1 0 0 5 1 -1 -1 1 9\n2 0 0 5 1 -1 -1 1 9\n").unwrap();
    let machines = pool(1);
    let workload = Workload::open(&path, crate::lab::input::Format::Swf, &machines, None).unwrap();
    std::fs::write(&path, "1 0 0 5 1 -1 -1 1 9\n2 0 0 x 1 -1 -1 1 9\n").unwrap();
    let variants = [Variant::default()];
    let (rules, wanted) = (Rules::default(), Wanted::default());
    let scene = &Scene::default();
    let experiment = Experiment { workload: &workload, scene, machines: &machines, variants: &variants, rules, wanted };
    let error = experiment.run(&|_| {}).unwrap_err().to_string();
    assert!(error.contains("line 2: field 4"), "{error}");
}
