//! Published schedules and figures come out of the lab: those of "Improving Backfilling by Using Machine Learning to
//! Predict Running Times in Parallel Systems" (SC'15), start for start.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use quorate_sim::lab::input::{Format, Workload};
use quorate_sim::lab::machines::pool;
use quorate_sim::lab::{
    Backfill, Estimates, EventRule, Metrics, Options, PlacementOrder, QueueOrder, Record, Summary, replay,
};

const EASY: &str = "KTH-SP2.easy.swf.gz";
const LUBLIN: &str = "lublin_256.swf.gz";
const EASY_SJBF: &str = "KTH-SP2.easysjbf_clairvoyant.swf.gz";

fn options(queue: QueueOrder, backfill: Backfill, event_rule: EventRule) -> Options {
    Options {
        queue,
        backfill,
        placement: PlacementOrder::BestFit,
        event_rule,
        estimates: Estimates::User,
        seed: 1,
        ..Options::default()
    }
}

/// The file, or `None` where the data are not; then the test says so.
fn trace(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/swf").join(name);
    if path.is_file() {
        return Some(path);
    }
    eprintln!("skipped: needs ../shared/data/swf/{name}");
    None
}

/// Replays the trace on the processors that its name stands for: its figures, and when each job started, in seconds.
fn run(path: &Path, options: &Options, first: Option<u64>) -> (Summary, BTreeMap<u64, u64>) {
    let machines = pool(if path.ends_with(LUBLIN) { 256 } else { 100 });
    let workload = Workload::open(path, Format::Swf, &machines, first).unwrap();
    let (mut metrics, mut starts) = (Metrics::new(&machines), BTreeMap::new());
    let totals = replay(workload.jobs().unwrap().map(Result::unwrap), &machines, options, &mut |record: &Record| {
        metrics.observe(record);
        starts.insert(record.id, record.started.0 / 1000);
    });
    (metrics.summary(&totals.unwrap()), starts)
}

/// Submission + wait of each line.
fn published_starts(path: &Path) -> BTreeMap<u64, u64> {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with(';'));
    lines
        .map(|line| {
            let fields: Vec<u64> = line.split_whitespace().take(3).map(|field| field.parse().unwrap()).collect();
            (fields[0], fields[1] + fields[2])
        })
        .collect()
}

/// How many jobs start when the published schedule has them start.
fn same_starts(ours: &BTreeMap<u64, u64>, published: &BTreeMap<u64, u64>) -> usize {
    ours.iter().filter(|(id, start)| published.get(id) == Some(start)).count()
}

#[test]
fn easy_starts_every_job_when_the_published_schedule_does() {
    let Some(path) = trace(EASY) else { return };
    let (summary, starts) = run(&path, &options(QueueOrder::Fifo, Backfill::Easy, EventRule::Pyss), None);
    let published = published_starts(&path);
    assert_eq!((starts.len(), same_starts(&starts, &published)), (28_481, 28_481));
    assert!((summary.mean_bounded_slowdown - 92.57653973362949).abs() < 1e-9, "{summary:?}");
}

#[test]
fn easy_with_the_shortest_first_has_the_published_slowdown() {
    let Some(path) = trace(EASY_SJBF) else { return };
    let easy_sjbf = options(QueueOrder::Fifo, Backfill::EasySjbf, EventRule::Pyss);
    let (summary, starts) = run(&path, &Options { estimates: Estimates::Exact, ..easy_sjbf }, None);
    assert_eq!(same_starts(&starts, &published_starts(&path)), 28_481);
    assert!((summary.mean_bounded_slowdown - 49.8477189313406).abs() < 1e-9, "{summary:?}");
}

#[test]
fn the_natural_order_of_events_differs_in_as_many_starts_as_published() {
    let Some(path) = trace(EASY) else { return };
    let (summary, starts) = run(&path, &options(QueueOrder::Fifo, Backfill::Easy, EventRule::Natural), None);
    assert_eq!(same_starts(&starts, &published_starts(&path)), 28_025);
    assert!((summary.mean_bounded_slowdown - 92.6877).abs() < 5e-5, "{summary:?}");
}

