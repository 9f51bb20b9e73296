//! A gang starts as one, ends as one, and is tried again as one.

use crate::support::{Cluster, finished, name};
use quorate_state::command::{Assignment, Command, Grounds, Preemption, RetryScope};
use quorate_state::outcome::{NoticeKind, Outcome};
use quorate_types::session::{AttemptKey, Happening};
use quorate_types::status::{Ending, JobState, TaskState};
use quorate_types::{Epoch, JobId, Span, TaskIndex};

/// A parameter server and two workers, then what needs them.
const TRAINING: &str = r#"{"tasks":[
    {"name":"ps","command":["x"],"gang":"train"},
    {"name":"worker","command":["x"],"gang":"train","count":2,"retries":1,"losses":2,"backoff":{"initial":"1s"}},
    {"name":"after","command":["x"],"needs":["ps"]}]}"#;

struct Gang {
    cluster: Cluster,
    job: JobId,
    epochs: [Epoch; 2],
    keys: Vec<AttemptKey>,
}

/// Two workers, on which the server and worker 0 of the gang, and worker 1, run.
fn running(json: &str) -> Gang {
    let mut cluster = Cluster::default();
    let job = cluster.submit(json);
    let epochs = [cluster.ready_worker("a", 2), cluster.ready_worker("b", 2)];
    let mut gang = Gang { cluster, job, epochs, keys: Vec::new() };
    assert_eq!(gang.assign(), Outcome::Assigned { accepted: 3, stale: 0 });
    gang
}

/// The attempts that the last entry began.
fn started(cluster: &Cluster) -> Vec<AttemptKey> {
    let starts = cluster.last.notices.iter().filter_map(|notice| match notice.what {
        NoticeKind::Start(key) => Some(key),
        NoticeKind::Stop(_) | NoticeKind::Move(..) | NoticeKind::Fenced => None,
    });
    starts.collect()
}

impl Gang {
    fn items(&self) -> Vec<Assignment> {
        let job = self.cluster.state.job(self.job).unwrap();
        let [a, b] = self.epochs;
        let places = [(0, 0, a), (1, 0, a), (1, 1, b)];
        let item = |(task, index, epoch)| {
            let element = job.task(task).unwrap().element(TaskIndex(index));
            let attempt = element.map_or(quorate_types::AttemptNumber(1), |element| element.next_attempt());
            Assignment { job: self.job, task, index: TaskIndex(index), attempt, epoch, behind: None }
        };
        places.map(item).to_vec()
    }

    fn assign(&mut self) -> Outcome {
        let outcome = self.cluster.apply(Command::Assign { items: self.items() });
        self.keys = started(&self.cluster);
        outcome
    }

    fn end(&mut self, rank: usize, ending: Ending) {
        let (worker, epoch) = if rank < 2 { ("a", self.epochs[0]) } else { ("b", self.epochs[1]) };
        self.cluster.finish(worker, epoch, self.keys[rank], ending);
    }

    fn states(&self) -> [TaskState; 3] {
        [(0, 0), (1, 0), (1, 1)].map(|(task, index)| self.cluster.task_state(self.job, task, index))
    }
}

use TaskState::{Assigned, Cancelled, Failed, Pending, Stopping, Succeeded, Waiting};

