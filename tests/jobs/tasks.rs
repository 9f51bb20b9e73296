//! What a task gets, what it waits for, and how it ends.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{file_says, logs, sh, with_workers};
use crate::support::{Cluster, PATIENCE, turn, wait_until};

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
