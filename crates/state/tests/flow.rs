//! When jobs and tasks run: conditions, elements one by one, times, keys, other jobs, follow-ups, schedules.

use crate::support::{Cluster, name, spec};
use quorate_state::command::{Command, RetryScope};
use quorate_state::outcome::{Outcome, Rejection};
use quorate_types::status::{Ending, JobState, TaskState};
use quorate_types::{Epoch, JobId, Span, Timestamp};

use TaskState::{Assigned, Cancelled, Failed, Pending, Stopping, Succeeded, Waiting};

fn cluster() -> (Cluster, Epoch) {
    let mut cluster = Cluster::default();
    let epoch = cluster.ready_worker("w", 100);
    (cluster, epoch)
}

/// Runs an element that is pending.
fn run(cluster: &mut Cluster, epoch: Epoch, job: JobId, task: u32, index: u32, code: i32) {
    let key = cluster.assign(job, task, index, epoch).unwrap_or_else(|| panic!("{job} {task}[{index}] is not pending"));
    cluster.finish("w", epoch, key, Ending::Exited(code));
}

fn state(cluster: &Cluster, job: JobId) -> JobState {
    cluster.state.job(job).unwrap().header.state
}

fn states(cluster: &Cluster, job: JobId) -> Vec<TaskState> {
    let found = cluster.state.job(job).unwrap();
    found.tasks().map(|(at, ..)| cluster.task_state(job, at, 0)).collect()
}

#[test]
fn conditions_choose_what_runs_after_a_task() {
    let job = |on_failure: &str| {
        format!(
            r#"{{"on_failure":"{on_failure}","tasks":[{{"name":"a","command":["x"]}},
            {{"name":"good","command":["x"],"needs":["a"]}},
            {{"name":"bad","command":["x"],"needs":[{{"task":"a","on":"failure"}}]}},
            {{"name":"after_bad","command":["x"],"needs":["bad"]}},
            {{"name":"always","command":["x"],"needs":[{{"task":"good","on":"finish"}}]}}]}}"#
        )
    };
    for on_failure in ["cancel", "continue"] {
        let (mut cluster, epoch) = cluster();
        let id = cluster.submit(&job(on_failure));
        run(&mut cluster, epoch, id, 0, 0, 0);
        assert_eq!(states(&cluster, id), [Succeeded, Pending, Cancelled, Cancelled, Waiting], "{on_failure}");
        run(&mut cluster, epoch, id, 1, 0, 0);
        run(&mut cluster, epoch, id, 4, 0, 0);
        assert_eq!(state(&cluster, id), JobState::Succeeded, "what was left out on purpose spoils nothing");

        let id = cluster.submit(&job(on_failure));
        run(&mut cluster, epoch, id, 0, 0, 1);
        assert_eq!(states(&cluster, id), [Failed, Cancelled, Pending, Waiting, Pending], "{on_failure}");
        run(&mut cluster, epoch, id, 2, 0, 0);
        run(&mut cluster, epoch, id, 3, 0, 0);
        run(&mut cluster, epoch, id, 4, 0, 0);
        assert_eq!(state(&cluster, id), JobState::Failed);
    }
}

#[test]
fn what_comes_after_any_end_is_spared_by_every_failure() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(
        r#"{"tasks":[{"name":"a","command":["x"]},{"name":"x","command":["x"]},{"name":"y","command":["x"]},
        {"name":"clean","command":["x"],"needs":[{"task":"x","on":"finish"}]}]}"#,
    );
    let other = cluster.assign(id, 1, 0, epoch).unwrap();
    run(&mut cluster, epoch, id, 0, 0, 1);
    assert_eq!(states(&cluster, id), [Failed, Assigned, Cancelled, Waiting]);
    cluster.finish("w", epoch, other, Ending::Exited(0));
    run(&mut cluster, epoch, id, 3, 0, 0);
    assert_eq!(state(&cluster, id), JobState::Failed);
}