#[test]
fn it_starts_whole_or_not_at_all() {
    let mut cluster = Cluster::default();
    let job = cluster.submit(TRAINING);
    let epochs = [cluster.ready_worker("a", 2), cluster.ready_worker("b", 0)];
    let mut gang = Gang { cluster, job, epochs, keys: Vec::new() };
    let before = gang.cluster.state.digest();
    assert_eq!(gang.assign(), Outcome::Assigned { accepted: 0, stale: 3 }, "b has no room");
    assert_eq!((gang.cluster.last.notices.len(), gang.cluster.event_types().len()), (0, 0));
    let queued: Vec<u32> = gang.cluster.state.queue().iter().map(|queued| queued.task).collect();
    assert_eq!(queued, [0], "the first task stands for all");

    let roomy = gang.cluster.ready_worker("c", 2);
    gang.epochs[1] = roomy;
    let items = gang.items();
    let other = gang.cluster.submit(r#"{"command":["x"]}"#);
    let single = Assignment { job: other, task: 0, index: TaskIndex(0), ..items[0] };
    let single = Assignment { epoch: gang.epochs[1], ..single };
    let part = Command::Assign { items: vec![items[0], items[1], single] };
    assert_eq!(gang.cluster.apply(part), Outcome::Assigned { accepted: 1, stale: 2 }, "a part, and another job");
    let twice = Command::Assign { items: vec![items[0], items[1], items[1]] };
    assert_eq!(gang.cluster.apply(twice), Outcome::Assigned { accepted: 0, stale: 3 });
    let whole = Command::Assign { items };
    assert_eq!(gang.cluster.apply(whole), Outcome::Assigned { accepted: 3, stale: 0 });
    assert_eq!(gang.states(), [Assigned; 3]);
    assert_eq!(gang.cluster.state.queue().len(), 0);
    assert_ne!(gang.cluster.state.digest(), before);
}

#[test]
fn members_that_are_done_wait_for_the_others() {
    let mut gang = running(TRAINING);
    let mut done = finished(Ending::Exited(0));
    done.result = Some("r".into());
    let what = Happening::Finished(Box::new(done));
    gang.cluster.report("a", gang.epochs[0], gang.keys[0], what);
    assert_eq!(gang.states(), [Waiting, Assigned, Assigned]);
    assert_eq!(gang.cluster.task_state(gang.job, 2, 0), Waiting, "the server's end counts when all have ended");
    gang.end(1, Ending::Exited(0));
    gang.end(2, Ending::Exited(0));
    assert_eq!(gang.states(), [Succeeded; 3]);
    assert_eq!(gang.cluster.task_state(gang.job, 2, 0), Pending);
    assert_eq!(gang.cluster.state.totals().result_bytes, 1);
}

#[test]
fn one_failure_is_one_retry_of_all() {
    let mut gang = running(TRAINING);
    let mut done = finished(Ending::Exited(0));
    done.result = Some("r".into());
    gang.cluster.report("a", gang.epochs[0], gang.keys[0], Happening::Finished(Box::new(done)));
    gang.end(2, Ending::Exited(1));
    assert_eq!(gang.states(), [Waiting, Stopping, Waiting]);
    gang.end(1, Ending::Exited(1));
    assert_eq!(gang.states(), [Waiting; 3], "what failed as it was told to end fails nothing");
    assert_eq!(gang.cluster.state.totals().result_bytes, 0, "that result was of an attempt that does not count");
    gang.cluster.pass(Span(999));
    assert_eq!(gang.states(), [Waiting; 3]);
    gang.cluster.pass(Span(500));
    assert_eq!(gang.states(), [Pending; 3]);

    assert_eq!(gang.assign(), Outcome::Assigned { accepted: 3, stale: 0 });
    gang.end(0, Ending::Exited(0));
    gang.end(1, Ending::Exited(1));
    assert_eq!(gang.states(), [Cancelled, Failed, Stopping], "the gang had one retry");
    gang.end(2, Ending::Exited(0));
    assert_eq!(gang.states(), [Cancelled, Failed, Cancelled]);
    assert_eq!(gang.cluster.state.job(gang.job).unwrap().header.state, JobState::Failed);

    gang.cluster.apply(Command::RetryFrom { job: gang.job, task: name("worker") });
    assert_eq!(gang.states(), [Pending; 3], "with the rest of its gang");
    assert_eq!(gang.assign(), Outcome::Assigned { accepted: 3, stale: 0 });
}

#[test]
fn a_lost_worker_is_one_loss_and_no_retry() {
    let mut gang = running(TRAINING);
    gang.cluster.apply(Command::Expire { worker: name("a"), epoch: gang.epochs[0] });
    assert_eq!(gang.states(), [Waiting, Waiting, Stopping]);
    gang.end(2, Ending::Signalled(15));
    assert_eq!(gang.states(), [Pending; 3]);
    gang.epochs[0] = gang.cluster.ready_worker("a", 2);
    assert_eq!(gang.assign(), Outcome::Assigned { accepted: 3, stale: 0 });
    gang.cluster.apply(Command::Expire { worker: name("b"), epoch: gang.epochs[1] });
    assert_eq!(gang.states(), [Stopping, Stopping, Failed], "two in a row are too many");
    gang.end(0, Ending::Signalled(15));
    gang.end(1, Ending::Signalled(15));
    assert_eq!(gang.states(), [Cancelled, Cancelled, Failed]);
}

#[test]
fn what_is_asked_of_one_is_done_to_all() {
    let reassign = |gang: &Gang| Command::Reassign { job: gang.job, task: name("worker"), index: TaskIndex(1) };
    let pause = |gang: &Gang| Command::Pause { job: gang.job };
    let preempt = |gang: &Gang| {
        let key = gang.keys[1];
        Command::Preempt {
            items: vec![Preemption {
                job: gang.job,
                task: key.task,
                index: key.index,
                attempt: key.attempt,
                epoch: gang.epochs[0],
                by: JobId(2),
                grounds: Grounds::LowerPriority,
            }],
        }
    };
    let drain = |_: &Gang| Command::DrainBy { worker: name("b"), within: Span(0) };
    let commands: [&dyn Fn(&Gang) -> Command; 4] = [&reassign, &pause, &preempt, &drain];
    for command in commands {
        let mut gang = running(TRAINING);
        gang.cluster.submit(r#"{"priority":90,"command":["x"]}"#);
        gang.end(0, Ending::Exited(0));
        let command = command(&gang);
        gang.cluster.apply(command.clone());
        gang.cluster.pass(Span(1));
        assert_eq!(gang.states(), [Waiting, Stopping, Stopping], "{command:?}");
        gang.end(1, Ending::Signalled(15));
        gang.end(2, Ending::Signalled(15));
        assert_eq!(gang.states(), [Pending; 3], "{command:?}");
    }
}

#[test]
fn a_cancelled_gang_and_one_whose_time_is_over_end_for_good() {
    let mut gang = running(TRAINING);
    gang.end(0, Ending::Exited(0));
    gang.cluster.apply(Command::Cancel { job: gang.job });
    assert_eq!(gang.states(), [Waiting, Stopping, Stopping]);
    gang.end(1, Ending::Signalled(15));
    gang.end(2, Ending::Exited(0));
    assert_eq!(gang.states(), [Cancelled; 3], "not all of it succeeded");
    assert_eq!(gang.cluster.state.job(gang.job).unwrap().header.state, JobState::Cancelled);

    let mut gang = running(&TRAINING.replacen('{', r#"{"deadline":"1m","#, 1));
    gang.end(0, Ending::Exited(0));
    gang.cluster.pass(Span::from_secs(61));
    gang.end(1, Ending::Signalled(15));
    gang.end(2, Ending::Signalled(15));
    assert_eq!(gang.states(), [Cancelled, Failed, Failed]);
    gang.cluster.apply(Command::Retry { job: gang.job, scope: RetryScope::NotSucceeded });
    assert_eq!(gang.states(), [Pending; 3]);
}

#[test]
fn another_tasks_failure_leaves_a_running_gang_alone() {
    let json = TRAINING.replacen(r#"{"tasks":["#, r#"{"tasks":[{"name":"other","command":["x"]},"#, 1);
    let mut cluster = Cluster::default();
    let job = cluster.submit(&json);
    let epoch = cluster.ready_worker("a", 4);
    let item = |task, index| Assignment {
        job,
        task,
        index: TaskIndex(index),
        attempt: quorate_types::AttemptNumber(1),
        epoch,
        behind: None,
    };
    cluster.apply(Command::Assign { items: vec![item(0, 0), item(1, 0), item(2, 0), item(2, 1)] });
    let keys = started(&cluster);
    let states = |cluster: &Cluster| [(1, 0), (2, 0), (2, 1)].map(|(task, at)| cluster.task_state(job, task, at));
    cluster.finish("a", epoch, keys[1], Ending::Exited(0));
    cluster.finish("a", epoch, keys[0], Ending::Exited(1));
    assert_eq!(states(&cluster), [Waiting, Assigned, Assigned], "what has started goes on");
    cluster.finish("a", epoch, keys[2], Ending::Exited(0));
    cluster.finish("a", epoch, keys[3], Ending::Exited(0));
    assert_eq!(states(&cluster), [Succeeded; 3]);
}

#[test]
fn hosts_stand_in_the_order_of_ranks() {
    let gang = running(TRAINING);
    let state = &gang.cluster.state;
    let muster = state.muster(state.job(gang.job).unwrap(), 1).unwrap();
    assert_eq!((muster.first_task, muster.rank, muster.hosts.len()), (0, 1, 3));
    assert!(state.muster(state.job(gang.job).unwrap(), 2).is_none());
    let restored = quorate_state::State::from_records(state.snapshot_records()).unwrap();
    assert_eq!(restored.digest(), state.digest());
}
