//! What is ended for whom, as text; and that nothing is ended for nothing.

use crate::view::View;
use crate::view::led::Led;
use proptest::prelude::*;
use quorate_placement::Bounds;
use quorate_state::command::{Command, Preemption};
use quorate_state::job::ElementKey;
use quorate_state::worker::Worker;
use quorate_types::policy::{Backfill, PolicyChange, QueueOrder};
use quorate_types::status::TaskState;
use quorate_types::{JobId, Span};

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
fn of_equal_priorities_the_least_work_is_lost_wherever_it_runs() {
    let all = ["a", "b", "c"];
    for youngest in all {
        let mut led = Led::new(QueueOrder::Priority, &all.map(|name| (name, 1)));
        for (at, name) in all.into_iter().filter(|name| *name != youngest).chain([youngest]).enumerate() {
            led.at(at as u64);
            led.job(r#""priority":10"#, &format!(r#""requires":["worker={name}"]"#));
            assert_eq!(led.round(), format!("{}[0]>{name}", at + 1));
        }
        led.job(r#""priority":90,"preempt":"lower""#, r#""count":1"#);
        assert_eq!(led.round(), "3[0]!4", "{youngest}");
    }
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

/// Four cores of low priority on two workers, one of them next to something more important, and a third worker.
fn full(queue: QueueOrder, backfill: Backfill) -> Led {
    let mut led = Led::new(queue, &[("a", 2), ("b", 2), ("c", 2)]);
    led.change(&format!(r#"{{"backfill":"{backfill}"}}"#));
    led.job(r#""priority":90"#, r#""expected":"1h""#);
    assert_eq!(led.round(), "1[0]>a");
    led.job(r#""priority":20"#, r#""count":5,"expected":"10m""#);
    assert_eq!(led.round(), "2[0]>a 2[1]>b 2[2]>b 2[3]>c 2[4]>c");
    led
}

#[test]
fn a_gang_has_all_of_its_room_made_at_once_or_none_of_it() {
    for backfill in [Backfill::None, Backfill::Easy, Backfill::EasySjbf] {
        for queue in [QueueOrder::Priority, QueueOrder::Fifo] {
            let mut led = full(queue, backfill);
            led.job(r#""priority":80,"preempt":"lower""#, r#""gang":true,"count":6,"expected":"1m""#);
            assert_eq!(led.round(), "", "one of six cores is not to be had");
            let mut led = full(queue, backfill);
            led.job(r#""priority":20,"preempt":"lower""#, r#""gang":true,"count":2,"expected":"1m""#);
            assert_eq!(led.round(), "", "priority 20 is not below 20");
            led.job(r#""priority":80,"preempt":"lower""#, r#""gang":true,"count":4,"expected":"1m""#);
            if queue == QueueOrder::Fifo {
                assert_eq!(led.round(), "", "job 3 waits first, and ends nobody");
                continue;
            }
            let ended = led.round();
            assert_eq!(ended, "2[0]!4 2[1]!4 2[2]!4 2[3]!4", "{queue} {backfill}");
            assert_eq!(led.round(), "", "once is enough");
            assert_eq!(led.confirm_some(3), 3);
            assert_eq!(led.round(), "", "nobody gets a part of the room");
            assert_eq!(led.confirm(), 1);
            assert_eq!(led.round(), "4[0]>a 4[1]>b 4[2]>b 4[3]>c", "{queue} {backfill}");
        }
    }
}

/// Two workers of two cores and one of four, on which something important runs: where the gang would fit best if all
/// were empty it finds no room.
#[test]
fn a_gang_goes_where_only_what_is_less_important_is_in_the_way() {
    let mut led = Led::new(QueueOrder::Priority, &[("a", 2), ("b", 2), ("c", 4)]);
    led.job(r#""priority":90"#, r#""resources":{"cpu":3}"#);
    led.job(r#""priority":10"#, r#""count":1"#);
    assert_eq!(led.round(), "1[0]>c 2[0]>c");
    led.job(r#""priority":20"#, r#""count":4"#);
    assert_eq!(led.round(), "3[0]>a 3[1]>a 3[2]>b 3[3]>b");
    led.job(r#""priority":80,"preempt":"lower""#, r#""gang":true,"count":2,"resources":{"cpu":2}"#);
    assert_eq!(led.round(), "3[0]!4 3[1]!4 3[2]!4 3[3]!4");
    led.confirm();
    assert_eq!(led.round(), "4[0]>a 4[1]>b");
    let mut led = Led::new(QueueOrder::Priority, &[("a", 1), ("b", 1), ("c", 1)]);
    for priority in [50, 10, 30] {
        led.job(&format!(r#""priority":{priority}"#), r#""count":1"#);
    }
    assert_eq!(led.round(), "1[0]>a 3[0]>b 2[0]>c");
    led.job(r#""priority":80,"preempt":"lower""#, r#""gang":true,"count":2,"resources":{"cpu":1}"#);
    assert_eq!(led.round(), "3[0]!4 2[0]!4", "the least important are ended");
}

/// While the victims end, one of their workers is closed: the gang waits for another one, and starts when there is one.
#[test]
fn a_gang_whose_room_will_not_come_goes_elsewhere() {
    let mut led = Led::new(QueueOrder::Priority, &[("a", 1), ("b", 1), ("c", 1)]);
    led.job(r#""priority":90"#, r#""count":1"#);
    assert_eq!(led.round(), "1[0]>a");
    led.job(r#""priority":10"#, r#""count":2"#);
    assert_eq!(led.round(), "2[0]>b 2[1]>c");
    led.job(r#""priority":80,"preempt":"lower""#, r#""gang":true,"count":2"#);
    assert_eq!(led.round(), "2[0]!3 2[1]!3");
    led.job(r#""priority":80,"preempt":"lower""#, r#""count":1"#);
    assert_eq!(led.round(), "", "the room is the gang's");
    let closed = Command::Taint { worker: "b".parse().unwrap(), taints: vec!["closed".parse().unwrap()] };
    led.view.apply(closed);
    led.confirm();
    let mut started = String::new();
    for _ in 0..3 {
        started += &led.round();
    }
    assert_eq!(started, "", "it waits for what runs on the only other worker");
    led.worker("d", 1);
    assert_eq!(led.round(), "3[0]>c 3[1]>d");
}

/// While the victims end, something small of the gang's namespace has taken what that may hold: the room is kept, and
/// nobody else of the namespace starts before the gang.
#[test]
fn a_gang_keeps_its_room_while_its_namespace_holds_too_much() {
    let mut led = Led::new(QueueOrder::Priority, &[("a", 2), ("b", 2)]);
    led.job(r#""priority":10"#, r#""count":4"#);
    assert_eq!(led.round(), "1[0]>a 1[1]>a 1[2]>b 1[3]>b");
    let rules = Box::new(serde_json::from_str(r#"{"limit":{"cpu":4}}"#).unwrap());
    led.view.apply(Command::SetNamespace { namespace: "n".parse().unwrap(), rules });
    led.job(r#""namespace":"n","priority":80,"preempt":"lower""#, r#""gang":true,"count":2,"resources":{"cpu":2}"#);
    led.worker("c", 1);
    led.job(r#""namespace":"n","priority":50"#, r#""count":1"#);
    assert_eq!(led.round(), "3[0]>c", "what this takes of the limit the gang lacks");
    assert_eq!(led.round(), "", "so that nobody is ended in vain");
    let end = |led: &mut Led, job| led.finish(|of| if of == JobId(job) { Span(0) } else { Span(u64::MAX) });
    assert_eq!(end(&mut led, 3), 1);
    assert_eq!(led.round().matches('!').count(), 4);
    led.job(r#""namespace":"n","priority":50"#, r#""count":2"#);
    assert_eq!(led.round(), "4[0]>c");
    led.confirm();
    assert_eq!(led.round(), "", "neither job 1 nor what else is in the namespace");
    assert_eq!(end(&mut led, 4), 1);
    assert_eq!(led.round(), "2[0]>a 2[1]>b 1[0]>c");
}

/// Under `fifo` those that were ended stand before the gang, and still don't take the room back; nor does what comes
/// from elsewhere.
#[test]
fn the_room_of_a_gang_is_kept_whatever_the_order() {
    for queue in QueueOrder::ALL.iter().copied().filter(|queue| *queue != QueueOrder::RoundRobin) {
        for backfill in [Backfill::None, Backfill::Easy, Backfill::EasySjbf] {
            let mut led = full(queue, backfill);
            led.job(r#""priority":80,"preempt":"lower""#, r#""gang":true,"count":4"#);
            assert_eq!(led.round().matches('!').count(), 4, "{queue} {backfill}");
            led.job(r#""priority":20"#, r#""expected":"1s""#);
            led.confirm_some(2);
            assert!(!led.round().contains('!'), "{queue} {backfill}");
            led.confirm();
            // Under `srtf` the short one ends what is longest besides.
            let started = led.round();
            assert!(started.starts_with("3[0]>a 3[1]>b 3[2]>b 3[3]>c"), "{queue} {backfill}: {started}");
        }
    }
}

/// What is ended first: a lower priority, or what runs on for longer.
fn rank(led: &Led, key: &ElementKey) -> u64 {
    let job = led.view.0.job(key.job).unwrap();
    if led.view.0.policy().queue == QueueOrder::Priority {
        return u64::from(job.spec.priority);
    }
    let since = job.task(key.task).unwrap().element(key.index).unwrap().current().unwrap().assigned_at;
    u64::MAX - since.plus(job.task_spec(key.task).unwrap().expected.unwrap()).0
}

/// The rank of the last of those that have to end so that a task that may end all has room, where that is lowest; none
/// if it has room, or gets none.
fn lowest(led: &Led, cpu: u64) -> Option<u64> {
    let state = &led.view.0;
    let on = |worker: &Worker| {
        let of = |key: &ElementKey| state.job(key.job).unwrap().task_spec(key.task).unwrap().resources.cpu_millis;
        let mut running: Vec<(u64, u64)> = worker.attempts.keys().map(|key| (rank(led, key), of(key))).collect();
        running.sort_unstable();
        let mut free = worker.free().cpu_millis;
        let enough = running.into_iter().find(|(_, given_back)| {
            free += given_back;
            free >= cpu
        });
        enough.map(|(rank, _)| rank)
    };
    let has_room = state.workers().any(|worker| worker.free().cpu_millis >= cpu);
    state.workers().filter_map(|worker| on(worker)).min().filter(|_| !has_room)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever started and ended before. There are more workers than are looked at one by one.
    #[test]
    fn of_all_workers_the_one_is_found_where_the_least_important_ends(
        queue in prop::sample::select(vec![QueueOrder::Priority, QueueOrder::Srtf]),
        workers in prop::collection::vec(4..9_u32, 65..80),
        steps in prop::collection::vec((1..6_u8, 1..5_u64, 1..200_u64, 1..5_u64, prop::option::of(0..4_u64)), 1..6),
    ) {
        let named: Vec<(String, u32)> = workers.iter().enumerate().map(|(at, cpu)| (format!("w{at}"), *cpu)).collect();
        let named: Vec<(&str, u32)> = named.iter().map(|(name, cpu)| (name.as_str(), *cpu)).collect();
        let mut led = Led::new(queue, &named);
        let mut jobs = 0;
        for (at, (tenth, cpu, most, wanted, ends)) in (0..).zip(steps) {
            led.at(at);
            if let Some(ends) = ends {
                led.start();
                led.finish(|job| if job.0 % 4 == ends { Span(0) } else { Span(u64::MAX) });
            }
            // No more than there is room for, so that nobody else waits; and then all that is left.
            for (tenth, cpu, most) in [(tenth, cpu, most), (7 - tenth, 1, u64::MAX)] {
                let room = led.view.0.workers().map(|worker| worker.free().cpu_millis / (cpu * 1_000)).sum();
                let count = most.min(room);
                if count > 0 {
                    let (priority, expected) = (format!(r#""priority":{}"#, tenth * 10), 100 + u64::from(tenth) * 7);
                    let resources = format!(r#""resources":{{"cpu":{cpu}}}"#);
                    led.job(&priority, &format!(r#""count":{count},"expected":"{expected}s",{resources}"#));
                    jobs += 1;
                    prop_assert_eq!(led.round().matches('>').count() as u64, count);
                }
            }
            let lowest = lowest(&led, wanted * 1_000);
            let resources = format!(r#""expected":"1s","resources":{{"cpu":{wanted}}}"#);
            led.job(r#""priority":100,"preempt":"lower""#, &resources);
            jobs += 1;
            let ended = led.planner.round(&led.view.0, led.now, Bounds::default()).preemptions;
            let key = |item: &Preemption| ElementKey { job: item.job, task: item.task, index: item.index };
            prop_assert_eq!(ended.iter().map(|item| rank(&led, &key(item))).max(), lowest);
            prop_assert!(lowest.is_some(), "all are full");
            led.view.outcome_at(led.now, Command::Cancel { job: JobId(jobs) });
        }
    }
}

/// Seventy workers with one slot each, next to what is important.
fn next_to_the_important(queue: QueueOrder) -> Led {
    let names: Vec<String> = (0..70).map(|at| format!("a{at:02}")).chain((0..5).map(|at| format!("b{at}"))).collect();
    let workers: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 2)).collect();
    let mut led = Led::new(queue, &workers);
    led.job(r#""priority":10"#, r#""count":10,"requires":["worker in (b0,b1,b2,b3,b4)"]"#);
    led.job(r#""priority":80"#, r#""count":70,"anti_affinity":["a"]"#);
    assert_eq!(led.round().matches('>').count(), 80);
    led
}

/// What this very round gives away on them is not to be had, and what else is to be had there costs more.
#[test]
fn many_offers_that_cost_more_hide_none_that_costs_less() {
    let mut led = next_to_the_important(QueueOrder::Priority);
    led.job(r#""priority":90,"preempt":"lower""#, r#""count":71"#);
    let done = led.round();
    assert_eq!((done.matches('>').count(), done.matches('!').count()), (70, 1), "{done}");
    assert!(done.ends_with("]!3") && done.contains(" 1["), "{done}");
}

/// Of the gang that runs on for hours one task's end is not known: it ends with the other.
#[test]
fn what_ends_with_a_gang_makes_room_too() {
    let names: Vec<String> = (0..70).map(|at| format!("w{at:02}")).collect();
    let workers: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 8)).collect();
    let task = |name: &str, rest: &str| {
        format!(r#"{{"name":"{name}","command":["x"],"gang":"g","resources":{{"cpu":4}}{rest}}}"#)
    };
    let (known, unknown) = (task("known", r#","expected":"10h""#), task("unknown", ""));
    for tasks in [format!("{known},{unknown}"), format!("{unknown},{known}")] {
        let mut led = Led::new(QueueOrder::Srtf, &workers);
        led.view = View(led.view.0.clone()).job_at(led.now, &format!(r#"{{"tasks":[{tasks}]}}"#));
        led.round();
        led.job(r#""priority":50"#, r#""count":69,"resources":{"cpu":8}"#);
        assert_eq!(led.round().matches('>').count(), 69);
        led.job(r#""priority":50"#, r#""expected":"60s","resources":{"cpu":8}"#);
        let done = led.round();
        assert_eq!(done.split(' ').filter(|word| word.starts_with("1[") && word.ends_with("!3")).count(), 1, "{done}");
    }
}

/// Fifty workers with five hundred attempts each are more than one round looks at: the least important are on the first
/// of them, and only on those.
#[test]
fn what_was_found_before_a_round_stopped_counts() {
    let names: Vec<String> = (0..50).map(|at| format!("w{at:02}")).collect();
    let workers: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 500)).collect();
    let mut led = Led::new(QueueOrder::Priority, &workers);
    led.job(r#""priority":10"#, r#""count":1000,"requires":["worker in (w03,w04)"]"#);
    led.round();
    led.job(r#""priority":80"#, r#""count":24000"#);
    while led.round().contains('>') {}
    assert!(led.loads().iter().all(|load| *load == 100), "{:?}", led.loads());
    led.job(r#""priority":90,"preempt":"lower""#, r#""count":1"#);
    let mut ended = led.round();
    assert_eq!(ended, "", "not all have been looked at");
    for _ in 0..3 {
        assert!(!ended.is_empty() || led.planner.wake_at() == Some(led.now), "it goes on at once");
        ended += &led.round();
    }
    assert!(ended.starts_with("1[") && ended.ends_with("]!3") && ended.matches('!').count() == 1, "{ended}");
    assert_ne!(led.planner.wake_at(), Some(led.now), "and is done");
}

/// The round gives up looking for what may start before it has seen all; whom it has seen may end others.
#[test]
fn many_that_wait_keep_nobody_from_what_is_theirs_to_end() {
    let mut led = Led::new(QueueOrder::Priority, &[("a", 1), ("b", 1), ("c", 1), ("d", 1)]);
    led.job(r#""priority":10"#, r#""count":4"#);
    led.round();
    led.job(r#""priority":90,"preempt":"lower""#, r#""count":1"#);
    for _ in 0..5 {
        led.job(r#""priority":10"#, r#""count":1"#);
    }
    led.job(r#""priority":1,"preempt":"lower""#, r#""count":1"#);
    let bounds = Bounds { misses_max: 2, ..Bounds::default() };
    let ended = led.planner.round(&led.view.0, led.now, bounds).preemptions;
    assert_eq!(ended.iter().map(|item| item.by).collect::<Vec<_>>(), [JobId(2)]);
}

/// Turns are over on all workers; where something ends anyway that is enough.
#[test]
fn no_turn_is_ended_where_room_comes_anyway() {
    let names: Vec<String> = (0..70).map(|at| format!("w{at:02}")).collect();
    let workers: Vec<(&str, u32)> = names.iter().map(|name| (name.as_str(), 2)).collect();
    let mut led = Led::new(QueueOrder::RoundRobin, &workers);
    led.change(r#"{"quantum":"10s"}"#);
    led.job(r#""priority":50"#, r#""count":138"#);
    led.round();
    led.at(1);
    led.job(r#""priority":50"#, r#""count":1"#);
    led.job(r#""priority":50"#, r#""count":1"#);
    assert_eq!(led.round().matches('>').count(), 2);
    led.at(60);
    led.view.outcome_at(led.now, Command::Cancel { job: JobId(3) });
    led.job(r#""priority":50"#, r#""count":1"#);
    assert_eq!(led.round(), "", "the cancelled one is ending");
    led.job(r#""priority":50"#, r#""count":1"#);
    assert_eq!(led.round().matches('!').count(), 1, "the next one has no such luck");
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