#[test]
fn the_first_jobs_wait_as_long_as_published() {
    let Some(path) = trace(EASY) else { return };
    for (queue, backfill, wait_s, slowdown) in [
        (QueueOrder::Fifo, Backfill::None, 17264.911133, 439.939817),
        (QueueOrder::Sjf, Backfill::None, 6224.442383, 115.755753),
        (QueueOrder::Fifo, Backfill::Easy, 3081.791016, 47.059959),
    ] {
        let (summary, _) = run(&path, &options(queue, backfill, EventRule::Natural), Some(1_024));
        assert!((summary.mean_wait_s - wait_s).abs() < 5e-7, "{queue:?} {backfill:?}: {summary:?}");
        assert!((summary.mean_bounded_slowdown - slowdown).abs() < 5e-7, "{queue:?} {backfill:?}: {summary:?}");
    }
}

/// The recommended policy beats EASY by far, starves nobody that EASY does not, and has the figures that
/// docs/policies.md gives.
#[test]
fn what_is_recommended_beats_easy_without_starving_anyone() {
    for (name, easy_max) in [(EASY, 14_805.2), (LUBLIN, 17_772.4)] {
        let Some(path) = trace(name) else { return };
        let of = |queue, backfill| run(&path, &options(queue, backfill, EventRule::Natural), None).0;
        let easy = of(QueueOrder::Fifo, Backfill::Easy);
        let recommended = of(QueueOrder::RECOMMENDED, Backfill::RECOMMENDED);
        assert!((easy.max_bounded_slowdown - easy_max).abs() < 0.05, "{name}: {easy:?}");
        assert!(recommended.mean_bounded_slowdown < 0.6 * easy.mean_bounded_slowdown, "{name}: {recommended:?}");
        assert!(recommended.max_bounded_slowdown <= easy.max_bounded_slowdown, "{name}: {recommended:?}");
        let page = include_str!("../../../docs/policies.md");
        let figures = format!("{:.2} | {:.0}", recommended.mean_bounded_slowdown, recommended.max_bounded_slowdown);
        assert!(page.contains(&figures), "{name}: {figures} is not in docs/policies.md");
    }
}

mod scenes {
    use quorate_sim::lab::{Failures, Fate, Job, LabError, Machine, Scene, Totals, Underway, replay_from};
    use std::sync::Arc;

    use quorate_types::{NamespaceRules, Resources, Span, Timestamp};

    use super::*;

    /// One core for ten seconds, submitted at the second of its number.
    fn job(id: u64) -> Job {
        Job { limit: Some(Span(10_000)), ..Job::new(id, Timestamp(id * 1000), Span(10_000), Resources::new(1000, 0)) }
    }

    fn fates(scene: &Scene, jobs: Vec<Job>) -> Result<Vec<(u64, u64, u64)>, LabError> {
        let machines = [pool(1), pool(1)].concat();
        let mut fates: Vec<Fate> = Vec::new();
        let easy = options(QueueOrder::Fifo, Backfill::Easy, EventRule::Natural);
        replay_from(scene, jobs.into_iter(), &machines, &easy, &mut |record: &Record| {
            let Record { id, started, finished, machine, .. } = *record;
            fates.push(Fate { id, started, finished, machine });
        })?;
        Ok(fates.iter().map(|fate| (fate.id, fate.started.0 / 1000, fate.finished.0 / 1000)).collect())
    }

    /// Elements of one task, one on each value of a label at a time.
    #[test]
    fn elements_are_spread_in_a_replay_as_on_a_cluster() {
        let spread = quorate_sim::lab::Constraints {
            spread: vec![quorate_types::Spread { label: "zone".parse().unwrap(), max: 1 }],
            ..Default::default()
        };
        let kin = quorate_sim::lab::Kin { job: 1, task: 0 };
        let element = |id| Job { constraints: Some(std::sync::Arc::new(spread.clone())), kin, ..job(id) };
        let mut machines = Vec::new();
        for spec in ["4cpu,label:zone=a*2", "4cpu,label:zone=b", "4cpu"] {
            spec.parse::<quorate_sim::lab::machines::MachineSpec>().unwrap().append("m", &mut machines);
        }
        let jobs = (1..=4).map(|id| Job { submitted: Timestamp(0), ..element(id) });
        let mut started = Vec::new();
        let options = options(QueueOrder::Fifo, Backfill::None, EventRule::Natural);
        replay(jobs, &machines, &options, &mut |record: &Record| started.push((record.started.0, record.machine)))
            .unwrap();
        started.sort_unstable();
        let times: Vec<u64> = started.iter().map(|(at, _)| *at).collect();
        assert_eq!(times, [0, 0, 10_000, 10_000], "two zones, two at a time: {started:?}");
        assert!(started.iter().all(|(_, machine)| *machine < 3), "the one without a zone gets none: {started:?}");
    }

