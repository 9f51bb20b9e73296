//! What the scheduler goes by: shown, changed while jobs run and leaders die, and seen in where tasks go.

use std::collections::BTreeMap;

use crate::support::cli::quorate;
use crate::support::{Cluster, turn};
use serde_json::{Value, json};

/// A policy whose parts besides these are what they are from the beginning.
fn policy(queue: &str, backfill: &str, placement: &str) -> Value {
    json!({
        "queue": queue, "backfill": backfill, "placement": placement,
        "quantum": "10m", "rebalance": "off", "rebalance_share": 100, "spread_label": "zone",
    })
}

/// The workers of a job's tasks, and how often each was chosen.
async fn chosen(cluster: &Cluster, id: u64) -> BTreeMap<String, usize> {
    let mut workers = BTreeMap::new();
    for task in cluster.any().tasks(id).await {
        let worker = task["attempts"][0]["worker"].as_str().unwrap();
        *workers.entry(worker.to_owned()).or_default() += 1;
    }
    workers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_holds_for_what_comes_next_and_outlives_its_leader() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    let api = cluster.any();
    assert_eq!(api.read("/v1/policy").await, policy("priority", "none", "best-fit"));
    let changed = api.put("/v1/policy", &json!({"placement": "least-jobs"})).await.ok();
    assert_eq!(changed.json(), policy("priority", "none", "least-jobs"));

    for worker in ["a", "b", "c", "d"] {
        cluster.start_worker(worker).await;
    }
    let wide = json!({"tasks": [{"command": ["sleep", "1"], "count": 8, "resources": {"cpu": 0.1}}]});
    let spread = cluster.any().submit(&wide).await;
    cluster.any().ends_as(spread, "succeeded").await;
    let counts: Vec<usize> = chosen(&cluster, spread).await.into_values().collect();
    assert_eq!(counts, [2, 2, 2, 2], "least-jobs");

    let leader = cluster.leader().await;
    cluster.kill(leader);
    assert_eq!(cluster.any().read("/v1/policy").await["placement"], "least-jobs");
    cluster.any().put("/v1/policy", &json!({"placement": "best-fit"})).await.ok();
    let packed = cluster.any().submit(&wide).await;
    cluster.restart(leader).await;
    cluster.any().ends_as(packed, "succeeded").await;
    assert_eq!(chosen(&cluster, packed).await.len(), 1, "best-fit packs all on one worker");

    // Each worker has its name for a label.
    let even = json!({"placement": "spread", "spread_label": "worker"});
    let changed = cluster.any().put("/v1/policy", &even).await.ok().json();
    assert_eq!((&changed["placement"], &changed["spread_label"]), (&even["placement"], &even["spread_label"]));
    let spread = cluster.any().submit(&wide).await;
    cluster.any().ends_as(spread, "succeeded").await;
    assert_eq!(chosen(&cluster, spread).await.into_values().collect::<Vec<_>>(), [2, 2, 2, 2], "spread");
    assert_eq!(cluster.any().read("/v1/policy").await, changed);
    cluster.digests_agree().await;
    cluster.finish();
}

