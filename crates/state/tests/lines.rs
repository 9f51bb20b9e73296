//! Attempts that wait for others of their task, which they were assigned behind.

use crate::support::{Cluster, key, name};
use quorate_state::command::{Assignment, Command, Entry, Proposal};
use quorate_state::outcome::{NoticeKind, Outcome};
use quorate_types::session::{AttemptKey, Happening};
use quorate_types::status::{Ending, JobState, TaskState};
use quorate_types::{AttemptNumber, Epoch, JobId, TaskIndex};

const ARRAY: &str = r#"{"tasks":[{"name":"a","command":["x"],"count":9}]}"#;

fn item(job: JobId, index: u32, behind: Option<u32>, epoch: Epoch) -> Assignment {
    let behind = behind.map(TaskIndex);
    Assignment { job, task: 0, index: TaskIndex(index), attempt: AttemptNumber(1), epoch, behind }
}

/// A worker with one core, an array, and a line of so many of its elements.
fn line(json: &str, len: u32) -> (Cluster, JobId, Epoch) {
    let mut cluster = Cluster::default();
    let epoch = cluster.ready_worker("w", 1);
    let job = cluster.submit(json);
    let items = (0..len).map(|index| item(job, index, (index > 0).then_some(0), epoch)).collect();
    assert_eq!(cluster.apply(Command::Assign { items }), Outcome::Assigned { accepted: len, stale: 0 });
    (cluster, job, epoch)
}

fn attempt(cluster: &Cluster, job: JobId, index: u32) -> AttemptKey {
    let element = cluster.state.job(job).unwrap().task(0).unwrap().element(TaskIndex(index)).unwrap();
    let attempt = element.current().unwrap();
    key(job.0, 0, index, attempt.number.0, attempt.fence.0)
}

fn end(cluster: &mut Cluster, job: JobId, epoch: Epoch, index: u32, ending: Ending) {
    let key = attempt(cluster, job, index);
    cluster.finish("w", epoch, key, ending);
}

fn holders(cluster: &Cluster) -> Vec<u32> {
    cluster.state.worker("w").unwrap().holders().map(|(at, _)| at.index.0).collect()
}

fn states(cluster: &Cluster, job: JobId, len: u32) -> Vec<TaskState> {
    (0..len).map(|index| cluster.task_state(job, 0, index)).collect()
}

#[test]
fn one_after_the_other_holds_what_one_holds() {
    let (mut cluster, job, epoch) = line(ARRAY, 4);
    for index in 0..4 {
        let worker = cluster.state.worker("w").unwrap();
        assert_eq!((worker.used.cpu_millis, worker.attempts.len()), (1000, 4 - index as usize));
        assert_eq!(holders(&cluster), [index]);
        assert!(cluster.assign(job, 0, 8, epoch).is_none(), "there is no room beside it");
        end(&mut cluster, job, epoch, index, Ending::Exited(0));
    }
    assert_eq!(cluster.state.worker("w").unwrap().used.cpu_millis, 0);
    assert_eq!(states(&cluster, job, 5)[3..], [TaskState::Succeeded, TaskState::Pending]);
    let head = cluster.state.job(job).unwrap().task(0).unwrap().head;
    assert_eq!((head.succeeded, head.pace), (4, Some(10_000)));
}

#[test]
fn who_leaves_the_line_closes_it() {
    let (mut cluster, job, epoch) = line(ARRAY, 4);
    // The worker gives one back, and starts it never.
    end(&mut cluster, job, epoch, 1, Ending::Stopped);
    assert_eq!((holders(&cluster), cluster.task_state(job, 0, 1)), (vec![0], TaskState::Pending));
    end(&mut cluster, job, epoch, 3, Ending::Stopped);
    end(&mut cluster, job, epoch, 0, Ending::Exited(0));
    assert_eq!(holders(&cluster), [2]);
    end(&mut cluster, job, epoch, 2, Ending::Exited(0));
    assert_eq!(holders(&cluster), [0; 0]);
    let element = cluster.state.job(job).unwrap().task(0).unwrap().element(TaskIndex(1)).unwrap();
    assert_eq!((element.failures, element.losses), (0, 0), "it costs no retry");
    assert!(cluster.state.job(job).unwrap().task(0).unwrap().pending().any(|(index, n)| (index.0, n.0) == (1, 2)));
}

#[test]
fn who_waits_is_no_head_of_another_line() {
    let mut cluster = Cluster::default();
    let epoch = cluster.ready_worker("w", 1);
    let job = cluster.submit(ARRAY);
    let first = Command::Assign { items: vec![item(job, 0, None, epoch), item(job, 1, Some(0), epoch)] };
    let second = Command::Assign { items: vec![item(job, 2, Some(1), epoch)] };
    // Decisions that share an entry have one fence.
    let proposals = [first, second].map(|command| Proposal { origin: None, command });
    cluster.apply_entry(Entry { time: cluster.now, proposals: proposals.into() });
    let counts = [(2, 0), (0, 1)].map(|(accepted, stale)| Outcome::Assigned { accepted, stale });
    assert_eq!(cluster.last.outcomes, counts);
    end(&mut cluster, job, epoch, 1, Ending::Stopped);
    assert_eq!((holders(&cluster), cluster.task_state(job, 0, 2)), (vec![0], TaskState::Pending));
}

