//! A story for each command: what it does, what it refuses, and that a refusal changes nothing.

use crate::support::{Cluster, finished, name, spec};
use quorate_state::command::{Assignment, Command, Entry, Origin, Proposal, RetryScope};
use quorate_state::limits::{ARCHIVE_RETENTION, ARCHIVE_STEP_EVERY, FINISHED_IN_MEMORY, UNABLE_MAX};
use quorate_state::outcome::{ArchiveKey, ArchiveOp, NoticeKind, Outcome, Rejection};
use quorate_types::limits::LOSSES_DEFAULT;
use quorate_types::session::{AttemptKey, Finished, Happening, Motion, Report};
use quorate_types::status::{Ending, JobState, TaskState, WorkerState};
use quorate_types::{AttemptNumber, Epoch, JobId, ReplicaId, Span, TaskIndex, Timestamp};

const DIAMOND: &str = r#"{"tasks":[{"name":"a","command":["x"]},{"name":"b","command":["x"],"needs":["a"]},
    {"name":"c","command":["x"],"needs":["a"],"count":2},{"name":"d","command":["x"],"needs":["b","c"]}]}"#;

#[test]
fn a_diamond_runs_in_order() {
    let mut cluster = Cluster::default();
    let job = cluster.submit(DIAMOND);
    let epoch = cluster.ready_worker("w", 8);
    assert_eq!(cluster.assign(job, 1, 0, epoch), None, "b starts before a");
    let a = cluster.assign(job, 0, 0, epoch).unwrap();
    assert_eq!(cluster.event_types(), ["task.assigned"]);
    assert!(matches!(cluster.last.notices[0].what, NoticeKind::Start(key) if key == a));
    cluster.report("w", epoch, a, Happening::Started);
    assert_eq!(cluster.event_types(), ["job.running", "task.running"]);
    cluster.finish("w", epoch, a, Ending::Exited(0));
    assert_eq!(cluster.event_types(), ["task.succeeded", "task.pending", "task.pending"]);
    for (task, index) in [(1, 0), (2, 0), (2, 1)] {
        assert_eq!(cluster.assign(job, 3, 0, epoch), None, "d starts before {task}[{index}]");
        let key = cluster.assign(job, task, index, epoch).unwrap();
        cluster.finish("w", epoch, key, Ending::Exited(0));
    }
    let d = cluster.assign(job, 3, 0, epoch).unwrap();
    cluster.finish("w", epoch, d, Ending::Exited(0));
    assert_eq!(cluster.event_types(), ["task.succeeded", "job.succeeded"]);
    assert_eq!(cluster.state.job(job).unwrap().header.state, JobState::Succeeded);
}

