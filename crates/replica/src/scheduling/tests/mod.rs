//! What the meter says of a history is what a look at every one of its versions says.

mod naive;
mod world;

use proptest::prelude::*;
use quorate_types::scheduling::{SchedulingView, Window, WindowView};
use quorate_types::{Name, Timestamp};

use self::naive::Naive;
use self::world::{Step, World, steps};
use super::meter::Meter;
use super::ring;
use crate::limits::{SCHEDULING_NAMESPACES_MAX, SCHEDULING_STEPS};

/// How often the meter looks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Looks {
    /// At every version.
    All,
    /// Only now and then.
    Some,
}

fn near(found: f64, expected: f64, tolerance: f64) -> bool {
    (found - expected).abs() <= tolerance * expected.abs().max(1.0)
}

fn near_or_none(found: Option<f64>, expected: Option<f64>) -> bool {
    match (found, expected) {
        (Some(found), Some(expected)) => near(found, expected, 1e-9),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

fn play(steps: &[Step], looks: Looks) -> (Meter, Naive) {
    let mut world = World::default();
    let mut meter = Meter::new(world.now, &world.state);
    let mut naive = Naive::new(world.now);
    for step in steps {
        // A worker that came and went in between is not known: it is looked at before it may go.
        if matches!(step, Step::Worker { .. } | Step::Expire { .. }) {
            meter.on_version(world.now, &world.state);
        }
        world.step(step);
        naive.version(world.now, &world.state);
        if looks == Looks::All || matches!(step, Step::Look) {
            meter.on_version(world.now, &world.state);
        }
    }
    meter.on_version(world.now, &world.state);
    world.pass(1_000);
    meter.on_time(world.now);
    naive.end(world.now);
    (meter, naive)
}

fn compare(meter: &Meter, naive: &Naive, namespace: Option<&Name>, windows: &[Window], looks: Looks) {
    let report: SchedulingView = meter.report(namespace, windows);
    for view in &report.windows {
        let WindowView { window, from, .. } = *view;
        let expected = naive.window(namespace, from);
        let context = format!("{namespace:?} {window} from {from}: {view:#?}\nexpected {expected:#?}");
        assert_eq!((view.finished.succeeded, view.finished.failed), (expected.succeeded, expected.failed), "{context}");
        assert!(near_or_none(view.average_task_completion_time_s, expected.completion_s), "{context}");
        assert!(near_or_none(view.wait_s.map(|wait| wait.mean), expected.wait_s), "{context}");
        assert!(near_or_none(view.bounded_slowdown, expected.slowdown), "{context}");
        assert!(near(view.running, expected.running, 1e-9), "{context}");
        if looks == Looks::All {
            assert!(near(view.queue_length.mean, expected.queued, 1e-9), "{context}");
            assert_eq!(view.queue_length.max, expected.queued_max, "{context}");
            assert!(near_or_none(view.load, expected.load), "{context}");
            let (found, fair) = (view.fairness.unwrap_or(0.0), expected.fairness.unwrap_or(0.0));
            assert!(near(found, fair, 1e-3), "{context}");
        }
        for (kind, utilisation) in &expected.utilisation {
            let found = view.resource_utilisation[kind];
            assert!(near(found, *utilisation, 1e-4), "{kind} {found} for {utilisation}: {context}");
        }
        for (kind, degree) in &expected.degree {
            let found = view.load_balance_degree.as_ref().unwrap()[kind];
            assert!(near(found, *degree, 1e-4), "{kind} {found} for {degree}: {context}");
        }
    }
}

fn compare_all(steps: &[Step], windows: &[Window], looks: Looks) {
    let (meter, naive) = play(steps, looks);
    compare(&meter, &naive, None, windows, looks);
    for namespace in ["a", "b"] {
        compare(&meter, &naive, Some(&Name::new(namespace).unwrap()), windows, looks);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// What was looked at in each version is right in every window.
    #[test]
    fn every_window_is_what_a_look_at_every_version_says(steps in steps(20_000)) {
        compare_all(&steps, Window::ALL, Looks::All);
    }

    /// However seldom it looks, nothing that ended and nothing that was held is missed.
    #[test]
    fn nothing_is_missed_between_two_looks(steps in steps(2_000)) {
        let steps: Vec<Step> = steps.into_iter().filter(|step| !matches!(step, Step::Retry { .. })).collect();
        compare_all(&steps, &[Window::Day], Looks::Some);
    }
}

#[test]
fn a_window_forgets_what_is_older() {
    let mut world = World::default();
    let mut meter = Meter::new(world.now, &world.state);
    world.step(&Step::Worker { nth: 0, cpu: 4, gpu: 0 });
    world.step(&Step::Submit { namespace: 0, count: 3, cpu: 1, gpu: 0 });
    (0..3).for_each(|nth| world.step(&Step::Assign { nth, worker: 0 }));
    (0..3).for_each(|_| world.step(&Step::End { nth: 0, code: 0, ran: 500 }));
    meter.on_version(world.now, &world.state);
    let counts = |meter: &Meter| {
        let windows = meter.report(None, Window::ALL).windows;
        windows.iter().map(|view| view.finished.succeeded).collect::<Vec<u64>>()
    };
    assert_eq!(counts(&meter), [3, 3, 3, 3]);
    meter.on_time(Timestamp(world.now.0 + 61_000));
    assert_eq!(counts(&meter), [0, 3, 3, 3]);
    meter.on_time(Timestamp(world.now.0 + 301_000));
    assert_eq!(counts(&meter), [0, 0, 3, 3]);
    meter.on_time(Timestamp(world.now.0 + 25 * 3_600_000));
    assert_eq!(counts(&meter), [0, 0, 0, 0]);
    for window in Window::ALL {
        let (now, length) = (meter.now, window.length().0);
        let reach = now.since(ring::beginning(*window, now)).0;
        let step = length / SCHEDULING_STEPS as u64;
        assert!(reach <= length && reach > length - step - 1, "{window} reaches {reach} ms");
    }
}

/// The replicated log is replayed after a restart: what ended before the meter began is not its business, and what
/// lived then has been held since.
#[test]
fn what_was_before_does_not_count() {
    let mut world = World::default();
    world.step(&Step::Worker { nth: 0, cpu: 4, gpu: 0 });
    world.step(&Step::Submit { namespace: 0, count: 2, cpu: 1, gpu: 0 });
    let seen = world.state.clone();
    (0..2).for_each(|nth| world.step(&Step::Assign { nth, worker: 0 }));
    world.pass(5_000);
    world.step(&Step::End { nth: 0, code: 0, ran: 500 });
    world.pass(5_000);
    let mut meter = Meter::new(world.now, &seen);
    world.pass(10_000);
    meter.on_version(world.now, &world.state);
    meter.on_time(world.now);
    let view = meter.report(None, &[Window::Minute]);
    assert_eq!((view.since, view.running, view.queued), (Timestamp(world.now.0 - 10_000), 1, 0));
    let window = &view.windows[0];
    assert_eq!((window.finished.succeeded, window.from), (0, view.since));
    assert!(near(window.running, 1.0, 1e-9), "{window:?}");
    assert!(near(window.resource_utilisation["cpu"], 0.25, 1e-6), "{window:?}");
}

#[test]
fn there_is_room_for_so_many_namespaces() {
    let mut world = World::default();
    let mut meter = Meter::new(world.now, &world.state);
    let most = SCHEDULING_NAMESPACES_MAX as u64;
    for nth in 0..most + 10 {
        world.submit(&format!("n{nth}"), 1, 1, 0);
        world.pass(1_000);
        meter.on_version(world.now, &world.state);
    }
    let measured = |meter: &Meter, nth: u64| meter.spaces.scope(&Name::new(&format!("n{nth}")).unwrap()).is_some();
    assert!((0..most).all(|nth| measured(&meter, nth)) && !measured(&meter, most), "all of them have tasks");
    assert_eq!(meter.level.queued, most + 10, "the cluster's sums have the others as well");
    let other = Name::new(&format!("n{most}")).unwrap();
    let view = meter.report(Some(&other), &[Window::Minute]);
    assert_eq!((view.queued, view.since), (1, meter.now), "it says that it knows nothing");
    // The first one becomes idle and makes room.
    world.step(&Step::Cancel { nth: 0 });
    world.submit("late", 1, 1, 0);
    world.pass(1_000);
    meter.on_version(world.now, &world.state);
    world.submit("later", 1, 1, 0);
    world.pass(1_000);
    meter.on_version(world.now, &world.state);
    assert!(!measured(&meter, 0));
    assert_eq!(meter.spaces.scopes().count(), SCHEDULING_NAMESPACES_MAX);
}

#[test]
fn prometheus_text_is_well_formed() {
    let steps = [
        Step::Worker { nth: 0, cpu: 4, gpu: 2 },
        Step::Submit { namespace: 0, count: 2, cpu: 1, gpu: 1 },
        Step::Assign { nth: 0, worker: 0 },
        Step::Pass { ms: 2_000 },
        Step::End { nth: 0, code: 0, ran: 500 },
    ];
    let text = play(&steps, Looks::All).0.prometheus();
    for line in [
        "# TYPE quorate_scheduling_namespace_tasks_finished_total counter",
        "quorate_scheduling_namespace_tasks_finished_total{namespace=\"a\",result=\"succeeded\"} 1",
        "quorate_scheduling_tasks_finished_total{result=\"failed\"} 0",
        "quorate_scheduling_task_completion_mean_seconds{window=\"24h\"} 2",
        "quorate_scheduling_wait_mean_seconds{window=\"1m\"} 1.5",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let mut typed = "";
    for line in text.lines() {
        match line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            Some((name, _)) => {
                assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
                typed = name;
            }
            None => {
                assert!(line.starts_with(typed) && line.rsplit_once(' ').unwrap().1.parse::<f64>().is_ok(), "{line}")
            }
        }
    }
    for word in ["resource=\"gpu\"", "fairness_ratio", "load_ratio", "quantile=\"0.99\""] {
        assert!(text.contains(word), "{word}");
    }
}
