//! Where tasks may run: each kind of constraint as text, and all of them together at random.

use std::collections::BTreeSet;

use crate::view::View;
use crate::view::led::Led;
use crate::view::random::{choosy, machine, of, suited};
use proptest::prelude::*;
use quorate_placement::Bounds;
use quorate_state::command::Command;
use quorate_state::queue::Queued;
use quorate_types::policy::{Backfill, PlacementOrder, PolicyChange, QueueOrder};
use quorate_types::{Epoch, JobId, Name, TaskIndex, Timestamp};

fn zones(placement: PlacementOrder) -> View {
    View::new(QueueOrder::Fifo, placement)
        .labelled("eu1", r#"{"cpu":4}"#, &["zone=eu", "mem_gb=16"], &[])
        .labelled("eu2", r#"{"cpu":4}"#, &["zone=eu", "mem_gb=64", "ssd=yes"], &[])
        .labelled("us1", r#"{"cpu":4}"#, &["zone=us", "mem_gb=64"], &[])
        .labelled("gpu", r#"{"cpu":4}"#, &["zone=us"], &["dedicated=ml"])
}

fn task(count: u32, rest: &str) -> String {
    format!(r#"{{"tasks":[{{"name":"a","command":["x"],"count":{count},{rest}}}]}}"#)
}

#[test]
fn what_is_required_is_met() {
    let plan = |rest: &str| zones(PlacementOrder::BestFit).job(&task(1, rest)).plan();
    assert_eq!(plan(r#""requires":["mem_gb>=64","zone=eu"]"#), "1/0[0]>eu2");
    assert_eq!(plan(r#""requires":["!ssd","mem_gb>=64"]"#), "1/0[0]>us1");
    assert_eq!(plan(r#""requires":["worker=us1"]"#), "1/0[0]>us1");
    assert_eq!(plan(r#""requires":["zone in (ap,af)"]"#), "");
    assert_eq!(plan(r#""requires":["!mem_gb"]"#), "", "the only one is tainted");
    assert_eq!(plan(r#""requires":["!mem_gb"],"tolerations":["dedicated"]"#), "1/0[0]>gpu");
}

#[test]
fn taints_keep_off_what_does_not_tolerate_them() {
    let mut view = zones(PlacementOrder::RoundRobin).job(&task(4, r#""tolerations":["spot"]"#));
    assert_eq!(view.plan(), "1/0[0]>eu1 1/0[1]>eu2 1/0[2]>us1 1/0[3]>eu1");
    let name = |text: &str| Name::new(text).unwrap();
    for worker in ["eu1", "us1"] {
        view.apply(Command::Taint { worker: name(worker), taints: vec!["old".parse().unwrap()] });
    }
    assert_eq!(view.plan(), "1/0[0]>eu2 1/0[1]>eu2 1/0[2]>eu2 1/0[3]>eu2");
    view.apply(Command::Taint { worker: name("eu1"), taints: vec!["spot".parse().unwrap()] });
    assert_eq!(view.plan(), "1/0[0]>eu1 1/0[1]>eu2 1/0[2]>eu1 1/0[3]>eu2", "it is tolerated");
}

/// The best sum of weights that has room, and within it what the policy wants.
#[test]
fn preferences_come_before_the_policy_and_room_before_both() {
    let prefers = r#""prefers":[{"condition":"zone=us","weight":10},{"condition":"ssd","weight":9}]"#;
    let plan = zones(PlacementOrder::BestFit).job(&task(12, prefers)).plan();
    let of = |worker: &str| plan.split(' ').position(|start| start.ends_with(worker)).unwrap();
    assert_eq!([of("us1"), of("eu2"), of("eu1")], [0, 4, 8], "{plan}");
    let both = r#""prefers":[{"condition":"zone=eu","weight":6},{"condition":"ssd","weight":5},"mem_gb>60"]"#;
    assert_eq!(zones(PlacementOrder::LeastLoad).job(&task(1, both)).plan(), "1/0[0]>eu2");
    let none = r#""prefers":["zone=mars"]"#;
    assert_eq!(zones(PlacementOrder::BestFit).job(&task(1, none)).plan(), "1/0[0]>eu1");
}

/// In whatever order the conditions became known.
#[test]
fn of_workers_that_are_preferred_as_much_the_policy_chooses() {
    for prefers in [r#""prefers":["disk","zone=eu"]"#, r#""prefers":["zone=eu","disk"]"#] {
        for (placement, plan) in [(PlacementOrder::BestFit, "1/0[0]>small"), (PlacementOrder::WorstFit, "1/0[0]>large")]
        {
            let view = View::new(QueueOrder::Fifo, placement)
                .labelled("large", r#"{"cpu":8}"#, &["disk=ssd"], &[])
                .labelled("small", r#"{"cpu":2}"#, &["zone=eu"], &[])
                .worker("neither", r#"{"cpu":4}"#);
            assert_eq!(view.job(&task(1, prefers)).plan(), plan, "{prefers}");
        }
    }
}

#[test]
fn elements_are_spread_over_values_and_kept_apart() {
    let mut view = zones(PlacementOrder::BestFit).job(&task(9, r#""spread":[{"label":"zone","max":2}]"#));
    assert_eq!(view.plan(), "1/0[0]>eu1 1/0[1]>eu1 1/0[2]>us1 1/0[3]>us1");
    view.apply_plan();
    assert_eq!(view.plan(), "", "those that live count");
    let alone = zones(PlacementOrder::BestFit).job(&task(9, r#""anti_affinity":["a"]"#));
    assert_eq!(alone.plan(), "1/0[0]>eu1 1/0[1]>eu2 1/0[2]>us1");
    let unlabelled = zones(PlacementOrder::BestFit).job(&task(3, r#""spread":[{"label":"ssd","max":1}]"#));
    assert_eq!(unlabelled.plan(), "1/0[0]>eu2", "a worker without the label gets none");
}

/// Whichever of two says so, neither goes where the other is.
#[test]
fn apart_is_mutual() {
    let job = |first: &str, second: &str| {
        format!(
            r#"{{"tasks":[{{"name":"a","command":["x"]{first}}},{{"name":"b","command":["x"],"count":4{second}}}]}}"#
        )
    };
    for json in [job(r#","anti_affinity":["b"]"#, ""), job("", r#","anti_affinity":["a"]"#)] {
        let mut view = zones(PlacementOrder::BestFit).job(&json);
        assert_eq!(view.plan(), "1/0[0]>eu1 1/1[0]>eu2 1/1[1]>eu2 1/1[2]>eu2 1/1[3]>eu2");
        view.apply_plan();
    }
}

/// By the labels of jobs, in one decision and over those that live, from either side.
#[test]
fn jobs_are_kept_apart_by_their_labels() {
    let web = |count: u32| format!(r#"{{"labels":{{"app":"web"}},{}"#, &task(count, r#""retries":0"#)[1..]);
    let picky = |count: u32| task(count, r#""anti_affinity":[{"label":"app=web"}]"#);
    let together = zones(PlacementOrder::BestFit).job(&picky(2)).job(&web(9)).job(&task(9, r#""retries":0"#));
    let plan = together.plan();
    let on = |job: &str| -> BTreeSet<String> {
        let starts = plan.split(' ').filter(|start| start.starts_with(job));
        starts.map(|start| start.split_once('>').unwrap().1.to_owned()).collect()
    };
    assert!(on("1/").is_disjoint(&on("2/")), "{plan}");
    assert_eq!([on("1/").len(), on("2/").len()], [1, 2], "{plan}");
    assert!(!on("3/").is_empty(), "what nobody minds goes anywhere: {plan}");
    for (first, second) in [(picky(9), web(9)), (web(9), picky(9))] {
        let mut view = zones(PlacementOrder::LeastLoad).job(&first);
        view.apply_plan();
        // All three workers have some: nothing is left for the other, and a plain job is not blocked by it.
        let view = view.job(&second).job(&task(3, r#""retries":0"#));
        let plan = view.plan();
        assert_eq!(plan.matches("3/0").count(), 3, "{plan}");
        assert!(!plan.contains("2/0"), "{plan}");
    }
}

/// What nobody can take now is no reason to keep others waiting, however much of it there is.
#[test]
fn many_that_fit_nowhere_block_nobody() {
    for backfill in Backfill::ALL.iter().copied() {
        let mut view = zones(PlacementOrder::BestFit);
        view.apply(Command::ChangePolicy(PolicyChange { backfill: Some(backfill), ..PolicyChange::default() }));
        view = view.job(&task(1, r#""requires":["zone=eu"],"resources":{"cpu":4},"expected":"1h""#));
        view = view.job(&task(1, r#""requires":["zone=eu"],"resources":{"cpu":4},"expected":"1h""#));
        view.apply_plan();
        for _ in 0..12_000 {
            view = view.job(&task(1, r#""requires":["zone=eu"]"#));
        }
        view = view.job(&task(1, r#""requires":["zone=us"]"#)).job(&task(1, r#""requires":["zone=mars"]"#));
        let plan = view.plan();
        assert_eq!(plan, "12003/0[0]>us1", "{backfill:?}");
    }
}

#[test]
fn a_key_says_where_consistent_hashing_goes() {
    let mut view = View::new(QueueOrder::Fifo, PlacementOrder::ConsistentHash);
    for nth in 0..8 {
        view = view.worker(&format!("w{nth}"), r#"{"cpu":100}"#);
    }
    let workers = |rest: &str| -> BTreeSet<String> {
        let one = |nth: u32| {
            let json = format!(r#"{{"name":"n{nth}","tasks":[{{"name":"a","command":["x"]{rest}}}]}}"#);
            View(view.0.clone()).job(&json).plan()
        };
        (0..8).map(one).collect()
    };
    assert!(workers("").len() >= 2, "jobs of different names go to different workers");
    assert_eq!(workers(r#","key":"k""#).len(), 1);
}

fn policy() -> impl Strategy<Value = (QueueOrder, PlacementOrder, Backfill)> {
    (
        prop::sample::select(QueueOrder::ALL),
        prop::sample::select(PlacementOrder::ALL),
        prop::sample::select(Backfill::ALL),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Everything that is planned is accepted, which looks at every constraint again, and nothing waits that has a
    /// place: all elements ask for one core, so that there is no reason to.
    #[test]
    fn constraints_hold_and_nobody_waits_in_vain(
        (queue, placement, backfill) in policy(),
        machines in prop::collection::vec(machine(), 1..8),
        jobs in prop::collection::vec(choosy(), 1..12),
        tainted in prop::collection::vec((0..8usize, of(&["t=1", "u"], 2)), 0..3),
    ) {
        let mut view = View::new(queue, placement);
        view.apply(Command::ChangePolicy(PolicyChange { backfill: Some(backfill), ..PolicyChange::default() }));
        for (nth, (labels, taints, cpu)) in machines.iter().enumerate() {
            view = view.labelled(&format!("w{nth}"), &format!(r#"{{"cpu":{cpu}}}"#), labels, taints);
        }
        let (first, second) = jobs.split_at(jobs.len() / 2);
        view = first.iter().fold(view, |view, job| view.job(&job.job("", "")));
        view.apply_plan();
        for (nth, taints) in &tainted {
            let worker = Name::new(&format!("w{}", nth % machines.len())).unwrap();
            let taints = taints.iter().map(|taint| taint.parse().unwrap()).collect();
            view.apply(Command::Taint { worker, taints });
        }
        view = second.iter().fold(view, |view, job| view.job(&job.job("", "")));
        view.apply_plan();
        for job in 1..=jobs.len() as u64 {
            let queued = Queued { job: JobId(job), task: 0 };
            let found = view.0.job(queued.job).unwrap().task(0).unwrap();
            if found.pending().next().is_some() {
                prop_assert_eq!(suited(&view.0, queued), None, "{:?} waits", jobs[job as usize - 1]);
            }
        }
    }
}

/// A planner that has followed learns of conditions and taints one after the other; more of them than it has bits.
#[test]
fn more_conditions_than_the_index_knows_hold_as_well() {
    for tainted in [true, false] {
        let mut view = View::new(QueueOrder::Fifo, PlacementOrder::BestFit);
        for nth in 0..150 {
            let taint = format!("taint{nth}");
            let taints: &[&str] = if tainted { &[&taint] } else { &[] };
            view = view.labelled(&format!("w{nth}"), r#"{"cpu":2}"#, &[&format!("label{nth}=1")], taints);
        }
        let mut planner = view.planner();
        for nth in 0..150 {
            let rest = if tainted {
                format!(r#""tolerations":["taint{nth}"]"#)
            } else {
                format!(r#""requires":["label{nth}"]"#)
            };
            view = view.job(&task(1, &rest));
            planner.round(&view.0, Timestamp(0), Bounds { assignments_max: 0, ..Bounds::default() });
        }
        let plan = planner.round(&view.0, Timestamp(0), Bounds::default()).assignments;
        let expected: Vec<_> = (0..150).map(|nth| (JobId(nth + 1), TaskIndex(0), Epoch(nth + 1))).collect();
        assert_eq!(plan.iter().map(|item| (item.job, item.index, item.epoch)).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_planner_that_follows_sees_taints_come_and_go() {
    let mut view = zones(PlacementOrder::BestFit).job(&task(99, r#""requires":["worker=eu1"]"#));
    let mut planner = view.planner();
    let mut started_after = |view: &mut View, taints: &[&str]| {
        let taints = taints.iter().map(|taint| taint.parse().unwrap()).collect();
        view.apply(Command::Taint { worker: Name::new("eu1").unwrap(), taints });
        planner.round(&view.0, Timestamp(0), Bounds::default()).assignments.len()
    };
    assert_eq!(started_after(&mut view, &["new"]), 0);
    assert_eq!(started_after(&mut view, &[]), 4);
    assert_eq!(started_after(&mut view, &["dedicated=ml"]), 0);
}

/// A hundred workers will have room sooner, but are no place for it: its reservation is on the one that is.
#[test]
fn siblings_everywhere_hide_no_opening() {
    let workers: Vec<String> = (0..100).map(|number| format!("w{number:02}")).chain(["last".to_owned()]).collect();
    let workers: Vec<(&str, u32)> = workers.iter().map(|name| (name.as_str(), 3)).collect();
    for backfill in ["easy", "easy-sjbf", "conservative"] {
        let mut led = Led::new(QueueOrder::Fifo, &workers);
        led.change(&format!(r#"{{"backfill":"{backfill}"}}"#));
        led.job(r#""priority":50"#, r#""expected":"500s","requires":["worker=last"],"resources":{"cpu":2}"#);
        led.job(r#""priority":50"#, r#""expected":"9s","count":101,"anti_affinity":["a"],"resources":{"cpu":3}"#);
        assert_eq!(led.round().matches('>').count(), 101, "{backfill}");
        led.job(r#""priority":50"#, r#""expected":"1000s","requires":["worker=last"],"resources":{"cpu":1}"#);
        led.job(r#""priority":50"#, r#""expected":"100s","requires":["worker=last"],"resources":{"cpu":1}"#);
        assert_eq!(led.round(), "4[0]>last", "{backfill}: what would be in the way at 500 s waits, the rest does not");
    }
}