    /// Two of three cores go to who weighs twice as much, as long as both have work.
    #[test]
    fn weights_of_namespaces_count_in_a_replay() {
        let names = ["heavy", "light"].map(|name| name.parse::<quorate_types::Name>().unwrap());
        let of = |id: u64| Job { namespace: names[id as usize % 2].clone(), submitted: Timestamp(0), ..job(id) };
        let twice = NamespaceRules { weight: 2, ..NamespaceRules::default() };
        let scene = Scene { rules: [(names[0].clone(), Arc::new(twice))].into(), ..Scene::default() };
        let fair = options(QueueOrder::FairShare, Backfill::None, EventRule::Natural);
        let mut heavy_first = 0;
        replay_from(&scene, (0..12).map(of), &[pool(1), pool(1), pool(1)].concat(), &fair, &mut |record: &Record| {
            heavy_first += u64::from(record.started.0 < 30_000 && record.namespace == names[0]);
        })
        .unwrap();
        assert_eq!(heavy_first, 6, "of the first nine");
    }

    /// What a namespace is guaranteed comes before what others borrow, and nobody gets more than its limit.
    #[test]
    fn quotas_and_limits_of_namespaces_hold_in_a_replay() {
        let names = ["first", "owner"].map(|name| name.parse::<quorate_types::Name>().unwrap());
        // Six of each, all at once; those of the owner come last.
        let of = |id: u64| Job { namespace: names[usize::from(id >= 6)].clone(), submitted: Timestamp(0), ..job(id) };
        let started = |rules: &[(usize, &str, &str)]| {
            let of_one = |(at, quota, limit): &(usize, &str, &str)| {
                let (quota, limit) = (quota.parse().unwrap(), limit.parse().unwrap());
                (names[*at].clone(), Arc::new(NamespaceRules { quota, limit, ..NamespaceRules::default() }))
            };
            let scene = Scene { rules: rules.iter().map(of_one).collect(), ..Scene::default() };
            let machines = [pool(1), pool(1), pool(1)].concat();
            let fifo = options(QueueOrder::Fifo, Backfill::None, EventRule::Natural);
            let mut at_once = [0, 0];
            let mut finished = 0;
            replay_from(&scene, (0..12).map(of), &machines, &fifo, &mut |record: &Record| {
                finished += 1;
                at_once[usize::from(record.namespace == names[1])] += u64::from(record.started.0 == 0);
            })
            .unwrap();
            (at_once, finished)
        };
        assert_eq!(started(&[]), ([3, 0], 12));
        assert_eq!(started(&[(1, "cpu=2", "")]), ([1, 2], 12), "two are guaranteed, and the third is lent");
        assert_eq!(started(&[(0, "", "cpu=1")]), ([1, 2], 12), "only one may run");
        assert_eq!(started(&[(0, "", "cpu=0.5")]), ([0, 3], 6), "none ever may, and all are left out");
    }

    /// Jobs as they are written, and for how long after the first submission.
    fn replayed(lines: &[&str], machines: &[Machine], options: &Options) -> (Vec<Record>, Totals, Timestamp) {
        let file = tempfile::Builder::new().suffix(".ndjson").tempfile().unwrap();
        std::fs::write(file.path(), lines.iter().map(|line| line.replace('\n', " ")).collect::<Vec<_>>().join("\n"))
            .unwrap();
        let work = Workload::open(file.path(), Format::Ndjson, machines, None).unwrap();
        let mut records = Vec::new();
        let jobs = work.jobs().unwrap().map(|job| job.unwrap());
        let totals = replay(jobs, machines, options, &mut |record: &Record| records.push(record.clone())).unwrap();
        records.sort_by_key(|record| record.id);
        (records, totals, work.survey().first_submission)
    }

    fn starts(lines: &[&str], machines: &[Machine]) -> Vec<u64> {
        let fifo = options(QueueOrder::Fifo, Backfill::None, EventRule::Natural);
        let (records, _, first) = replayed(lines, machines, &fifo);
        records.iter().map(|record| record.started.since(first).0 / 1000).collect()
    }

