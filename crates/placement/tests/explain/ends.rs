//! What has started, and what has ended.

use quorate_placement::explain::{self, Voice};
use quorate_state::archive::{ElementBlock, JobRecord, decode};
use quorate_state::command::{Command, Entry};
use quorate_state::limits::FINISHED_IN_MEMORY;
use quorate_state::outcome::{ArchiveKey, ArchiveOp};
use quorate_types::explain::EndCause;
use quorate_types::status::Ending;
use quorate_types::{JobId, LogIndex, Name, Span, TaskIndex};

use super::world::{World, same};

#[test]
fn what_runs_says_where_and_since_when() {
    let mut world = World::new();
    world.worker("w", r#"{"cpu":4}"#);
    let job = world.task(r#""retries":1"#);
    assert!(world.says(job, "main", 0).contains("The next round starts it on w."));
    world.round();
    same(
        &world.says(job, "main", 0),
        "Task main of job 1 is assigned.
         Attempt 1 was assigned to w at 2026-01-01T00:00:00.000Z (now); the worker has not said yet that it runs.",
    );
    world.start();
    world.pass(Span::from_secs(90));
    world.apply(Command::DrainBy { worker: Name::new("w").unwrap(), within: Span::from_secs(60) });
    same(
        &world.says(job, "main", 0),
        "Task main of job 1 is running.
         Attempt 1 runs on w since 2026-01-01T00:00:00.000Z (1m 30s ago).
         w is draining: what still runs there at 2026-01-01T00:02:30.000Z (in 1m) is moved."
            .replace("1m 30s", "1m30s")
            .as_str(),
    );
    world.apply(Command::Cancel { job: JobId(job) });
    let said = world.says(job, "main", 0);
    assert!(
        said.contains("Attempt 1 on w was told to stop (its job was cancelled); then the task is cancelled."),
        "{said}"
    );
    let moved = world.task(r#""retries":1"#);
    world.apply(Command::Undrain { worker: Name::new("w").unwrap() });
    world.round();
    let task = Name::new("main").unwrap();
    world.apply(Command::Reassign { job: JobId(moved), task, index: TaskIndex(0) });
    let said = world.says(moved, "main", 0);
    assert!(
        said.contains("Attempt 1 on w was told to stop (it was reassigned); then the task is placed again."),
        "{said}"
    );
}

/// Of an attempt that makes room it is said for whom, and of who waits for the room what makes it.
#[test]
fn what_its_worker_is_not_is_said_of_what_runs() {
    let mut world = World::new();
    world.labelled("w", r#"{"cpu":2}"#, &["zone=a"], &[]);
    let prefers = r#""prefers":[{"condition":"zone=a","weight":1},{"condition":"zone=b","weight":9}]"#;
    let job = world.task(prefers);
    world.round();
    let said = world.says(job, "main", 0);
    assert!(said.contains("w is not what it prefers: zone=b."), "{said}");
}

#[test]
fn every_end_has_its_cause() {
    let mut world = World::new();
    world.worker("w", r#"{"cpu":8}"#);
    let two = r#"{"tasks":[{"name":"main","command":["x"]},{"name":"next","command":["x"],"needs":["main"]},
                           {"name":"beside","command":["x"],"resources":{"cpu":99}}]}"#;
    let run = |world: &mut World, json: &str, ending: Ending| {
        let job = world.job(json);
        world.round();
        world.start();
        world.finish(job, &ending);
        job
    };
    let one = |fields: &str| format!(r#"{{"tasks":[{{"name":"main","command":["x"]{fields}}}]}}"#);
    let done = run(&mut world, &one(""), Ending::Exited(0));
    let failed = run(&mut world, two, Ending::Exited(3));
    let again = run(&mut world, &one(r#","retries":5,"no_retry_on":[7]"#), Ending::Exited(7));
    let signalled = run(&mut world, &one(""), Ending::Signalled(9));
    let dropped = run(&mut world, r#"{"command":["x"],"start_after":"1h"}"#, Ending::Exited(0));
    world.apply(Command::Cancel { job: JobId(dropped) });
    let late = world.job(r#"{"command":["x"],"deadline":"5s","start_after":"4s"}"#);
    let expired = world.job(r#"{"tasks":[{"name":"main","command":["x"],"resources":{"cpu":99}}],"expires":"5s"}"#);
    world.pass(Span::from_secs(6));
    for (job, task, cause, sentence) in [
        (done, "main", EndCause::Succeeded, "It succeeded."),
        (failed, "main", EndCause::RetriesUsedUp, "It failed, and has no retries (exited with code 3)."),
        (failed, "next", EndCause::NeedUnmet, "What it needed of task main did not come about."),
        (failed, "beside", EndCause::OtherTaskFailed, "Task main failed, which ends its job."),
        (
            again,
            "main",
            EndCause::NotRetried,
            "It failed, and is not to be tried again after this exit code (exited with code 7).",
        ),
        (signalled, "main", EndCause::RetriesUsedUp, "It failed, and has no retries (killed by signal 9)."),
        (dropped, "main", EndCause::JobCancelled, "Its job was cancelled."),
        (late, "main", EndCause::Deadline, "The deadline of its job went by."),
        (expired, "main", EndCause::Expired, "Its job expired before it had started."),
    ] {
        let explanation = world.explain(job, task, 0);
        assert_eq!(explanation.end.as_ref().unwrap().cause, cause, "{explanation:?}");
        assert!(explanation.sentences.iter().any(|said| said == sentence), "{:#?}", explanation.sentences);
        assert!(explanation.unblock.is_empty() && explanation.workers.is_none());
    }
}

#[test]
fn retries_are_counted_and_lost_workers_too() {
    let mut world = World::new();
    world.worker("w", r#"{"cpu":8}"#);
    let job = world.task(r#""retries":1,"backoff":{"initial":"1s"}"#);
    for _ in 0..2 {
        world.round();
        world.finish(job, &Ending::Exited(1));
        world.pass(Span::from_secs(2));
    }
    let said = world.says(job, "main", 0);
    assert!(said.contains("It failed 2 times: its 1 retry is used up (exited with code 1)."), "{said}");
    let poison = world.task(r#""losses":2"#);
    for n in 0..2 {
        let name = format!("p{n}");
        world.apply(Command::Drain { worker: Name::new("w").unwrap() });
        world.worker(&name, r#"{"cpu":8}"#);
        world.round();
        let epoch = world.state.worker(&name).unwrap().epoch;
        world.apply(Command::Expire { worker: Name::new(&name).unwrap(), epoch });
    }
    let explanation = world.explain(poison, "main", 0);
    assert_eq!(explanation.end.as_ref().unwrap().cause, EndCause::Poisonous, "{explanation:?}");
    let sentence = "It lost one worker after the other: it is poisonous (its worker was lost).";
    assert!(explanation.sentences.iter().any(|said| said == sentence), "{:#?}", explanation.sentences);
}

/// A job that has left memory is explained by what the archive has of it.
#[test]
fn archived_tasks_are_explained_as_those_in_memory() {
    let mut world = World::new();
    world.worker("w", r#"{"cpu":8}"#);
    let job = world.job(
        r#"{"tasks":[{"name":"main","command":["x"],"retries":1,"backoff":{"initial":"1s"}},
                     {"name":"next","command":["x"],"count":2,"needs":["main"]}]}"#,
    );
    for _ in 0..2 {
        world.round();
        world.finish(job, &Ending::Exited(4));
        world.pass(Span::from_secs(2));
    }
    let in_memory = [world.explain(job, "main", 0), world.explain(job, "next", 1)];
    let index = LogIndex(world.state.index().0 + 1);
    let later = world.now.plus(FINISHED_IN_MEMORY);
    let applied = world.state.apply(index, &Entry { time: later, proposals: vec![] });
    assert!(world.state.job(JobId(job)).is_none());
    let value = |wanted: ArchiveKey| {
        applied.archive.iter().find_map(|op| match op {
            ArchiveOp::Put { key, value } if *key == wanted => Some(value.clone()),
            ArchiveOp::Put { .. } | ArchiveOp::Drop(_) => None,
        })
    };
    let record: JobRecord = decode(&value(ArchiveKey::Job(JobId(job))).unwrap()).unwrap();
    let block = value(ArchiveKey::Elements { job: JobId(job), task: 0, block: 0 }).unwrap();
    let block: ElementBlock = decode(&block).unwrap();
    let archived = |task, index, element| explain::archived(world.now, &record, task, TaskIndex(index), element);
    assert_eq!(archived(0, 0, Some(&block[0].1)).as_ref(), Some(&in_memory[0]));
    assert_eq!(archived(1, 1, None).as_ref(), Some(&in_memory[1]));
    assert_eq!(in_memory[1].end.as_ref().unwrap().cause, EndCause::NeedUnmet);
    assert_eq!(archived(1, 2, None), None);
    let whole = explain::archived_job(&record);
    assert_eq!(whole.sentences, ["Job 1 (main) is failed: of its 3 tasks 1 failed and 2 cancelled."]);
}

#[test]
fn a_job_is_explained_in_groups() {
    let mut world = World::new();
    world.worker("w", r#"{"cpu":4}"#);
    let job = world.job(
        r#"{"name":"many","tasks":[{"name":"a","command":["x"],"count":10},{"name":"b","command":["x"],"needs":["a"]}]}"#,
    );
    let explained = explain::job(&world.state, world.now, JobId(job), Voice::Real).unwrap();
    assert_eq!(explained.sentences, ["Job 1 (many) is pending: of its 11 tasks 1 waiting and 10 pending."]);
    let groups: Vec<(&str, u64, u32)> =
        explained.groups.iter().map(|group| (group.task.as_str(), group.elements, group.explanation.index.0)).collect();
    assert_eq!(groups, [("a", 10, 4), ("b", 1, 0)], "the first that does not start speaks");
    assert_eq!((explained.groups[0].starts[0].worker.as_str(), explained.groups[0].starts[0].elements), ("w", 4));
    world.round();
    let explained = explain::job(&world.state, world.now, JobId(job), Voice::Real).unwrap();
    let states: Vec<String> = explained.groups.iter().map(|group| format!("{} {}", group.task, group.state)).collect();
    assert_eq!(states, ["a pending", "a assigned", "b waiting"]);
    let tried = explain::job(&world.state, world.now, JobId(job), Voice::DryRun).unwrap();
    assert_eq!((tried.job, tried.groups[0].explanation.job), (None, None));
    assert!(tried.groups[0].explanation.sentences[0].starts_with("Element 4 of task a would be pending."));
}
