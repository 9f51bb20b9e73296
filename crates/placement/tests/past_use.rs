//! What namespaces used decides who comes first, whoever leads.

use crate::view::led::Led;
use quorate_placement::Planner;
use quorate_state::command::Command;
use quorate_types::policy::QueueOrder;
use quorate_types::{JobId, Name, Span};

const HOUR: u64 = 3_600;

/// After an hour in which one namespace had all four cores, both want all of them.
fn after_an_hour(queue: QueueOrder) -> Led {
    let mut led = Led::new(queue, &[("w", 4)]);
    led.job(r#""namespace":"busy""#, r#""count":4"#);
    assert_eq!(led.round(), "1[0]>w 1[1]>w 1[2]>w 1[3]>w");
    led.at(HOUR);
    led.finish(|_| Span::from_secs(HOUR));
    led.job(r#""namespace":"busy""#, r#""count":4"#);
    led.job(r#""namespace":"idle""#, r#""count":4"#);
    led
}

/// As a leader decides that has seen all of it, and one that begins.
#[test]
fn a_new_leader_knows_who_used_what() {
    for begins in [false, true] {
        let mut led = after_an_hour(QueueOrder::FairShare);
        if begins {
            led.planner = Planner::new(9);
        }
        // Half of everything is held against the one, a little less by now: the other comes first with two of four.
        assert_eq!(led.round(), "3[0]>w 3[1]>w 2[0]>w 3[2]>w", "{begins}");
        led.at(2 * HOUR);
        led.finish(|job| Span::from_secs(if job == JobId(3) { HOUR } else { 9 * HOUR }));
        assert_eq!(led.round().matches("3[3]").count(), 1);
    }
}

/// It is kept under every policy.
#[test]
fn a_policy_that_comes_later_knows_it_too() {
    let mut led = after_an_hour(QueueOrder::Fifo);
    led.change(r#"{"queue":"fair-share"}"#);
    assert_eq!(led.round(), "3[0]>w 3[1]>w 2[0]>w 3[2]>w");
}

/// Also where nobody was there when it began, and where all workers go and others come, with a kind that it did not
/// know.
#[test]
fn workers_that_come_and_go_change_nothing() {
    for begins in [false, true] {
        let mut led = Led::new(QueueOrder::FairShare, &[]);
        led.worker_of("gpu", r#"{"cpu":8,"gpu":4}"#);
        let gpu = |count| format!(r#""count":{count},"resources":{{"cpu":0.001,"gpu":1}}"#);
        led.job(r#""namespace":"busy""#, &gpu(4));
        assert_eq!(led.round().split(' ').count(), 4);
        led.at(HOUR);
        led.finish(|_| Span::from_secs(HOUR));
        led.round();
        let epoch = led.view.0.worker("gpu").unwrap().epoch;
        led.view.outcome_at(led.now, Command::Expire { worker: Name::new("gpu").unwrap(), epoch });
        if begins {
            led.planner = Planner::new(9);
        }
        led.round();
        led.worker_of("cores", r#"{"cpu":8}"#);
        led.round();
        led.job(r#""namespace":"busy""#, &gpu(4));
        led.job(r#""namespace":"idle""#, &gpu(4));
        led.at(HOUR + 1);
        assert_eq!(led.round(), "");
        led.worker_of("gpus", r#"{"cpu":8,"gpu":4}"#);
        assert_eq!(led.round(), "3[0]>gpus 3[1]>gpus 2[0]>gpus 3[2]>gpus", "{begins}");
    }
}

/// A thousand namespaces that have nothing else, whatever comes: those that used something last.
#[test]
fn no_more_are_remembered_than_there_is_room_for() {
    let mut led = Led::new(QueueOrder::FairShare, &[("w", 4)]);
    for nth in 1..=1_010_u64 {
        led.job(&format!(r#""namespace":"n{nth}""#), r#""count":1"#);
        led.round();
        led.at(nth * 100);
        led.finish(|_| Span::from_secs(100));
        led.view.outcome_at(led.now, Command::Forget { job: JobId(nth) });
        if nth > 1_000 {
            led.view.0.check().unwrap();
        }
    }
    let known: Vec<String> = led.view.0.past_uses().map(|(name, _)| name.to_string()).collect();
    assert_eq!(known.len(), 1_000);
    assert!(!known.contains(&"n10".to_owned()) && known.contains(&"n11".to_owned()));
    led.job(r#""namespace":"n11""#, r#""count":1"#);
    led.view.0.check().unwrap();
}

/// What counted for nothing is forgotten with the last job, and what counted for much is not.
#[test]
fn little_is_forgotten_and_much_outlives_the_jobs() {
    for (seconds, known) in [(30, 0), (HOUR, 1)] {
        let mut led = Led::new(QueueOrder::FairShare, &[("w", 1)]);
        led.job(r#""namespace":"busy""#, r#""count":1"#);
        led.round();
        led.at(seconds);
        led.finish(|_| Span::from_secs(seconds));
        led.view.outcome_at(led.now, Command::Forget { job: JobId(1) });
        assert_eq!(led.view.0.jobs().count(), 0);
        assert_eq!(led.view.0.past_uses().count(), known, "{seconds}");
    }
}