    /// A job that shuns a label of others waits until none of them is on the machine, and they stay away from it.
    #[test]
    fn jobs_keep_apart_from_those_with_labels_that_they_shun() {
        let lines = [
            r#"{"submitted_at":"2026-01-01T00:00:00Z","name":"noisy","run":"10s","labels":{"app":"noisy"}}"#,
            r#"{"submitted_at":"2026-01-01T00:00:01Z","name":"shy","tasks":[{"name":"a","run":"20s",
                "anti_affinity":[{"label":"app=noisy"}]}]}"#,
            r#"{"submitted_at":"2026-01-01T00:00:11Z","name":"late","run":"10s","labels":{"app":"noisy"}}"#,
        ];
        assert_eq!(starts(&lines, &pool(4)), [0, 10, 30], "one after the other, though there is room for all");
    }

    /// What a gang is made of starts together, and is done together.
    #[test]
    fn a_gang_starts_at_once_or_not_at_all() {
        let holds = r#"{"submitted_at":"2026-01-01T00:00:00Z","name":"holds","run":"10s"}"#;
        let gang = r#"{"submitted_at":"2026-01-01T00:00:01Z","name":"ranks","tasks":[
            {"name":"rank","count":2,"gang":true,"runs":["5s","7s"]},{"name":"after","needs":["rank"],"run":"1s"}]}"#;
        let late = r#"{"submitted_at":"2026-01-01T00:00:02Z","name":"late","run":"9s"}"#;
        // One of two cores is free from the beginning, and kept for the gang; what needs it waits for the longer one.
        assert_eq!(starts(&[holds, gang, late], &pool(2)), [0, 10, 10, 17, 15]);
        let alone = gang.replace(r#""gang":true,"#, "");
        assert_eq!(starts(&[holds, &alone, late], &pool(2)), [0, 1, 6, 13, 10]);
        // Where it never fits it is left out, and nobody waits for it.
        let fifo = options(QueueOrder::Fifo, Backfill::None, EventRule::Natural);
        let large = gang.replace(r#""count":2"#, r#""count":3"#).replace(r#""5s","#, r#""5s","5s","#);
        let (records, totals, _) = replayed(&[holds, &large, late], &pool(2), &fifo);
        assert_eq!((records.len(), totals.finished, totals.dropped), (3, 3, 3));
    }

    #[test]
    fn a_gang_that_loses_one_begins_anew_as_a_whole() {
        let gang = r#"{"submitted_at":"2026-01-01T00:00:00Z","name":"ranks","tasks":[
            {"name":"rank","count":3,"gang":true,"runs":["10s","20s","30s"]}]}"#;
        let mut interrupted = 0;
        for seed in 1..=20 {
            let failures = Some(Failures { mtbf: Span(60_000), mttr: Span(5_000), seed });
            let fifo = options(QueueOrder::Fifo, Backfill::None, EventRule::Natural);
            let machines = [pool(1), pool(1), pool(1)].concat();
            let (records, ..) = replayed(&[gang], &machines, &Options { failures, ..fifo });
            assert!(records.iter().all(|record| record.started == records[0].started), "{seed}: {records:?}");
            assert!(records.iter().all(|record| record.interrupted == records[0].interrupted), "{seed}: {records:?}");
            interrupted += records[0].interrupted;
        }
        assert!(interrupted > 3, "{interrupted}");
    }

    #[test]
    fn nothing_fails_before_the_first_submission() {
        let late = Job { submitted: Timestamp(1_700_000_000_000), ..job(1) };
        let failures = Failures { mtbf: Span(3_600_000), mttr: Span(1_000), seed: 1 };
        let options = Options { failures: Some(failures), ..Options::default() };
        let totals = replay(std::iter::once(late), &pool(1), &options, &mut |_| {}).unwrap();
        assert!(totals.failures < 3, "{totals:?}");
    }

    #[test]
    fn a_replay_goes_on_from_what_runs_and_starts_nothing_before() {
        let underway = |id, machine, started| Underway { job: job(id), machine, started: Timestamp(started) };
        let mut scene = Scene { now: Timestamp(50_000), ..Scene::default() };
        scene.running = vec![underway(1, 0, 42_000), underway(2, 1, 49_000)];
        assert_eq!(fates(&scene, vec![job(3), job(4)]).unwrap(), [(1, 42, 52), (2, 49, 59), (3, 52, 62), (4, 59, 69)]);
        scene.closed.insert(0);
        assert_eq!(fates(&scene, vec![job(3)]).unwrap(), [(1, 42, 52), (2, 49, 59), (3, 59, 69)]);
        scene.running.push(underway(9, 7, 49_000));
        assert_eq!(fates(&scene, vec![]), Err(LabError::Nowhere { id: 9 }));
    }
}
