//! An attempt that makes room for another is placed again, and nothing is held against it.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use quorate_state::command::{Command, Grounds, Preemption};
use quorate_state::outcome::Outcome;
use quorate_types::status::{Ending, TaskState};
use quorate_types::{AttemptNumber, Epoch};
use support::{Cluster, name};

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
