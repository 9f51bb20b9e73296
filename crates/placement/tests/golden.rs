//! A view in, a plan out: each policy on a small cluster, as text.

use std::sync::Arc;

use crate::view::{View, three};
use quorate_placement::Bounds;
use quorate_state::command::{Command, Entry, Proposal};
use quorate_types::Timestamp;
use quorate_types::job::JobRequest;
use quorate_types::policy::{Backfill, PlacementOrder, PolicyChange, QueueOrder};
use quorate_types::session::{AttemptKey, Finished, Happening, Report};
use quorate_types::status::Ending;

fn array(count: u32, cpu: &str) -> String {
    format!(r#"{{"tasks":[{{"name":"a","command":["x"],"count":{count},"resources":{{"cpu":{cpu}}}}}]}}"#)
}

#[test]
fn fifo_takes_jobs_as_they_came_and_priority_the_highest_first() {
    let jobs = |queue| {
        View::new(queue, PlacementOrder::BestFit)
            .worker("w", r#"{"cpu":2}"#)
            .job(r#"{"command":["x"],"priority":10}"#)
            .job(r#"{"command":["x"],"priority":90}"#)
            .job(r#"{"command":["x"],"priority":90}"#)
            .plan()
    };
    assert_eq!(jobs(QueueOrder::Fifo), "1/0[0]>w 2/0[0]>w");
    assert_eq!(jobs(QueueOrder::Priority), "2/0[0]>w 3/0[0]>w");
}

#[test]
fn the_earliest_deadline_comes_first_and_none_last() {
    let view = View::new(QueueOrder::Deadline, PlacementOrder::BestFit)
        .worker("w", r#"{"cpu":3}"#)
        .job(r#"{"command":["x"]}"#)
        .job(r#"{"command":["x"],"deadline":"2h"}"#)
        .job(r#"{"command":["x"],"deadline":"1h"}"#)
        .job(r#"{"command":["x"],"deadline":"2h"}"#);
    assert_eq!(view.plan(), "3/0[0]>w 2/0[0]>w 4/0[0]>w");
}

#[test]
fn the_longest_remaining_path_comes_first() {
    let view = View::new(QueueOrder::CriticalPath, PlacementOrder::BestFit)
        .worker("w", r#"{"cpu":2}"#)
        .job(r#"{"tasks":[{"name":"a","command":["x"],"expected":"50s"}]}"#)
        .job(
            r#"{"tasks":[{"name":"a","command":["x"],"expected":"10s"},{"name":"b","command":["x"],"expected":"20s"},
                {"name":"c","command":["x"],"expected":"35s","needs":["b"]}]}"#,
        );
    assert_eq!(view.plan(), "2/1[0]>w 1/0[0]>w");
}

/// Ten minutes are worth 2 h 13 min of waiting, an hour 6 h 58 min, and what nobody knows anything of counts as a day;
/// thirty points of priority five hours.
#[test]
fn aged_sjf_takes_the_shortest_first_and_weighs_priority() {
    let job = |priority: u8, rest: &str| {
        format!(r#"{{"priority":{priority},"tasks":[{{"name":"a","command":["x"]{rest}}}]}}"#)
    };
    let view = View::new(QueueOrder::AgedSjf, PlacementOrder::BestFit)
        .worker("w", r#"{"cpu":64}"#)
        .job(&job(50, ""))
        .job(&job(50, r#","expected":"1h""#))
        .job(&job(20, r#","expected":"10m""#))
        .job(&job(50, r#","expected":"10m""#))
        .job(&job(90, r#","expected":"1h""#))
        .job(&job(50, r#","expected":"1h","resources":{"cpu":56}"#));
    assert_eq!(view.plan(), "5/0[0]>w 4/0[0]>w 6/0[0]>w 2/0[0]>w 3/0[0]>w 1/0[0]>w", "large ones are spared");
}

#[test]
fn a_path_is_the_longest_chain_of_those_that_wait() {
    let view = View::new(QueueOrder::CriticalPath, PlacementOrder::BestFit)
        .job(
            r#"{"tasks":[
                {"name":"end","command":["x"],"expected":"7s","needs":["long","short"]},
                {"name":"long","command":["x"],"expected":"5s","needs":["start"]},
                {"name":"short","command":["x"],"timeout":"2s","needs":["start"]},
                {"name":"start","command":["x"]},
                {"name":"alone","command":["x"],"count":9,"expected":"3s"}]}"#,
        )
        .job(r#"{"command":["x"]}"#);
    let paths = |job: u64| (0..5).map(move |task| (job, task));
    let path = |(job, task)| view.0.job(quorate_types::JobId(job)).unwrap().path(task).0;
    assert_eq!(paths(1).map(path).collect::<Vec<_>>(), [7_000, 12_000, 9_000, 13_000, 3_000]);
    assert_eq!(paths(2).map(path).collect::<Vec<_>>(), [1_000, 0, 0, 0, 0], "unknown counts as a second");
}

/// Also on a leader that has just been elected: what runs is in the state.
#[test]
fn fair_share_counts_what_runs() {
    let of = |namespace: &str, count: u32| {
        format!(r#"{{"namespace":"{namespace}","tasks":[{{"name":"t","command":["x"],"count":{count}}}]}}"#)
    };
    let mut view =
        View::new(QueueOrder::FairShare, PlacementOrder::BestFit).worker("w", r#"{"cpu":6}"#).job(&of("a", 2));
    view.apply_plan();
    let view = view.job(&of("a", 9)).job(&of("b", 9));
    assert_eq!(view.plan(), "3/0[0]>w 3/0[1]>w 2/0[0]>w 3/0[2]>w");
}

/// Job 4 leaves job 2 its place, which is all that easy backfill asks for, but not job 3; job 5 ends before both.
#[test]
fn conservative_backfill_delays_nobody() {
    let job = |cpu: u32, expected: &str| {
        format!(r#"{{"tasks":[{{"name":"t","command":["x"],"expected":"{expected}","resources":{{"cpu":{cpu}}}}}]}}"#)
    };
    for (backfill, plan) in [(Backfill::Easy, "4/0[0]>w 5/0[0]>w"), (Backfill::Conservative, "5/0[0]>w")] {
        let mut view = View::new(QueueOrder::Fifo, PlacementOrder::BestFit);
        view.apply(Command::ChangePolicy(PolicyChange { backfill: Some(backfill), ..PolicyChange::default() }));
        let mut view = view.worker("w", r#"{"cpu":8}"#).job(&job(4, "10m"));
        view.apply_plan();
        let view = view.job(&job(6, "10m")).job(&job(8, "10m")).job(&job(2, "30m")).job(&job(2, "9m"));
        assert_eq!(view.plan(), plan, "{backfill:?}");
    }
}

#[test]
fn best_fit_fills_the_fullest_first() {
    let view = three(PlacementOrder::BestFit).job(&array(5, "2"));
    assert_eq!(view.plan(), "1/0[0]>small 1/0[1]>mid 1/0[2]>mid 1/0[3]>big 1/0[4]>big");
}

#[test]
fn least_load_spreads() {
    let view = three(PlacementOrder::LeastLoad).job(&array(5, "1"));
    assert_eq!(view.plan(), "1/0[0]>big 1/0[1]>mid 1/0[2]>small 1/0[3]>big 1/0[4]>mid");
}

#[test]
fn round_robin_takes_turns_and_skips_the_full() {
    let view = three(PlacementOrder::RoundRobin).job(&array(6, "2"));
    assert_eq!(view.plan(), "1/0[0]>big 1/0[1]>mid 1/0[2]>small 1/0[3]>big 1/0[4]>mid 1/0[5]>big");
}

#[test]
fn random_is_repeatable_and_uses_all() {
    let view = three(PlacementOrder::Random).job(&array(14, "1"));
    let plan = view.plan();
    assert_eq!(plan, view.plan());
    let on = |worker: &str| plan.matches(worker).count();
    assert_eq!((on("big"), on("mid"), on("small")), (8, 4, 2));
    let few = three(PlacementOrder::Random).job(&array(3, "1")).plan();
    assert_eq!(few.split(' ').count(), 3);
}

#[test]
fn random_is_fair() {
    let mut view = View::new(QueueOrder::Fifo, PlacementOrder::Random);
    for at in 0..4 {
        view = view.worker(&format!("w{at}"), r#"{"cpu":4000}"#);
    }
    let plan = view.job(&array(4000, "1")).plan();
    for at in 0..4 {
        let share = plan.matches(&format!(">w{at}")).count();
        assert!((850..1150).contains(&share), "w{at} got {share} of 4000");
    }
}

/// Three zones of one, two and three workers, and one worker without a zone: each zone gets as much, and the one
/// without counts as one.
#[test]
fn spread_goes_evenly_over_the_values_of_a_label() {
    let mut view = View::new(QueueOrder::Fifo, PlacementOrder::Spread).worker("x", r#"{"cpu":4}"#);
    for (zone, rack, name) in [("a", "r", "a1"), ("b", "r", "b1"), ("b", "s", "b2"), ("c", "r", "c1"), ("c", "s", "c2")]
    {
        view = view.labelled(name, r#"{"cpu":4}"#, &[&format!("zone={zone}"), &format!("rack={rack}")], &[]);
    }
    let mut view = view.job(&array(8, "1"));
    assert_eq!(view.plan(), "1/0[0]>a1 1/0[1]>b1 1/0[2]>c1 1/0[3]>x 1/0[4]>a1 1/0[5]>b2 1/0[6]>c2 1/0[7]>x");
    let rack = Some("rack".parse().unwrap());
    view.apply(Command::ChangePolicy(PolicyChange { spread_label: rack, ..PolicyChange::default() }));
    assert_eq!(view.plan(), "1/0[0]>a1 1/0[1]>b2 1/0[2]>x 1/0[3]>b1 1/0[4]>c2 1/0[5]>x 1/0[6]>c1 1/0[7]>b2");
    view.apply_plan();
    let count = |view: &View, zone: &[&str]| zone.iter().map(|on| view.plan().matches(&format!(">{on}")).count()).sum();
    view = view.job(&array(3, "1"));
    let racks: [usize; 3] = [count(&view, &["a1", "b1", "c1"]), count(&view, &["b2", "c2"]), count(&view, &["x"])];
    assert_eq!(racks, [1, 1, 1], "what runs counts, and what ends at once is evened out");
    view.apply(Command::Drain { worker: "x".parse().unwrap() });
    assert_eq!(count(&view, &["x"]), 0_usize);
}

#[test]
fn spread_goes_on_where_a_value_is_full() {
    let view = View::new(QueueOrder::Fifo, PlacementOrder::Spread)
        .labelled("a", r#"{"cpu":1}"#, &["zone=a"], &[])
        .labelled("b", r#"{"cpu":9}"#, &["zone=b"], &[])
        .job(&array(9, "1"));
    assert_eq!(view.plan().matches(">b").count(), 8);
}

/// One after the other, the first would take what the second needs more, and only the flow looks at both.
#[test]
fn min_cost_flow_places_all_at_once() {
    let job = |weight: u32, rest: &str| {
        let prefers = format!(r#"[{{"condition":"ssd","weight":{weight}}}]"#);
        format!(r#"{{"tasks":[{{"name":"a","command":["x"],"prefers":{prefers}{rest}}}]}}"#)
    };
    let plan = |placement, jobs: &[String]| {
        let view = View::new(QueueOrder::Fifo, placement).labelled("disk", r#"{"cpu":1}"#, &[], &[]).labelled(
            "ssd",
            r#"{"cpu":1}"#,
            &["ssd=1"],
            &[],
        );
        jobs.iter().fold(view, |view, json| view.job(json)).plan()
    };
    let two = [job(10, ""), job(20, "")];
    assert_eq!(plan(PlacementOrder::LeastLoad, &two), "1/0[0]>ssd 2/0[0]>disk");
    assert_eq!(plan(PlacementOrder::MinCostFlow, &two), "1/0[0]>disk 2/0[0]>ssd");
    // Of three for two places the last one waits, however much it wants one.
    let three = [job(10, ""), job(20, ""), job(90, "")];
    assert_eq!(plan(PlacementOrder::MinCostFlow, &three), "1/0[0]>disk 2/0[0]>ssd");
    // Where two are far apart in what they can use, the flow leaves each what only it can take.
    let picky = [job(10, ""), job(1, r#","requires":["ssd"]"#)];
    assert_eq!(plan(PlacementOrder::LeastLoad, &picky), "1/0[0]>ssd");
    assert_eq!(plan(PlacementOrder::MinCostFlow, &picky), "1/0[0]>disk 2/0[0]>ssd");
}

/// As least load, where there is nothing to gain.
#[test]
fn min_cost_flow_spreads_what_is_alike() {
    let sizes = ["0.5", "1", "1.5"];
    let view = sizes.iter().fold(three(PlacementOrder::MinCostFlow), |view, cpu| view.job(&array(2, cpu)));
    let plan = view.plan();
    let on = |worker: &str| plan.matches(&format!(">{worker}")).count();
    assert_eq!((on("big"), on("mid"), on("small")), (4, 1, 1), "{plan}");
}

#[test]
fn a_large_task_holds_a_worker_and_the_rest_goes_on() {
    let mut view = View::new(QueueOrder::Fifo, PlacementOrder::BestFit)
        .worker("a", r#"{"cpu":4}"#)
        .worker("b", r#"{"cpu":2}"#)
        .job(&array(3, "1"));
    view.apply_plan();
    let view = view.job(&array(1, "4")).job(&array(4, "1"));
    assert_eq!(view.plan(), "", "b is full, and a is held for job 2");
    let view = view.worker("c", r#"{"cpu":2}"#);
    assert_eq!(view.plan(), "3/0[0]>c 3/0[1]>c");
}

#[test]
fn what_no_worker_could_ever_take_blocks_nobody() {
    let view = View::new(QueueOrder::Fifo, PlacementOrder::BestFit)
        .worker("w", r#"{"cpu":2}"#)
        .job(&array(1, "64"))
        .job(r#"{"tasks":[{"name":"a","command":["x"],"resources":{"cpu":1,"gpu":1}}]}"#)
        .job(&array(1, "1"));
    assert_eq!(view.plan(), "3/0[0]>w");
}

#[test]
fn a_round_is_bounded_and_says_so() {
    let view = View::new(QueueOrder::Fifo, PlacementOrder::BestFit).worker("w", r#"{"cpu":100}"#).job(&array(50, "1"));
    let plan = view.round(Bounds { assignments_max: 10, ..Bounds::default() });
    assert_eq!((plan.assignments.len(), plan.more), (10, true));
}

/// Under every policy, with several namespaces and more than fits.
#[test]
fn plans_hold_when_applied() {
    let of = |namespace: &str, count: u32, cpu: &str| {
        let tasks = format!(r#"[{{"name":"t","command":["x"],"count":{count},"resources":{{"cpu":{cpu}}}}}]"#);
        format!(r#"{{"namespace":"{namespace}","tasks":{tasks}}}"#)
    };
    let parts = QueueOrder::ALL.iter().flat_map(|queue| Backfill::ALL.iter().map(move |backfill| (*queue, *backfill)));
    for (queue, backfill) in parts {
        for placement in PlacementOrder::ALL.iter().copied() {
            let mut view = three(placement);
            let (queue, backfill, placement) = (Some(queue), Some(backfill), Some(placement));
            let change = PolicyChange { queue, backfill, placement, ..PolicyChange::default() };
            view.apply(Command::ChangePolicy(change));
            let mut view = view.job(&of("a", 3, "1.5")).job(&of("b", 9, "0.3")).job(&of("a", 1, "0"));
            view.apply_plan();
            let mut view = view.job(&of("c", 2, "8")).job(&of("a", 8, "1")).job(&of("b", 20, "0.2"));
            view.apply_plan();
        }
    }
}

/// What the next entry makes possible is decided before it is applied, as a round after it would decide.
#[test]
fn a_plan_ahead_is_the_plan_of_a_round_later() {
    let spec = |json: &str| {
        let request: JobRequest = serde_json::from_str(json).unwrap();
        Command::Submit(Arc::new(request.validate().unwrap()))
    };
    let entry = |command| Entry { time: Timestamp(0), proposals: vec![Proposal { origin: None, command }] };
    let plan_ahead = |view: &View, entry: &Entry| view.planner().ahead(&view.0, entry).map(|plan| plan.assignments);
    let mut view = three(PlacementOrder::BestFit);
    let submission = spec(&array(4, "2"));
    let planned = plan_ahead(&view, &entry(submission.clone())).unwrap();
    view.apply(submission);
    assert_eq!(planned, view.round(Bounds::default()).assignments);
    assert_eq!(planned.len(), 4);

    // Others wait: a new job has its turn when a round looks at all of them.
    assert_eq!(plan_ahead(&view, &entry(spec(&array(1, "1")))), None);
    let nobody = View::new(QueueOrder::Fifo, PlacementOrder::BestFit);
    assert_eq!(plan_ahead(&nobody, &entry(spec(&array(1, "1")))), None, "there is no worker");

    // An end gives room to what waits; a start gives none.
    view.apply(Command::Assign { items: planned.clone() });
    view.apply(spec(&array(20, "2")));
    let room = view.round(Bounds::default()).assignments;
    view.apply(Command::Assign { items: room });
    let first = planned[0];
    let worker = view.0.worker_of(first.epoch).unwrap();
    let live = worker.attempts.iter().find(|(at, _)| (at.job, at.index) == (first.job, first.index)).unwrap().1;
    let key =
        AttemptKey { job: first.job, task: first.task, index: first.index, attempt: first.attempt, fence: live.fence };
    let report = |what| {
        let reports = vec![Report { key, what }];
        entry(Command::Report { worker: worker.name.clone(), epoch: first.epoch, reports })
    };
    assert_eq!(plan_ahead(&view, &report(Happening::Started)), None);
    let finished = Finished {
        ending: Ending::Exited(0),
        ran: quorate_types::Span(1),
        result: None,
        extension: None,
        stdout_tail: vec![],
        stderr_tail: vec![],
    };
    let next = plan_ahead(&view, &report(Happening::Finished(Box::new(finished)))).unwrap();
    assert_eq!(next.iter().map(|item| item.epoch).collect::<Vec<_>>(), [first.epoch]);
}

/// Writes wait for a plan ahead: of many tasks it takes only some.
#[test]
fn a_plan_ahead_is_small() {
    let request: JobRequest = serde_json::from_str(&array(5_000, "1")).unwrap();
    let command = Command::Submit(Arc::new(request.validate().unwrap()));
    let entry = Entry { time: Timestamp(0), proposals: vec![Proposal { origin: None, command }] };
    let planned = |workers: usize, cpu: u32| {
        let mut view = View::new(QueueOrder::Fifo, PlacementOrder::BestFit);
        for nth in 0..workers {
            view = view.worker(&format!("w{nth}"), &format!(r#"{{"cpu":{cpu}}}"#));
        }
        view.planner().ahead(&view.0, &entry).map(|plan| (plan.assignments.len(), plan.more))
    };
    assert_eq!(planned(2, 5_000), Some((256, true)));
    assert_eq!(planned(1_000, 8), Some((256, true)));
    assert_eq!(planned(2, 3), Some((6, false)));
}
