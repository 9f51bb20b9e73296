//! Turns under `round-robin`: who is ended for whom and when, and that everything ends in bounded time all the same.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod view;

use proptest::prelude::*;
use quorate_types::policy::QueueOrder;
use quorate_types::status::AttemptState;
use quorate_types::{JobId, Span, Timestamp};
use view::led::Led;

const QUANTUM: u64 = 60;

fn led(workers: &[(&str, u32)]) -> Led {
    let mut led = Led::new(QueueOrder::RoundRobin, workers);
    led.change(&format!(r#"{{"quantum":"{QUANTUM}s"}}"#));
    led
}

fn job(led: &mut Led, task: &str) {
    led.job(r#""priority":50"#, task);
}

/// A round in which something ends, and the one in which what comes instead starts.
fn turn(led: &mut Led) -> String {
    let ended = led.round();
    led.confirm();
    let said = format!("{ended} {}", led.round());
    assert_eq!(led.round(), "", "that is all");
    said
}

#[test]
fn each_has_its_turn_and_slices_double() {
    let mut led = led(&[("w", 1)]);
    job(&mut led, r#""count":1"#);
    assert_eq!(led.round(), "1[0]>w");
    led.at(10);
    assert_eq!(led.planner.wake_at(), None, "nobody waits for the end of its turn");
    job(&mut led, r#""count":1"#);
    job(&mut led, r#""count":1"#);
    assert_eq!(led.round(), "");
    assert_eq!(led.planner.wake_at(), Some(Timestamp(60_000)));
    led.at(59);
    assert_eq!(led.round(), "");
    led.at(60);
    assert_eq!(turn(&mut led), "1[0]!2 2[0]>w");
    assert_eq!(led.planner.wake_at(), Some(Timestamp(120_000)));
    led.at(120);
    assert_eq!(turn(&mut led), "2[0]!3 3[0]>w", "job 1 went to the end of the line");
    led.at(180);
    assert_eq!(turn(&mut led), "3[0]!1 1[0]>w");
    led.at(299);
    assert_eq!(led.round(), "", "it lost a minute, and has two now");
    led.at(300);
    assert_eq!(turn(&mut led), "1[0]!2 2[0]>w");
}

#[test]
fn nothing_ends_for_those_that_could_not_use_the_room() {
    let mut led = led(&[("w", 2)]);
    job(&mut led, r#""count":2"#);
    assert_eq!(led.round(), "1[0]>w 1[1]>w");
    job(&mut led, r#""resources":{"cpu":3}"#);
    job(&mut led, r#""requires":["zone=eu"]"#);
    led.at(600);
    assert_eq!(led.round(), "");
    job(&mut led, r#""resources":{"cpu":2}"#);
    assert_eq!(led.round(), "1[0]!4 1[1]!4", "both have had their turns");
}

/// The elements of an array share its turns: they end for other tasks, one element for each of theirs, but not for
/// each other, and not for a task that has as many.
#[test]
fn arrays_share_what_there_is() {
    let mut led = led(&[("w", 4)]);
    job(&mut led, r#""count":100"#);
    led.round();
    led.at(60);
    assert_eq!(led.round(), "", "not for a sibling");
    job(&mut led, r#""count":100"#);
    assert_eq!(led.round(), "1[0]!2");
    led.confirm();
    assert_eq!(led.round(), "2[0]>w 1[1]!2", "three are left of the first, one is there of the second");
    assert_eq!(turn(&mut led), " 2[1]>w");
    for seconds in [120, 300, 3_000] {
        led.at(seconds);
        assert_eq!(led.round(), "", "two each, at {seconds}");
    }
    job(&mut led, r#""count":1"#);
    assert_eq!(led.round().matches("!3").count(), 1);
}

/// A leader that begins knows whose turns are over, and who lost how much.
#[test]
fn another_leader_goes_on() {
    let mut led = led(&[("w", 1)]);
    job(&mut led, r#""count":1"#);
    led.round();
    job(&mut led, r#""count":1"#);
    led.at(90);
    assert_eq!(turn(&mut led), "1[0]!2 2[0]>w");
    led.planner = quorate_placement::Planner::new(9);
    led.at(149);
    assert_eq!(led.round(), "");
    led.at(150);
    assert_eq!(turn(&mut led), "2[0]!1 1[0]>w");
    led.planner = quorate_placement::Planner::new(9);
    led.at(150 + 179);
    assert_eq!(led.round(), "", "job 1 lost 90 s, and has 180 s now");
    led.at(150 + 180);
    assert_eq!(led.round(), "1[0]!2");
}

#[test]
fn an_urgent_task_may_still_end_others_before_their_turns_are_over() {
    let mut led = led(&[("w", 1)]);
    led.job(r#""priority":10"#, r#""count":1"#);
    led.round();
    led.job(r#""priority":60,"preempt":"lower""#, r#""count":1"#);
    assert_eq!(led.round(), "1[0]!2");
}

/// What every task in memory has lost so far.
fn check_losses(led: &Led, runs: &[u64]) {
    for job in led.view.0.jobs() {
        let run = runs[job.id().0 as usize - 1];
        for (_, element) in job.task(0).unwrap().elements() {
            let ended = element.attempts.iter().filter(|attempt| attempt.state == AttemptState::Cancelled);
            let lost: Vec<u64> =
                ended.map(|attempt| attempt.finished_at.unwrap().since(attempt.assigned_at).0 / 1_000).collect();
            let times = (run.div_ceil(QUANTUM)).next_power_of_two().ilog2() as usize;
            assert!(lost.len() <= times, "{run} s, lost {lost:?}");
            assert!(lost.iter().sum::<u64>() < 2 * run, "{run} s, lost {lost:?}");
        }
    }
}

/// Plays until all is done, from one event to the next.
fn play(led: &mut Led, runs: &[u64]) {
    let runs_for = |job: JobId| Span::from_secs(runs[job.0 as usize - 1]);
    let mut rounds = 0;
    while led.view.0.jobs().any(|job| job.header.finished_at.is_none()) {
        rounds += 1;
        assert!(rounds < 10_000, "it goes on and on");
        let ended = led.finish(runs_for);
        check_losses(led, runs);
        let said = led.round();
        if ended > 0 || led.confirm() > 0 || !said.is_empty() {
            continue;
        }
        let live = led.view.0.workers().flat_map(|worker| worker.attempts.keys());
        let ends = live.map(|key| {
            let element = led.view.0.job(key.job).unwrap().task(key.task).unwrap().element(key.index).unwrap();
            element.current().unwrap().assigned_at.plus(runs_for(key.job))
        });
        let next = ends.chain(led.planner.wake_at()).filter(|at| *at > led.now).min();
        led.now = next.expect("something ends, or somebody's turn does");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// However much longer than the quantum tasks take: each is ended no more often than it takes to double the quantum
    /// up to its run time, and loses less than twice its run time.
    #[test]
    fn everything_ends_and_less_than_two_run_times_are_lost(
        workers in prop::collection::vec(1..4u32, 1..3),
        jobs in prop::collection::vec((1..3u32, 1..4u32, 1..2_000u64), 1..10),
    ) {
        let names = ["a", "b"];
        let workers: Vec<_> = names.into_iter().zip(workers).collect();
        let most = workers.iter().map(|(_, cpu)| *cpu).max().unwrap();
        let mut led = led(&workers);
        for (cpu, count, _) in &jobs {
            job(&mut led, &format!(r#""count":{count},"resources":{{"cpu":{}}}"#, cpu.min(&most)));
        }
        let runs: Vec<u64> = jobs.iter().map(|(_, _, run)| *run).collect();
        play(&mut led, &runs);
    }
}