#[test]
fn the_same_key_is_the_same_job() {
    let mut cluster = Cluster::default();
    let json = r#"{"command":["x"],"idempotency_key":"k"}"#;
    let job = cluster.submit(json);
    let index = cluster.state.index();
    let again = cluster.apply(Command::Submit(spec(json)));
    assert_eq!(again, Outcome::Submitted { job, index, state: JobState::Pending, existing: true });
    let other = cluster.apply(Command::Submit(spec(r#"{"command":["y"],"idempotency_key":"k"}"#)));
    assert_eq!(other, Outcome::Rejected(Rejection::IdempotencyConflict(job)));
    let elsewhere = r#"{"command":["y"],"idempotency_key":"k","namespace":"other"}"#;
    assert_ne!(cluster.submit(elsewhere), job);
    assert_eq!(cluster.state.jobs().count(), 2);
}

#[test]
fn a_repeated_proposal_is_applied_once() {
    let mut cluster = Cluster::default();
    let origin = |sequence, answered_below| Some(Origin { incarnation: 7, sequence, answered_below });
    let submit = || Command::Submit(spec(r#"{"command":["x"]}"#));
    let first = cluster.apply_from(origin(1, 1), submit());
    assert_eq!(cluster.apply_from(origin(1, 1), submit()), first);
    assert!(cluster.last.events.is_empty());
    cluster.apply_from(origin(2, 2), submit());
    cluster.apply_from(origin(1, 1), submit());
    assert_eq!(cluster.state.jobs().count(), 2, "an answered proposal came back and was applied again");
}

#[test]
fn an_assignment_is_checked_again() {
    let mut cluster = Cluster::default();
    let job = cluster.submit(r#"{"tasks":[{"name":"a","command":["x"],"count":4,"resources":{"cpu":2}}]}"#);
    let epoch = cluster.ready_worker("w", 4);
    assert_eq!(cluster.assign(job, 0, 0, Epoch(99)), None, "an unknown epoch");
    assert_eq!(cluster.assign(job, 0, 4, epoch), None, "beyond the array");
    assert!(cluster.assign(job, 0, 1, epoch).is_some(), "a gap is legal");
    assert!(cluster.assign(job, 0, 0, epoch).is_some());
    assert_eq!(cluster.assign(job, 0, 0, epoch), None, "assigned already");
    assert_eq!(cluster.assign(job, 0, 2, epoch), None, "over capacity");
    cluster.apply(Command::Pause { job });
    assert_eq!(cluster.assign(job, 0, 2, epoch), None, "paused");
}

#[test]
fn a_draining_worker_gets_nothing_new() {
    let mut cluster = Cluster::default();
    let job = cluster.submit(r#"{"tasks":[{"name":"a","command":["x"],"count":2}]}"#);
    let epoch = cluster.ready_worker("w", 4);
    let running = cluster.assign(job, 0, 0, epoch).unwrap();
    cluster.apply(Command::Drain { worker: name("w") });
    assert_eq!(cluster.event_types(), ["worker.draining"]);
    assert_eq!(cluster.assign(job, 0, 1, epoch), None);
    cluster.finish("w", epoch, running, Ending::Exited(0));
    assert_eq!(cluster.task_state(job, 0, 0), TaskState::Succeeded);
    cluster.apply(Command::Undrain { worker: name("w") });
    assert!(cluster.assign(job, 0, 1, epoch).is_some());
}

#[test]
fn retries_back_off_and_run_out() {
    let mut cluster = Cluster::default();
    let job = cluster.submit(
        r#"{"tasks":[{"name":"a","command":["x"],"retries":1,"backoff":{"initial":"10s"}},
            {"name":"b","command":["x"],"needs":["a"]}]}"#,
    );
    let epoch = cluster.ready_worker("w", 1);
    let first = cluster.assign(job, 0, 0, epoch).unwrap();
    cluster.finish("w", epoch, first, Ending::Exited(3));
    assert_eq!(cluster.task_state(job, 0, 0), TaskState::Waiting);
    assert_eq!(cluster.assign(job, 0, 0, epoch), None, "placed during its backoff");
    cluster.pass(Span::from_secs(9));
    assert_eq!(cluster.task_state(job, 0, 0), TaskState::Waiting);
    cluster.pass(Span::from_secs(4));
    assert_eq!(cluster.task_state(job, 0, 0), TaskState::Pending);
    let second = cluster.assign(job, 0, 0, epoch).unwrap();
    assert_eq!(second.attempt.0, 2);
    cluster.finish("w", epoch, first, Ending::Exited(0));
    assert_eq!(cluster.task_state(job, 0, 0), TaskState::Assigned, "an old attempt's report was accepted");
    cluster.finish("w", epoch, second, Ending::Signalled(9));
    assert_eq!(cluster.event_types(), ["task.failed", "task.cancelled", "job.failed"]);
}

#[test]
fn on_failure_continue_runs_what_does_not_need_the_failed_task() {
    let mut cluster = Cluster::default();
    let job = cluster.submit(
        r#"{"on_failure":"continue","tasks":[{"name":"a","command":["x"]},{"name":"b","command":["x"],"needs":["a"]},
            {"name":"c","command":["x"],"needs":["b"]},{"name":"d","command":["x"]}]}"#,
    );
    let epoch = cluster.ready_worker("w", 1);
    let a = cluster.assign(job, 0, 0, epoch).unwrap();
    cluster.finish("w", epoch, a, Ending::TimedOut);
    let states = [0, 1, 2, 3].map(|task| cluster.task_state(job, task, 0));
    use TaskState::{Cancelled, Failed, Pending};
    assert_eq!(states, [Failed, Cancelled, Cancelled, Pending]);
    let d = cluster.assign(job, 3, 0, epoch).unwrap();
    cluster.finish("w", epoch, d, Ending::Exited(0));
    assert_eq!(cluster.state.job(job).unwrap().header.state, JobState::Failed);
}

#[test]
fn cancel_waits_for_the_worker() {
    let mut cluster = Cluster::default();
    let job = cluster.submit(r#"{"tasks":[{"name":"a","command":["x"],"count":1000000}]}"#);
    let epoch = cluster.ready_worker("w", 1);
    let key = cluster.assign(job, 0, 0, epoch).unwrap();
    cluster.apply(Command::Cancel { job });
    assert_eq!(cluster.event_types(), ["task.cancelled", "task.stopping"]);
    assert!(matches!(cluster.last.notices[0].what, NoticeKind::Stop(stopped) if stopped == key));
    assert_eq!(cluster.task_state(job, 0, 0), TaskState::Stopping);
    assert_eq!(cluster.state.worker("w").unwrap().used.cpu_millis, 1000, "a stopping attempt holds its place");
    cluster.finish("w", epoch, key, Ending::Stopped);
    assert_eq!(cluster.state.job(job).unwrap().header.state, JobState::Cancelled);
    assert_eq!(cluster.apply(Command::Cancel { job }), Outcome::Done, "cancel is idempotent");
}

#[test]
fn pause_requeues_without_a_retry_and_resume_goes_on() {
    let mut cluster = Cluster::default();
    let job = cluster.submit(r#"{"command":["x"]}"#);
    let epoch = cluster.ready_worker("w", 1);
    let first = cluster.assign(job, 0, 0, epoch).unwrap();
    cluster.report("w", epoch, first, Happening::Started);
    cluster.apply(Command::Pause { job });
    cluster.finish("w", epoch, first, Ending::Stopped);
    assert_eq!(cluster.task_state(job, 0, 0), TaskState::Pending);
    assert!(cluster.state.queue().is_empty(), "a paused job stands in the queue");
    cluster.apply(Command::Resume { job });
    let second = cluster.assign(job, 0, 0, epoch).unwrap();
    cluster.finish("w", epoch, second, Ending::Exited(0));
    assert_eq!(cluster.state.job(job).unwrap().header.state, JobState::Succeeded);
}

fn moves(cluster: &Cluster) -> Vec<(AttemptKey, Motion)> {
    let moves = cluster.last.notices.iter().filter_map(|notice| match notice.what {
        NoticeKind::Move(key, motion) => Some((key, motion)),
        NoticeKind::Start(_) | NoticeKind::Stop(_) | NoticeKind::Fenced => None,
    });
    moves.collect()
}

/// One element runs, one is being moved, one waits.
#[test]
fn a_frozen_job_keeps_its_attempts_and_starts_none() {
    let mut cluster = Cluster::default();
    let job = cluster.submit(r#"{"tasks":[{"name":"a","command":["x"],"count":3}]}"#);
    let epoch = cluster.ready_worker("w", 4);
    let runs = cluster.assign(job, 0, 0, epoch).unwrap();
    let goes = cluster.assign(job, 0, 1, epoch).unwrap();
    let moved = Command::Reassign { job, task: name("a"), index: TaskIndex(1) };
    assert_eq!(cluster.apply(moved), Outcome::Done);
    assert_eq!(cluster.apply(Command::Freeze { job }), Outcome::Done);
    assert_eq!(cluster.event_types(), ["job.paused"]);
    assert_eq!(moves(&cluster), [(runs, Motion::Frozen)], "what is ending goes on ending");
    assert_eq!(cluster.task_state(job, 0, 0), TaskState::Assigned);
    assert_eq!(cluster.state.worker("w").unwrap().used.cpu_millis, 2000, "it keeps its room");
    assert_eq!(cluster.assign(job, 0, 2, epoch), None, "a frozen job started something");
    cluster.finish("w", epoch, goes, Ending::Stopped);
    assert_eq!(cluster.apply(Command::Freeze { job }), Outcome::Done, "it is idempotent");
    assert_eq!(moves(&cluster), []);

    assert_eq!(cluster.apply(Command::Resume { job }), Outcome::Done);
    assert_eq!(cluster.event_types(), ["job.resumed"]);
    assert_eq!(moves(&cluster), [(runs, Motion::Going)]);
    for key in [Some(runs), cluster.assign(job, 0, 1, epoch), cluster.assign(job, 0, 2, epoch)] {
        cluster.finish("w", epoch, key.unwrap(), Ending::Exited(0));
    }
    assert_eq!(cluster.state.job(job).unwrap().header.state, JobState::Succeeded);
}

#[test]
fn a_frozen_job_may_still_be_paused_or_cancelled() {
    for command in [|job| Command::Pause { job }, |job| Command::Cancel { job }] {
        let mut cluster = Cluster::default();
        let job = cluster.submit(r#"{"command":["x"]}"#);
        let epoch = cluster.ready_worker("w", 1);
        let key = cluster.assign(job, 0, 0, epoch).unwrap();
        cluster.apply(Command::Freeze { job });
        assert_eq!(cluster.apply(command(job)), Outcome::Done);
        assert!(matches!(cluster.last.notices[0].what, NoticeKind::Stop(stopped) if stopped == key));
        // Neither is made less of.
        let frozen = cluster.state.job(job).unwrap().header.frozen;
        let refused = Outcome::Rejected(Rejection::Cancelling(job));
        let outcome = cluster.apply(Command::Freeze { job });
        assert!(outcome == refused || outcome == Outcome::Done && !frozen, "{outcome:?}");
        assert_eq!(moves(&cluster), []);
        cluster.finish("w", epoch, key, Ending::Stopped);
    }
}

#[test]
fn a_paused_job_that_is_being_cancelled_is_neither_paused_nor_resumed() {
    let mut cluster = Cluster::default();
    let job = cluster.submit(r#"{"command":["x"]}"#);
    let epoch = cluster.ready_worker("w", 1);
    let key = cluster.assign(job, 0, 0, epoch).unwrap();
    cluster.report("w", epoch, key, Happening::Started);
    assert_eq!(cluster.apply(Command::Pause { job }), Outcome::Done);
    assert_eq!(cluster.apply(Command::Pause { job }), Outcome::Done, "pause is idempotent");
    assert_eq!(cluster.apply(Command::Cancel { job }), Outcome::Done);
    for command in [Command::Pause { job }, Command::Resume { job }] {
        assert_eq!(cluster.apply(command), Outcome::Rejected(Rejection::Cancelling(job)));
    }
    cluster.finish("w", epoch, key, Ending::Stopped);
    assert_eq!(cluster.state.job(job).unwrap().header.state, JobState::Cancelled);
}

#[test]
fn a_lost_worker_gives_its_tasks_back() {
    let mut cluster = Cluster::default();
    let job = cluster.submit(r#"{"command":["x"]}"#);
    let old = cluster.ready_worker("w", 1);
    let key = cluster.assign(job, 0, 0, old).unwrap();
    cluster.apply(Command::Expire { worker: name("w"), epoch: old });
    assert_eq!(cluster.event_types(), ["worker.lost", "task.pending"]);
    assert_eq!(cluster.state.worker("w").unwrap().state(), WorkerState::Lost);
    let late = cluster.finish("w", old, key, Ending::Exited(0));
    assert_eq!(late, Outcome::Rejected(Rejection::StaleEpoch));
    assert_eq!(cluster.task_state(job, 0, 0), TaskState::Pending);
    let again = cluster.apply(Command::Expire { worker: name("w"), epoch: old });
    assert_eq!(again, Outcome::Rejected(Rejection::StaleEpoch));
    let Outcome::Registered { epoch } = cluster.worker("w", 1, 2, None) else { panic!() };
    assert!(epoch > old);
    let second = cluster.assign(job, 0, 0, epoch).unwrap();
    assert_eq!(second.attempt.0, 2);
    assert!(second.fence > key.fence);
}

#[test]
fn a_name_is_taken_until_its_lease_is_over_or_its_end_is_certain() {
    let mut cluster = Cluster::default();
    let epoch = cluster.ready_worker("w", 1);
    assert_eq!(cluster.worker("w", 1, 1, None), Outcome::Registered { epoch }, "a repeated registration");
    let taken = cluster.worker("w", 1, 2, None);
    assert_eq!(taken, Outcome::Rejected(Rejection::WorkerNameInUse(name("w"))));
    let job = cluster.submit(r#"{"command":["x"]}"#);
    cluster.assign(job, 0, 0, epoch).unwrap();
    assert!(matches!(cluster.worker("w", 1, 2, Some(1)), Outcome::Registered { .. }));
    assert_eq!(cluster.event_types(), ["worker.lost", "task.pending", "worker.ready"]);
    assert_eq!(
        cluster.apply(Command::Remove { worker: name("w") }),
        Outcome::Rejected(Rejection::WorkerAlive(name("w")))
    );
}

#[test]
fn reassign_moves_a_running_task() {
    let mut cluster = Cluster::default();
    let job = cluster.submit(r#"{"command":["x"]}"#);
    let reassign = || Command::Reassign { job, task: name("main"), index: TaskIndex(0) };
    assert!(matches!(cluster.apply(reassign()), Outcome::Rejected(Rejection::NotRunning { .. })));
    let epoch = cluster.ready_worker("w", 1);
    let first = cluster.assign(job, 0, 0, epoch).unwrap();
    assert_eq!(cluster.apply(reassign()), Outcome::Done);
    assert_eq!(cluster.assign(job, 0, 0, epoch), None, "placed again before it stopped");
    cluster.finish("w", epoch, first, Ending::Stopped);
    assert!(cluster.assign(job, 0, 0, epoch).is_some());
}

#[test]
fn retry_runs_again_what_did_not_succeed() {
    let mut cluster = Cluster::default();
    let job = cluster.submit(DIAMOND);
    let epoch = cluster.ready_worker("w", 4);
    let a = cluster.assign(job, 0, 0, epoch).unwrap();
    cluster.finish("w", epoch, a, Ending::Exited(0));
    let b = cluster.assign(job, 1, 0, epoch).unwrap();
    cluster.finish("w", epoch, b, Ending::Exited(1));
    assert_eq!(cluster.state.job(job).unwrap().header.state, JobState::Failed);
    cluster.apply(Command::Retry { job, scope: RetryScope::NotSucceeded });
    let states: Vec<_> = [(0, 0), (1, 0), (2, 1), (3, 0)].map(|(t, i)| cluster.task_state(job, t, i)).to_vec();
    assert_eq!(states, [TaskState::Succeeded, TaskState::Pending, TaskState::Pending, TaskState::Waiting]);
    let b = cluster.assign(job, 1, 0, epoch).unwrap();
    assert_eq!(b.attempt.0, 2);
    cluster.finish("w", epoch, b, Ending::Exited(0));
    for index in [0, 1] {
        let c = cluster.assign(job, 2, index, epoch).unwrap();
        cluster.finish("w", epoch, c, Ending::Exited(0));
    }
    let d = cluster.assign(job, 3, 0, epoch).unwrap();
    cluster.finish("w", epoch, d, Ending::Exited(0));
    assert_eq!(cluster.state.job(job).unwrap().header.state, JobState::Succeeded);
    cluster.apply(Command::Retry { job, scope: RetryScope::All });
    assert_eq!(cluster.task_state(job, 0, 0), TaskState::Pending);
    assert_eq!(cluster.task_state(job, 3, 0), TaskState::Waiting);
}

#[test]
fn finished_jobs_go_to_the_archive_and_out_of_it() {
    let mut cluster = Cluster::default();
    let job = cluster.submit(r#"{"command":["x"],"idempotency_key":"k"}"#);
    assert!(matches!(cluster.apply(Command::Forget { job }), Outcome::Rejected(Rejection::JobState { .. })));
    let epoch = cluster.ready_worker("w", 1);
    let key = cluster.assign(job, 0, 0, epoch).unwrap();
    let mut end = finished(Ending::Exited(0));
    end.stdout_tail = b"hello\n".to_vec();
    cluster.report("w", epoch, key, Happening::Finished(Box::new(end)));
    assert!(
        matches!(&cluster.last.archive[0], ArchiveOp::Put { key: ArchiveKey::Output { .. }, value } if **value == *b"hello\n")
    );
    cluster.pass(FINISHED_IN_MEMORY);
    assert!(cluster.state.job(job).is_none() && cluster.state.is_archived(job));
    let keys: Vec<_> = cluster.last.archive.iter().map(|op| matches!(op, ArchiveOp::Put { .. })).collect();
    assert_eq!(keys, [true, true], "the job and one block of elements");
    assert_eq!(cluster.apply(Command::Cancel { job }), Outcome::Rejected(Rejection::Archived(job)));
    let again = cluster.apply(Command::Submit(spec(r#"{"command":["x"],"idempotency_key":"k"}"#)));
    assert!(matches!(again, Outcome::Submitted { existing: true, state: JobState::Succeeded, .. }));
    cluster.pass(ARCHIVE_RETENTION);
    assert_eq!(cluster.last.archive, [ArchiveOp::Drop(job)]);
    assert!(!cluster.state.knows_job(job));
    assert_eq!(cluster.apply(Command::Cancel { job }), Outcome::Rejected(Rejection::NoSuchJob(job)));
}

/// A job of `count` elements that all have run.
fn ended_array(cluster: &mut Cluster, count: u32) -> JobId {
    let epoch = cluster.ready_worker("w", u64::from(count));
    let job = cluster.submit(&format!(
        r#"{{"tasks":[{{"name":"a","driver":"noop","resources":{{"cpu":0.001}},"count":{count}}}]}}"#
    ));
    let item = |at| Assignment { job, task: 0, index: TaskIndex(at), attempt: AttemptNumber(1), epoch, behind: None };
    cluster.apply(Command::Assign { items: (0..count).map(item).collect() });
    let started = std::mem::take(&mut cluster.last.notices);
    let reports = started.into_iter().map(|notice| {
        let NoticeKind::Start(key) = notice.what else { panic!("{notice:?}") };
        Report { key, what: Happening::Finished(Box::new(finished(Ending::Exited(0)))) }
    });
    let reports = reports.collect();
    cluster.apply(Command::Report { worker: name("w"), epoch, reports });
    assert_eq!(cluster.state.job(job).unwrap().header.state, JobState::Succeeded);
    job
}

#[test]
fn a_large_job_goes_to_the_archive_in_steps() {
    let mut cluster = Cluster::default();
    let job = ended_array(&mut cluster, 3_000);
    cluster.pass(FINISHED_IN_MEMORY);
    let mut steps = vec![cluster.last.archive.len()];
    while !cluster.state.is_archived(job) {
        assert!(cluster.state.job(job).is_some_and(|job| job.header.counts.succeeded == 3_000), "it is read as before");
        assert!(cluster.last.released.is_empty());
        cluster.pass(ARCHIVE_STEP_EVERY);
        steps.push(cluster.last.archive.len());
    }
    assert_eq!(steps, [4, 4, 5], "twelve blocks, and the job in the end");
    assert!(cluster.state.job(job).is_none());
    assert_eq!(cluster.last.released.len(), 1);
    assert!(matches!(cluster.last.archive[4], ArchiveOp::Put { key: ArchiveKey::Job(id), .. } if id == job));
    assert_eq!(cluster.replay().digest(), cluster.state.digest());
}

#[test]
fn a_large_job_can_be_forgotten_on_its_way_to_the_archive() {
    let mut cluster = Cluster::default();
    let job = ended_array(&mut cluster, 3_000);
    cluster.pass(FINISHED_IN_MEMORY);
    assert_eq!(cluster.apply(Command::Forget { job }), Outcome::Done);
    assert_eq!(cluster.last.archive, [ArchiveOp::Drop(job)]);
    cluster.pass(ARCHIVE_RETENTION);
    assert!(cluster.last.archive.is_empty() && !cluster.state.knows_job(job));
}

#[test]
fn a_million_waiting_elements_are_one_record() {
    let mut cluster = Cluster::default();
    let job = cluster.submit(r#"{"tasks":[{"name":"a","command":["x"],"count":1000000}]}"#);
    assert_eq!(cluster.state.snapshot_records().count(), 2, "scalars and the job");
    let task = cluster.state.job(job).unwrap().task(0).unwrap();
    assert_eq!(task.pending_len(), 1_000_000);
    assert_eq!(task.elements().count(), 0);
}

#[test]
fn full_queues_refuse() {
    let mut cluster = Cluster::default();
    for _ in 0..10 {
        cluster.submit(r#"{"tasks":[{"name":"a","command":["x"],"count":1000000}]}"#);
    }
    let refused = cluster.apply(Command::Submit(spec(r#"{"command":["x"]}"#)));
    assert_eq!(refused, Outcome::Rejected(Rejection::QueueFull(10_000_000)));
    cluster.apply(Command::Cancel { job: JobId(1) });
    cluster.submit(r#"{"command":["x"]}"#);
}

#[test]
fn time_never_runs_backwards() {
    let mut cluster = Cluster::default();
    cluster.pass(Span::from_secs(60));
    let late = cluster.state.now();
    cluster.apply_entry(Entry { time: Timestamp(5), proposals: vec![] });
    assert_eq!((cluster.state.now(), cluster.last.time), (late, late));
}

#[test]
fn the_first_cluster_name_and_the_first_folder_win() {
    let mut cluster = Cluster::default();
    cluster.apply(Command::NameCluster { id: 5 });
    cluster.apply(Command::NameCluster { id: 6 });
    assert_eq!(cluster.state.cluster_id(), 5);
    let replica = ReplicaId(1);
    let identify = |storage| Command::IdentifyReplica { replica, storage };
    assert_eq!(cluster.apply(identify(1)), Outcome::Done);
    assert_eq!(cluster.apply(identify(2)), Outcome::Rejected(Rejection::OtherStorage(replica)));
}

#[test]
fn one_entry_carries_many_commands() {
    let mut cluster = Cluster::default();
    let submit = || Proposal { origin: None, command: Command::Submit(spec(r#"{"command":["x"]}"#)) };
    cluster.apply_entry(Entry { time: cluster.now, proposals: vec![submit(), submit(), submit()] });
    let ids: Vec<_> = cluster.last.outcomes.iter().map(|o| matches!(o, Outcome::Submitted { .. })).collect();
    assert_eq!(ids, [true; 3]);
    assert_eq!(cluster.state.jobs().count(), 3);
}

#[test]
fn snapshot_records_stay_small_whatever_the_results() {
    let mut cluster = Cluster::default();
    let job = cluster.submit(r#"{"tasks":[{"name":"a","command":["x"],"count":40}]}"#);
    let epoch = cluster.ready_worker("w", 40);
    for index in 0..40 {
        let key = cluster.assign(job, 0, index, epoch).unwrap();
        let result = Some("r".repeat(60_000));
        let end = Finished { result, ..finished(Ending::Exited(0)) };
        cluster.report("w", epoch, key, Happening::Finished(Box::new(end)));
    }
    let encoded = cluster
        .state
        .snapshot_records()
        .map(|record| bincode::serde::encode_to_vec(&record, bincode::config::standard()).unwrap().len());
    assert!(encoded.max().unwrap() < 512 << 10);
    assert_eq!(cluster.state.totals().result_bytes, 40 * 60_000);
    cluster.apply(Command::Retry { job, scope: RetryScope::All });
    assert_eq!(cluster.state.totals().result_bytes, 0);
}

#[test]
fn a_failure_in_a_wide_graph_is_one_walk() {
    let layer = |n: u32| {
        let needs = if n == 0 { String::new() } else { format!(r#","needs":["l{0}a","l{0}b"]"#, n - 1) };
        format!(r#"{{"name":"l{n}a","command":["x"]{needs}}},{{"name":"l{n}b","command":["x"]{needs}}}"#)
    };
    let tasks = (0..40).map(layer).collect::<Vec<_>>().join(",");
    let mut cluster = Cluster::default();
    let job = cluster.submit(&format!(r#"{{"on_failure":"continue","tasks":[{tasks}]}}"#));
    let epoch = cluster.ready_worker("w", 4);
    for task in 0..80 {
        let key = cluster.assign(job, task, 0, epoch).unwrap();
        cluster.finish("w", epoch, key, Ending::Exited(0));
    }
    cluster.apply(Command::Retry { job, scope: RetryScope::All });
    let root = cluster.assign(job, 0, 0, epoch).unwrap();
    cluster.finish("w", epoch, root, Ending::Exited(1));
    assert_eq!(cluster.state.job(job).unwrap().header.counts.cancelled, 78);
}

#[test]
fn a_task_that_loses_every_worker_fails_in_the_end() {
    let mut cluster = Cluster::default();
    let job = cluster.submit(r#"{"command":["x"]}"#);
    for instance in 1..=u64::from(LOSSES_DEFAULT) {
        assert_eq!(cluster.task_state(job, 0, 0), TaskState::Pending);
        let Outcome::Registered { epoch } = cluster.worker("w", 1, instance, Some(instance - 1)) else { panic!() };
        cluster.assign(job, 0, 0, epoch).unwrap();
        cluster.apply(Command::Expire { worker: name("w"), epoch });
    }
    assert_eq!(cluster.state.job(job).unwrap().header.state, JobState::Failed);
}

#[test]
fn a_worker_that_is_unable_costs_no_retry() {
    let mut cluster = Cluster::default();
    let job = cluster.submit(r#"{"command":["x"]}"#);
    let epoch = cluster.ready_worker("w", 1);
    for losses in 1..=UNABLE_MAX {
        let key = cluster.assign(job, 0, 0, epoch).unwrap();
        cluster.finish("w", epoch, key, Ending::Unable("disk full".into()));
        let expected = if losses < UNABLE_MAX { TaskState::Waiting } else { TaskState::Failed };
        assert_eq!(cluster.task_state(job, 0, 0), expected, "after {losses}");
        cluster.pass(Span::from_secs(600));
    }
    let job = cluster.submit(r#"{"command":["x"]}"#);
    let key = cluster.assign(job, 0, 0, epoch).unwrap();
    cluster.finish("w", epoch, key, Ending::Unable("disk full".into()));
    cluster.pass(Span::from_secs(600));
    let key = cluster.assign(job, 0, 0, epoch).unwrap();
    cluster.finish("w", epoch, key, Ending::Exited(0));
    assert_eq!(cluster.state.job(job).unwrap().header.state, JobState::Succeeded);
}

#[test]
fn what_a_leaving_worker_ended_is_placed_again() {
    let mut cluster = Cluster::default();
    let job = cluster.submit(r#"{"command":["x"]}"#);
    let epoch = cluster.ready_worker("w", 1);
    let key = cluster.assign(job, 0, 0, epoch).unwrap();
    cluster.finish("w", epoch, key, Ending::Stopped);
    assert_eq!(cluster.task_state(job, 0, 0), TaskState::Pending);
    cluster.apply(Command::End { worker: name("w"), epoch });
    assert_eq!(cluster.event_types(), ["worker.left"]);
}
