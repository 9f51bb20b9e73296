//! Needs and gates.

use quorate_state::command::Command;
use quorate_types::status::Ending;
use quorate_types::{JobId, Span};

use super::world::{World, same};

#[test]
fn needs_of_the_same_job_and_of_others() {
    let mut world = World::new();
    world.worker("w", r#"{"cpu":4}"#);
    let other = world.task(r#""resources":{"cpu":9}"#);
    let job = world.job(&format!(
        r#"{{"tasks":[{{"name":"a","command":["x"],"count":3,"resources":{{"cpu":1}}}},
                      {{"name":"b","command":["x"],"count":3,"needs":[{{"task":"a","each":true}}]}},
                      {{"name":"c","command":["x"],"needs":["a",{{"task":"b","on":"finish"}},{{"job":{other},"on":"failure"}}]}}]}}"#
    ));
    world.round();
    world.start();
    same(
        &world.says(job, "c", 0),
        "Task c of job 2 is waiting.
         It waits for task a to succeed: 3 of its 3 elements are left.
         It waits for task b to end: 3 of its 3 elements are left.
         It waits for job 1 to fail; that is pending.
         The only worker has room for it now.
         > task a succeeds
         > task b ends
         > job 1 fails",
    );
    same(
        &world.says(job, "b", 1),
        "Element 1 of task b of job 2 is waiting.
         It waits for element 1 of task a to succeed; that is running.
         The only worker has room for it now.
         > element 1 of task a succeeds",
    );
    world.finish(job, &Ending::Exited(0));
    assert!(world.says(job, "c", 0).contains("It waits for task b to end: 3 of its 3 elements are left."));
    assert!(!world.says(job, "c", 0).contains("task a"));
}

#[test]
fn start_times_deadlines_and_expiry() {
    let mut world = World::new();
    world.worker("w", r#"{"cpu":4}"#);
    let job = world.job(r#"{"command":["x"],"start_after":"30s","deadline":"5m","expires":"2m"}"#);
    same(
        &world.says(job, "main", 0),
        "Task main of job 1 is waiting.
         Its job does not start before 2026-01-01T00:00:30.000Z (in 30s).
         The only worker has room for it now.
         Its job fails if it has not finished by 2026-01-01T00:05:00.000Z (in 5m).
         What of its job has not started by 2026-01-01T00:02:00.000Z (in 2m) is cancelled.
         > the time is 2026-01-01T00:00:30.000Z (in 30s)",
    );
    world.pass(Span::from_secs(31));
    assert!(world.says(job, "main", 0).contains("The next round starts it on w."), "{}", world.says(job, "main", 0));
}

#[test]
fn concurrency_keys_and_pauses() {
    let mut world = World::new();
    world.worker("w", r#"{"cpu":4}"#);
    let keyed = r#"{"command":["x"],"concurrency":{"key":"db","limit":2}}"#;
    let jobs = [keyed; 4].map(|json| world.job(json));
    same(
        &world.says(jobs[3], "main", 0),
        "Task main of job 4 is waiting.
         The concurrency key db lets 2 jobs run at a time: jobs 1 and 2 hold it. It is the 2nd of 2 in line.
         The only worker has room for it now.
         > 2 of the jobs before it end, the first of 1 and 2",
    );
    world.apply(Command::Pause { job: JobId(1) });
    same(
        &world.says(jobs[0], "main", 0),
        "Task main of job 1 is pending.
         Its job is paused.
         The only worker has room for it now.
         > job 1 is resumed",
    );
}

#[test]
fn backoff_and_the_bound_on_live_elements() {
    let mut world = World::new();
    world.worker("w", r#"{"cpu":4}"#);
    let job = world.task(r#""retries":3,"backoff":{"initial":"10s"}"#);
    world.round();
    world.finish(job, &Ending::Exited(1));
    let said = world.says(job, "main", 0);
    assert!(said.contains("It failed; retry 1 of 3 comes at 2026-01-01T00:00:1"), "{said}");
    assert!(said.contains("> the backoff is over at 2026-01-01T00:00:1"), "{said}");
    let array = world.task(r#""count":5,"max_parallel":2"#);
    world.round();
    same(
        &world.says(array, "main", 4),
        "Element 4 of task main of job 2 is pending.
         Only 2 elements of its task may run at a time (max_parallel): 2 do, and 2 more come before it.
         The only worker has room for it now.
         > 3 of the elements before it end",
    );
    world.apply(Command::Cancel { job: JobId(array) });
    let unable = world.task(r#""retries":0"#);
    world.round();
    world.finish(unable, &Ending::Unable("its disk is full".into()));
    let said = world.says(unable, "main", 0);
    assert!(said.contains("Its worker was unable to run it; it is tried again at 2026-01-01T00:00:01"), "{said}");
}

#[test]
fn no_more_is_listed_than_anybody_reads() {
    let mut world = World::new();
    let names: Vec<String> = (0..150).map(|n| format!("t{n}")).collect();
    let tasks: Vec<String> = names.iter().map(|name| format!(r#"{{"name":"{name}","command":["x"]}}"#)).collect();
    let needs: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    let last = format!(r#"{{"name":"last","command":["x"],"needs":[{}]}}"#, needs.join(","));
    let job = world.job(&format!(r#"{{"tasks":[{},{last}]}}"#, tasks.join(",")));
    let explanation = world.explain(job, "last", 0);
    assert_eq!((explanation.waits_for.len(), explanation.waits_for_more), (100, 50));
    assert!(explanation.sentences.contains(&"It waits for 50 more things.".to_owned()));
}

#[test]
fn limits_of_namespaces() {
    let mut world = World::new();
    world.worker("w", r#"{"cpu":8,"gpu":2}"#);
    world.entitle("web", r#"{"limit":{"cpu":3,"memory":"1GiB"}}"#);
    let job = world.job(
        r#"{"namespace":"web","tasks":[{"name":"a","command":["x"],"count":4,"resources":{"cpu":1.5}},
                                       {"name":"big","command":["x"],"resources":{"cpu":4}},
                                       {"name":"light","command":["x"],"resources":{"cpu":0,"gpu":1}}]}"#,
    );
    same(
        &world.says(job, "a", 3),
        "Element 3 of task a of job 1 is pending.
         Namespace web holds 0 cores and may hold 3 cores, which 3 more of its elements come to first.
         The only worker has room for it now.
         > namespace web gives back 3 cores, or its limit is raised by that",
    );
    world.round();
    same(
        &world.says(job, "a", 2),
        "Element 2 of task a of job 1 is pending.
         Namespace web holds 3 cores and may hold 3 cores; it asks for 1.5 cores.
         The only worker has room for it now.
         > namespace web gives back 1.5 cores, or its limit is raised by that",
    );
    same(
        &world.says(job, "big", 0),
        "Task big of job 1 is pending.
         It asks for 4 cores, and namespace web may hold 3 cores in all: it never starts.
         The only worker has room for it now.
         > the limit of namespace web is raised to 4 cores",
    );
    assert!(world.says(job, "light", 0).contains("is assigned"), "the gpu is not limited");
}
