//! The life of jobs, end to end: what contract.md says of tasks, as a client sees it, with real processes.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::cli::{self, Ran, quorate};
use support::events::Event;
use support::http::id_of;
use support::{Answer, Api, Cluster, PATIENCE, Setup, WorkerSetup, sys, turn, wait_until};

/// A shell command as a task's command.
fn sh(script: &str) -> Value {
    json!(["sh", "-c", script])
}

async fn logs(api: &Api, job: u64, task: &str, query: &str) -> Answer {
    api.get(&format!("/v1/jobs/{job}/tasks/{task}/0/logs{query}")).await
}

/// Waits for what `look` finds in a file.
async fn file_says<T>(path: &std::path::Path, look: impl Fn(&str) -> Option<T>) -> T {
    wait_until(&format!("{} to say it", path.display()), PATIENCE, || {
        std::future::ready(std::fs::read_to_string(path).ok().and_then(|text| look(&text)))
    })
    .await
}

fn number(text: &str) -> Option<i32> {
    text.trim().parse().ok()
}

async fn with_workers(names: &[&str]) -> Cluster {
    let mut cluster = Cluster::start(Setup::default().with("lease_ttl", "2s")).await;
    for name in names {
        cluster.start_worker(name).await;
    }
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_get_what_they_were_promised() {
    let _turn = turn().await;
    let cluster = with_workers(&["w"]).await;
    let api = cluster.any();
    let folder = cluster.dir.join("elsewhere");
    std::fs::create_dir(&folder).unwrap();

    // Environment, standard input, working folder, result, both streams.
    let script = r#"cat; echo "$GREETING $QUORATE_JOB_ID $QUORATE_TASK $QUORATE_INDEX $QUORATE_ATTEMPT $QUORATE_WORKER $QUORATE_NAMESPACE"
        pwd; echo complaint >&2; printf 'the result' > "$QUORATE_RESULT"; test -n "$QUORATE_FENCE""#;
    let id = api
        .submit(&json!({"name": "all of it", "namespace": "blue", "priority": 70, "labels": {"team": "web"}, "tasks": [{
            "name": "only", "command": sh(script), "env": {"GREETING": "hello"}, "stdin": "from stdin\n", "working_dir": folder,
        }]}))
        .await;
    let job = api.ends_as(id, "succeeded").await;
    assert_eq!(
        (&job["namespace"], &job["priority"], &job["labels"]),
        (&json!("blue"), &json!(70), &json!({"team": "web"}))
    );
    for time in ["submitted_at", "started_at", "finished_at"] {
        let text = job[time].as_str().unwrap();
        assert!(text.len() == 24 && text.ends_with('Z'), "{time} is {text}");
    }
    assert!(
        job["submitted_at"].as_str() <= job["started_at"].as_str()
            && job["started_at"].as_str() <= job["finished_at"].as_str()
    );
    assert_eq!(
        job["tasks"],
        json!({"total": 1, "waiting": 0, "pending": 0, "assigned": 0, "running": 0, "stopping": 0, "succeeded": 1, "failed": 0, "cancelled": 0})
    );
    let task = api.task(id, "only", 0).await;
    assert_eq!(
        (&task["result"], &task["exit_code"], &task["worker"]),
        (&json!("the result"), &json!(0), &json!("w")),
        "{task}"
    );
    let expected = format!("from stdin\nhello {id} only 0 1 w blue\n{}\n", folder.display());
    assert_eq!(logs(&api, id, "only", "").await.ok().text(), expected);
    let stderr = logs(&api, id, "only", "?stream=stderr").await.ok();
    assert_eq!(stderr.text(), "complaint\n");
    assert!(stderr.header("content-type").starts_with("text/plain"), "{stderr:?}");

    // Without a working folder each attempt has one of its own, and none of the worker's environment.
    let id = api
        .submit(&json!({"tasks": [{"name": "own", "count": 2, "command": sh("ls -A; touch left; pwd; env")}]}))
        .await;
    api.ends_as(id, "succeeded").await;
    let folders = [0, 1].map(|index| format!("/v1/jobs/{id}/tasks/own/{index}/logs"));
    let (one, two) = (api.get(&folders[0]).await.text(), api.get(&folders[1]).await.text());
    let first = |text: &str| text.lines().next().unwrap().to_owned();
    assert!(first(&one).starts_with('/') && first(&one) != first(&two), "{one}\n{two}");
    assert!(
        !one.contains("RUST_BACKTRACE") && one.contains("QUORATE_INDEX=0") && two.contains("QUORATE_INDEX=1"),
        "{one}"
    );

    // Progress is seen while the task runs.
    let gate = cluster.dir.join("gate");
    let script = format!(
        "echo 0.1 begun >> $QUORATE_PROGRESS; echo 0.25 a quarter >> $QUORATE_PROGRESS; while [ ! -e {} ]; do sleep 0.05; done",
        gate.display()
    );
    let id = api.submit(&json!({"tasks": [{"name": "slow", "command": sh(&script)}]})).await;
    let progress = wait_until("progress", PATIENCE, || async {
        Some(api.task(id, "slow", 0).await["progress"].clone()).filter(|progress| progress["message"] == "a quarter")
    })
    .await;
    assert_eq!(progress["fraction"], 0.25);
    std::fs::write(&gate, "").unwrap();
    api.ends_as(id, "succeeded").await;

    // What can't be started says so.
    let id = api.submit(&json!({"command": ["/nonexistent/program"]})).await;
    api.ends_as(id, "failed").await;
    let task = api.task(id, "main", 0).await;
    assert!(task["reason"].as_str().unwrap().contains("/nonexistent/program"), "{task}");
    // A signal is told as a shell tells it.
    let id = api.submit(&json!({"command": sh("kill -SEGV $$")})).await;
    api.ends_as(id, "failed").await;
    assert_eq!(api.task(id, "main", 0).await["exit_code"], 128 + libc::SIGSEGV);
    cluster.digests_agree().await;
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn needs_are_kept_and_failures_go_as_far_as_they_should() {
    let _turn = turn().await;
    let cluster = with_workers(&["w"]).await;
    let api = cluster.any();

    // A diamond with an array in it; the event checker says whether each waited for what it needs.
    let task = |name: &str, count: u64, needs: &[&str]| json!({"name": name, "count": count, "needs": needs, "command": ["true"]});
    let diamond = api
        .submit(&json!({"name": "diamond", "tasks": [
            task("last", 1, &["left", "right"]), task("left", 5, &["first"]), task("right", 1, &["first"]), task("first", 2, &[]),
        ]}))
        .await;
    api.ends_as(diamond, "succeeded").await;
    assert_eq!(api.tasks(diamond).await.len(), 9);

    // By default a failure cancels what has not started.
    let failing = |on_failure: Option<&str>| {
        let mut job = json!({"name": "failing", "tasks": [
            {"name": "bad", "command": sh("exit 7")},
            {"name": "after-bad", "needs": ["bad"], "command": ["true"]},
            {"name": "good", "command": ["sleep", "0.3"]},
            {"name": "after-good", "needs": ["good"], "command": ["true"]},
        ]});
        if let Some(policy) = on_failure {
            job["on_failure"] = policy.into();
        }
        job
    };
    let id = api.submit(&failing(None)).await;
    api.ends_as(id, "failed").await;
    assert_eq!(api.task(id, "bad", 0).await["exit_code"], 7);
    for cancelled in ["after-bad", "after-good"] {
        assert_eq!(api.task(id, cancelled, 0).await["state"], "cancelled", "{cancelled}");
    }
    assert_eq!(api.task(id, "good", 0).await["state"], "succeeded", "what runs goes on");

    // With "continue" only what needs the failed one is lost.
    let id = api.submit(&failing(Some("continue"))).await;
    api.ends_as(id, "failed").await;
    assert_eq!(api.task(id, "after-good", 0).await["state"], "succeeded");
    assert_eq!(api.task(id, "after-bad", 0).await["state"], "cancelled");

    // Retries with backoff: three attempts, each later than the wait before it.
    let script = r#"echo "attempt $QUORATE_ATTEMPT"; test "$QUORATE_ATTEMPT" = 3"#;
    let backoff = json!({"initial": "200ms", "factor": 2, "max": "10s"});
    let retried = api
        .submit(&json!({"name": "retried", "tasks": [{"name": "flaky", "retries": 3, "backoff": backoff, "command": sh(script)}]}))
        .await;
    api.ends_as(retried, "succeeded").await;
    let task = api.task(retried, "flaky", 0).await;
    let attempts = task["attempts"].as_array().unwrap();
    let states: Vec<&str> = attempts.iter().map(|attempt| attempt["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["failed", "failed", "succeeded"], "{task}");
    for (nth, least) in [(1, 200), (2, 400)] {
        let gap = millis(&attempts[nth]["started_at"]) - millis(&attempts[nth - 1]["finished_at"]);
        assert!(gap >= least, "attempt {} came after {gap} ms, not {least}: {task}", nth + 1);
    }
    assert_eq!(logs(&api, retried, "flaky", "?attempt=2").await.ok().text(), "attempt 2\n");
    assert_eq!(logs(&api, retried, "flaky", "").await.ok().text(), "attempt 3\n");

    // Retries that are used up fail the task.
    let quick = json!({"initial": "10ms"});
    let id = api.submit(&json!({"tasks": [{"name": "t", "retries": 2, "backoff": quick, "command": ["false"]}]})).await;
    api.ends_as(id, "failed").await;
    assert_eq!(api.task(id, "t", 0).await["attempts"].as_array().unwrap().len(), 3);
    cluster.digests_agree().await;
    cluster.events_agree(&[diamond, retried]).await;
    cluster.finish();
}

/// The milliseconds within the day of an RFC 3339 time; no test runs over midnight for long.
fn millis(time: &Value) -> i64 {
    let text = time.as_str().unwrap_or_else(|| panic!("no time: {time}"));
    let clock: Vec<f64> = text[11..23].split(':').map(|part| part.parse().unwrap()).collect();
    ((clock[0] * 60.0 + clock[1]) * 60_000.0 + clock[2] * 1000.0).round() as i64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_should_end_ends_with_all_of_its_processes() {
    let _turn = turn().await;
    let cluster = with_workers(&["w"]).await;
    let api = cluster.any();
    let worker = |cluster: &Cluster| cluster.workers["w"].attempts(None);
    let nothing_is_left = || async {
        let left = wait_until("the worker to be idle", PATIENCE, || async {
            let running = api.read("/v1/workers/w").await["running"].clone();
            (running == 0).then(|| worker(&cluster))
        })
        .await;
        assert!(left.is_empty(), "{left:?}");
    };
    // Deaf to TERM, and so is a grandchild in a session of its own.
    let deaf = |mark: &std::path::Path| {
        let mark = mark.display();
        sh(&format!(
            "trap 'echo told >> {mark}' TERM; setsid sh -c \"trap '' TERM; while :; do sleep 0.05; done\" & echo up >> {mark}; while :; do sleep 0.05; done"
        ))
    };

    // A timeout: TERM first, KILL after the grace.
    let mark = cluster.dir.join("timeout");
    let started = Instant::now();
    let id = api
        .submit(&json!({"tasks": [{"name": "deaf", "timeout": "500ms", "grace": "700ms", "command": deaf(&mark)}]}))
        .await;
    api.ends_as(id, "failed").await;
    assert!(started.elapsed() >= Duration::from_millis(1200), "killed without its grace: {:?}", started.elapsed());
    assert!(std::fs::read_to_string(&mark).unwrap().contains("told"), "TERM did not come before KILL");
    let task = api.task(id, "deaf", 0).await;
    assert!(task["reason"].as_str().unwrap().contains("timed out"), "{task}");
    nothing_is_left().await;

    // A cancelled job: what runs is ended, what waits never starts.
    let mark = cluster.dir.join("cancel");
    let id = api
        .submit(&json!({"tasks": [
            {"name": "deaf", "grace": "300ms", "command": deaf(&mark)}, {"name": "after", "needs": ["deaf"], "command": ["true"]},
        ]}))
        .await;
    file_says(&mark, |text| text.contains("up").then_some(())).await;
    assert!(!worker(&cluster).is_empty(), "the attempt is not seen in /proc");
    api.post(&format!("/v1/jobs/{id}/cancel"), &Value::Null).await.ok();
    api.ends_as(id, "cancelled").await;
    assert_eq!(api.task(id, "deaf", 0).await["state"], "cancelled");
    assert_eq!(api.task(id, "after", 0).await["attempts"], json!([]));
    nothing_is_left().await;
    // Cancelling again changes nothing; a job that succeeded can't be cancelled.
    api.post(&format!("/v1/jobs/{id}/cancel"), &Value::Null).await.ok();
    let done = api.submit(&json!({"command": ["true"]})).await;
    api.ends_as(done, "succeeded").await;
    assert_eq!(api.post(&format!("/v1/jobs/{done}/cancel"), &Value::Null).await.code(), "conflict");

    // A pending one: no worker could ever run it.
    let id = api.submit(&json!({"tasks": [{"name": "big", "resources": {"cpu": 1000}, "command": ["true"]}]})).await;
    assert_eq!(api.task(id, "big", 0).await["state"], "pending");
    api.post(&format!("/v1/jobs/{id}/cancel"), &Value::Null).await.ok();
    api.ends_as(id, "cancelled").await;

    // A task that ends while its background processes live takes them along.
    let mark = cluster.dir.join("background");
    let script = format!(
        "setsid sh -c 'echo $$ > {}; while :; do sleep 0.05; done' & while [ ! -s {} ]; do sleep 0.01; done",
        mark.display(),
        mark.display()
    );
    let id = api.submit(&json!({"command": sh(&script)})).await;
    api.ends_as(id, "succeeded").await;
    nothing_is_left().await;
    cluster.digests_agree().await;
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_paused_resumed_retried_and_forgotten() {
    let _turn = turn().await;
    let cluster = with_workers(&["w"]).await;
    let api = cluster.any();

    // Paused before it could start, it does not start; resumed, it does.
    let gate = cluster.dir.join("gate");
    let script = format!("while [ ! -e {} ]; do sleep 0.02; done", gate.display());
    let blocker = api
        .submit(&json!({"name": "blocker", "tasks": [{"name": "b", "resources": {"cpu": 4}, "command": sh(&script)}]}))
        .await;
    api.task_is(blocker, "b", 0, "running").await;
    let paused = api.submit(&json!({"name": "paused", "command": ["true"]})).await;
    api.post(&format!("/v1/jobs/{paused}/pause"), &Value::Null).await.ok();
    assert_eq!(api.job(paused).await["state"], "paused");
    std::fs::write(&gate, "").unwrap();
    api.ends_as(blocker, "succeeded").await;
    let later = api.submit(&json!({"name": "later", "command": ["true"]})).await;
    api.ends_as(later, "succeeded").await;
    assert_eq!(api.job(paused).await["state"], "paused", "a later job ran, so the paused one could have");
    assert_eq!(api.task(paused, "main", 0).await["attempt"], 0);
    api.post(&format!("/v1/jobs/{paused}/resume"), &Value::Null).await.ok();
    api.ends_as(paused, "succeeded").await;

    // Paused while it runs, its attempt ends; resumed, it runs again and no retry is used up.
    let id = api.submit(&json!({"command": sh("test $QUORATE_ATTEMPT = 2 || sleep 1000")})).await;
    api.task_is(id, "main", 0, "running").await;
    api.post(&format!("/v1/jobs/{id}/pause"), &Value::Null).await.ok();
    wait_until("the attempt to end", PATIENCE, || async {
        (api.read("/v1/workers/w").await["running"] == 0).then_some(())
    })
    .await;
    assert_eq!(api.job(id).await["state"], "paused");
    api.post(&format!("/v1/jobs/{id}/resume"), &Value::Null).await.ok();
    api.ends_as(id, "succeeded").await;

    // Retry of what failed: what succeeded is not run again.
    let (mended, runs) = (cluster.dir.join("mended"), cluster.dir.join("runs"));
    let id = api
        .submit(&json!({"tasks": [
            {"name": "good", "command": sh(&format!("echo run >> {}", runs.display()))},
            {"name": "bad", "needs": ["good"], "command": sh(&format!("test -e {}", mended.display()))},
            {"name": "after", "needs": ["bad"], "command": ["true"]},
        ]}))
        .await;
    api.ends_as(id, "failed").await;
    std::fs::write(&mended, "").unwrap();
    api.post(&format!("/v1/jobs/{id}/retry"), &json!({"failed": true})).await.ok();
    api.ends_as(id, "succeeded").await;
    assert_eq!(std::fs::read_to_string(&runs).unwrap(), "run\n", "a task that had succeeded ran again");
    assert_eq!(api.task(id, "bad", 0).await["attempts"].as_array().unwrap().len(), 2);
    // Retry of all of it runs everything again.
    api.post(&format!("/v1/jobs/{id}/retry"), &Value::Null).await.ok();
    api.ends_as(id, "succeeded").await;
    assert_eq!(std::fs::read_to_string(&runs).unwrap(), "run\nrun\n");

    // Forgotten: gone, from every replica; its key is free again.
    let keyed = json!({"name": "keyed", "command": ["true"], "idempotency_key": "once"});
    let first = id_of(&api.post("/v1/jobs", &keyed).await.ok());
    assert_eq!(api.delete(&format!("/v1/jobs/{first}")).await.status, 409, "it may not be finished");
    api.ends_as(first, "succeeded").await;
    let again = api.post("/v1/jobs", &keyed).await;
    assert_eq!((again.status, id_of(&again)), (200, first));
    let other = api.post("/v1/jobs", &json!({"name": "other", "command": ["true"], "idempotency_key": "once"})).await;
    assert_eq!((other.status, other.code().as_str()), (422, "idempotency_conflict"));
    api.delete(&format!("/v1/jobs/{first}")).await.ok();
    for api in cluster.apis() {
        assert_eq!(api.get(&format!("/v1/jobs/{first}")).await.code(), "not_found");
    }
    let fresh = api.post("/v1/jobs", &keyed).await;
    assert_eq!(fresh.status, 201);
    assert_ne!(id_of(&fresh), first);
    api.ends_as(id_of(&fresh), "succeeded").await;
    cluster.digests_agree().await;
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_are_drained_and_tasks_are_moved() {
    let _turn = turn().await;
    let mut cluster = with_workers(&["a"]).await;
    let api = cluster.any();
    let journal = support::Journal::new(&cluster.dir);
    let long = journal.task("t", 1, Duration::from_secs(60));
    let id = api.submit(&json!({"name": "moved", "tasks": [long]})).await;
    api.task_is(id, "t", 0, "running").await;
    cluster
        .start_worker_with("b", WorkerSetup { args: vec![("--label", "zone=b".into())], ..WorkerSetup::default() })
        .await;
    assert_eq!(api.read("/v1/workers/b").await["labels"], json!({"zone": "b"}));
    assert_eq!(api.read("/v1/workers").await["items"].as_array().unwrap().len(), 2);

    // Drained: what runs goes on, nothing new comes.
    api.post("/v1/workers/a/drain", &Value::Null).await.ok();
    assert_eq!(api.read("/v1/workers/a").await["state"], "draining");
    let many = api.submit(&json!({"tasks": [{"name": "n", "count": 12, "command": ["true"]}]})).await;
    api.ends_as(many, "succeeded").await;
    for task in api.tasks(many).await {
        assert_eq!(task["worker"], "b", "{task}");
    }
    assert_eq!(api.task(id, "t", 0).await["state"], "running");

    // Reassigned: to the only one that takes tasks.
    api.post(&format!("/v1/jobs/{id}/tasks/t/0/reassign"), &Value::Null).await.ok();
    let moved = wait_until("the task to run on b", PATIENCE, || async {
        Some(api.task(id, "t", 0).await).filter(|task| task["state"] == "running" && task["worker"] == "b")
    })
    .await;
    assert_eq!(moved["attempts"].as_array().unwrap().len(), 2, "{moved}");
    assert_eq!(api.read("/v1/workers/a").await["running"], 0);
    let not_gone = api.delete("/v1/workers/a").await;
    assert_eq!(not_gone.code(), "conflict", "{}", not_gone.text());
    wait_until("the second attempt's journal", PATIENCE, || async {
        (journal.of(id, "t", 0).len() == 2).then_some(())
    })
    .await;

    // Undrained, it takes tasks again.
    api.post("/v1/workers/a/undrain", &Value::Null).await.ok();
    api.worker_is("a", "ready").await;
    let wide = api.submit(&json!({"tasks": [{"name": "n", "resources": {"cpu": 4}, "command": ["true"]}]})).await;
    api.ends_as(wide, "succeeded").await;
    assert_eq!(api.task(wide, "n", 0).await["worker"], "a");

    // A worker that is stopped in peace leaves at once; its tasks move on; then it can be removed.
    let b = &mut cluster.worker("b").process;
    b.signal(libc::SIGTERM);
    let status = b.wait_exit(PATIENCE).await;
    assert!(status.success(), "{status}");
    api.worker_is("b", "left").await;
    wait_until("the task to run on a", PATIENCE, || async {
        Some(api.task(id, "t", 0).await).filter(|task| task["state"] == "running" && task["worker"] == "a")
    })
    .await;
    api.delete("/v1/workers/b").await.ok();
    assert_eq!(api.get("/v1/workers/b").await.code(), "not_found");
    wait_until("the third attempt's journal", PATIENCE, || async { (journal.of(id, "t", 0).len() == 3).then_some(()) })
        .await;
    api.post(&format!("/v1/jobs/{id}/cancel"), &Value::Null).await.ok();
    api.ends_as(id, "cancelled").await;
    journal.check();
    cluster.digests_agree().await;
    cluster.events_agree(&[many, wide]).await;
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_is_read_through_every_replica_and_outlives_its_worker() {
    let _turn = turn().await;
    let mut cluster = with_workers(&["w"]).await;
    let gate = cluster.dir.join("gate");
    let script = format!("echo first; while [ ! -e {} ]; do sleep 0.02; done; seq 1 5000; echo last", gate.display());
    let id = cluster.any().submit(&json!({"name": "talks", "command": sh(&script)})).await;
    for api in cluster.apis() {
        wait_until("the first line", PATIENCE, || async {
            (logs(&api, id, "main", "").await.text() == "first\n").then_some(())
        })
        .await;
    }
    // Following: what is there comes at once, the rest as it is written, and the end ends it.
    let mut following = Vec::new();
    for api in cluster.apis() {
        let mut response = api.stream(&format!("/v1/jobs/{id}/tasks/main/0/logs?follow=true"), &[]).await;
        let first = response.chunk().await.unwrap().unwrap();
        assert_eq!(&first[..], b"first\n");
        following.push(tokio::spawn(async move {
            let mut rest = Vec::new();
            while let Some(chunk) = response.chunk().await.unwrap() {
                rest.extend_from_slice(&chunk);
            }
            rest
        }));
    }
    std::fs::write(&gate, "").unwrap();
    let numbers: String = (1..=5000).map(|n| format!("{n}\n")).collect();
    let rest = format!("{numbers}last\n");
    for stream in following {
        let read = tokio::time::timeout(PATIENCE, stream).await.expect("the followed output does not end").unwrap();
        assert_eq!(String::from_utf8(read).unwrap(), rest);
    }
    cluster.any().ends_as(id, "succeeded").await;
    for api in cluster.apis() {
        assert_eq!(logs(&api, id, "main", "").await.ok().text(), format!("first\n{rest}"));
        assert_eq!(logs(&api, id, "main", "?tail=5").await.ok().text(), "last\n");
        let numbers = logs(&api, id, "main", "?tail=10&stream=stderr").await.ok();
        assert_eq!(numbers.text(), "");
    }
    // The worker and its disk are gone: the cluster still has the last 16 KiB.
    let data = cluster.worker("w").data.clone();
    cluster.worker("w").process.kill();
    wait_until("the worker's spool to be gone", PATIENCE, || async {
        let _ = std::fs::remove_dir_all(&data);
        (!data.exists()).then_some(())
    })
    .await;
    for api in cluster.apis() {
        let kept = wait_until("the kept tail", PATIENCE, || async {
            Some(logs(&api, id, "main", "").await).filter(|answer| answer.is_success() && !answer.body.is_empty())
        })
        .await;
        let whole = format!("first\n{rest}");
        assert_eq!(kept.body.len(), 16 << 10, "{:?}", kept.headers);
        assert!(whole.as_bytes().ends_with(&kept.body));
        assert_eq!(logs(&api, id, "main", "?tail=5").await.ok().text(), "last\n");
    }
    cluster.digests_agree().await;
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_wait_page_filter_and_say_how_fresh_they_are() {
    let _turn = turn().await;
    let mut cluster = with_workers(&[]).await;
    let api = cluster.any();

    // Bulk submission, a line each; then lists with filters and cursors.
    let lines: String = (0..25)
        .map(|n| json!({"name": format!("bulk {n}"), "namespace": if n % 5 == 0 { "five" } else { "rest" }, "labels": {"n": n.to_string()}, "command": ["true"]}).to_string() + "\n")
        .collect();
    let headers = [("content-type", "application/x-ndjson")];
    let answer = api.send(reqwest::Method::POST, "/v1/jobs", &headers, lines.into()).await.unwrap().ok();
    let ids: Vec<u64> = answer
        .text()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids.len(), 25);
    assert!(ids.is_sorted(), "answers are in the order of the lines: {ids:?}");
    for (nth, id) in ids.iter().enumerate().step_by(8) {
        assert_eq!(api.job(*id).await["name"], format!("bulk {nth}"));
    }
    for api in cluster.apis() {
        let listed: Vec<u64> =
            api.all("/v1/jobs?limit=7").await.iter().map(|job| job["id"].as_u64().unwrap()).collect();
        assert_eq!(listed, ids.iter().rev().copied().collect::<Vec<_>>(), "newest first, each once");
    }
    let count = |query: &'static str| {
        let api = api.clone();
        async move { api.all(&format!("/v1/jobs?limit=10{query}")).await.len() }
    };
    assert_eq!(count("&namespace=five").await, 5);
    assert_eq!(count("&namespace=five&state=pending").await, 5);
    assert_eq!(count("&namespace=none").await, 0);
    assert_eq!(count("&state=running").await, 0);
    assert_eq!(count("&name=bulk%207").await, 1);
    assert_eq!(count("&label=n=7").await, 1);
    assert_eq!(count("&label=n").await, 25);
    assert_eq!(count("&label=n=7&namespace=five").await, 0);
    let page = api.read("/v1/jobs?limit=25").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 25);
    assert_eq!(page["items"][0].get("spec"), None, "lists leave the specification out");
    let wide = api.submit(&json!({"tasks": [{"name": "x", "count": 1500, "command": ["true"]}, {"name": "y", "needs": ["x"], "command": ["true"]}]})).await;
    assert_eq!(api.tasks(wide).await.len(), 1501);
    assert_eq!(api.read(&format!("/v1/jobs/{wide}/tasks")).await["items"].as_array().unwrap().len(), 100);
    assert_eq!(api.all(&format!("/v1/jobs/{wide}/tasks?limit=400&state=waiting")).await.len(), 1);

    // Marks on answers: index, replica, leader; a stale one says how stale; min_index waits.
    let leader = cluster.leader().await;
    for id in cluster.ids() {
        let fresh = cluster.at(id).get("/v1/jobs?limit=1").await.ok();
        assert_eq!(
            (fresh.header("quorate-replica"), fresh.header("quorate-leader")),
            (&*id.to_string(), &*leader.to_string())
        );
        assert_eq!(fresh.header("quorate-staleness-ms"), "", "a linearizable read is not stale");
        let stale = cluster.at(id).get("/v1/jobs?limit=1&consistency=stale").await.ok();
        let staleness: u64 = stale.header("quorate-staleness-ms").parse().unwrap();
        assert!(staleness < 5_000, "replica {id} says {staleness} ms with everything in order");
        let written = api.post("/v1/jobs", &json!({"command": ["true"]})).await;
        let (index, new) = (written.json()["index"].as_u64().unwrap(), id_of(&written));
        assert_eq!(written.header("location"), format!("/v1/jobs/{new}"));
        assert!(written.index() >= index);
        let seen = cluster.at(id).get(&format!("/v1/jobs/{new}?consistency=stale&min_index={index}")).await.ok();
        assert!(seen.index() >= index);
        // Without help: linearizable reads on every replica see what was answered before.
        let written = id_of(&api.post("/v1/jobs", &json!({"command": ["true"]})).await.ok());
        cluster.at(id).get(&format!("/v1/jobs/{written}")).await.ok();
    }

    // A long poll ends when its time is over, and when the job ends.
    let waiting = api.submit(&json!({"name": "waiting", "command": ["true"]})).await;
    let started = Instant::now();
    let still = api.read(&format!("/v1/jobs/{waiting}?wait=300ms&until=finished")).await;
    assert!(
        started.elapsed() >= Duration::from_millis(300) && still["state"] == "pending",
        "{:?} {still}",
        started.elapsed()
    );
    let polls: Vec<_> = cluster
        .apis()
        .into_iter()
        .map(|api| tokio::spawn(async move { api.read(&format!("/v1/jobs/{waiting}?wait=60s&until=finished")).await }))
        .collect();
    cluster.start_worker("w").await;
    for poll in polls {
        let seen = tokio::time::timeout(PATIENCE, poll).await.expect("the long poll does not end").unwrap();
        assert_eq!(seen["state"], "succeeded", "{seen}");
    }
    assert!(api.read("/openapi.json").await["openapi"].as_str().unwrap().starts_with("3."));
    let metrics = api.get("/metrics").await.ok();
    assert!(metrics.text().contains("quorate_"), "{}", metrics.text());
    assert_eq!(api.get("/livez").await.status, 200);
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_streamed_resumed_and_filtered_on_every_replica() {
    let _turn = turn().await;
    let cluster = with_workers(&["w"]).await;
    let api = cluster.any();
    let first = api.submit(&json!({"name": "first", "tasks": [{"name": "t", "count": 3, "command": ["true"]}]})).await;
    api.ends_as(first, "succeeded").await;
    let all = cluster.events_agree(&[first]).await;
    assert!(all.iter().any(|event| event.kind == "worker.ready"));

    // Resumed after each event: the rest, and nothing twice, whichever replica is asked.
    let apis = cluster.apis();
    for (nth, event) in all.iter().enumerate() {
        let cursor = event.raw["cursor"].as_str().unwrap();
        let headers = [("last-event-id", cursor), ("accept", "application/x-ndjson")];
        let path = format!("/v1/events?until=now&min_index={}", all.last().unwrap().at.0);
        let answer = apis[nth % 3].send(reqwest::Method::GET, &path, &headers, Vec::new()).await.unwrap().ok();
        let rest: Vec<Event> = answer.text().lines().map(Event::parse).collect();
        assert_eq!(
            rest.iter().map(|e| e.at).collect::<Vec<_>>(),
            all[nth + 1..].iter().map(|e| e.at).collect::<Vec<_>>()
        );
    }
    // Filters.
    let only = |query: &'static str| {
        let api = api.clone();
        async move {
            let headers = [("accept", "application/x-ndjson")];
            let path = format!("/v1/events?from=1&until=now{query}");
            let answer = api.send(reqwest::Method::GET, &path, &headers, Vec::new()).await.unwrap().ok();
            answer.text().lines().map(Event::parse).collect::<Vec<_>>()
        }
    };
    assert_eq!(only("&type=task.succeeded").await.len(), 3);
    assert_eq!(only("&type=job.submitted,job.succeeded").await.len(), 2);
    let of_job = only("&job=1").await;
    assert!(of_job.iter().all(|event| event.job == Some(first)));
    assert_eq!((of_job[0].kind.as_str(), of_job.last().unwrap().kind.as_str()), ("job.submitted", "job.succeeded"));

    // A live stream from every replica, as server-sent events: the id is the cursor, and it comes without asking again.
    let mut live = Vec::new();
    for api in cluster.apis() {
        let mut response = api.stream("/v1/events", &[]).await;
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        live.push(tokio::spawn(async move {
            let mut text = String::new();
            while !text.contains("job.succeeded") {
                text.push_str(&String::from_utf8_lossy(&response.chunk().await.unwrap().unwrap()));
            }
            text
        }));
    }
    let second = api.submit(&json!({"name": "second", "command": ["true"]})).await;
    for stream in live {
        let text = tokio::time::timeout(PATIENCE, stream).await.expect("the events of a job").unwrap();
        let mut ids = Vec::new();
        for block in text.split("\n\n").filter(|block| block.starts_with("id:")) {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
            let event = Event::parse(field("data:"));
            assert_eq!((field("id:"), field("event:")), (event.raw["cursor"].as_str().unwrap(), event.kind.as_str()));
            assert_eq!(event.job, Some(second));
            ids.push(event.at);
        }
        assert!(ids.is_sorted() && ids.len() >= 5, "{text}");
    }
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_gives_the_codes_it_promises() {
    let _turn = turn().await;
    let cluster = with_workers(&["w"]).await;
    let servers = cluster.urls();
    let run = |args: &'static [&'static str]| {
        let servers = servers.clone();
        async move { quorate(&servers, args, "").await }
    };
    let said: Ran = run(&["run", "--", "sh", "-c", "echo to stdout; echo to stderr >&2; exit 3"]).await.exits(3);
    assert_eq!(said.stdout, "to stdout\n", "{said:?}");
    assert!(said.stderr.contains("to stderr"), "{said:?}");
    let said = run(&["run", "--env", "WHO=you", "--", "sh", "-c", "echo hello $WHO"]).await.exits(0);
    assert_eq!(said.stdout, "hello you\n");
    let detached = run(&["run", "--detach", "--name", "detached", "--", "true"]).await.exits(0);
    let id = detached.stdout.trim().to_owned();
    let id = id.as_str();
    quorate(&servers, &["job", "wait", id], "").await.exits(0);
    assert!(quorate(&servers, &["job", "show", id], "").await.exits(0).stdout.contains("detached"));
    let shown = quorate(&servers, &["job", "show", id, "-o", "json"], "").await.exits(0);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!((&shown["name"], &shown["state"]), (&json!("detached"), &json!("succeeded")));

    // A job from standard input, waited for; one that fails; one that is none.
    quorate(&servers, &["job", "submit", "-", "--wait"], r#"{"command":["true"]}"#).await.exits(0);
    quorate(&servers, &["job", "submit", "-", "--wait"], r#"{"command":["false"]}"#).await.exits(1);
    let refused = quorate(&servers, &["job", "submit", "-"], r#"{"command":[]}"#).await.exits(5);
    assert!(refused.stderr.contains("/tasks/0/command") && refused.stdout.is_empty(), "{refused:?}");
    let many = "{\"command\":[\"true\"]}\n{\"command\":[\"true\"]}\n";
    let many = quorate(&servers, &["job", "submit", "-", "--wait"], many).await.exits(0);
    assert_eq!(many.stdout.lines().filter(|line| line.trim().parse::<u64>().is_ok()).count(), 2, "{many:?}");

    for missing in [
        &["job", "show", "999999"][..],
        &["job", "cancel", "999999"],
        &["worker", "show", "nobody"],
        &["job", "logs", "999999"],
    ] {
        let said = quorate(&servers, missing, "").await.exits(4);
        assert!(said.stderr.contains("error:") && said.stdout.is_empty(), "{said:?}");
    }
    for usage in [&["job"][..], &["job", "show", "x"], &["nonsense"], &["run"], &["job", "submit", "/nonexistent"]] {
        quorate(&servers, usage, "").await.exits(2);
    }
    let nowhere = format!("http://127.0.0.1:{}", support::ports::free("127.0.0.1"));
    let said = quorate(&nowhere, &["job", "list"], "").await.exits(3);
    assert!(said.stderr.contains("hint:"), "{said:?}");
    // One dead address among living ones does not matter.
    quorate(&format!("{nowhere},{servers}"), &["job", "list"], "").await.exits(0);
    for read in [
        &["job", "list"][..],
        &["job", "tasks", id],
        &["job", "logs", id],
        &["worker", "list"],
        &["worker", "show", "w"],
        &["cluster", "status"],
    ] {
        quorate(&servers, read, "").await.exits(0);
        let json = quorate(&servers, &[read, &["-o", "json"]].concat(), "").await;
        assert!(read[1] == "logs" || serde_json::from_str::<Value>(&json.stdout).is_ok(), "{read:?}: {json:?}");
    }
    quorate(&servers, &["worker", "drain", "w"], "").await.exits(0);
    cluster.any().worker_is("w", "draining").await;
    quorate(&servers, &["worker", "undrain", "w"], "").await.exits(0);
    quorate(&servers, &["job", "cancel", id], "").await.exits(5);
    quorate(&servers, &["job", "forget", id], "").await.exits(0);
    quorate(&servers, &["job", "show", id], "").await.exits(4);
    cluster.finish();
}

/// Ctrl-C on `quorate run` cancels the job: nothing goes on without its user.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_run_cancels_its_job() {
    let _turn = turn().await;
    let cluster = with_workers(&["w"]).await;
    let mark = cluster.dir.join("pid");
    let script = format!("echo $$ > {}; sleep 1000", mark.display());
    let mut command = std::process::Command::new(support::process::QUORATE);
    support::process::clean(&mut command);
    command.env("QUORATE_SERVER", cluster.urls()).args(["run", "--", "sh", "-c", &script]);
    let own = format!("QUORATE_SERVER={}", cluster.urls());
    let run = tokio::spawn(cli::run(command, "", Duration::from_secs(60)));
    file_says(&mark, number).await;
    let client = sys::with_environment(&[own]).into_iter().find(|seen| seen.command.contains(" run -- ")).unwrap();
    assert!(sys::signal(client.pid, libc::SIGINT));
    let ran = run.await.unwrap().exits(130);
    assert!(ran.stderr.contains("cancel"), "{ran:?}");
    cluster.any().ends_as(1, "cancelled").await;
    assert!(cluster.workers["w"].attempts(None).is_empty());
    cluster.finish();
}
