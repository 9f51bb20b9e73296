//! Tasks take turns, and what is movable moves to workers that join; leaders die meanwhile, and nothing is lost.

use std::time::Duration;

use crate::support::{Cluster, turn, wait_until};
use serde_json::{Value, json};

/// The elements that were ended for this reason, each as often as it was.
async fn ended_because(cluster: &Cluster, job: u64, reason: &str) -> Vec<u64> {
    let (events, _) = cluster.any().events(0).await;
    let ended = events.iter().filter(|event| {
        event.kind == "task.stopping"
            && event.raw["job"] == job
            && event.raw["reason"].as_str().is_some_and(|said| said.starts_with(reason))
    });
    ended.map(|event| event.raw["index"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_tasks_get_their_turn_and_long_ones_end() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker("a").await;
    cluster.any().put("/v1/policy", &json!({"queue": "round-robin", "quantum": "2s"})).await.ok();
    let of = |command: &[&str], count: u64| json!({"tasks": [{"command": command, "count": count, "resources": {"cpu": 2}, "grace": "1s"}]});
    // Two fill the worker, each for longer than three turns.
    let long = cluster.any().submit(&of(&["sleep", "5"], 2)).await;
    for index in 0..2 {
        cluster.any().task_is(long, "main", index, "running").await;
    }
    let short = cluster.any().submit(&of(&["true"], 1)).await;
    let leader = cluster.leader().await;
    cluster.kill(leader);
    cluster.any().ends_as(short, "succeeded").await;
    let made_room = ended_because(&cluster, long, "its turn is over").await.len();
    assert!((1..=2).contains(&made_room), "one made room; a new leader may have asked another one: {made_room}");
    // Another one as long takes turns with them, and all of them end.
    let other = cluster.any().submit(&of(&["sleep", "5"], 1)).await;
    cluster.restart(leader).await;
    for (job, elements) in [(long, 2), (other, 1)] {
        let done = cluster.any().ends_as(job, "succeeded").await;
        assert_eq!(done["tasks"]["succeeded"], elements, "{done}");
        for task in cluster.any().tasks(job).await {
            let attempts = task["attempts"].as_array().unwrap();
            assert!(attempts.len() <= 3, "slices of 2 s and 4 s, then more than 5 s: {attempts:?}");
        }
    }
    cluster.digests_agree().await;
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_movable_moves_to_a_worker_that_joins_and_stays_there() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker("a").await;
    cluster.any().put("/v1/policy", &json!({"rebalance": "on", "rebalance_share": 500})).await.ok();
    let task = json!({"command": ["sleep", "600"], "count": 3, "movable": true, "grace": "1s"});
    let movable = cluster.any().submit(&json!({"tasks": [task]})).await;
    let fixed = cluster.any().submit(&json!({"command": ["sleep", "600"]})).await;
    let running = async |cluster: &Cluster| -> Vec<Value> {
        let workers = cluster.any().all("/v1/workers").await;
        workers.iter().map(|worker| worker["running"].clone()).collect()
    };
    for index in 0..3 {
        cluster.any().task_is(movable, "main", index, "running").await;
    }
    cluster.any().task_is(fixed, "main", 0, "running").await;
    assert_eq!(running(&cluster).await, [4]);
    cluster.start_worker("b").await;
    wait_until("both have as much to do", Duration::from_secs(60), async || {
        (running(&cluster).await == [2, 2]).then_some(())
    })
    .await;
    let moved = ended_because(&cluster, movable, "moved to even out").await;
    assert_eq!(moved.len(), 2, "{moved:?}");
    for index in &moved {
        let task = cluster.any().task_is(movable, "main", *index, "running").await;
        assert_eq!(task["worker"], "b", "it is where it was meant to go: {task}");
    }
    // Another leader finds it even, also after it has looked around.
    let leader = cluster.leader().await;
    cluster.kill(leader);
    let more = cluster.any().submit(&json!({"command": ["sleep", "11"]})).await;
    cluster.any().ends_as(more, "succeeded").await;
    assert_eq!(ended_because(&cluster, movable, "moved to even out").await, moved);
    assert!(ended_because(&cluster, fixed, "").await.is_empty(), "it does not say that it may be moved");
    cluster.restart(leader).await;
    for job in [movable, fixed] {
        cluster.any().post(&format!("/v1/jobs/{job}/cancel"), &json!({})).await.ok();
        cluster.any().ends_as(job, "cancelled").await;
    }
    cluster.digests_agree().await;
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_stay_apart_by_their_labels() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker("a").await;
    let api = cluster.any();
    let web = api.submit(&json!({"labels": {"app": "web"}, "command": ["sleep", "600"]})).await;
    api.task_is(web, "main", 0, "running").await;
    let apart = json!({"tasks": [{"command": ["true"], "anti_affinity": [{"label": "app=web"}]}]});
    let picky = api.submit(&apart).await;
    let explained = api.read(&format!("/v1/jobs/{picky}/tasks/main/0/explain")).await;
    let obstacle = &explained["workers"]["listed"][0]["obstacles"][0];
    assert_eq!(*obstacle, json!({"kind": "shunned", "job": web, "label": "app=web"}), "{explained}");
    cluster.start_worker("b").await;
    cluster.any().ends_as(picky, "succeeded").await;
    assert_eq!(cluster.any().tasks(picky).await[0]["worker"], "b");
    for (body, pointer) in [
        (json!({"tasks": [{"command": ["x"], "anti_affinity": [{"label": "app"}]}]}), "anti_affinity"),
        (json!({"tasks": [{"command": ["x"], "anti_affinity": ["main", "main"]}]}), "/tasks/0/anti_affinity/1"),
        (json!({"movable": true, "tasks": [{"command": ["x"]}]}), "/movable"),
        (json!({"tasks": [{"command": ["x"], "movable": "yes"}]}), "movable"),
    ] {
        let refused = cluster.any().post("/v1/jobs", &body).await;
        assert!([400, 422].contains(&refused.status), "{body}: {}", refused.status);
        assert!(refused.text().contains(pointer), "{body}: {}", refused.text());
    }
    for body in [json!({"quantum": "10ms"}), json!({"rebalance": "maybe"}), json!({"rebalance_share": 0})] {
        let refused = cluster.any().put("/v1/policy", &body).await;
        let field = body.as_object().unwrap().keys().next().unwrap();
        assert!(refused.status == 400 && refused.text().contains(field), "{body}: {}", refused.text());
    }
    cluster.any().post(&format!("/v1/jobs/{web}/cancel"), &json!({})).await.ok();
    cluster.any().ends_as(web, "cancelled").await;
    cluster.digests_agree().await;
    cluster.finish();
}
