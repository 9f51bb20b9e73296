//! Quotas, limits and what is borrowed: who comes first, who waits for what, and who gets back what is theirs.

use std::fmt::Write;

use crate::view::View;
use proptest::prelude::*;
use quorate_placement::{Bounds, Plan, Planner};
use quorate_state::command::{Command, Preemption};
use quorate_state::outcome::Outcome;
use quorate_types::policy::{Backfill, PlacementOrder, PolicyChange, QueueOrder};
use quorate_types::session::{AttemptKey, Finished, Happening, Report};
use quorate_types::status::Ending;
use quorate_types::{Name, Span, Timestamp};

/// A cluster with a leader that follows it.
struct Led {
    view: View,
    planner: Planner,
}

impl Led {
    fn new(queue: QueueOrder, backfill: Backfill, workers: &[(&str, u64)]) -> Self {
        let mut view = workers.iter().fold(View::new(queue, PlacementOrder::BestFit), |view, (name, cpu)| {
            view.worker(name, &format!(r#"{{"cpu":{cpu},"gpu":2}}"#))
        });
        view.apply(Command::ChangePolicy(PolicyChange { backfill: Some(backfill), ..PolicyChange::default() }));
        Self { view, planner: Planner::new(7) }
    }

    fn entitle(&mut self, namespace: &str, rules: &str) {
        let rules = Box::new(serde_json::from_str(rules).unwrap());
        self.view.apply(Command::SetNamespace { namespace: Name::new(namespace).unwrap(), rules });
    }

    fn job(&mut self, namespace: &str, task: &str) {
        let json =
            format!(r#"{{"namespace":"{namespace}","tasks":[{{"name":"a","command":["x"],"expected":"1m",{task}}}]}}"#);
        self.view = View(self.view.0.clone()).job(&json);
    }

    /// A round, applied: all of it must be accepted. Whose tasks start, and whose are ended for whom.
    fn round(&mut self) -> String {
        let Plan { assignments, preemptions, .. } = self.planner.round(&self.view.0, Timestamp(0), Bounds::default());
        let mut text = String::new();
        let of = |job| self.view.0.job(job).unwrap().spec.namespace.clone();
        assignments.iter().for_each(|item| write!(text, "{} ", of(item.job)).unwrap());
        for Preemption { job, by, .. } in &preemptions {
            write!(text, "{}!{} ", of(*job), of(*by)).unwrap();
        }
        let (starts, ends) = (assignments.len() as u32, preemptions.len() as u32);
        let ended = self.view.outcome_at(Timestamp(0), Command::Preempt { items: preemptions });
        assert_eq!(ended, Outcome::Preempted { stopped: ends, stale: 0 });
        let started = self.view.outcome_at(Timestamp(0), Command::Assign { items: assignments });
        assert_eq!(started, Outcome::Assigned { accepted: starts, stale: 0 });
        self.view.0.check().unwrap();
        text.trim_end().to_owned()
    }

    /// Attempts end: those that were asked to, or so many of a namespace.
    fn end(&mut self, namespace: Option<(&str, usize)>) {
        let mut ends = Vec::new();
        for worker in self.view.0.workers() {
            for (at, live) in &worker.attempts {
                let theirs = self.view.0.job(at.job).unwrap().spec.namespace.as_str();
                if namespace.map_or(live.stopping, |(wanted, _)| wanted == theirs) {
                    let (job, task, index, attempt, fence) = (at.job, at.task, at.index, live.number, live.fence);
                    let key = AttemptKey { job, task, index, attempt, fence };
                    ends.push((worker.name.clone(), worker.epoch, key));
                }
            }
        }
        ends.truncate(namespace.map_or(usize::MAX, |(_, most)| most));
        for (worker, epoch, key) in ends {
            let ending = if namespace.is_none() { Ending::Stopped } else { Ending::Exited(0) };
            let finished = Finished {
                ending,
                ran: Span(1_000),
                result: None,
                extension: None,
                stdout_tail: vec![],
                stderr_tail: vec![],
            };
            let what = Happening::Finished(Box::new(finished));
            self.view.outcome_at(Timestamp(0), Command::Report { worker, epoch, reports: vec![Report { key, what }] });
        }
    }

    fn live(&self, namespace: &str) -> u64 {
        self.view.0.space(&Name::new(namespace).unwrap()).map_or(0, |space| space.live)
    }
}

#[test]
fn what_waits_for_its_limit_keeps_nobody_and_nothing() {
    for backfill in Backfill::ALL {
        let mut led = Led::new(QueueOrder::Priority, *backfill, &[("w", 8)]);
        led.entitle("web", r#"{"limit":{"cpu":2}}"#);
        led.job("web", r#""count":9"#);
        led.job("web", r#""resources":{"cpu":0,"gpu":1}"#);
        led.job("other", r#""count":4"#);
        assert_eq!(led.round(), "web web web other other other other", "{backfill}: the gpu is not limited");
        assert_eq!(led.round(), "", "{backfill}");
        led.job("late", r#""count":2"#);
        assert_eq!(led.round(), "late late", "{backfill}: no worker is kept for what its own limit holds up");
        led.end(Some(("web", 1)));
        assert_eq!(led.round(), "web", "{backfill}: as soon as the limit has room");
        led.entitle("web", r#"{"limit":{"cpu":1}}"#);
        led.end(Some(("web", 1)));
        assert_eq!(led.round(), "", "{backfill}");
        led.view.apply(Command::ResetNamespace { namespace: Name::new("web").unwrap() });
        led.end(Some(("other", 4)));
        assert_eq!(led.round().matches("web").count(), 5, "{backfill}: without a limit all that fit");
    }
}

#[test]
fn a_large_task_does_not_starve_below_its_limit_and_holds_up_only_its_kind() {
    let mut led = Led::new(QueueOrder::Fifo, Backfill::None, &[("w", 64)]);
    led.entitle("web", r#"{"limit":{"cpu":4,"gpu":1}}"#);
    led.job("web", r#""count":2"#);
    led.round();
    led.job("web", r#""resources":{"cpu":4}"#);
    led.job("web", r#""resources":{"cpu":9}"#);
    led.job("web", r#""count":8"#);
    led.job("web", r#""count":2,"resources":{"cpu":0,"gpu":1}"#);
    assert_eq!(led.round(), "web", "one on the gpu; the small ones leave the four cores to the large one");
    led.end(Some(("web", 3)));
    led.round();
    assert_eq!(led.view.0.space(&Name::new("web").unwrap()).unwrap().held.cpu_millis, 4_000);
    assert_eq!(led.live("web"), 2, "the large one, and the next on the gpu");
    led.end(Some(("web", 2)));
    led.round();
    assert_eq!(led.live("web"), 4, "what is larger than the limit keeps nobody");
}

#[test]
fn what_is_within_a_quota_comes_before_what_is_borrowed() {
    for queue in [QueueOrder::Priority, QueueOrder::Fifo, QueueOrder::Multifactor, QueueOrder::AgedSjf] {
        for backfill in [Backfill::None, Backfill::EasySjbf] {
            let mut led = Led::new(queue, backfill, &[("w", 8)]);
            led.job("other", r#""count":9"#);
            led.job("web", r#""count":9"#);
            led.entitle("web", r#"{"quota":{"cpu":3}}"#);
            assert_eq!(led.round(), "web web web other other other other other", "{queue} {backfill}");
        }
    }
}

#[test]
fn an_owner_gets_back_what_it_lent_and_no_more() {
    let mut led = Led::new(QueueOrder::Priority, Backfill::None, &[("w1", 4), ("w2", 4)]);
    led.entitle("lab", r#"{"quota":{"cpu":4}}"#);
    led.entitle("web", r#"{"quota":{"cpu":3},"limit":{"cpu":6}}"#);
    led.job("web", r#""count":9"#);
    led.round();
    assert_eq!(led.live("web"), 6, "it borrows up to its limit");
    led.job("none", r#""count":9"#);
    led.round();
    led.job("lab", r#""count":9"#);
    let mut ended = Vec::new();
    for _ in 0..12 {
        ended.push(led.round());
        led.end(None);
    }
    assert_eq!((led.live("lab"), led.live("web")), (4, 3), "{ended:?}");
    led.entitle("lab", r#"{"quota":{"cpu":5},"reclaim":"never"}"#);
    assert!(!led.round().contains('!'));
    assert_eq!(led.live("lab") + led.live("web") + led.live("none"), 8);
}

#[test]
fn a_large_task_of_an_owner_gets_room_from_several() {
    let mut led = Led::new(QueueOrder::Priority, Backfill::None, &[("w1", 4), ("w2", 4)]);
    led.job("none", r#""count":8"#);
    led.round();
    led.entitle("lab", r#"{"quota":{"cpu":4}}"#);
    led.job("lab", r#""resources":{"cpu":3}"#);
    assert_eq!(led.round(), "none!lab none!lab none!lab");
    assert_eq!(led.round(), "", "they are ending");
    led.job("none", r#""count":8"#);
    led.end(None);
    assert_eq!(led.round(), "lab");
}

#[test]
fn who_is_at_its_limit_ends_nobody() {
    let mut led = Led::new(QueueOrder::Priority, Backfill::None, &[("w", 2)]);
    led.entitle("web", r#"{"limit":{"cpu":1}}"#);
    led.job("web", r#""count":1"#);
    led.job("other", r#""count":1"#);
    led.round();
    let urgent = r#"{"namespace":"web","priority":90,"preempt":"lower","command":["x"]}"#;
    led.view = View(led.view.0.clone()).job(urgent);
    assert_eq!(led.round(), "");
    led.entitle("web", r#"{"limit":{"cpu":2}}"#);
    assert_eq!(led.round(), "web!web", "now it may");
}

/// What it owns in cores does not help a task that waits for a GPU below the limit.
#[test]
fn nothing_is_ended_for_a_task_that_its_limit_holds_up() {
    let mut led = Led::new(QueueOrder::Priority, Backfill::None, &[("w", 4)]);
    led.entitle("lab", r#"{"quota":{"cpu":3},"limit":{"gpu":1}}"#);
    led.job("lab", r#""resources":{"cpu":0,"gpu":1}"#);
    led.job("none", r#""count":4"#);
    led.round();
    led.job("lab", r#""resources":{"cpu":1,"gpu":1}"#);
    assert_eq!(led.round(), "");
    led.entitle("lab", r#"{"quota":{"cpu":3}}"#);
    assert_eq!(led.round(), "none!lab");
}

/// Whatever the policy: limits are kept by every round (`apply` would refuse, and the round would be stale), and an
/// owner that wants its quota has it after as many rounds as it has tasks, when what was told to stop has.
fn owner_gets_its_quota(
    queue: QueueOrder,
    backfill: Backfill,
    quotas: &[u64],
    borrowers: &[(usize, u64, u64)],
) -> Result<(), TestCaseError> {
    const CORES: u64 = 8;
    let mut led = Led::new(queue, backfill, &[("w1", CORES), ("w2", CORES)]);
    for (nth, quota) in quotas.iter().enumerate() {
        led.entitle(&format!("n{nth}"), &format!(r#"{{"quota":{{"cpu":{quota}}},"limit":{{"cpu":12}}}}"#));
    }
    for (namespace, cores, count) in borrowers {
        led.job(&format!("n{namespace}"), &format!(r#""count":{count},"resources":{{"cpu":{cores}}}"#));
        led.round();
    }
    // One core each, so that any room is room for it.
    led.job("n0", r#""count":20"#);
    for _ in 0..20 {
        led.round();
        led.end(None);
    }
    let held = led.view.0.space(&Name::new("n0").unwrap()).unwrap().held.cpu_millis;
    prop_assert!(held >= quotas[0] * 1_000, "{queue} {backfill}: n0 holds {held} of {}", quotas[0]);
    for nth in 0..quotas.len() {
        let held = led.view.0.space(&Name::new(&format!("n{nth}")).unwrap()).map_or(0, |space| space.held.cpu_millis);
        prop_assert!(held <= 12_000, "n{nth} holds {held}");
    }
    Ok(())
}

/// Two that are within their quotas wait, and the same worker is kept for both.
#[test]
fn owners_do_not_wait_for_each_other() {
    owner_gets_its_quota(QueueOrder::Fifo, Backfill::Conservative, &[1, 2, 4], &[(3, 2, 8), (1, 2, 1), (2, 2, 4)])
        .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_owner_gets_its_quota_within_as_many_rounds_as_it_has_tasks(
        queue in prop::sample::select(QueueOrder::ALL),
        backfill in prop::sample::select(Backfill::ALL),
        quotas in prop::collection::vec(0..6u64, 2..4),
        // Nobody of the others has a quota that could be in the way: it would be theirs.
        borrowers in prop::collection::vec((1..5usize, 1..5u64, 1..12u64), 0..5),
    ) {
        owner_gets_its_quota(queue, backfill, &quotas, &borrowers)?;
    }
}
