//! What is ended for whom, as text; and that nothing is ended for nothing.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod view;

use std::fmt::Write;

use proptest::prelude::*;
use quorate_placement::{Bounds, Plan, Planner};
use quorate_state::command::{Command, Preemption};
use quorate_state::outcome::Outcome;
use quorate_types::policy::{Backfill, PlacementOrder, PolicyChange, QueueOrder};
use quorate_types::session::{AttemptKey, Finished, Happening, Report};
use quorate_types::status::{Ending, TaskState};
use quorate_types::{JobId, Timestamp};
use view::View;

/// A cluster with a leader that follows it.
struct Led {
    view: View,
    planner: Planner,
    now: Timestamp,
}

impl Led {
    fn new(queue: QueueOrder, workers: &[(&str, u32)]) -> Self {
        let view = workers.iter().fold(View::new(queue, PlacementOrder::BestFit), |view, (name, cpu)| {
            view.worker(name, &format!(r#"{{"cpu":{cpu}}}"#))
        });
        Self { view, planner: Planner::new(7), now: Timestamp(0) }
    }

    fn job(&mut self, fields: &str, task: &str) {
        let json = format!(r#"{{{fields},"tasks":[{{"name":"a","command":["x"],{task}}}]}}"#);
        self.view = View(self.view.0.clone()).job_at(self.now, &json);
    }

    fn at(&mut self, seconds: u64) {
        self.now = Timestamp(seconds * 1000);
    }

    /// A round, applied: all of it must be accepted. What was started and what is ended, as text.
    fn round(&mut self) -> String {
        let Plan { assignments, preemptions, .. } = self.planner.round(&self.view.0, self.now, Bounds::default());
        let mut text = String::new();
        for item in &assignments {
            let worker = &self.view.0.worker_of(item.epoch).unwrap().name;
            write!(text, "{}[{}]>{worker} ", item.job, item.index).unwrap();
        }
        for Preemption { job, index, by, .. } in &preemptions {
            write!(text, "{job}[{index}]!{by} ").unwrap();
        }
        let (starts, ends) = (assignments.len() as u32, preemptions.len() as u32);
        let ended = self.view.outcome_at(self.now, Command::Preempt { items: preemptions });
        assert_eq!(ended, Outcome::Preempted { stopped: ends, stale: 0 });
        let started = self.view.outcome_at(self.now, Command::Assign { items: assignments });
        assert_eq!(started, Outcome::Assigned { accepted: starts, stale: 0 });
        self.view.0.check().unwrap();
        text.trim_end().to_owned()
    }

    /// Everything that was asked to end has ended.
    fn confirm(&mut self) -> usize {
        self.confirm_some(usize::MAX)
    }

    /// So much of what was asked to end has ended.
    fn confirm_some(&mut self, most: usize) -> usize {
        let mut reports = Vec::new();
        for worker in self.view.0.workers() {
            for (at, live) in worker.attempts.iter().filter(|(_, live)| live.stopping) {
                let (job, task, index, attempt, fence) = (at.job, at.task, at.index, live.number, live.fence);
                let finished = Finished {
                    ending: Ending::Stopped,
                    ran: quorate_types::Span(1),
                    result: None,
                    extension: None,
                    stdout_tail: vec![],
                    stderr_tail: vec![],
                };
                let key = AttemptKey { job, task, index, attempt, fence };
                let what = Happening::Finished(Box::new(finished));
                reports.push((worker.name.clone(), worker.epoch, Report { key, what }));
            }
        }
        reports.truncate(most);
        let count = reports.len();
        for (worker, epoch, report) in reports {
            self.view.outcome_at(self.now, Command::Report { worker, epoch, reports: vec![report] });
        }
        count
    }

    fn state_of(&self, job: u64) -> TaskState {
        self.view.0.job(JobId(job)).unwrap().task(0).unwrap().state_of(quorate_types::TaskIndex(0)).unwrap()
    }
}

#[test]
fn the_lowest_priority_goes_first_and_of_that_the_youngest() {
    let mut led = Led::new(QueueOrder::Priority, &[("w", 3)]);
    led.job(r#""priority":20"#, r#""count":1"#);
    led.job(r#""priority":10"#, r#""count":1"#);
    assert_eq!(led.round(), "1[0]>w 2[0]>w");
    led.at(60);
    led.job(r#""priority":10"#, r#""count":1"#);
    assert_eq!(led.round(), "3[0]>w");
    led.job(r#""priority":90"#, r#""count":1"#);
    assert_eq!(led.round(), "", "it does not preempt");
    led.job(r#""priority":90,"preempt":"lower""#, r#""count":1"#);
    assert_eq!(led.round(), "3[0]!5");
    assert_eq!(led.round(), "", "once is enough");
    assert_eq!(led.confirm(), 1);
    assert_eq!(led.round(), "5[0]>w", "it comes before job 4, which came earlier with the same priority");
    assert_eq!(led.state_of(3), TaskState::Pending, "and job 3 waits again");
}

#[test]
fn nobody_is_ended_in_vain() {
    let mut led = Led::new(QueueOrder::Priority, &[("small", 2), ("large", 8)]);
    led.job(r#""priority":50"#, r#""count":2,"resources":{"cpu":4}"#);
    led.job(r#""priority":10"#, r#""count":2"#);
    assert_eq!(led.round(), "1[0]>large 1[1]>large 2[0]>small 2[1]>small");
    led.job(r#""priority":50,"preempt":"lower""#, r#""resources":{"cpu":4}"#);
    assert_eq!(led.round(), "", "priority 50 is not below 50, and what is does not make room enough");
    led.job(r#""priority":51,"preempt":"lower""#, r#""resources":{"cpu":9}"#);
    assert_eq!(led.round(), "", "no worker could ever take it");
    led.job(r#""priority":60,"preempt":"lower""#, r#""resources":{"cpu":2}"#);
    assert_eq!(led.round(), "2[0]!5 2[1]!5", "the small ones weigh less than a large one of a higher priority");
}

#[test]
fn only_as_many_as_are_needed() {
    let mut led = Led::new(QueueOrder::Priority, &[("w", 8)]);
    led.job(r#""priority":1"#, r#""resources":{"cpu":1}"#);
    led.job(r#""priority":2"#, r#""resources":{"cpu":6}"#);
    led.job(r#""priority":3"#, r#""resources":{"cpu":1}"#);
    assert_eq!(led.round(), "3[0]>w 2[0]>w 1[0]>w");
    led.job(r#""priority":90,"preempt":"lower""#, r#""resources":{"cpu":6}"#);
    assert_eq!(led.round(), "2[0]!4", "the first gives too little, and is spared when the second is enough");
}

/// Under `fifo` those that were ended stand before the one for whom they were, and still don't take the room back.
#[test]
fn the_room_is_kept_whatever_the_order() {
    for queue in QueueOrder::ALL.iter().copied() {
        for backfill in Backfill::ALL.iter().copied() {
            let mut led = Led::new(queue, &[("w", 4)]);
            led.view.apply(Command::ChangePolicy(PolicyChange { backfill: Some(backfill), ..PolicyChange::default() }));
            led.job(r#""priority":10"#, r#""count":4,"expected":"1m""#);
            led.round();
            led.at(1);
            led.job(r#""priority":60,"preempt":"lower""#, r#""count":2,"expected":"50s""#);
            let mut rounds = 0;
            while led.view.0.job(JobId(2)).unwrap().task(0).unwrap().head.live < 2 {
                led.round();
                led.confirm();
                rounds += 1;
                assert!(rounds < 10, "{queue} {backfill}: job 2 has not started");
            }
            let victims = led.view.0.job(JobId(1)).unwrap().task(0).unwrap();
            let attempts: u32 = victims.elements().map(|(_, element)| element.next_attempt().0 - 1).sum();
            assert_eq!(attempts, 4, "{queue} {backfill}: what was ended has not begun again meanwhile");
            assert_eq!(victims.elements().filter(|(_, element)| element.state.is_live()).count(), 2);
        }
    }
}

/// One victim ends before the other: what it leaves is for nobody else.
#[test]
fn room_is_kept_until_there_is_enough() {
    let mut led = Led::new(QueueOrder::Fifo, &[("w", 2)]);
    led.job(r#""priority":10"#, r#""count":4"#);
    assert_eq!(led.round(), "1[0]>w 1[1]>w");
    led.job(r#""priority":60,"preempt":"lower""#, r#""resources":{"cpu":2}"#);
    assert_eq!(led.round(), "1[0]!2 1[1]!2");
    assert_eq!(led.confirm_some(1), 1);
    assert_eq!(led.round(), "");
    assert_eq!(led.confirm(), 1);
    assert_eq!(led.round(), "2[0]>w");
}

#[test]
fn the_shortest_remaining_time_goes_on() {
    let mut led = Led::new(QueueOrder::Srtf, &[("w", 1)]);
    led.job(r#""priority":50"#, r#""expected":"100s""#);
    assert_eq!(led.round(), "1[0]>w");
    led.at(40);
    led.job(r#""priority":50"#, r#""expected":"61s""#);
    assert_eq!(led.round(), "", "60 seconds are left");
    led.job(r#""priority":50"#, r#""expected":"59s""#);
    assert_eq!(led.round(), "1[0]!3");
    led.confirm();
    assert_eq!(led.round(), "3[0]>w");
    led.job(r#""priority":50"#, r#""retries":1"#);
    assert_eq!(led.round(), "", "nobody knows how long it takes");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes, those that may preempt start in the end, nothing is lost, and nobody is ended for ever.
    #[test]
    fn it_comes_to_rest(
        workers in prop::collection::vec(1..5u32, 1..4),
        jobs in prop::collection::vec((0..4u8, 1..4u32, 1..4u32, any::<bool>()), 1..12),
        queue in prop::sample::select(QueueOrder::ALL),
    ) {
        let names = ["a", "b", "c"];
        let workers: Vec<_> = names.into_iter().zip(workers).collect();
        let mut led = Led::new(queue, &workers);
        for (priority, cpu, count, preempts) in &jobs {
            let preempt = if *preempts { "lower" } else { "never" };
            led.job(
                &format!(r#""priority":{},"preempt":"{preempt}""#, priority * 10),
                &format!(r#""count":{count},"resources":{{"cpu":{cpu}}},"expected":"{cpu}m""#),
            );
            led.round();
        }
        let mut rounds = 0;
        while !led.round().is_empty() || led.confirm() > 0 {
            rounds += 1;
            prop_assert!(rounds < 200, "it goes on and on");
        }
        let elements: u64 = jobs.iter().map(|(_, _, count, _)| u64::from(*count)).sum();
        let counted: u64 = led.view.0.jobs().map(|job| job.header.counts.pending + job.header.counts.live()).sum();
        prop_assert_eq!(counted, elements);
    }
}

/// One slot, two elements that take ten times as long as expected: neither ends the other, and what is overdue stays.
#[test]
fn what_takes_longer_than_expected_is_not_ended_for_ever() {
    let mut led = Led::new(QueueOrder::Srtf, &[("w", 1)]);
    led.job(r#""priority":50"#, r#""count":2,"expected":"60s""#);
    assert_eq!(led.round(), "1[0]>w");
    led.job(r#""priority":50"#, r#""expected":"50s""#);
    for seconds in [20, 61, 125, 400] {
        led.at(seconds);
        assert_eq!(led.round(), "", "at {seconds}");
    }
}

/// What the same round gives away is not counted on, and who comes first keeps what is held for it.
#[test]
fn room_that_is_given_away_and_workers_that_are_held_are_left_alone() {
    let mut led = Led::new(QueueOrder::Priority, &[("w", 8)]);
    led.job(r#""priority":10"#, r#""resources":{"cpu":4}"#);
    assert_eq!(led.round(), "1[0]>w");
    led.job(r#""priority":70"#, r#""resources":{"cpu":4}"#);
    led.job(r#""priority":60,"preempt":"lower""#, r#""resources":{"cpu":6}"#);
    assert_eq!(led.round(), "2[0]>w", "four cores of job 1 are not enough beside job 2");

    let mut led = Led::new(QueueOrder::Priority, &[("w", 4)]);
    led.job(r#""priority":10"#, r#""count":2"#);
    led.round();
    led.job(r#""priority":90"#, r#""resources":{"cpu":4}"#);
    led.job(r#""priority":60,"preempt":"lower""#, r#""resources":{"cpu":3}"#);
    assert_eq!(led.round(), "", "the worker is held for job 2");
}

/// Two elements that must be apart need two workers, and one round does not ask for both on one.
#[test]
fn siblings_that_must_be_apart_get_workers_of_their_own() {
    let mut led = Led::new(QueueOrder::Priority, &[("a", 2), ("b", 2)]);
    led.job(r#""priority":10"#, r#""count":4"#);
    led.round();
    led.job(r#""priority":60,"preempt":"lower""#, r#""count":3,"anti_affinity":["a"]"#);
    let mut ended = String::new();
    for _ in 0..4 {
        ended += &led.round();
    }
    assert_eq!(ended.matches('!').count(), 2, "the third has no worker: {ended}");
    led.confirm();
    let started = led.round();
    assert!(started.contains(">a") && started.contains(">b"), "{started}");
}

/// An operator closes the worker while its victims end: the task looks for another one.
#[test]
fn room_that_will_not_come_is_not_waited_for() {
    let mut led = Led::new(QueueOrder::Priority, &[("a", 1), ("b", 1)]);
    led.job(r#""priority":10"#, r#""count":2"#);
    led.round();
    led.job(r#""priority":60,"preempt":"lower""#, r#""count":1"#);
    let first = led.round();
    assert_eq!(first.matches('!').count(), 1, "{first}");
    let stopping = |led: &Led| {
        let workers = led.view.0.workers();
        workers.filter(|worker| worker.attempts.values().any(|live| live.stopping)).map(|w| w.name.clone()).next()
    };
    let worker = stopping(&led).unwrap();
    led.view.apply(Command::Taint { worker, taints: vec!["closed".parse().unwrap()] });
    assert_eq!(led.round().matches('!').count(), 1, "the other worker's attempt is ended");
    led.confirm();
    assert!(led.round().contains("2[0]>"));
}
