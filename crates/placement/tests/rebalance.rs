//! What is moved where, and that it comes to rest.

use crate::view::led::Led;
use proptest::prelude::*;
use quorate_placement::Planner;
use quorate_state::command::Command;
use quorate_types::policy::QueueOrder;
use quorate_types::{Name, Span};

fn led(workers: &[(&str, u32)], share: u32) -> Led {
    let mut led = Led::new(QueueOrder::Fifo, workers);
    led.change(&format!(r#"{{"rebalance":"on","rebalance_share":{share}}}"#));
    led
}

fn movable(led: &mut Led, task: &str) {
    led.job(r#""priority":50"#, &format!(r#""movable":true,{task}"#));
}

/// Rounds until nothing more happens, ten seconds and more apart: how many attempts were moved, and how many were at
/// most on their way at once.
fn settle(led: &mut Led) -> (usize, usize) {
    let (mut moves, mut most) = (0, 0);
    for _ in 0..1_000 {
        led.now = led.now.plus(Span::from_secs(11));
        let said = led.round();
        let begun = said.matches('!').count();
        moves += begun;
        most = most.max(led.confirm());
        let started = led.round();
        let soon = led.planner.wake_at().is_some_and(|at| at < led.now.plus(Span::from_secs(11)));
        if said.is_empty() && started.is_empty() && !soon {
            return (moves, most);
        }
    }
    panic!("it goes on and on: {:?}", led.loads());
}

#[test]
fn a_worker_that_joins_gets_its_part() {
    let mut led = led(&[("a", 10), ("b", 10)], 100);
    movable(&mut led, r#""count":20"#);
    led.round();
    assert_eq!(led.loads(), [100, 100]);
    assert_eq!(led.planner.wake_at(), None, "it is even");
    led.worker("c", 10);
    led.at(20);
    assert_eq!(led.round().matches('!').count(), 2, "a tenth of twenty");
    assert_eq!(led.round(), "", "no more than that are on their way");
    led.confirm();
    assert_eq!(led.round().matches(">c").count(), 2, "they go where they were meant to");
    settle(&mut led);
    let loads = led.loads();
    assert!(loads.iter().all(|load| (50..=80).contains(load)), "{loads:?}");
}

#[test]
fn only_what_may_be_moved_where_it_may_go() {
    let mut fixed = led(&[("a", 4)], 1_000);
    fixed.job(r#""priority":50"#, r#""count":4"#);
    fixed.round();
    fixed.worker("b", 4);
    assert_eq!(settle(&mut fixed).0, 0, "it does not say that it may be moved");

    let mut bound = led(&[("a", 4)], 1_000);
    movable(&mut bound, r#""count":4,"requires":["worker=a"]"#);
    bound.round();
    bound.worker("b", 4);
    assert_eq!(settle(&mut bound).0, 0, "it is bound to its worker");

    let mut apart = led(&[("a", 4)], 1_000);
    movable(&mut apart, r#""count":1,"anti_affinity":["a"]"#);
    movable(&mut apart, r#""count":3"#);
    apart.round();
    apart.worker("b", 4);
    settle(&mut apart);
    assert_eq!(apart.loads(), [50, 50]);

    let mut off = led(&[("a", 4)], 1_000);
    off.change(r#"{"rebalance":"off"}"#);
    movable(&mut off, r#""count":4"#);
    off.round();
    off.worker("b", 4);
    assert_eq!(settle(&mut off).0, 0);

    let mut draining = led(&[("a", 4)], 1_000);
    movable(&mut draining, r#""count":4"#);
    draining.round();
    draining.worker("b", 4);
    draining.view.apply(Command::Drain { worker: Name::new("b").unwrap() });
    assert_eq!(settle(&mut draining).0, 0, "it takes nothing new");
}

/// The room is taken from the beginning: nothing else gets it.
#[test]
fn the_room_is_kept_for_what_moves() {
    let mut led = led(&[("a", 4)], 1_000);
    movable(&mut led, r#""count":4"#);
    led.round();
    led.worker("b", 2);
    led.at(20);
    assert_eq!(led.round().matches('!').count(), 1);
    led.job(r#""priority":50"#, r#""count":2"#);
    assert_eq!(led.round(), "2[0]>b", "there is room for one besides");
    led.confirm();
    let started = led.round();
    assert!(started.starts_with("1[") && started.contains(">b"), "{started}");
    assert!(started.contains("2[1]>a"), "what it left is for those that wait: {started}");
}

/// It succeeds before it is ended, or is cancelled: the room is free again.
#[test]
fn room_that_is_not_needed_is_given_back() {
    let mut led = led(&[("a", 4)], 1_000);
    movable(&mut led, r#""count":4"#);
    led.round();
    led.worker("b", 2);
    led.at(20);
    assert_eq!(led.round().matches('!').count(), 1);
    led.view.apply(Command::Cancel { job: quorate_types::JobId(1) });
    led.confirm();
    led.job(r#""priority":50"#, r#""count":6"#);
    assert_eq!(led.round().matches('>').count(), 6);
}

/// What was moved rests, whoever leads.
#[test]
fn a_task_is_not_moved_again_at_once() {
    let mut led = led(&[("a", 2)], 1_000);
    movable(&mut led, r#""count":2"#);
    led.round();
    led.at(100);
    led.worker("b", 2);
    assert_eq!(led.round().matches('!').count(), 1);
    led.confirm();
    assert_eq!(led.round().matches(">b").count(), 1);
    let fixed = led.view.0.worker("a").unwrap().attempts.keys().next().unwrap().index;
    led.view.apply(Command::Drain { worker: Name::new("a").unwrap() });
    led.worker("c", 8);
    led.planner = Planner::new(3);
    for seconds in [120, 300, 600, 699] {
        led.at(seconds);
        assert_eq!(led.round(), "", "at {seconds}: element {fixed} is on a draining worker, the other one rests");
    }
    led.at(711);
    assert_eq!(led.round().matches('!').count(), 1, "ten minutes are over");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// With constant load moves stop, each attempt is moved few times, the share is kept, nothing is lost, and the
    /// loads are no more uneven than before.
    #[test]
    fn it_comes_to_rest(
        first in prop::collection::vec(2..9u32, 1..4),
        later in prop::collection::vec(2..9u32, 0..3),
        jobs in prop::collection::vec((1..6u32, 1..5u32, any::<bool>(), any::<bool>()), 1..12),
        share in prop::sample::select(vec![1, 100, 500, 1_000]),
        queue in prop::sample::select(QueueOrder::ALL),
    ) {
        let names = ["a", "b", "c", "d", "e", "f"];
        let workers: Vec<_> = names.into_iter().zip(first.iter().copied()).collect();
        let mut led = Led::new(queue, &workers);
        led.change(&format!(r#"{{"rebalance":"on","rebalance_share":{share},"quantum":"7days"}}"#));
        for (count, cpu, movable, apart) in &jobs {
            let apart = if *apart { r#""a""# } else { "" };
            let task = format!(
                r#""count":{count},"movable":{movable},"anti_affinity":[{apart}],"resources":{{"cpu":{cpu}}},"expected":"1h""#
            );
            led.job(r#""priority":50"#, &task);
            led.round();
        }
        for (name, cpu) in names.iter().skip(first.len()).zip(&later) {
            led.worker(name, *cpu);
        }
        led.round();
        led.confirm();
        led.round();
        let live: usize = led.view.0.workers().map(|worker| worker.attempts.len()).sum();
        let unevenness = |led: &Led| {
            let mut loads = led.loads();
            loads.sort_unstable_by(|a, b| b.cmp(a));
            loads
        };
        let before = unevenness(&led);
        let (moves, most) = settle(&mut led);
        let movable: u32 = jobs.iter().filter(|(_, _, movable, _)| *movable).map(|(count, ..)| *count).sum();
        prop_assert!(most <= (movable as usize * share as usize / 1_000).max(1), "{most} of {movable} at once");
        prop_assert!(moves <= movable as usize * 4, "{moves} moves of {movable}");
        let after: usize = led.view.0.workers().map(|worker| worker.attempts.len()).sum();
        prop_assert!(after >= live, "nothing is lost");
        if after == live {
            prop_assert!(unevenness(&led) <= before, "{before:?} became {:?}", unevenness(&led));
        }
    }
}
