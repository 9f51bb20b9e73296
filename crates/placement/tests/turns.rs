//! Turns under `round-robin`: who is ended for whom and when, and that everything ends in bounded time all the same.

use std::collections::BTreeMap;

use crate::view::led::Led;
use proptest::prelude::*;
use quorate_types::policy::QueueOrder;
use quorate_types::status::{AttemptState, TaskState};
use quorate_types::{JobId, Span, Timestamp};

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

/// Who stands in line, for how long at most, and whose slice how long is: all jobs have one element that takes one
/// core.
#[derive(Default)]
struct Line {
    /// Since when, and until when at the latest.
    waits: BTreeMap<JobId, (Timestamp, Timestamp)>,
    runs: BTreeMap<JobId, Timestamp>,
    longest_lost: BTreeMap<JobId, Span>,
}

impl Line {
    fn slice(&self, job: JobId) -> Span {
        let lost = self.longest_lost.get(&job).map_or(0, |lost| lost.0);
        Span((2 * lost).max(QUANTUM * 1_000))
    }

    /// What has happened since the last look, all of it now.
    fn look(&mut self, led: &Led) {
        let states = led.view.0.jobs().map(|job| (job.id(), led.state_of(job.id().0)));
        let (waiting, running): (Vec<_>, Vec<_>) =
            states.filter(|(_, state)| !state.is_finished()).partition(|(_, state)| *state == TaskState::Pending);
        let started: Vec<_> = running.iter().filter_map(|(job, _)| Some((*job, self.waits.remove(job)?))).collect();
        for (job, (since, until)) in started {
            assert!(
                led.now <= until,
                "{job} waited since {since:?}, until {until:?} at most, and starts at {:?}",
                led.now
            );
            let passed = self.waits.values().find(|(earlier, _)| *earlier < since);
            assert_eq!(passed, None, "who came earlier waits, and {job} of {since:?} starts");
            self.runs.insert(job, led.now);
        }
        let ended: Vec<_> =
            self.runs.keys().copied().filter(|job| running.iter().all(|(runs, _)| runs != job)).collect();
        for job in ended {
            let ran = led.now.since(self.runs.remove(&job).unwrap());
            let longest = self.longest_lost.entry(job).or_default();
            *longest = ran.max(*longest);
        }
        for (job, _) in waiting {
            if !self.waits.contains_key(&job) {
                // Who came at the same time may stand before it, or behind.
                let own = self.slice(job);
                let same = self.waits.values_mut().filter(|(since, _)| *since == led.now);
                same.for_each(|(_, until)| *until = until.plus(own));
                let before = self.waits.keys().chain(self.runs.keys());
                let slices: u64 = before.map(|other| self.slice(*other).0).sum();
                self.waits.insert(job, (led.now, led.now.plus(Span(slices))));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Nobody is passed by who came to the line later, or waits for more than a slice of each that stands before it.
    #[test]
    fn who_waits_has_its_turn_after_one_slice_of_each_before_it(
        workers in prop::collection::vec(1..3u32, 1..3),
        jobs in prop::collection::vec((0..200u64, 1..1_000u64), 2..12),
    ) {
        let workers: Vec<_> = ["a", "b"].into_iter().zip(workers).collect();
        let (mut led, mut line) = (led(&workers), Line::default());
        let mut came = 0;
        let mut arrivals = jobs.iter().scan(0, |at, (after, _)| { *at += after; Some(*at) }).peekable();
        loop {
            while arrivals.next_if(|at| Timestamp(at * 1_000) <= led.now).is_some() {
                job(&mut led, r#""count":1"#);
                line.look(&led);
                came += 1;
            }
            let ended = led.finish(|job| Span::from_secs(jobs[job.0 as usize - 1].1));
            line.look(&led);
            let said = led.round();
            line.look(&led);
            let confirmed = led.confirm();
            line.look(&led);
            if ended + confirmed > 0 || !said.is_empty() {
                continue;
            }
            let ends = line.runs.iter().map(|(job, since)| since.plus(Span::from_secs(jobs[job.0 as usize - 1].1)));
            let next = arrivals.peek().map(|at| Timestamp(at * 1_000));
            match ends.chain(led.planner.wake_at()).filter(|at| *at > led.now).chain(next).min() {
                Some(at) => led.now = at,
                None => break,
            }
        }
        prop_assert_eq!((came, line.waits.len()), (jobs.len(), 0), "all have come, and nobody waits");
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
