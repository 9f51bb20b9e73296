//! What is urgent gets room at once, through the death of the leader that made it, and what had to make room is done
//! in the end.

use crate::support::{Cluster, turn};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preemption_loses_nothing() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    for worker in ["a", "b"] {
        cluster.start_worker(worker).await;
    }
    // The first attempt of each runs until it is ended, the next ones at once.
    let script = "[ $QUORATE_ATTEMPT -gt 1 ] || sleep 600";
    let patient = json!({"priority": 20, "tasks": [{"command": ["sh", "-c", script], "count": 8, "grace": "1s"}]});
    let low = cluster.any().submit(&patient).await;
    for index in 0..8 {
        cluster.any().task_is(low, "main", index, "running").await;
    }
    let polite = json!({"priority": 70, "tasks": [{"command": ["true"]}]});
    let waits = cluster.any().submit(&polite).await;
    let urgent = json!({
        "priority": 80, "preempt": "lower",
        "tasks": [{"command": ["sleep", "1"], "count": 2, "resources": {"cpu": 3}}],
    });
    let high = cluster.any().submit(&urgent).await;
    let leader = cluster.leader().await;
    cluster.kill(leader);
    cluster.any().ends_as(high, "succeeded").await;
    let (events, _) = cluster.any().events(0).await;
    let ended: Vec<_> = events
        .iter()
        .filter(|event| {
            event.kind == "task.stopping"
                && event.raw["reason"].as_str().is_some_and(|reason| reason.contains("preempted"))
        })
        .collect();
    assert!((6..=8).contains(&ended.len()), "three cores of each worker were needed: {ended:?}");
    cluster.any().ends_as(waits, "succeeded").await;
    for task in cluster.any().tasks(low).await {
        // What was ended runs again, or will.
        if task["state"] == "running" && task["attempts"].as_array().unwrap().len() == 1 {
            let path = format!("/v1/jobs/{low}/tasks/main/{}/reassign", task["index"]);
            cluster.any().post(&path, &json!({})).await.ok();
        }
    }
    let done = cluster.any().ends_as(low, "succeeded").await;
    assert_eq!(done["tasks"]["succeeded"], 8, "{done}");
    cluster.restart(leader).await;
    cluster.digests_agree().await;
    let refused = cluster.any().post("/v1/jobs", &json!({"command": ["true"], "preempt": "all"})).await;
    assert!([400, 422].contains(&refused.status) && refused.text().contains("preempt"), "{}", refused.text());
    cluster.finish();
}
