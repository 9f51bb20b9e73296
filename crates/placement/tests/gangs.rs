//! Gangs in rounds over a state, as text: `job/task[index]>worker`.

use crate::view::View;
use quorate_placement::{Bounds, Planner};
use quorate_state::command::Command;
use quorate_types::Timestamp;
use quorate_types::policy::{Backfill, PlacementOrder, PolicyChange, QueueOrder};

const TRAINING: &str = r#"{"tasks":[
    {"name":"ps","command":["x"],"gang":"train","resources":{"cpu":1}},
    {"name":"worker","command":["x"],"gang":"train","count":3,"resources":{"cpu":2}}]}"#;

fn view(placement: PlacementOrder) -> View {
    View::new(QueueOrder::Fifo, placement)
}

#[test]
fn all_of_it_or_nothing() {
    let small = view(PlacementOrder::BestFit).worker("a", r#"{"cpu":4}"#).worker("b", r#"{"cpu":2}"#);
    assert_eq!(small.job(TRAINING).plan(), "", "one core is missing");
    let mut enough =
        view(PlacementOrder::BestFit).worker("a", r#"{"cpu":4}"#).worker("b", r#"{"cpu":3}"#).job(TRAINING);
    assert_eq!(enough.plan(), "1/0[0]>b 1/1[0]>a 1/1[1]>a 1/1[2]>b", "neighbours share a worker");
    enough.apply_plan();
    assert_eq!(enough.plan(), "");
}

#[test]
fn what_the_policy_finds_no_place_for_may_fit_otherwise() {
    // The server goes where most is left, and one worker is short of a core then.
    let view = view(PlacementOrder::WorstFit).worker("a", r#"{"cpu":4}"#).worker("b", r#"{"cpu":3}"#).job(
        r#"{"tasks":[{"name":"ps","command":["x"],"gang":"g","count":3,"resources":{"cpu":1}},
            {"name":"w","command":["x"],"gang":"g","resources":{"cpu":4}}]}"#,
    );
    assert_eq!(view.plan(), "1/0[0]>b 1/0[1]>b 1/0[2]>b 1/1[0]>a");
}

#[test]
fn constraints_hold_together() {
    let view = view(PlacementOrder::BestFit)
        .labelled("a", r#"{"cpu":9}"#, &["zone=eu"], &[])
        .labelled("b", r#"{"cpu":9}"#, &["zone=eu"], &[])
        .labelled("c", r#"{"cpu":9}"#, &["zone=us"], &[]);
    let apart = r#"{"tasks":[{"name":"t","command":["x"],"gang":true,"count":COUNT,"requires":["zone=eu"],"anti_affinity":["t"]}]}"#;
    let view = view.job(&apart.replace("COUNT", "3"));
    assert_eq!(view.plan(), "", "two workers are in eu");
    let view = view.job(&apart.replace("COUNT", "2"));
    assert_eq!(view.plan(), "2/0[0]>a 2/0[1]>b", "what fits nobody blocks nobody");
}

/// Two workers of two cores, of which a task holds one each; then two gangs of four, and something small.
fn crowded() -> View {
    let mut view = view(PlacementOrder::WorstFit).worker("a", r#"{"cpu":2}"#).worker("b", r#"{"cpu":2}"#);
    view = view.job(r#"{"tasks":[{"name":"t","command":["x"],"count":2,"expected":"1m"}]}"#);
    view.apply_plan();
    let gang = r#"{"tasks":[{"name":"g","command":["x"],"gang":true,"count":4,"expected":"1m"}]}"#;
    view.job(gang).job(gang).job(r#"{"tasks":[{"name":"small","command":["x"],"expected":"30s"}]}"#)
}

#[test]
fn the_first_that_waits_keeps_its_workers_to_itself() {
    let view = crowded();
    assert_eq!(view.plan(), "", "the small one would delay the gang, as far as anybody knows");
    let roomy = view.worker("c", r#"{"cpu":2}"#);
    assert_eq!(roomy.plan(), "2/0[0]>a 2/0[1]>b 2/0[2]>c 2/0[3]>c");

    // Four workers of two cores, each with one busy; gangs that want two whole ones.
    let mut view = ["a", "b", "c", "d"]
        .iter()
        .fold(View::new(QueueOrder::Fifo, PlacementOrder::WorstFit), |view, name| view.worker(name, r#"{"cpu":2}"#));
    view = view.job(r#"{"tasks":[{"name":"t","command":["x"],"count":4}]}"#);
    view.apply_plan();
    let gang = r#"{"tasks":[{"name":"g","command":["x"],"gang":true,"count":2,"resources":{"cpu":2}}]}"#;
    let view = view.job(gang).job(gang).job(r#"{"tasks":[{"name":"small","command":["x"],"count":3}]}"#);
    assert_eq!(view.plan(), "4/0[0]>c 4/0[1]>d", "the second gang keeps nothing");
}

#[test]
fn others_go_before_where_that_delays_no_gang() {
    for backfill in [Backfill::Easy, Backfill::EasySjbf, Backfill::Conservative] {
        let mut view = crowded();
        view.apply(Command::ChangePolicy(PolicyChange { backfill: Some(backfill), ..PolicyChange::default() }));
        let plan = Planner::new(7).round(&view.0, Timestamp(0), Bounds::default());
        let jobs: Vec<u64> = plan.assignments.iter().map(|item| item.job.0).collect();
        assert_eq!(jobs, [4], "{backfill}: it ends before the gang has room");
        let longer = view.job(r#"{"tasks":[{"name":"long","command":["x"],"expected":"2m"}]}"#);
        let plan = Planner::new(7).round(&longer.0, Timestamp(0), Bounds::default());
        assert_eq!(plan.assignments.len(), 1, "{backfill}: one that runs on would be in its way");
    }
}

#[test]
fn a_gang_that_is_ended_for_another_goes_as_a_whole() {
    let mut view = view(PlacementOrder::WorstFit).worker("a", r#"{"cpu":2}"#).worker("b", r#"{"cpu":2}"#);
    view = view.job(r#"{"priority":10,"tasks":[{"name":"g","command":["x"],"gang":true,"count":4}]}"#);
    view.apply_plan();
    let urgent = r#"{"priority":90,"preempt":"lower","tasks":[{"name":"u","command":["x"],"resources":{"cpu":2}}]}"#;
    let view = view.job(urgent);
    let plan = view.round(Bounds::default());
    assert_eq!(plan.preemptions.len(), 1, "one of it is enough: the others end with it");
}
