//! Tasks that a successful attempt adds to its own job, and jobs as large as they may be.

use crate::support::{Cluster, finished, name};
use quorate_state::State;
use quorate_state::archive::{self, JobRecord};
use quorate_state::command::{Command, RetryScope};
use quorate_state::limits::GROWN_SPEC_BYTES_MAX;
use quorate_state::outcome::{ArchiveKey, ArchiveOp, Outcome, Rejection};
use quorate_types::extension::{Addition, Extension};
use quorate_types::session::{AttemptKey, Finished, Happening};
use quorate_types::status::{Ending, JobState, TaskState};
use quorate_types::{Epoch, JobId, Span, TaskIndex};

use TaskState::{Cancelled, Failed, Pending, Succeeded, Waiting};

const FAN: &str = r#"{"tasks":[{"name":"fan","command":["x"],"retries":1,"backoff":{"initial":"1s"}},
    {"name":"gather","command":["x"],"needs":["fan"]}]}"#;
const SHARDS: &str = r#"[{"name":"s0","command":["x"],"before":["gather"]},
    {"name":"s1","command":["x"],"needs":["s0"],"count":2,"before":["gather"]}]"#;

fn cluster() -> (Cluster, Epoch) {
    let mut cluster = Cluster::default();
    let epoch = cluster.ready_worker("w", 100);
    (cluster, epoch)
}

fn success(tasks: &str) -> Finished {
    let extension = Extension::read(tasks).unwrap();
    Finished { extension: Some(Box::new(Addition::Checked(extension))), ..finished(Ending::Exited(0)) }
}

fn report(cluster: &mut Cluster, epoch: Epoch, key: AttemptKey, end: Finished) {
    cluster.report("w", epoch, key, Happening::Finished(Box::new(end)));
}

/// Runs an element that is pending.
fn run(cluster: &mut Cluster, epoch: Epoch, job: JobId, task: u32, index: u32, end: Finished) {
    let key = cluster.assign(job, task, index, epoch).unwrap_or_else(|| panic!("{job} {task}[{index}] is not pending"));
    report(cluster, epoch, key, end);
}

fn states(cluster: &Cluster, job: JobId) -> Vec<TaskState> {
    let found = cluster.state.job(job).unwrap();
    found.tasks().map(|(at, ..)| cluster.task_state(job, at, 0)).collect()
}

fn restored(cluster: &Cluster) -> State {
    State::from_records(cluster.state.snapshot_records()).unwrap()
}

/// Why the newest attempt of the first task's element ended as it did.
fn reason(cluster: &Cluster, job: JobId) -> String {
    let task = cluster.state.job(job).unwrap().task(0).unwrap();
    task.element(TaskIndex(0)).unwrap().current().unwrap().ending.as_ref().unwrap().to_string()
}

#[test]
fn new_tasks_come_with_the_success_and_what_waits_waits_for_them() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(FAN);
    run(&mut cluster, epoch, id, 0, 0, success(SHARDS));
    assert_eq!(
        cluster.event_types(),
        ["job.extended", "task.pending", "job.running", "task.succeeded"],
        "{:?}",
        cluster.last.events
    );
    assert_eq!(states(&cluster, id), [Succeeded, Waiting, Pending, Waiting]);
    let job = cluster.state.job(id).unwrap();
    assert_eq!((job.header.counts.total, job.spec.tasks.len(), job.position_of(&name("s1"))), (5, 4, Some(3)));
    let needs: Vec<_> = job.spec.tasks[1].needs.iter().filter_map(|need| need.task()).map(|n| n.as_str()).collect();
    assert_eq!(needs, ["fan", "s0", "s1"]);
    assert_eq!(restored(&cluster).digest(), cluster.state.digest());
    assert_eq!(restored(&cluster).job(id).unwrap().spec, job.spec);
    run(&mut cluster, epoch, id, 2, 0, finished(Ending::Exited(0)));
    run(&mut cluster, epoch, id, 3, 1, finished(Ending::Exited(0)));
    assert_eq!(states(&cluster, id), [Succeeded, Waiting, Succeeded, Pending]);
    run(&mut cluster, epoch, id, 3, 0, finished(Ending::Exited(0)));
    assert_eq!(states(&cluster, id)[1], Pending);
    let job = cluster.state.job(id).unwrap();
    let inputs = cluster.state.inputs_of(job, 1).unwrap();
    assert_eq!(inputs.needs[&name("s1")].len(), 2, "it gets the results of what it came to need");
    run(&mut cluster, epoch, id, 1, 0, finished(Ending::Exited(0)));
    assert_eq!(cluster.state.job(id).unwrap().header.state, JobState::Succeeded);
    assert_eq!(cluster.replay().digest(), cluster.state.digest());
}

