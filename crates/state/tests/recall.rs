//! Jobs that are in the archive, or on their way there, and run again.

use quorate_state::command::{Again, Assignment, Command, Entry, Proposal, RetryScope};
use quorate_state::limits::{
    ARCHIVE_RETENTION, ARCHIVE_STEP_EVERY, FINISHED_IN_MEMORY, WAITING_FOR_JOB_MAX, WAITING_FOR_KEY_MAX,
};
use quorate_state::outcome::{Outcome, Rejection};
use quorate_types::extension::{Addition, Extension};
use quorate_types::session::{Finished, Happening, Report};
use quorate_types::status::{Ending, JobState, TaskState};
use quorate_types::{AttemptNumber, Epoch, JobId, Span, TaskIndex};

use crate::support::{Cluster, finished, key, name, spec};

use JobState::{Failed, Pending, Succeeded};

const NOT_SUCCEEDED: Again = Again::Scope(RetryScope::NotSucceeded);
const ALL: Again = Again::Scope(RetryScope::All);

fn cluster() -> (Cluster, Epoch) {
    let mut cluster = Cluster::default();
    let epoch = cluster.ready_worker("w", 1_000);
    (cluster, epoch)
}

fn state(cluster: &Cluster, job: JobId) -> JobState {
    cluster.state.job(job).unwrap().header.state
}

fn exited(code: i32, result: &str) -> Finished {
    Finished { result: Some(result.into()), stdout_tail: b"said".to_vec(), ..finished(Ending::Exited(code)) }
}

fn run(cluster: &mut Cluster, epoch: Epoch, job: JobId, task: u32, index: u32, end: Finished) {
    let key = cluster.assign(job, task, index, epoch).unwrap_or_else(|| panic!("{job} {task}[{index}] is not pending"));
    cluster.report("w", epoch, key, Happening::Finished(Box::new(end)));
}

fn again(cluster: &mut Cluster, job: JobId, again: Again) -> Outcome {
    let recalled = cluster.recalled(job);
    cluster.apply(Command::RetryArchived { job, again, recalled })
}

/// A job of which a part has failed, with results, outputs, elements that never ran, and a key.
fn failed(cluster: &mut Cluster, epoch: Epoch) -> JobId {
    let job = cluster.submit(
        r#"{"on_failure":"continue","idempotency_key":"k","namespace":"n","deadline":"1d","tasks":[
        {"name":"a","command":["x"],"count":3},{"name":"b","command":["x"],"needs":["a"],"count":600},
        {"name":"c","command":["x"],"needs":[{"task":"a","on":"finish"}]}]}"#,
    );
    for (index, code) in [(0, 0), (1, 7), (2, 0)] {
        run(cluster, epoch, job, 0, index, exited(code, "r"));
    }
    run(cluster, epoch, job, 2, 0, exited(0, "c"));
    assert_eq!(state(cluster, job), Failed);
    job
}

/// What a retry makes of a job in memory, it makes of the same job in the archive.
#[test]
fn a_retry_from_the_archive_is_one_from_memory() {
    for what in [NOT_SUCCEEDED, ALL, Again::From(name("a")), Again::From(name("c"))] {
        let (mut memory, epoch) = cluster();
        let job = failed(&mut memory, epoch);
        let (mut archive, _) = cluster();
        failed(&mut archive, epoch);
        memory.apply(Command::Advance);
        let in_memory = match what.clone() {
            Again::Scope(scope) => Command::Retry { job, scope },
            Again::From(task) => Command::RetryFrom { job, task },
        };
        archive.pass(FINISHED_IN_MEMORY);
        assert!(archive.state.is_archived(job) && archive.state.job(job).is_none());
        assert_eq!(archive.apply(in_memory.clone()), Outcome::Rejected(Rejection::Archived(job)));
        memory.apply(Command::Advance);
        assert_eq!((again(&mut archive, job, what.clone()), memory.apply(in_memory)), (Outcome::Done, Outcome::Done));
        assert!(!archive.state.is_archived(job));
        let (back, stayed) = (archive.state.job(job).unwrap(), memory.state.job(job).unwrap());
        assert_eq!(back.spec, stayed.spec, "{what:?}");
        assert_eq!(back.tasks().collect::<Vec<_>>(), stayed.tasks().collect::<Vec<_>>(), "{what:?}");
        assert_eq!((back.header.counts, back.header.result_bytes), (stayed.header.counts, stayed.header.result_bytes));
        assert_eq!(archive.state.totals(), memory.state.totals(), "{what:?}");
        assert_eq!(archive.event_types(), memory.event_types(), "{what:?}");
        assert_eq!(archive.replay().digest(), archive.state.digest());
        let restored = quorate_state::State::from_records(archive.state.snapshot_records()).unwrap();
        assert_eq!(restored.digest(), archive.state.digest());
    }
}

