//! An attempt that makes room for another is placed again, and nothing is held against it.

use crate::support::{Cluster, name};
use quorate_state::command::{Command, Grounds, Preemption};
use quorate_state::outcome::Outcome;
use quorate_types::policy::{PolicyChange, QueueOrder, Rebalance};
use quorate_types::status::{Ending, TaskState};
use quorate_types::{AttemptNumber, Epoch};

#[test]
fn only_what_runs_as_it_was_seen_is_ended() {
    let mut cluster = Cluster::default();
    let job = cluster.submit(r#"{"tasks":[{"name":"a","command":["x"],"count":2,"losses":1}]}"#);
    let urgent = cluster.submit(r#"{"priority":60,"tasks":[{"name":"a","command":["x"]}]}"#);
    let equal = cluster.submit(r#"{"tasks":[{"name":"a","command":["x"]}]}"#);
    let epoch = cluster.ready_worker("w", 4);
    let key = cluster.assign(job, 0, 0, epoch).unwrap();
    let item = Preemption {
        job,
        task: 0,
        index: key.index,
        attempt: key.attempt,
        epoch,
        by: urgent,
        grounds: Grounds::LowerPriority,
    };
    let stale = [
        Preemption { attempt: AttemptNumber(2), ..item },
        Preemption { epoch: Epoch(99), ..item },
        Preemption { index: quorate_types::TaskIndex(1), ..item },
        Preemption { job: quorate_types::JobId(77), ..item },
        Preemption { by: quorate_types::JobId(77), ..item },
        Preemption { by: equal, ..item },
    ];
    let outcome = cluster.apply(Command::Preempt { items: stale.to_vec() });
    assert_eq!(outcome, Outcome::Preempted { stopped: 0, stale: 6 });
    assert_eq!(cluster.task_state(job, 0, 0), TaskState::Assigned);

    cluster.apply(Command::Pause { job: urgent });
    let outcome = cluster.apply(Command::Preempt { items: vec![item] });
    assert_eq!(outcome, Outcome::Preempted { stopped: 0, stale: 1 }, "nobody waits for the room");
    cluster.apply(Command::Resume { job: urgent });
    let outcome = cluster.apply(Command::Preempt { items: vec![item, item] });
    assert_eq!(outcome, Outcome::Preempted { stopped: 1, stale: 1 }, "it is ending already");
    let event = &cluster.last.events[0];
    assert_eq!(event.kind.as_str(), "task.stopping");
    assert!(event.reason.as_deref().unwrap().contains("job 2"), "{event:?}");
    assert_eq!(cluster.task_state(job, 0, 0), TaskState::Stopping);
    cluster.finish("w", epoch, key, Ending::Signalled(15));
    assert_eq!(cluster.task_state(job, 0, 0), TaskState::Pending, "no retry was used up: it has none");
    let again = cluster.assign(job, 0, 0, epoch).unwrap();
    cluster.finish("w", epoch, again, Ending::Exited(0));
    assert_eq!(cluster.task_state(job, 0, 0), TaskState::Succeeded);
    cluster.apply(Command::Drain { worker: name("w") });
}

/// Turns end under `round-robin`, and moves are made while load is evened out: only then, and only what is movable.
#[test]
fn turns_and_moves_are_those_of_the_policy() {
    let mut cluster = Cluster::default();
    let fixed = cluster.submit(r#"{"command":["x"]}"#);
    let movable = cluster.submit(r#"{"command":["x"],"movable":true}"#);
    let epoch = cluster.ready_worker("w", 2);
    let item = |cluster: &mut Cluster, job, by, grounds| {
        let key = cluster.assign(job, 0, 0, epoch).unwrap();
        Preemption { job, task: 0, index: key.index, attempt: key.attempt, epoch, by, grounds }
    };
    let waits = cluster.submit(r#"{"tasks":[{"name":"a","command":["x"],"resources":{"cpu":2}}]}"#);
    let turn = item(&mut cluster, fixed, waits, Grounds::TurnOver);
    let moved = item(&mut cluster, movable, movable, Grounds::Rebalance);
    let stopped = |cluster: &mut Cluster, item| match cluster.apply(Command::Preempt { items: vec![item] }) {
        Outcome::Preempted { stopped, .. } => stopped,
        other => panic!("{other:?}"),
    };
    assert_eq!([stopped(&mut cluster, turn), stopped(&mut cluster, moved)], [0, 0], "by these rules neither");
    let change =
        PolicyChange { queue: Some(QueueOrder::RoundRobin), rebalance: Some(Rebalance::On), ..PolicyChange::default() };
    cluster.apply(Command::ChangePolicy(change));
    let others = Preemption { by: waits, ..moved };
    assert_eq!(stopped(&mut cluster, others), 0, "it is moved for nobody else");
    let immovable = Preemption { by: fixed, grounds: Grounds::Rebalance, ..turn };
    assert_eq!(stopped(&mut cluster, immovable), 0, "it does not say that it may be");
    for (item, says) in [(turn, "its turn is over: job 3"), (moved, "moved to even out the load")] {
        assert_eq!(stopped(&mut cluster, item), 1);
        let event = &cluster.last.events[0];
        assert!(event.reason.as_deref().unwrap().starts_with(says), "{event:?}");
        assert_eq!(cluster.task_state(item.job, 0, 0), TaskState::Stopping);
    }
}

/// What was lost is told by the attempts that were asked to end, not by those that failed or were lost.
#[test]
fn the_longest_attempt_that_was_ended_is_known() {
    let mut cluster = Cluster::default();
    let job = cluster.submit(r#"{"tasks":[{"name":"a","command":["x"],"retries":9}]}"#);
    let epoch = cluster.ready_worker("w", 1);
    for (seconds, reassigned) in [(70, false), (30, true), (50, true), (40, true)] {
        let key = cluster.assign(job, 0, 0, epoch).unwrap();
        cluster.pass(quorate_types::Span::from_secs(seconds));
        if reassigned {
            cluster.apply(Command::Reassign { job, task: name("a"), index: key.index });
        }
        cluster.finish("w", epoch, key, Ending::Exited(1));
        cluster.pass(quorate_types::Span::from_secs(600));
    }
    let task = cluster.state.job(job).unwrap().task(0).unwrap();
    let lost = task.element(quorate_types::TaskIndex(0)).unwrap().longest_lost();
    assert_eq!(lost, quorate_types::Span::from_secs(50));
}