#[test]
fn what_waits_for_one_that_stops_does_not_start() {
    let (mut cluster, job, epoch) = line(ARRAY, 3);
    cluster.apply(Command::Reassign { job, task: name("a"), index: TaskIndex(0) });
    let stopped = |what: &NoticeKind| matches!(what, NoticeKind::Stop(_));
    assert_eq!(cluster.last.notices.iter().filter(|notice| stopped(&notice.what)).count(), 3);
    assert_eq!(states(&cluster, job, 3), [TaskState::Stopping; 3]);
    assert_eq!(holders(&cluster), [0]);
    end(&mut cluster, job, epoch, 1, Ending::Stopped);
    // It had succeeded before the word came: the third is the one with the place until it has confirmed.
    end(&mut cluster, job, epoch, 0, Ending::Exited(0));
    assert_eq!((holders(&cluster), cluster.state.worker("w").unwrap().used.cpu_millis), (vec![2], 1000));
    end(&mut cluster, job, epoch, 2, Ending::Stopped);
    assert_eq!(states(&cluster, job, 3), [TaskState::Succeeded, TaskState::Pending, TaskState::Pending]);
}

#[test]
fn a_failure_keeps_what_waits_in_line_from_starting() {
    let (mut cluster, job, epoch) = line(ARRAY, 3);
    end(&mut cluster, job, epoch, 0, Ending::Exited(1));
    // The second may run already.
    assert_eq!(states(&cluster, job, 4)[1..], [TaskState::Assigned, TaskState::Stopping, TaskState::Cancelled]);
    end(&mut cluster, job, epoch, 1, Ending::Exited(0));
    end(&mut cluster, job, epoch, 2, Ending::Stopped);
    assert_eq!(cluster.task_state(job, 0, 2), TaskState::Cancelled);
    assert_eq!(cluster.state.job(job).unwrap().header.state, JobState::Failed);
}

#[test]
fn a_line_ends_with_its_worker_and_costs_nobody_a_retry() {
    let (mut cluster, job, epoch) = line(ARRAY, 3);
    let first = attempt(&cluster, job, 0);
    cluster.report("w", epoch, first, Happening::Started);
    cluster.apply(Command::Expire { worker: name("w"), epoch });
    assert_eq!(states(&cluster, job, 3), [TaskState::Pending; 3]);
    assert_eq!(cluster.state.queue().iter().count(), 1);
}

#[test]
fn a_line_is_made_at_once_and_in_order() {
    let (mut cluster, job, epoch) = line(ARRAY, 2);
    let mut try_line = |items: Vec<Assignment>| match cluster.apply(Command::Assign { items }) {
        Outcome::Assigned { accepted, .. } => accepted,
        other => panic!("{other:?}"),
    };
    assert_eq!(try_line(vec![item(job, 5, Some(0), epoch)]), 0, "what it would wait for came with an earlier entry");
    assert_eq!(try_line(vec![item(job, 6, Some(4), epoch)]), 0, "what it would wait for is not there");
    assert_eq!(try_line(vec![item(job, 7, Some(7), epoch)]), 0, "it would wait for itself");
    let other = cluster.ready_worker("v", 1);
    let mut items = vec![item(job, 3, None, other), item(job, 8, Some(3), other), item(job, 5, Some(3), other)];
    items.push(item(job, 6, Some(3), epoch));
    assert_eq!(cluster.apply(Command::Assign { items }), Outcome::Assigned { accepted: 2, stale: 2 });
    assert_eq!(cluster.task_state(job, 0, 8), TaskState::Assigned);
}

#[test]
fn a_rate_is_asked_for_each_start() {
    let mut cluster = Cluster::default();
    let epoch = cluster.ready_worker("w", 1);
    let job =
        cluster.submit(r#"{"tasks":[{"name":"a","command":["x"],"count":9,"rate":{"key":"r","limit":5,"per":"1m"}}]}"#);
    let items = vec![item(job, 0, None, epoch), item(job, 1, Some(0), epoch)];
    assert_eq!(cluster.apply(Command::Assign { items }), Outcome::Assigned { accepted: 1, stale: 1 });
}

#[test]
fn a_snapshot_keeps_lines() {
    let (mut cluster, job, epoch) = line(ARRAY, 4);
    for ended in 0..4 {
        let restored = quorate_state::State::from_records(cluster.state.snapshot_records()).unwrap();
        restored.check().unwrap();
        assert_eq!(restored.digest(), cluster.state.digest());
        assert!(restored.worker("w").unwrap().attempts.iter().eq(&cluster.state.worker("w").unwrap().attempts));
        end(&mut cluster, job, epoch, ended, Ending::Exited(0));
    }
}
