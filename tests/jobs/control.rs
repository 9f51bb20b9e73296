//! What users do to jobs and workers.

use std::time::Duration;

use serde_json::{Value, json};

use super::{sh, with_workers};
use crate::support::http::id_of;
use crate::support::{PATIENCE, WorkerSetup, turn, wait_until};

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
    let may_end = cluster.dir.join("may-end");
    let waits = sh(&format!("until test -e {}; do sleep 0.05; done", may_end.display()));
    let keyed = json!({"name": "keyed", "command": waits, "idempotency_key": "once"});
    let first = id_of(&api.post("/v1/jobs", &keyed).await.ok());
    assert_eq!(api.delete(&format!("/v1/jobs/{first}")).await.status, 409, "it may not be finished");
    std::fs::write(&may_end, "").unwrap();
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

/// Two processes write down that they go on, one of which has left its process group. The worker's session breaks with
/// the leader meanwhile, wherever it ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_job_stands_still_with_all_its_processes_and_goes_on() {
    let _turn = turn().await;
    let mut cluster = with_workers(&["w"]).await;
    let api = cluster.any();
    let (own, left) = (cluster.dir.join("own"), cluster.dir.join("left"));
    let write = |file: &std::path::Path| format!("while :; do echo >> {}; sleep 0.01; done", file.display());
    let script = format!("setsid sh -c '{}' & {}", write(&left), write(&own));
    let id = api.submit(&json!({"command": sh(&script)})).await;
    let sizes = || [&own, &left].map(|file| std::fs::metadata(file).map_or(0, |file| file.len()));
    let both_grow_beyond = |[own, left]: [u64; 2]| async move {
        let [own_now, left_now] = sizes();
        (own_now > own && left_now > left).then_some(())
    };
    wait_until("both processes to write", PATIENCE, || both_grow_beyond([0, 0])).await;

    api.post(&format!("/v1/jobs/{id}/pause"), &json!({"freeze": true})).await.ok();
    let job = api.job(id).await;
    assert_eq!((&job["state"], &job["frozen"]), (&json!("paused"), &json!(true)));
    let stand_still = || async {
        let before = sizes();
        tokio::time::sleep(Duration::from_millis(300)).await;
        (sizes() == before).then_some(before)
    };
    let before = wait_until("both processes to stand still", PATIENCE, stand_still).await;
    let leader = cluster.leader().await;
    cluster.kill(leader);
    let api = cluster.any();
    wait_until("another leader", PATIENCE, || async { (cluster.leader().await != leader).then_some(()) }).await;
    assert_eq!(api.task(id, "main", 0).await["state"], "running");
    assert_eq!(sizes(), before, "they went on without being told");

    api.post(&format!("/v1/jobs/{id}/resume"), &Value::Null).await.ok();
    wait_until("both processes to go on", PATIENCE, || both_grow_beyond(before)).await;
    let job = api.job(id).await;
    assert_eq!((&job["state"], &job["frozen"]), (&json!("running"), &Value::Null));
    assert_eq!(api.task(id, "main", 0).await["attempt"], 1);

    // What stands still can be ended.
    api.post(&format!("/v1/jobs/{id}/pause"), &json!({"freeze": true})).await.ok();
    wait_until("both processes to stand still", PATIENCE, stand_still).await;
    api.post(&format!("/v1/jobs/{id}/cancel"), &Value::Null).await.ok();
    api.ends_as(id, "cancelled").await;
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_are_drained_and_tasks_are_moved() {
    let _turn = turn().await;
    let mut cluster = with_workers(&["a"]).await;
    let api = cluster.any();
    let journal = crate::support::Journal::new(&cluster.dir);
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