#[test]
fn a_retry_from_a_task_goes_on_beside_old_failures() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(
        r#"{"tasks":[{"name":"a","command":["x"],"count":2},{"name":"lone","command":["x"],"retries":1},
        {"name":"b","command":["x"],"count":2,"needs":[{"task":"a","each":true}]}]}"#,
    );
    run(&mut cluster, epoch, id, 0, 0, 0);
    run(&mut cluster, epoch, id, 0, 1, 1);
    assert_eq!(state(&cluster, id), JobState::Failed);
    cluster.apply(Command::RetryFrom { job: id, task: name("b") });
    assert_eq!([0, 1].map(|at| cluster.task_state(id, 2, at)), [Pending, Cancelled]);
    run(&mut cluster, epoch, id, 2, 0, 0);
    assert_eq!(state(&cluster, id), JobState::Failed, "what was kept is still so");
    cluster.apply(Command::RetryFrom { job: id, task: name("lone") });
    run(&mut cluster, epoch, id, 1, 0, 1);
    assert_eq!(cluster.task_state(id, 1, 0), Waiting, "it has its retries");
}

#[test]
fn elements_wait_for_their_counterparts_only() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(
        r#"{"on_failure":"continue","tasks":[{"name":"a","command":["x"],"count":3},
        {"name":"b","command":["x"],"count":3,"needs":[{"task":"a","each":true}]}]}"#,
    );
    run(&mut cluster, epoch, id, 0, 1, 0);
    assert_eq!([0, 1, 2].map(|at| cluster.task_state(id, 1, at)), [Waiting, Pending, Waiting]);
    run(&mut cluster, epoch, id, 0, 0, 1);
    assert_eq!([0, 1, 2].map(|at| cluster.task_state(id, 1, at)), [Cancelled, Pending, Waiting]);
    run(&mut cluster, epoch, id, 0, 2, 0);
    run(&mut cluster, epoch, id, 1, 1, 0);
    run(&mut cluster, epoch, id, 1, 2, 0);
    assert_eq!(state(&cluster, id), JobState::Failed);

    cluster.apply(Command::RetryFrom { job: id, task: name("b") });
    assert_eq!([0, 1, 2].map(|at| cluster.task_state(id, 1, at)), [Cancelled, Pending, Pending], "a is kept as it was");
}

#[test]
fn no_more_elements_are_live_than_may_be() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(r#"{"tasks":[{"name":"a","command":["x"],"count":5,"max_parallel":2}]}"#);
    let first = cluster.assign(id, 0, 0, epoch).unwrap();
    cluster.assign(id, 0, 1, epoch).unwrap();
    assert_eq!((cluster.assign(id, 0, 2, epoch), cluster.state.queue().len()), (None, 0));
    cluster.finish("w", epoch, first, Ending::Exited(0));
    assert_eq!(cluster.state.job(id).unwrap().task(0).unwrap().pending_len(), 1);
    assert!(cluster.assign(id, 0, 2, epoch).is_some());
}