#[test]
fn what_is_not_accepted_adds_nothing_and_what_is_adds_once() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(FAN);
    let key = cluster.assign(id, 0, 0, epoch).unwrap();
    report(&mut cluster, epoch, key, Finished { ending: Ending::Exited(1), ..success(SHARDS) });
    assert_eq!(states(&cluster, id), [Waiting, Waiting], "a failure adds nothing");
    cluster.pass(Span::from_secs(10));
    let second = cluster.assign(id, 0, 0, epoch).unwrap();
    report(&mut cluster, epoch, key, success(SHARDS));
    assert_eq!(states(&cluster, id).len(), 2, "nor does a zombie");
    report(&mut cluster, epoch, second, success(SHARDS));
    let after = cluster.state.digest();
    assert_eq!(states(&cluster, id).len(), 4);
    cluster.report("w", epoch, second, Happening::Finished(Box::new(success(SHARDS))));
    assert_eq!(states(&cluster, id).len(), 4, "a repeated report changes nothing");
    assert_ne!(after, cluster.state.digest(), "but the index");
}

#[test]
fn an_extension_that_can_not_be_is_a_failure_that_names_its_field() {
    let cases = [
        (r#"[{"name":"gather","command":["x"]}]"#, "/0/name: "),
        (r#"[{"name":"a","command":["x"]},{"name":"b","command":["x"],"needs":["a","nobody"]}]"#, "/1/needs/1: "),
        (r#"[{"name":"a","command":["x"],"before":["fan"]}]"#, "/0/before/0: "),
        (r#"[{"name":"a","command":["x"],"before":["nobody"]}]"#, "/0/before/0: "),
        (r#"[{"name":"a","command":["x"],"needs":["gather"],"before":["gather"]}]"#, "/0/needs/0: "),
        (r#"[{"name":"a","command":["x"],"count":2,"needs":[{"task":"fan","each":true}]}]"#, "/0/needs/0: "),
        (r#"[{"name":"a","command":["x"],"anti_affinity":["fan","nobody"]}]"#, "/0/anti_affinity/1: "),
        (r#"[{"name":"a","command":["x"],"count":999999}]"#, "1000001 elements in the job, the most is 1000000"),
    ];
    for (tasks, why) in cases {
        let (mut cluster, epoch) = cluster();
        let id = cluster.submit(FAN);
        run(&mut cluster, epoch, id, 0, 0, success(tasks));
        assert_eq!(states(&cluster, id), [Waiting, Waiting], "{tasks}: it will be tried again");
        let reason = reason(&cluster, id);
        assert!(reason.starts_with("its job could not be extended: ") && reason.contains(why), "{tasks}: {reason}");
        assert_eq!(cluster.state.totals().unfinished_elements, 2);
    }
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(FAN);
    let unchecked = Some(Box::new(Addition::Text(SHARDS.into())));
    run(&mut cluster, epoch, id, 0, 0, Finished { extension: unchecked, ..finished(Ending::Exited(0)) });
    assert!(reason(&cluster, id).contains("no replica has checked it"));
}

#[test]
fn new_tasks_look_at_what_has_ended_already() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(
        r#"{"on_failure":"continue","tasks":[{"name":"bad","command":["x"]},{"name":"two","command":["x"],"count":2},
            {"name":"fan","command":["x"]},{"name":"tail","command":["x"],"needs":["fan"]}]}"#,
    );
    run(&mut cluster, epoch, id, 0, 0, finished(Ending::Exited(1)));
    run(&mut cluster, epoch, id, 1, 1, finished(Ending::Exited(0)));
    let tasks = r#"[{"name":"good","command":["x"],"needs":["bad"]},
        {"name":"handler","command":["x"],"needs":[{"task":"bad","on":"failure"}]},
        {"name":"pair","command":["x"],"count":2,"needs":[{"task":"two","each":true}]},
        {"name":"after","command":["x"],"needs":["tail","handler"]}]"#;
    run(&mut cluster, epoch, id, 2, 0, success(tasks));
    assert_eq!(states(&cluster, id)[4..], [Cancelled, Pending, Waiting, Waiting]);
    assert_eq!(cluster.task_state(id, 6, 1), Pending, "its counterpart has ended");
    run(&mut cluster, epoch, id, 5, 0, finished(Ending::Exited(0)));
    run(&mut cluster, epoch, id, 3, 0, finished(Ending::Exited(0)));
    assert_eq!(states(&cluster, id)[7], Pending);
    assert_eq!(restored(&cluster).digest(), cluster.state.digest());
}

#[test]
fn a_job_that_ends_ends_what_it_gains() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(
        r#"{"tasks":[{"name":"fan","command":["x"]},{"name":"bad","command":["x"]},
            {"name":"clean","command":["x"],"needs":[{"task":"bad","on":"finish"}]}]}"#,
    );
    let fan = cluster.assign(id, 0, 0, epoch).unwrap();
    run(&mut cluster, epoch, id, 1, 0, finished(Ending::Exited(1)));
    let tasks = r#"[{"name":"more","command":["x"]},
        {"name":"tidy","command":["x"],"needs":[{"task":"bad","on":"failure"}]}]"#;
    report(&mut cluster, epoch, fan, success(tasks));
    assert_eq!(states(&cluster, id), [Succeeded, Failed, Pending, Cancelled, Pending]);
    let other = cluster.submit(FAN);
    let fan = cluster.assign(other, 0, 0, epoch).unwrap();
    cluster.apply(Command::Cancel { job: other });
    report(&mut cluster, epoch, fan, success(r#"[{"name":"more","command":["x"]}]"#));
    assert_eq!(states(&cluster, other), [Succeeded, Cancelled, Cancelled]);
    assert_eq!(cluster.state.job(other).unwrap().header.state, JobState::Cancelled);
}

#[test]
fn a_retry_of_all_begins_without_what_was_gained() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(FAN);
    let before = cluster.state.job(id).unwrap().header.spec_bytes;
    run(&mut cluster, epoch, id, 0, 0, success(SHARDS));
    run(&mut cluster, epoch, id, 2, 0, finished(Ending::Exited(1)));
    assert_eq!(states(&cluster, id), [Succeeded, Cancelled, Failed, Cancelled]);
    let from = |cluster: &mut Cluster, task: &str| cluster.apply(Command::RetryFrom { job: id, task: name(task) });
    assert_eq!(from(&mut cluster, "fan"), Outcome::Rejected(Rejection::Extended { job: id, task: name("fan") }));
    assert_eq!(from(&mut cluster, "s0"), Outcome::Done);
    assert_eq!(states(&cluster, id), [Succeeded, Waiting, Pending, Waiting]);
    run(&mut cluster, epoch, id, 2, 0, finished(Ending::Exited(1)));
    assert_eq!(cluster.apply(Command::Retry { job: id, scope: RetryScope::NotSucceeded }), Outcome::Done);
    assert_eq!(states(&cluster, id), [Succeeded, Waiting, Pending, Waiting]);
    run(&mut cluster, epoch, id, 2, 0, finished(Ending::Exited(1)));
    assert_eq!(cluster.apply(Command::Retry { job: id, scope: RetryScope::All }), Outcome::Done);
    assert_eq!(cluster.last.archive, [ArchiveOp::Drop(id)], "outputs go by positions, which are free again");
    assert_eq!(states(&cluster, id), [Pending, Waiting]);
    let job = cluster.state.job(id).unwrap();
    assert_eq!((job.header.spec_bytes, job.spec.tasks[1].needs.len(), job.header.counts.total), (before, 1, 2));
    run(&mut cluster, epoch, id, 0, 0, success(SHARDS));
    assert_eq!(states(&cluster, id), [Succeeded, Waiting, Pending, Waiting]);
    assert_eq!(cluster.replay().digest(), cluster.state.digest());
}

#[test]
fn the_archive_has_all_tasks() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(r#"{"tasks":[{"name":"fan","command":["x"]}]}"#);
    run(&mut cluster, epoch, id, 0, 0, success(r#"{"name":"more","command":["y"],"needs":["fan"]}"#));
    run(&mut cluster, epoch, id, 1, 0, finished(Ending::Exited(0)));
    let spec = cluster.state.job(id).unwrap().spec.clone();
    cluster.pass(Span::from_secs(700));
    let put = cluster.last.archive.iter().find_map(|op| match op {
        ArchiveOp::Put { key: ArchiveKey::Job(job), value } if *job == id => Some(value.clone()),
        ArchiveOp::Put { .. } | ArchiveOp::Drop(_) => None,
    });
    let record: JobRecord = archive::decode(&put.unwrap()).unwrap();
    assert_eq!((record.spec, record.tasks.len()), (spec, 2));
}

/// Random extensions of a job, one after the other, with `before` and needs of all kinds: whatever comes, the state
/// holds, and what was accepted ends.
#[test]
fn random_growth_always_ends() {
    for seed in 0..40_u64 {
        let (mut cluster, epoch) = cluster();
        let id = cluster.submit(FAN);
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut below = move |n: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % n
        };
        for step in 0..60 {
            let job = cluster.state.job(id).unwrap();
            let len = job.spec.tasks.len() as u64;
            let open = job.tasks().flat_map(|(at, task, _)| task.pending().map(move |(index, _)| (at, index.0)));
            let open: Vec<(u32, u32)> = open.collect();
            let Some((task, index)) = open.get(below(open.len().max(1) as u64) as usize).copied() else { break };
            let names: Vec<String> = job.spec.tasks.iter().map(|task| task.name.to_string()).collect();
            let extension = (0..below(3)).map(|n| {
                let need = &names[below(len) as usize];
                let needs = if below(2) == 0 { format!(r#","needs":["{need}"]"#) } else { String::new() };
                let before = &names[below(len) as usize];
                let before = if below(3) == 0 { format!(r#","before":["{before}"]"#) } else { String::new() };
                format!(r#"{{"name":"n{step}-{n}","command":["x"],"count":{}{needs}{before}}}"#, 1 + below(2))
            });
            let extension = if len < 30 { extension.collect::<Vec<_>>().join("\n") } else { String::new() };
            run(&mut cluster, epoch, id, task, index, success(&extension));
            cluster.pass(Span::from_secs(400));
        }
        for _ in 0..200 {
            let job = cluster.state.job(id).unwrap();
            let open = job.tasks().find_map(|(at, task, _)| task.pending().next().map(|(index, _)| (at, index.0)));
            let Some((task, index)) = open else { break };
            run(&mut cluster, epoch, id, task, index, finished(Ending::Exited(0)));
        }
        let state = cluster.state.job(id).unwrap().header.state;
        assert!(state.is_finished(), "seed {seed}: {state}, {:?}", states(&cluster, id));
        assert_eq!(cluster.replay().digest(), cluster.state.digest(), "seed {seed}");
    }
}

/// What has been doomed among the new tasks is told to the others once: a need that was met twice would be one too
/// many.
#[test]
fn what_ends_with_its_addition_is_told_once() {
    for on_failure in ["continue", "cancel"] {
        let (mut cluster, epoch) = cluster();
        let job = cluster.submit(&format!(
            r#"{{"on_failure":"{on_failure}","tasks":[{{"name":"fan","command":["x"]}},{{"name":"bad","command":["x"]}}]}}"#
        ));
        let fan = cluster.assign(job, 0, 0, epoch).unwrap();
        run(&mut cluster, epoch, job, 1, 0, finished(Ending::Exited(1)));
        let added = r#"[{"name":"good","command":["x"],"needs":["bad"]},
            {"name":"after","command":["x"],"needs":[{"task":"good","on":"finish"}]},
            {"name":"last","command":["x"],"needs":[{"task":"after","on":"finish"}]}]"#;
        report(&mut cluster, epoch, fan, success(added));
        assert_eq!(states(&cluster, job), [Succeeded, Failed, Cancelled, Pending, Waiting], "{on_failure}");
        for task in [3, 4] {
            run(&mut cluster, epoch, job, task, 0, finished(Ending::Exited(0)));
        }
        assert_eq!(cluster.state.job(job).unwrap().header.state, JobState::Failed);
    }
}

#[test]
fn a_job_does_not_grow_beyond_what_can_be_archived() {
    let (mut cluster, epoch) = cluster();
    let job = cluster.submit(r#"{"on_failure":"continue","tasks":[{"name":"seed","command":["x"],"count":200}]}"#);
    let stdin = "s".repeat(250_000);
    let mut refused = 0;
    for at in 0..200 {
        let task = |n: u32| format!(r#"{{"name":"g{at}-{n}","command":["x"],"stdin":"{stdin}"}}"#);
        let added = (0..4).map(task).collect::<Vec<_>>().join("\n");
        run(&mut cluster, epoch, job, 0, at, success(&added));
        refused += u32::from(cluster.task_state(job, 0, at) == Failed);
    }
    assert!(refused > 60, "{refused} of 200 extensions of a megabyte were refused");
    let header = &cluster.state.job(job).unwrap().header;
    assert!(header.spec_bytes <= GROWN_SPEC_BYTES_MAX, "{} bytes", header.spec_bytes);
}
