//! Jobs that have left memory: others still get their results, and they run again when they are retried.

use serde_json::{Value, json};

use crate::support::{Cluster, PATIENCE, turn, wait_until};

/// Finished jobs in memory; what ended before them goes to the archive.
const CROWD: usize = 10_001;

/// Has so many others end after a job that it leaves memory.
async fn leaves_memory(cluster: &Cluster, job: u64) {
    let (api, lines) = (cluster.any(), "{\"tasks\":[{\"driver\":\"noop\"}]}\n".repeat(1_000));
    let ndjson = [("content-type", "application/x-ndjson")];
    for _ in 0..CROWD.div_ceil(1_000) {
        api.send(reqwest::Method::POST, "/v1/jobs", &ndjson, lines.clone().into_bytes()).await.unwrap();
    }
    wait_until("the job to leave memory", PATIENCE, async || {
        // Of a finished job in memory its state is the reason.
        let refused = api.post(&format!("/v1/jobs/{job}/pause"), &Value::Null).await;
        assert_eq!(refused.status, 409, "{}", refused.text());
        refused.text().contains("archive").then_some(())
    })
    .await;
}

/// What a task that needs the job finds of it.
async fn inputs(cluster: &Cluster, job: u64, name: &str) -> Value {
    let seen = cluster.dir.join(name);
    let read = format!("cp $QUORATE_INPUTS {}-$QUORATE_INDEX", seen.display());
    let then = json!({"tasks": [{"count": 2, "command": ["sh", "-c", read], "needs": [{"job": job, "on": "finish"}]}]});
    let then = cluster.any().submit(&then).await;
    assert_eq!(cluster.any().finished(then, PATIENCE).await["state"], "succeeded");
    let files = [0, 1].map(|at| std::fs::read(cluster.dir.join(format!("{name}-{at}"))).unwrap());
    assert_eq!(files[0], files[1]);
    let mut inputs: Value = serde_json::from_slice(&files[0]).unwrap();
    assert_eq!((&inputs["needs"], &inputs["left_out"]), (&json!({}), &json!([])));
    inputs["jobs"][job.to_string()].take()
}

fn sh(script: &str) -> Value {
    json!(["sh", "-c", script])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_flow_from_the_archive() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker("w").await;
    let left = sh("printf $QUORATE_INDEX > $QUORATE_RESULT");
    let first = json!({"tasks": [
        {"name": "array", "count": 300, "command": left},
        {"name": "skipped", "count": 2, "command": ["true"], "needs": [{"task": "array", "on": "failure"}]}]});
    let first = cluster.any().submit(&first).await;
    cluster.any().finished(first, PATIENCE).await;
    leaves_memory(&cluster, first).await;
    let array: Vec<Value> =
        (0..300).map(|at| json!({"index": at, "state": "succeeded", "result": at.to_string()})).collect();
    let skipped: Vec<Value> = (0..2).map(|at| json!({"index": at, "state": "cancelled", "result": null})).collect();
    let job = json!({"state": "succeeded", "tasks": {"array": array, "skipped": skipped}});
    assert_eq!(inputs(&cluster, first, "seen").await, job);
    cluster.finish();
}

/// The failure of the night is mended in the morning: what had succeeded is not run again, whoever leads by then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_of_the_archive_run_again_whatever_dies() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker("w").await;
    let (mended, runs) = (cluster.dir.join("mended"), cluster.dir.join("runs"));
    let job = json!({"idempotency_key": "nightly", "tasks": [
        {"name": "good", "command": sh(&format!("echo ran | tee -a {} > $QUORATE_RESULT", runs.display()))},
        {"name": "bad", "needs": ["good"], "command": sh(&format!("echo tried; test -e {}", mended.display()))},
        {"name": "after", "needs": ["bad"], "command": sh("printf done > $QUORATE_RESULT")}]});
    let id = cluster.any().submit(&job).await;
    assert_eq!(cluster.any().finished(id, PATIENCE).await["state"], "failed");
    let result = sh("head -c 60000 /dev/zero | tr '\\0' x > $QUORATE_RESULT");
    let large = json!({"tasks": [{"name": "a", "count": 600, "command": result, "resources": {"cpu": 0.1}}]});
    let large = cluster.any().submit(&large).await;
    assert_eq!(cluster.any().finished(large, PATIENCE).await["state"], "succeeded");
    leaves_memory(&cluster, large).await;
    let before = inputs(&cluster, id, "before").await;
    assert_eq!((&before["state"], &before["tasks"]["good"][0]["result"]), (&json!("failed"), &json!("ran\n")));

    let follower = cluster.at(cluster.follower().await);
    let retry = |id: u64| format!("/v1/jobs/{id}/retry");
    let refused = follower.post(&retry(large), &Value::Null).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "conflict"));
    assert!(refused.text().contains("too large to come back"), "{}", refused.text());
    let refused = follower.post(&retry(id), &json!({"from": "nosuch"})).await;
    assert_eq!((refused.status, refused.code().as_str()), (404, "not_found"), "{}", refused.text());
    std::fs::write(&mended, "").unwrap();
    follower.post(&retry(id), &json!({"failed": true})).await.ok();
    let leader = cluster.leader().await;
    cluster.kill(leader);
    let job = cluster.any().finished(id, PATIENCE).await;
    assert_eq!(job["state"], "succeeded");
    assert_eq!(std::fs::read_to_string(&runs).unwrap(), "ran\n", "a task that had succeeded ran again");
    let bad = cluster.any().task(id, "bad", 0).await;
    assert_eq!((&bad["attempt"], bad["attempts"].as_array().unwrap().len()), (&json!(2), 2));
    let first = format!("/v1/jobs/{id}/tasks/bad/0/logs?attempt=1");
    assert_eq!(cluster.any().get(&first).await.text(), "tried\n", "what the first attempt said is there still");
    let again = json!({"idempotency_key": "nightly", "command": ["true"]});
    assert_eq!(cluster.any().post("/v1/jobs", &again).await.code(), "idempotency_conflict", "its key is still taken");

    // The new end is what counts from then on.
    cluster.restart(leader).await;
    leaves_memory(&cluster, id).await;
    let after = inputs(&cluster, id, "after").await;
    assert_eq!((&after["state"], &after["tasks"]["after"][0]["result"]), (&json!("succeeded"), &json!("done")));
    cluster.digests_agree().await;
    cluster.events_agree(&[id]).await;
    cluster.finish();
}