#[test]
fn it_ends_again_and_is_archived_as_it_ended() {
    let (mut cluster, epoch) = cluster();
    let job = failed(&mut cluster, epoch);
    cluster.pass(FINISHED_IN_MEMORY);
    cluster.pass(Span(ARCHIVE_RETENTION.0 - FINISHED_IN_MEMORY.0 - 1));
    assert_eq!(again(&mut cluster, job, NOT_SUCCEEDED), Outcome::Done);
    cluster.pass(ARCHIVE_RETENTION);
    assert_eq!(state(&cluster, job), Failed, "its deadline is over");
    assert_eq!(again(&mut cluster, job, NOT_SUCCEEDED), Outcome::Done, "it is in memory, whatever comes along");
    run(&mut cluster, epoch, job, 0, 1, exited(0, "now"));
    run(&mut cluster, epoch, job, 2, 0, exited(0, "it depended on the failure"));
    for index in 0..600 {
        run(&mut cluster, epoch, job, 1, index, finished(Ending::Exited(0)));
    }
    assert_eq!(state(&cluster, job), Succeeded);
    let before = cluster.state.job(job).unwrap().clone();
    cluster.pass(FINISHED_IN_MEMORY);
    assert_eq!(cluster.state.archived(job).map(|stub| stub.state), Some(Succeeded));
    assert_eq!(again(&mut cluster, job, NOT_SUCCEEDED), rejected_as(job, Succeeded));
    assert_eq!(again(&mut cluster, job, Again::From(name("c"))), Outcome::Done);
    let back = cluster.state.job(job).unwrap();
    for task in [0, 1] {
        let elements = |job: &quorate_state::job::Job| {
            job.task(task).unwrap().elements().map(|(at, element)| (at, element.clone())).collect::<Vec<_>>()
        };
        assert_eq!(elements(back), elements(&before), "with the attempts of both times");
    }
    cluster.apply(Command::Cancel { job });
    cluster.pass(FINISHED_IN_MEMORY);
    cluster.pass(ARCHIVE_RETENTION);
    assert!(!cluster.state.knows_job(job) && cluster.archive.is_empty());
}

fn rejected_as(job: JobId, state: JobState) -> Outcome {
    Outcome::Rejected(Rejection::JobState { job, state })
}

