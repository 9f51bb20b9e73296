//! What an element has to get besides room on a worker: who gets it, who waits, and that those who wait hold nothing.

use crate::view::View;
use quorate_placement::{Bounds, Planner};
use quorate_state::command::Command;
use quorate_state::outcome::Outcome;
use quorate_types::policy::{Backfill, PlacementOrder, PolicyChange, QueueOrder};
use quorate_types::{Name, Timestamp};

fn view(total: u32) -> View {
    let mut view = View::new(QueueOrder::Fifo, PlacementOrder::BestFit).worker("w", r#"{"cpu":4}"#);
    set(&mut view, total);
    view
}

fn set(view: &mut View, total: u32) {
    view.apply(Command::SetResource { name: Name::new("m").unwrap(), total });
}

fn task(count: u32, rest: &str) -> String {
    format!(r#"{{"tasks":[{{"name":"a","command":["x"],"count":{count},{rest}}}]}}"#)
}

fn asks(count: u32, amount: u32) -> String {
    task(count, &format!(r#""cluster_resources":{{"m":{amount}}}"#))
}

#[test]
fn no_more_start_than_there_is_for_and_the_others_go_on() {
    let mut view = view(2).job(&asks(3, 1)).job(&asks(1, 1)).job(&task(9, r#""resources":{"cpu":1}"#));
    assert_eq!(view.plan(), "1/0[0]>w 1/0[1]>w 3/0[0]>w 3/0[1]>w", "those that wait hold no worker");
    view.apply_plan();
    assert_eq!(view.plan(), "");
}

#[test]
fn who_needs_more_than_is_left_does_not_starve() {
    let mut greedy = view(2).job(&asks(1, 1));
    greedy.apply_plan();
    let greedy = greedy.job(&asks(1, 2)).job(&asks(9, 1));
    assert_eq!(greedy.plan(), "", "the one that is left is kept for job 2");
    let mut lowered = view(3).job(&asks(1, 3)).job(&asks(9, 1));
    set(&mut lowered, 2);
    assert_eq!(lowered.plan(), "2/0[0]>w 2/0[1]>w", "who asks for more than there is keeps nobody waiting");
    let unfit = r#""cluster_resources":{"m":2},"resources":{"cpu":9}"#;
    let mut unfit = view(3).job(&asks(2, 1)).job(&task(1, unfit));
    unfit.apply_plan();
    assert_eq!(unfit.job(&asks(1, 1)).plan(), "3/0[0]>w", "nor does one that no worker could take");
}

/// While a worker is kept for a task, so is what it has to get.
#[test]
fn what_a_kept_worker_is_for_is_kept_as_well() {
    let wide = r#""cluster_resources":{"m":1},"resources":{"cpu":4},"expected":"1m""#;
    let ends = r#""resources":{"cpu":1},"expected":"1m""#;
    for backfill in [Backfill::None, Backfill::Easy, Backfill::EasySjbf] {
        let mut view = view(1).job(&task(1, ends));
        view.apply(Command::ChangePolicy(PolicyChange { backfill: Some(backfill), ..PolicyChange::default() }));
        view.apply_plan();
        let view = view.worker("v", r#"{"cpu":1}"#).job(&task(1, wide)).job(&asks(1, 1));
        assert_eq!(view.plan(), "", "{backfill}");
        assert_eq!(view.job(&task(1, ends)).plan(), "4/0[0]>v", "{backfill}");
    }
}

#[test]
fn a_rate_is_looked_at_again_when_a_token_comes_back() {
    let rated = task(5, r#""resources":{"cpu":0.1},"rate":{"key":"r","limit":2,"per":"10s"}"#);
    let mut view = view(0).job(&rated);
    let mut planner = Planner::new(7);
    let start = |view: &mut View, planner: &mut Planner, at: u64| {
        let items = planner.round(&view.0, Timestamp(at), Bounds::default()).assignments;
        let count = items.len() as u32;
        let outcome = view.outcome_at(Timestamp(at), Command::Assign { items });
        assert_eq!(outcome, Outcome::Assigned { accepted: count, stale: 0 });
        // What was assigned is seen by the next round, which finds the rest closed.
        assert!(planner.round(&view.0, Timestamp(at), Bounds::default()).assignments.is_empty());
        (count, planner.wake_at())
    };
    assert_eq!(start(&mut view, &mut planner, 1_000), (2, Some(Timestamp(11_000))));
    assert_eq!(start(&mut view, &mut planner, 10_999), (0, Some(Timestamp(11_000))));
    assert_eq!(start(&mut view, &mut planner, 11_000), (2, Some(Timestamp(21_000))));
    assert_eq!(start(&mut view, &mut planner, 50_000), (1, None), "nobody waits any more");
}

#[test]
fn a_total_that_is_raised_is_noticed() {
    let mut view = view(1).job(&asks(2, 1));
    view.apply_plan();
    let mut planner = Planner::new(7);
    assert!(planner.round(&view.0, Timestamp(0), Bounds::default()).assignments.is_empty());
    set(&mut view, 2);
    assert_eq!(planner.round(&view.0, Timestamp(0), Bounds::default()).assignments.len(), 1);
}

/// Nothing is ended for one that would not start for want of something else.
#[test]
fn nobody_is_preempted_in_vain() {
    let urgent = |rest: &str| {
        task(1, &format!(r#""resources":{{"cpu":4}}{rest}"#)).replacen('{', r#"{"priority":90,"preempt":"lower","#, 1)
    };
    let mut view = view(1).job(&task(4, r#""resources":{"cpu":1},"cluster_resources":{}"#));
    view.apply_plan();
    let mut other = View(view.0.clone()).worker("v", r#"{"cpu":1}"#).job(&asks(1, 1));
    other.apply_plan();
    let gated = other.job(&urgent(r#","cluster_resources":{"m":1}"#)).round(Bounds::default());
    assert_eq!(gated.preemptions, []);
    assert_eq!(view.job(&urgent("")).round(Bounds::default()).preemptions.len(), 4);
}

/// Under every policy what is decided holds, and all that can start does.
#[test]
fn every_policy_goes_by_gates() {
    let rate = r#""rate":{"key":"r","limit":3,"per":"1m"},"resources":{"cpu":0.5},"expected":"1s""#;
    for queue in QueueOrder::ALL {
        for backfill in Backfill::ALL {
            let mut view = view(3).worker("v", r#"{"cpu":6}"#);
            view.apply(Command::ChangePolicy(PolicyChange {
                queue: Some(*queue),
                backfill: Some(*backfill),
                ..PolicyChange::default()
            }));
            let other = asks(2, 1).replacen('{', r#"{"namespace":"other","#, 1);
            let mut view = view.job(&asks(2, 2)).job(&other).job(&task(5, rate));
            view.apply_plan();
            view.apply_plan();
            let matlab = view.0.resource(&Name::new("m").unwrap(), 9).unwrap();
            // If job 1 comes first, what it leaves is kept for its second element.
            assert!([2, 3].contains(&matlab.held), "{queue} {backfill}: {matlab:?}");
            let started = view.0.job(quorate_types::JobId(3)).unwrap().header.counts.live();
            assert_eq!(started, 3, "{queue} {backfill}");
        }
    }
}