#[test]
fn exit_codes_decide_on_retries() {
    let cases = [("", 7, Waiting), (r#","retry_on":[7]"#, 7, Waiting), (r#","retry_on":[8]"#, 7, Failed)];
    let more = [(r#","no_retry_on":[7]"#, 7, Failed), (r#","no_retry_on":[7]"#, 8, Waiting)];
    let exits = cases.into_iter().chain(more).map(|(fields, code, expected)| (fields, Ending::Exited(code), expected));
    let others = [
        (r#","retry_on":[137]"#, Ending::Signalled(9), Waiting),
        (r#","retry_on":[7]"#, Ending::Signalled(9), Failed),
        (r#","retry_on":[7]"#, Ending::TimedOut, Waiting),
    ];
    for (fields, ending, expected) in exits.chain(others) {
        let (mut cluster, epoch) = cluster();
        let id = cluster.submit(&format!(r#"{{"tasks":[{{"name":"a","command":["x"],"retries":1{fields}}}]}}"#));
        let key = cluster.assign(id, 0, 0, epoch).unwrap();
        cluster.finish("w", epoch, key, ending.clone());
        assert_eq!(cluster.task_state(id, 0, 0), expected, "{fields} after {ending}");
    }
}

#[test]
fn times_open_and_end_jobs() {
    let (mut cluster, epoch) = cluster();
    let later = cluster.submit(r#"{"command":["x"],"start_after":"1m"}"#);
    let short =
        cluster.submit(r#"{"tasks":[{"name":"a","command":["x"]},{"name":"b","command":["x"]}],"deadline":"2m"}"#);
    let brief =
        cluster.submit(r#"{"tasks":[{"name":"a","command":["x"]},{"name":"b","command":["x"]}],"expires":"2m"}"#);
    let late = cluster.assign(short, 0, 0, epoch).unwrap();
    cluster.assign(brief, 0, 0, epoch).unwrap();
    assert_eq!((states(&cluster, later), cluster.assign(later, 0, 0, epoch)), (vec![Waiting], None));
    cluster.pass(Span::from_secs(60));
    assert_eq!(states(&cluster, later), [Pending]);
    cluster.pass(Span::from_secs(60));
    assert_eq!(states(&cluster, short), [Stopping, Cancelled]);
    assert_eq!(states(&cluster, brief), [Assigned, Cancelled], "what runs goes on");
    cluster.finish("w", epoch, late, Ending::Signalled(15));
    assert_eq!((states(&cluster, short), state(&cluster, short)), (vec![Failed, Cancelled], JobState::Failed));
    cluster.apply(Command::RetryFrom { job: short, task: name("a") });
    assert_eq!(states(&cluster, short), [Pending, Cancelled], "with a new deadline, and b as it was");
    cluster.pass(Span::from_secs(120));
    assert_eq!(state(&cluster, short), JobState::Failed);
}

#[test]
fn what_was_left_out_on_purpose_spoils_no_end() {
    let json = r#"{"deadline":"1m","tasks":[{"name":"a","command":["x"]},{"name":"b","command":["x"]},
        {"name":"alarm","command":["x"],"needs":[{"task":"a","on":"failure"}]}]}"#;
    let passes: [fn(&mut Cluster, JobId); 2] =
        [|cluster, _| cluster.pass(Span::from_secs(60)), |cluster, job| drop(cluster.apply(Command::Cancel { job }))];
    for end in passes {
        let (mut cluster, epoch) = cluster();
        let id = cluster.submit(json);
        run(&mut cluster, epoch, id, 0, 0, 0);
        let last = cluster.assign(id, 1, 0, epoch).unwrap();
        end(&mut cluster, id);
        assert_eq!(states(&cluster, id), [Succeeded, Stopping, Cancelled]);
        cluster.finish("w", epoch, last, Ending::Exited(0));
        assert_eq!(state(&cluster, id), JobState::Succeeded, "all that was to run has succeeded");
    }
}

#[test]
fn elements_do_not_wait_for_the_rest_of_what_was_cancelled_untouched() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(
        r#"{"tasks":[{"name":"a","command":["x"],"count":3},
        {"name":"clean","command":["x"],"count":3,"needs":[{"task":"a","each":true,"on":"finish"}]},
        {"name":"alarm","command":["x"],"count":3,"needs":[{"task":"a","each":true,"on":"failure"}]}]}"#,
    );
    let of = |cluster: &Cluster, task: u32| [0, 1, 2].map(|at| cluster.task_state(id, task, at));
    let slow = cluster.assign(id, 0, 0, epoch).unwrap();
    run(&mut cluster, epoch, id, 0, 1, 1);
    assert_eq!(of(&cluster, 0), [Assigned, Failed, Cancelled]);
    assert_eq!(of(&cluster, 1), [Waiting, Pending, Pending], "the third has ended, too");
    assert_eq!(of(&cluster, 2), [Waiting, Pending, Cancelled], "and it can't fail any more");
    cluster.finish("w", epoch, slow, Ending::Exited(0));
    assert_eq!((of(&cluster, 1), of(&cluster, 2)), ([Pending; 3], [Cancelled, Pending, Cancelled]));
}

#[test]
fn a_run_that_ends_at_once_is_one_that_has_ended() {
    let (mut cluster, epoch) = cluster();
    let failed = cluster.submit(r#"{"command":["x"]}"#);
    run(&mut cluster, epoch, failed, 0, 0, 1);
    let schedule = cluster.submit(&format!(
        r#"{{"tasks":[{{"command":["x"],"needs":[{{"job":{failed}}}]}}],"schedule":{{"every":"1m"}}}}"#
    ));
    let outcome = cluster.apply(Command::RunNow { schedule });
    let Outcome::Submitted { job, state: told, .. } = outcome else { panic!("{outcome:?}") };
    assert_eq!((told, state(&cluster, job)), (JobState::Cancelled, JobState::Cancelled));
    let ticks = [1, 2].map(|nth| Timestamp(cluster.now.0 + nth * 60_000)).to_vec();
    cluster.apply(Command::Tick { schedule, through: ticks[1], ticks });
    assert_eq!(runs(&cluster, schedule).len(), 3, "the second tick finds that the first one's run has ended");
}

#[test]
fn a_key_is_held_by_as_many_as_its_limit_says() {
    let job = |extra: &str| format!(r#"{{"command":["x"],"concurrency":{{"key":"db"{extra}}}}}"#);
    let (mut cluster, epoch) = cluster();
    let first = cluster.submit(&job(""));
    let second = cluster.submit(&job(""));
    let urgent = cluster.submit(r#"{"command":["x"],"priority":90,"concurrency":{"key":"db"}}"#);
    assert_eq!([first, second, urgent].map(|id| cluster.task_state(id, 0, 0)), [Pending, Waiting, Waiting]);
    let refused = cluster.apply(Command::Submit(spec(&job(r#","when_full":"reject""#))));
    assert_eq!(refused, Outcome::Rejected(Rejection::KeyTaken(name("db"))));
    let elsewhere = cluster.submit(r#"{"namespace":"other","command":["x"],"concurrency":{"key":"db"}}"#);
    assert_eq!(cluster.task_state(elsewhere, 0, 0), Pending, "a key belongs to its namespace");

    let key = cluster.assign(first, 0, 0, epoch).unwrap();
    cluster.apply(Command::Cancel { job: first });
    assert_eq!(cluster.task_state(urgent, 0, 0), Waiting, "what is ending still holds it");
    cluster.finish("w", epoch, key, Ending::Signalled(15));
    assert_eq!([second, urgent].map(|id| cluster.task_state(id, 0, 0)), [Waiting, Pending]);

    let newest = cluster.submit(&job(r#","when_full":"replace""#));
    assert_eq!([second, urgent].map(|id| state(&cluster, id)), [JobState::Cancelled, JobState::Cancelled]);
    assert_eq!(cluster.task_state(newest, 0, 0), Pending);
}

#[test]
fn jobs_wait_for_other_jobs() {
    let (mut cluster, epoch) = cluster();
    let first = cluster.submit(r#"{"command":["x"]}"#);
    let needs =
        |on: &str| format!(r#"{{"tasks":[{{"name":"a","command":["x"],"needs":[{{"job":{first},"on":"{on}"}}]}}]}}"#);
    let [good, bad, any] = ["success", "failure", "finish"].map(|on| cluster.submit(&needs(on)));
    assert_eq!([good, bad, any].map(|id| cluster.task_state(id, 0, 0)), [Waiting; 3]);
    run(&mut cluster, epoch, first, 0, 0, 1);
    assert_eq!([good, bad, any].map(|id| cluster.task_state(id, 0, 0)), [Cancelled, Pending, Pending]);
    assert_eq!(state(&cluster, good), JobState::Cancelled);
    let late = ["success", "failure"].map(|on| cluster.submit(&needs(on)));
    assert_eq!(late.map(|id| cluster.task_state(id, 0, 0)), [Cancelled, Pending], "it has ended already");
    let unknown = Command::Submit(spec(&needs("finish").replace(&format!("\"job\":{first}"), "\"job\":999")));
    let refused = || {
        let pointer = "/tasks/0/needs/0".to_owned();
        Outcome::Rejected(Rejection::NeedsUnknownJob { pointer, job: JobId(999) })
    };
    assert_eq!(cluster.apply(unknown), refused());
    let scheduled = |json: String| json.replace("\"tasks\"", "\"schedule\":{\"every\":\"1h\"},\"tasks\"");
    let schedule = cluster.submit(&scheduled(needs("finish")));
    let unknown = spec(&scheduled(needs("finish")).replace(&format!("\"job\":{first}"), "\"job\":999"));
    let change = Command::ChangeSchedule { schedule, spec: unknown };
    assert_eq!(cluster.apply(change), refused());
}

/// A service or a schedule never succeeds: who waits for that would wait for ever.
#[test]
fn needs_of_what_never_ends_are_refused() {
    let (mut cluster, _) = cluster();
    let endless = [
        cluster.submit(r#"{"kind":"service","count":1,"command":["x"]}"#),
        cluster.submit(r#"{"command":["x"],"schedule":{"every":"1h"}}"#),
    ];
    for job in endless {
        let needs = |on: &str| {
            spec(&format!(r#"{{"tasks":[{{"name":"a","command":["x"],"needs":[{{"job":{job},"on":"{on}"}}]}}]}}"#))
        };
        for on in ["success", "failure"] {
            let pointer = "/tasks/0/needs/0".to_owned();
            let refused = Outcome::Rejected(Rejection::NeedsEndless { pointer, job });
            assert_eq!(cluster.apply(Command::Submit(needs(on))), refused);
        }
        let Outcome::Submitted { job: waits, .. } = cluster.apply(Command::Submit(needs("finish"))) else { panic!() };
        assert_eq!(cluster.task_state(waits, 0, 0), Waiting);
    }
}

/// A time that is over is refused; a job that others bring too late ends as it comes, and takes nobody's key.
#[test]
fn what_comes_too_late_never_starts() {
    let (mut cluster, epoch) = cluster();
    for field in ["deadline", "expires"] {
        let late = format!(r#"{{"command":["x"],"{field}":"1970-01-01T00:00:00Z"}}"#);
        let refused = Outcome::Rejected(Rejection::TimeOver { pointer: format!("/{field}") });
        assert_eq!(cluster.apply(Command::Submit(spec(&late))), refused);
        let first = cluster.submit(&format!(
            r#"{{"command":["x"],"concurrency":{{"key":"k","limit":1}},
                "then":[{{"job":{{"command":["y"],"{field}":"1970-01-01T00:00:00Z",
                                  "concurrency":{{"key":"k","limit":1,"when_full":"replace"}}}}}}]}}"#
        ));
        run(&mut cluster, epoch, first, 0, 0, 0);
        let then = JobId(first.0 + 1);
        let expected = if field == "deadline" { JobState::Failed } else { JobState::Cancelled };
        assert_eq!(state(&cluster, then), expected);
    }
}

#[test]
fn jobs_follow_others() {
    let (mut cluster, epoch) = cluster();
    let json = r#"{"namespace":"n","command":["x"],"then":[{"job":{"name":"good","command":["y"]}},
        {"on":"failure","job":{"name":"bad","command":["y"]}},{"on":"finish","job":{"name":"any","command":["y"]}}]}"#;
    for (code, expected) in [(0, ["good", "any"]), (1, ["bad", "any"])] {
        let id = cluster.submit(json);
        run(&mut cluster, epoch, id, 0, 0, code);
        let after = cluster.state.jobs().filter(|job| job.header.flow().follows == Some(id));
        let after = after.inspect(|job| assert_eq!(job.spec.namespace.as_str(), "n", "inherited"));
        assert_eq!(after.map(|job| job.spec.name.as_str()).collect::<Vec<_>>(), expected);
    }
}

fn runs(cluster: &Cluster, schedule: JobId) -> Vec<(JobId, u64)> {
    let of = |job: &quorate_state::job::Job| job.header.flow().run.filter(|run| run.schedule == schedule);
    cluster.state.jobs().filter_map(|job| of(job).map(|run| (job.id(), run.tick.0))).collect()
}

fn tick(cluster: &mut Cluster, schedule: JobId, at: u64) {
    let through = Timestamp(at);
    cluster.apply(Command::Tick { schedule, ticks: vec![through], through });
}

#[test]
fn a_tick_runs_once_whoever_says_so() {
    let (mut cluster, _) = cluster();
    let id = cluster.submit(r#"{"command":["x"],"schedule":{"every":"1m","overlap":"allow"}}"#);
    let now = cluster.now.0;
    for at in [now + 60_000, now + 60_000, now + 120_000, now + 60_000] {
        tick(&mut cluster, id, at);
    }
    assert_eq!(runs(&cluster, id).iter().map(|(_, tick)| tick - now).collect::<Vec<_>>(), [60_000, 120_000]);
    cluster.apply(Command::Pause { job: id });
    tick(&mut cluster, id, now + 180_000);
    cluster.now = Timestamp(now + 200_000);
    cluster.apply(Command::Resume { job: id });
    tick(&mut cluster, id, now + 190_000);
    assert_eq!(runs(&cluster, id).len(), 2, "what was paused is not made up for");
    cluster.apply(Command::RunNow { schedule: id });
    assert_eq!(runs(&cluster, id).len(), 3);
    cluster.apply(Command::Cancel { job: id });
    tick(&mut cluster, id, now + 240_000);
    assert_eq!((runs(&cluster, id).len(), state(&cluster, id)), (3, JobState::Cancelled));
}

#[test]
fn runs_overlap_as_the_schedule_says() {
    for (overlap, pending, after) in [("allow", 3, 2), ("skip", 1, 0), ("queue", 1, 1), ("replace", 1, 0)] {
        let (mut cluster, epoch) = cluster();
        let json = format!(r#"{{"command":["x"],"schedule":{{"every":"1m","overlap":"{overlap}"}}}}"#);
        let id = cluster.submit(&json);
        let now = cluster.now.0;
        (1..=3).for_each(|nth| tick(&mut cluster, id, now + nth * 60_000));
        let unfinished = |cluster: &Cluster| {
            let all = runs(cluster, id).into_iter().map(|(run, _)| run);
            all.filter(|run| !state(cluster, *run).is_finished()).collect::<Vec<_>>()
        };
        let open = unfinished(&cluster);
        assert_eq!(open.len(), pending, "{overlap}");
        run(&mut cluster, epoch, open[0], 0, 0, 0);
        assert_eq!(unfinished(&cluster).len(), after, "{overlap}");
    }
}

#[test]
fn a_waiting_tick_goes_with_its_schedule() {
    for stop in [|job| Command::Pause { job }, |job| Command::Cancel { job }] {
        let (mut cluster, epoch) = cluster();
        let id = cluster.submit(r#"{"command":["x"],"schedule":{"every":"1m","overlap":"queue"}}"#);
        let now = cluster.now.0;
        tick(&mut cluster, id, now + 60_000);
        tick(&mut cluster, id, now + 120_000);
        cluster.apply(stop(id));
        let first = runs(&cluster, id)[0].0;
        run(&mut cluster, epoch, first, 0, 0, 0);
        assert_eq!(runs(&cluster, id).len(), 1);
    }
}

/// A tick that is due and not decided yet outlives a change of what runs, and not one of when.
#[test]
fn a_change_of_what_runs_loses_no_tick() {
    for (calendar, ran) in [(r#"{"every":"1m","history":7}"#, 1), (r#"{"every":"1m","jitter":"5s"}"#, 0)] {
        let (mut cluster, _) = cluster();
        let id = cluster.submit(r#"{"command":["x"],"schedule":{"every":"1m"}}"#);
        let due = cluster.now.0 + 60_000;
        cluster.pass(Span::from_secs(61));
        let spec = spec(&format!(r#"{{"command":["y"],"schedule":{calendar}}}"#));
        cluster.apply(Command::ChangeSchedule { schedule: id, spec });
        tick(&mut cluster, id, due);
        assert_eq!(runs(&cluster, id).len(), ran, "{calendar}");
    }
}

/// The tick that waits for the run before it is not forgotten in silence.
#[test]
fn a_queued_tick_of_a_paused_schedule_says_why_it_does_not_run() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(r#"{"command":["x"],"schedule":{"every":"1m","overlap":"queue"}}"#);
    let now = cluster.now.0;
    tick(&mut cluster, id, now + 60_000);
    tick(&mut cluster, id, now + 120_000);
    cluster.apply(Command::Pause { job: id });
    let first = runs(&cluster, id)[0].0;
    run(&mut cluster, epoch, first, 0, 0, 0);
    let skipped = cluster.last.events.iter().find(|event| event.kind.as_str() == "schedule.skipped").unwrap();
    assert!(skipped.reason.as_ref().unwrap().contains("paused"), "{skipped:?}");
}

#[test]
fn ticks_that_do_not_run_say_why() {
    let (mut cluster, _) = cluster();
    let id = cluster.submit(r#"{"command":["x"],"schedule":{"every":"1m"}}"#);
    let keyed = r#"{"command":["x"],"concurrency":{"key":"k","when_full":"reject"},"schedule":{"every":"1m","overlap":"allow"}}"#;
    let keyed = cluster.submit(keyed);
    let now = cluster.now.0;
    for (schedule, why) in [(id, "the run before it"), (keyed, "concurrency key k")] {
        tick(&mut cluster, schedule, now + 60_000);
        tick(&mut cluster, schedule, now + 120_000);
        assert_eq!(cluster.event_types(), ["schedule.skipped"]);
        let reason = cluster.last.events[0].reason.clone().unwrap();
        assert!(reason.contains(why), "{reason}");
    }
}

#[test]
fn a_changed_schedule_keeps_its_key() {
    let (mut cluster, _) = cluster();
    let json = r#"{"command":["x"],"idempotency_key":"a","schedule":{"every":"1m"}}"#;
    let id = cluster.submit(json);
    let other = cluster.submit(r#"{"command":["x"],"idempotency_key":"b"}"#);
    let new = spec(r#"{"command":["y"],"idempotency_key":"b","schedule":{"every":"2m"}}"#);
    cluster.apply(Command::ChangeSchedule { schedule: id, spec: new });
    cluster.apply(Command::Cancel { job: id });
    cluster.apply(Command::Forget { job: id });
    assert_eq!(cluster.submit(r#"{"command":["x"],"idempotency_key":"b"}"#), other, "the other one's key is untouched");
    assert_ne!(cluster.submit(json), id, "its own is free");
}

#[test]
fn losses_and_inability_are_counted_apart() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(r#"{"tasks":[{"name":"a","command":["x"],"losses":2}]}"#);
    for _ in 0..3 {
        let key = cluster.assign(id, 0, 0, epoch).unwrap();
        cluster.finish("w", epoch, key, Ending::Unable("disk full".into()));
        cluster.pass(Span::from_secs(600));
    }
    cluster.assign(id, 0, 0, epoch).unwrap();
    cluster.apply(Command::Expire { worker: name("w"), epoch });
    assert_eq!(cluster.task_state(id, 0, 0), Pending, "one loss is one");
}

#[test]
fn only_so_many_finished_runs_are_kept() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(r#"{"command":["x"],"schedule":{"every":"1m","history":2}}"#);
    let now = cluster.now.0;
    for nth in 1..=5 {
        tick(&mut cluster, id, now + nth * 60_000);
        let newest = runs(&cluster, id).last().unwrap().0;
        run(&mut cluster, epoch, newest, 0, 0, 0);
    }
    assert_eq!(runs(&cluster, id).iter().map(|(_, tick)| (tick - now) / 60_000).collect::<Vec<_>>(), [4, 5]);
}

#[test]
fn a_drained_worker_gives_back_what_runs_too_long() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(r#"{"command":["x"]}"#);
    let key = cluster.assign(id, 0, 0, epoch).unwrap();
    cluster.apply(Command::DrainBy { worker: name("w"), within: Span::from_secs(60) });
    cluster.pass(Span::from_secs(59));
    assert_eq!(cluster.task_state(id, 0, 0), Assigned);
    cluster.pass(Span::from_secs(1));
    assert_eq!(cluster.task_state(id, 0, 0), Stopping);
    cluster.finish("w", epoch, key, Ending::Signalled(15));
    assert_eq!(cluster.task_state(id, 0, 0), Pending);
}

/// What a snapshot would bring back.
fn restored(cluster: &Cluster) -> quorate_state::State {
    quorate_state::State::from_records(cluster.state.snapshot_records()).unwrap()
}

#[test]
fn what_handled_a_failure_runs_again_with_it() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(
        r#"{"tasks":[{"name":"a","command":["x"]},{"name":"alarm","command":["x"],"needs":[{"task":"a","on":"failure"}]}]}"#,
    );
    run(&mut cluster, epoch, id, 0, 0, 1);
    run(&mut cluster, epoch, id, 1, 0, 0);
    cluster.apply(Command::Retry { job: id, scope: RetryScope::NotSucceeded });
    assert_eq!(states(&cluster, id), [Pending, Waiting]);
    restored(&cluster);
    run(&mut cluster, epoch, id, 0, 0, 0);
    assert_eq!((states(&cluster, id), state(&cluster, id)), (vec![Succeeded, Cancelled], JobState::Succeeded));
}

#[test]
fn a_retry_that_waits_for_its_key_survives_a_snapshot() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(
        r#"{"on_failure":"continue","concurrency":{"key":"k"},"tasks":[{"name":"a","command":["x"]},{"name":"b","command":["x"]}]}"#,
    );
    run(&mut cluster, epoch, id, 0, 0, 0);
    run(&mut cluster, epoch, id, 1, 0, 1);
    cluster.submit(r#"{"command":["x"],"concurrency":{"key":"k"}}"#);
    cluster.apply(Command::Retry { job: id, scope: RetryScope::NotSucceeded });
    assert_eq!(states(&cluster, id), [Succeeded, Waiting]);
    assert_eq!(restored(&cluster).digest(), cluster.state.digest());
}

#[test]
fn a_retry_waits_for_other_jobs_again() {
    let (mut cluster, epoch) = cluster();
    let long = cluster.submit(r#"{"command":["x"]}"#);
    let id = cluster.submit(&format!(r#"{{"tasks":[{{"name":"a","command":["x"],"needs":[{{"job":{long}}}]}}]}}"#));
    cluster.apply(Command::Cancel { job: id });
    cluster.apply(Command::Retry { job: id, scope: RetryScope::All });
    assert_eq!(states(&cluster, id), [Waiting]);
    run(&mut cluster, epoch, long, 0, 0, 1);
    assert_eq!(states(&cluster, id), [Cancelled]);
    cluster.apply(Command::Retry { job: id, scope: RetryScope::All });
    assert_eq!(states(&cluster, id), [Cancelled], "it failed, and that does not change");
}

#[test]
fn a_retry_that_can_never_run_is_refused() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(r#"{"tasks":[{"name":"a","command":["x"]},{"name":"b","command":["x"],"needs":["a"]}]}"#);
    run(&mut cluster, epoch, id, 0, 0, 1);
    let refused = cluster.apply(Command::RetryFrom { job: id, task: name("b") });
    assert_eq!(refused, Outcome::Rejected(Rejection::NeedUnmet { job: id, task: name("b") }));
}

#[test]
fn elements_go_on_when_what_else_they_need_comes_later() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(
        r#"{"on_failure":"continue","tasks":[{"name":"x","command":["x"]},
        {"name":"a","command":["x"],"count":2,"needs":["x"]},{"name":"c","command":["x"]},
        {"name":"b","command":["x"],"count":2,"needs":[{"task":"a","each":true,"on":"finish"},"c"]}]}"#,
    );
    run(&mut cluster, epoch, id, 0, 0, 1);
    run(&mut cluster, epoch, id, 2, 0, 0);
    assert_eq!([0, 1].map(|at| cluster.task_state(id, 3, at)), [Pending, Pending]);

    let json = r#"{"concurrency":{"key":"k"},"tasks":[{"name":"a","command":["x"],"count":3,"max_parallel":1},
        {"name":"b","command":["x"],"count":3,"needs":[{"task":"a","each":true}]}]}"#;
    let id = cluster.submit(json);
    run(&mut cluster, epoch, id, 0, 0, 0);
    run(&mut cluster, epoch, id, 0, 1, 1);
    let other = cluster.submit(r#"{"command":["x"],"concurrency":{"key":"k"}}"#);
    cluster.apply(Command::RetryFrom { job: id, task: name("b") });
    run(&mut cluster, epoch, other, 0, 0, 0);
    assert_eq!(cluster.task_state(id, 1, 0), Pending, "the key is free");
}

#[test]
fn a_chain_of_elements_that_were_left_out_spoils_nothing() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(
        r#"{"tasks":[{"name":"test","command":["x"],"count":2},
        {"name":"alarm","command":["x"],"count":2,"needs":[{"task":"test","each":true,"on":"failure"}]},
        {"name":"report","command":["x"],"count":2,"needs":[{"task":"alarm","each":true}]},
        {"name":"mail","command":["x"],"needs":["report"]}]}"#,
    );
    run(&mut cluster, epoch, id, 0, 0, 0);
    run(&mut cluster, epoch, id, 0, 1, 0);
    assert_eq!(state(&cluster, id), JobState::Succeeded);
    cluster.apply(Command::RetryFrom { job: id, task: name("mail") });
}

#[test]
fn a_run_that_is_tried_again_counts_for_overlap() {
    let (mut cluster, epoch) = cluster();
    let id = cluster.submit(r#"{"command":["x"],"schedule":{"every":"1m"}}"#);
    let now = cluster.now.0;
    tick(&mut cluster, id, now + 60_000);
    let first = runs(&cluster, id)[0].0;
    run(&mut cluster, epoch, first, 0, 0, 1);
    cluster.apply(Command::Retry { job: first, scope: RetryScope::All });
    tick(&mut cluster, id, now + 120_000);
    assert_eq!(runs(&cluster, id).len(), 1, "it runs");
    run(&mut cluster, epoch, first, 0, 0, 0);
    tick(&mut cluster, id, now + 180_000);
    assert_eq!(runs(&cluster, id).len(), 2);
}

#[test]
fn what_a_timer_ends_is_followed_before_it_leaves_memory() {
    let (mut cluster, _) = cluster();
    let id = cluster.submit(
        r#"{"tasks":[{"name":"a","command":["x"],"count":600000}],"deadline":"4m",
        "schedule":{"every":"5m"}}"#,
    );
    let start = cluster.now.0;
    for nth in 1..=3 {
        cluster.now = Timestamp(start + nth * 300_000);
        tick(&mut cluster, id, start + nth * 300_000);
        cluster.pass(Span::from_secs(240));
        let ledger = cluster.state.job(id).unwrap().header.flow().ledger.clone().unwrap();
        assert!(ledger.active.is_empty(), "run {nth} has ended");
    }
}