/// Whatever else comes along than what the job left: nothing happens.
#[test]
fn only_what_the_job_left_brings_it_back() {
    let (mut cluster, epoch) = cluster();
    let (job, other) = (failed(&mut cluster, epoch), cluster.submit(r#"{"command":["x"]}"#));
    run(&mut cluster, epoch, other, 0, 0, exited(1, "o"));
    cluster.pass(FINISHED_IN_MEMORY);
    let whole = cluster.recalled(job);
    let mut others = vec![*cluster.recalled(other)];
    for change in 0..6 {
        let mut changed = (*whole).clone();
        match change {
            0 => drop(changed.blocks.pop()),
            1 => changed.blocks.push(changed.blocks[0].clone()),
            2 => changed.blocks.swap(0, 1),
            3 => changed.job.truncate(changed.job.len() - 1),
            4 => changed.job[0] += 1,
            _ => changed.blocks[0] = changed.blocks[1].clone(),
        }
        others.push(changed);
    }
    let expected = Outcome::Rejected(Rejection::Archived(job));
    for recalled in others {
        let command = Command::RetryArchived { job, again: ALL, recalled: Box::new(recalled.clone()) };
        assert_eq!(cluster.apply(command), expected, "{recalled:?}");
        assert!(cluster.state.is_archived(job) && cluster.last.archive.is_empty() && cluster.last.events.is_empty());
    }
    // What it left at an earlier end.
    assert_eq!(again(&mut cluster, job, ALL), Outcome::Done);
    cluster.apply(Command::Cancel { job });
    cluster.pass(FINISHED_IN_MEMORY);
    let command = Command::RetryArchived { job, again: ALL, recalled: whole };
    assert_eq!(cluster.apply(command), expected);
    assert_eq!(again(&mut cluster, job, Again::From(name("z"))), no_such_task(job));
    assert!(cluster.state.is_archived(job), "a retry that can't be leaves it where it is");
    let unknown = JobId(99);
    let command = Command::RetryArchived { job: unknown, again: ALL, recalled: cluster.recalled(job) };
    assert_eq!(cluster.apply(command), Outcome::Rejected(Rejection::NoSuchJob(unknown)));
}

fn no_such_task(job: JobId) -> Outcome {
    Outcome::Rejected(Rejection::NoSuchTask { job, task: name("z"), index: TaskIndex(0) })
}

/// What attempts added to a job is there again, with its needs, and goes when all of it is to be done anew.
#[test]
fn a_job_that_has_grown_comes_back_as_it_was() {
    let (mut cluster, epoch) = cluster();
    let job = cluster
        .submit(r#"{"tasks":[{"name":"fan","command":["x"]},{"name":"gather","command":["x"],"needs":["fan"]}]}"#);
    let more = Extension::read(
        r#"[{"name":"s0","command":["x"],"before":["gather"]},{"name":"s1","command":["x"],"needs":["s0"],"count":2}]"#,
    );
    let extension = Some(Box::new(Addition::Checked(more.unwrap())));
    run(&mut cluster, epoch, job, 0, 0, Finished { extension, ..finished(Ending::Exited(0)) });
    run(&mut cluster, epoch, job, 2, 0, exited(1, "s0"));
    assert_eq!(state(&cluster, job), Failed);
    let before = cluster.state.job(job).unwrap().clone();
    cluster.pass(FINISHED_IN_MEMORY);
    assert_eq!(again(&mut cluster, job, NOT_SUCCEEDED), Outcome::Done);
    let back = cluster.state.job(job).unwrap();
    assert_eq!((&back.spec, back.header.spec_bytes), (&before.spec, before.header.spec_bytes));
    let waits = |task| cluster.task_state(job, task, 0);
    assert_eq!([waits(1), waits(2), waits(3)], [TaskState::Waiting, TaskState::Pending, TaskState::Waiting]);
    run(&mut cluster, epoch, job, 2, 0, exited(0, "s0"));
    assert_eq!(cluster.task_state(job, 1, 0), TaskState::Pending);
    cluster.apply(Command::Cancel { job });
    cluster.pass(FINISHED_IN_MEMORY);
    assert!(matches!(
        again(&mut cluster, job, Again::From(name("fan"))),
        Outcome::Rejected(Rejection::Extended { .. })
    ));
    assert_eq!(again(&mut cluster, job, ALL), Outcome::Done);
    let anew = cluster.state.job(job).unwrap();
    assert_eq!((anew.spec.tasks.len(), anew.header.counts.total, anew.header.state), (2, 2, Pending));
}

/// A large job leaves in steps; a retry between two of them stops it.
#[test]
fn a_job_on_its_way_to_the_archive_turns_back() {
    let (mut cluster, epoch) = cluster();
    let job = cluster.submit(r#"{"tasks":[{"name":"a","driver":"noop","resources":{"cpu":0.001},"count":3000}]}"#);
    let item = |at| Assignment { job, task: 0, index: TaskIndex(at), attempt: AttemptNumber(1), epoch, behind: None };
    cluster.apply(Command::Assign { items: (0..3_000).map(item).collect() });
    let fence = cluster.state.index().0;
    let end = |at| Report {
        key: key(job.0, 0, at, 1, fence),
        what: Happening::Finished(Box::new(finished(Ending::Exited(0)))),
    };
    cluster.apply(Command::Report { worker: name("w"), epoch, reports: (0..3_000).map(end).collect() });
    assert_eq!(state(&cluster, job), Succeeded);
    cluster.pass(FINISHED_IN_MEMORY);
    assert!(!cluster.last.archive.is_empty() && !cluster.state.is_archived(job));
    assert_eq!(cluster.apply(Command::Retry { job, scope: RetryScope::All }), Outcome::Done);
    assert_eq!(state(&cluster, job), Pending);
    cluster.pass(ARCHIVE_STEP_EVERY);
    assert!(cluster.last.archive.is_empty(), "no further step");
    cluster.apply(Command::Cancel { job });
    cluster.pass(FINISHED_IN_MEMORY);
    while !cluster.state.is_archived(job) {
        cluster.pass(ARCHIVE_STEP_EVERY);
    }
    assert_eq!(again(&mut cluster, job, NOT_SUCCEEDED), Outcome::Done);
    assert_eq!(cluster.state.job(job).unwrap().header.counts.pending, 3_000);
}

/// What a task needed of another job it had when it began, also when nobody remembers that job.
#[test]
fn a_forgotten_job_is_needed_no_more_by_what_has_begun() {
    let (mut cluster, epoch) = cluster();
    let first = cluster.submit(r#"{"command":["x"]}"#);
    run(&mut cluster, epoch, first, 0, 0, exited(0, "r"));
    let job = cluster.submit(&format!(
        r#"{{"tasks":[{{"name":"a","command":["x"],"needs":[{{"job":{first}}}]}},
        {{"name":"b","command":["x"],"needs":["a"]}},{{"name":"c","command":["x"],"needs":["a",{{"job":{first}}}]}}]}}"#
    ));
    run(&mut cluster, epoch, job, 0, 0, exited(1, "a"));
    assert_eq!(state(&cluster, job), Failed);
    cluster.pass(FINISHED_IN_MEMORY);
    cluster.apply(Command::Forget { job: first });
    assert_eq!(again(&mut cluster, job, NOT_SUCCEEDED), Outcome::Done);
    let states = |cluster: &Cluster| [0, 1, 2].map(|task| cluster.task_state(job, task, 0));
    assert_eq!(states(&cluster), [TaskState::Pending, TaskState::Waiting, TaskState::Cancelled]);
    run(&mut cluster, epoch, job, 0, 0, exited(0, "a"));
    assert_eq!(cluster.task_state(job, 1, 0), TaskState::Pending);
}

#[test]
fn it_waits_for_its_key_and_counts_as_a_run_of_its_schedule() {
    let (mut cluster, epoch) = cluster();
    let keyed = r#"{"command":["x"],"concurrency":{"key":"k","limit":1}}"#;
    let job = cluster.submit(keyed);
    run(&mut cluster, epoch, job, 0, 0, exited(1, "r"));
    let schedule = cluster.submit(r#"{"command":["x"],"schedule":{"every":"1h","overlap":"skip"}}"#);
    let Outcome::Submitted { job: one, .. } = cluster.apply(Command::RunNow { schedule }) else { panic!("no run") };
    run(&mut cluster, epoch, one, 0, 0, exited(1, "r"));
    cluster.pass(FINISHED_IN_MEMORY);
    let holder = cluster.submit(keyed);
    assert_eq!(again(&mut cluster, job, ALL), Outcome::Done);
    assert_eq!(cluster.task_state(job, 0, 0), TaskState::Waiting, "another one has the key");
    run(&mut cluster, epoch, holder, 0, 0, exited(0, "r"));
    assert_eq!(cluster.task_state(job, 0, 0), TaskState::Pending);
    let active = |cluster: &Cluster| {
        let ledger = cluster.state.job(schedule).unwrap().header.flow().ledger.clone().unwrap();
        ledger.active.iter().copied().collect::<Vec<JobId>>()
    };
    assert_eq!(active(&cluster), []);
    assert_eq!(again(&mut cluster, one, NOT_SUCCEEDED), Outcome::Done);
    assert_eq!(active(&cluster), [one]);
    cluster.apply(Command::Cancel { job: one });
    assert_eq!(active(&cluster), []);
    cluster.apply(Command::Cancel { job: schedule });
    cluster.pass(FINISHED_IN_MEMORY);
    assert_eq!(again(&mut cluster, schedule, ALL), Outcome::Rejected(Rejection::Schedule(schedule)));
    assert!(cluster.state.is_archived(schedule));
}

/// A retry stands in line as a submission does, and no longer than a line may be.
#[test]
fn full_lines_refuse_retries() {
    let (mut cluster, epoch) = cluster();
    let keyed = r#"{"command":["x"],"concurrency":{"key":"k","limit":1}}"#;
    let first = cluster.submit(r#"{"command":["x"]}"#);
    run(&mut cluster, epoch, first, 0, 0, exited(0, "r"));
    let needing = cluster.submit(&format!(r#"{{"tasks":[{{"command":["x"],"needs":[{{"job":{first}}}]}}]}}"#));
    let keyed_one = cluster.submit(keyed);
    for job in [needing, keyed_one] {
        run(&mut cluster, epoch, job, 0, 0, exited(1, "r"));
        assert_eq!(state(&cluster, job), Failed);
    }
    cluster.pass(FINISHED_IN_MEMORY);
    assert_eq!(again(&mut cluster, first, ALL), Outcome::Done);
    let task = |at: usize| format!(r#"{{"name":"t{at}","command":["x"],"needs":[{{"job":{first}}}]}}"#);
    let tasks = |n: usize| format!(r#"{{"tasks":[{}]}}"#, (0..n).map(task).collect::<Vec<_>>().join(","));
    let crowded = Outcome::Rejected(Rejection::JobCrowded(WAITING_FOR_JOB_MAX as u64, first));
    cluster.submit(&tasks(WAITING_FOR_JOB_MAX));
    assert_eq!(cluster.apply(Command::Submit(spec(&tasks(1)))), crowded);
    assert_eq!(again(&mut cluster, needing, NOT_SUCCEEDED), crowded);
    assert!(cluster.state.is_archived(needing));
    let proposals = vec![Proposal { origin: None, command: Command::Submit(spec(keyed)) }; WAITING_FOR_KEY_MAX + 1];
    let time = cluster.now;
    cluster.apply_entry(Entry { time, proposals });
    let crowded = Outcome::Rejected(Rejection::KeyCrowded(WAITING_FOR_KEY_MAX as u64, name("k")));
    assert_eq!(again(&mut cluster, keyed_one, NOT_SUCCEEDED), crowded);
    assert!(cluster.state.is_archived(keyed_one));
}