/// Each order and each way to place in turn, while jobs of many sizes wait and a leader dies: nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switching_under_load_loses_nothing() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    for worker in ["a", "b"] {
        cluster.start_worker(worker).await;
    }
    let mut jobs = Vec::new();
    let mut killed = None;
    let document = cluster.any().read("/openapi.json").await;
    let names = |schema: &str| document["components"]["schemas"][schema]["enum"].as_array().unwrap().clone();
    let (queues, backfills, placements) = (names("QueueOrder"), names("Backfill"), names("PlacementOrder"));
    for nth in 0..placements.len().max(queues.len()) * 2 {
        let change = json!({
            "queue": queues[nth % queues.len()],
            "backfill": backfills[nth % backfills.len()],
            "placement": placements[nth % placements.len()],
            "quantum": "1s",
            "rebalance": if nth % 3 > 0 { "on" } else { "off" },
            "rebalance_share": 1_000,
            "spread_label": if nth % 2 == 0 { "zone" } else { "worker" },
        });
        let api = cluster.any();
        let changed = api.put("/v1/policy", &change).await.ok();
        assert_eq!(changed.json(), change);
        for size in 1..=4 {
            let cpu = f64::from(size) * 0.9;
            let task = json!({"command": ["sleep", "0.05"], "count": 3, "resources": {"cpu": cpu}, "expected": format!("{size}s"), "movable": true});
            jobs.push(api.submit(&json!({"priority": size * 20, "tasks": [task]})).await);
        }
        if nth == placements.len() {
            let leader = cluster.leader().await;
            cluster.kill(leader);
            killed = Some(leader);
        }
    }
    cluster.restart(killed.unwrap()).await;
    for id in jobs {
        cluster.any().ends_as(id, "succeeded").await;
        // Ended for another's sake or lost with the leader's word, each has succeeded once.
        for task in cluster.any().tasks(id).await {
            let attempts = task["attempts"].as_array().unwrap();
            let well = attempts.iter().filter(|attempt| attempt["state"] == "succeeded").count();
            assert_eq!(well, 1, "job {id}: {task}");
        }
    }
    cluster.digests_agree().await;
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_policy_is_refused_and_changes_nothing() {
    let _turn = turn().await;
    let cluster = Cluster::of_three().await;
    let api = cluster.any();
    for (body, says) in [
        (json!({"queue": "shortest"}), "queue"),
        (json!({"backfill": 3}), "backfill"),
        (json!({"backfill": "off"}), "conservative, on"),
        (json!({"order": "fifo"}), "order"),
        (json!({"placement": "spread", "spread_label": "a zone"}), "spread_label"),
        (json!([]), "object"),
    ] {
        let refused = api.put("/v1/policy", &body).await;
        assert_eq!(refused.status, 400, "{body}: {}", refused.text());
        assert!(refused.text().contains(says), "{body}: {}", refused.text());
    }
    let say = async |args: &[&str], code| quorate(&cluster.urls(), args, "").await.exits(code).stdout;
    let shown = say(&["policy", "show", "-o", "json"], 0).await;
    assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), policy("priority", "none", "best-fit"));
    let rest = "quantum          10m\nrebalance        off\nrebalance share  100 ‰\n";
    let set = say(&["policy", "set", "--queue", "sjf", "--backfill", "easy"], 0).await;
    assert_eq!(set, format!("queue            sjf\nbackfill         easy\nplacement        best-fit\n{rest}"));
    let on = say(&["policy", "set", "--backfill", "on", "--queue", "fifo"], 0).await;
    assert_eq!(
        on,
        format!("queue            fifo\nbackfill         easy-sjbf\nplacement        best-fit\n{rest}"),
        "a queue that is named stays"
    );
    api.put("/v1/policy", &json!({"backfill": "none", "placement": "worst-fit"})).await.ok();
    let on = api.put("/v1/policy", &json!({"backfill": "on"})).await.ok().json();
    assert_eq!(on, policy("aged-sjf", "easy-sjbf", "worst-fit"));
    assert_eq!(api.read("/v1/policy").await, on);
    let turns = say(&["policy", "set", "--queue", "round-robin", "--quantum", "5m", "--rebalance", "on"], 0).await;
    assert!(
        turns.contains("round-robin") && turns.contains("quantum          5m") && turns.contains("on\n"),
        "{turns}"
    );
    say(&["policy", "set", "--rebalance-share", "50", "--rebalance", "off", "--quantum", "10m"], 0).await;
    assert_eq!(api.read("/v1/policy").await["rebalance_share"], 50);
    say(&["policy", "set", "--rebalance-share", "0"], 2).await;
    say(&["policy", "set", "--quantum", "1ms"], 2).await;
    let over = say(&["policy", "set", "--placement", "spread", "--spread-label", "rack"], 0).await;
    assert!(over.contains("spread over rack\n"), "{over}");
    say(&["policy", "set"], 2).await;
    say(&["policy", "set", "--backfill", "off"], 2).await;
    say(&["policy", "set", "--queue", "shortest"], 2).await;
    cluster.finish();
}
