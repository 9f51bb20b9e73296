//! Where tasks may run: the examples of docs/constraints.md on workers that differ, taints given and taken through
//! deaths of leaders, and what is refused.

use std::collections::BTreeMap;

use crate::support::cli::quorate;
use crate::support::cluster::WorkerSetup;
use crate::support::{Cluster, turn};
use serde_json::{Value, json};

async fn start(cluster: &mut Cluster, worker: &str, labels: &[&str], taints: &[&str]) {
    let labels = labels.iter().map(|label| ("--label", (*label).to_owned()));
    let args = labels.chain(taints.iter().map(|taint| ("--taint", (*taint).to_owned()))).collect();
    cluster.start_worker_with(worker, WorkerSetup { args, ..WorkerSetup::default() }).await;
}

async fn start_all(cluster: &mut Cluster) {
    start(cluster, "eu1", &["zone=eu", "mem_gb=16"], &[]).await;
    start(cluster, "eu2", &["zone=eu", "mem_gb=64"], &[]).await;
    start(cluster, "us1", &["zone=us", "mem_gb=64", "ssd=yes"], &[]).await;
    start(cluster, "ml1", &["mem_gb=512"], &["dedicated=ml"]).await;
}

/// The workers of each task of a job that has succeeded.
async fn workers_of(cluster: &Cluster, job: &Value) -> BTreeMap<String, Vec<String>> {
    let id = cluster.any().submit(job).await;
    cluster.any().ends_as(id, "succeeded").await;
    let mut workers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for task in cluster.any().tasks(id).await {
        let worker = task["worker"].as_str().unwrap().to_owned();
        workers.entry(task["task"].as_str().unwrap().to_owned()).or_default().push(worker);
    }
    workers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_page_go_where_they_say() {
    let _turn = turn().await;
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/constraints.md")).unwrap();
    let blocks = page.split("```json job\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let examples: Vec<Value> = blocks.map(|text| serde_json::from_str(text).unwrap()).collect();
    let mut cluster = Cluster::of_three().await;
    start_all(&mut cluster).await;
    let mut seen = Vec::new();
    for example in &examples {
        let workers = workers_of(&cluster, example).await;
        match example["name"].as_str().unwrap() {
            "required" => assert_eq!(workers["main"], ["eu2"]),
            "preferred" => assert_eq!(workers["main"], ["us1"]),
            "tolerant" => assert_eq!(workers["main"], ["ml1"]),
            "apart" => {
                let mut stores = workers["store"].clone();
                stores.sort();
                assert_eq!(stores.len(), 3);
                assert!(stores.iter().all(|store| ["eu1", "eu2", "us1"].contains(&store.as_str())), "{workers:?}");
            }
            // Its own job does not count.
            "shop" => assert_eq!(workers["serve"].len(), 2),
            other => panic!("an example that nobody expects: {other}"),
        }
        seen.push(example["name"].as_str().unwrap());
    }
    assert_eq!(seen, ["required", "preferred", "tolerant", "apart", "shop"]);
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn taints_are_given_and_taken_whoever_leads() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    start_all(&mut cluster).await;
    let urls = cluster.urls();
    let say = async |args: &[&str], code| quorate(&urls, args, "").await.exits(code);
    for worker in ["eu1", "eu2", "us1"] {
        say(&["worker", "taint", worker, "closed", "reason=repair"], 0).await;
    }
    let shown = cluster.any().read("/v1/workers/eu1").await;
    assert_eq!(shown["taints"], json!(["closed", "reason=repair"]));
    let id = cluster
        .any()
        .submit(&json!({"tasks": [{"command": ["sleep", "30"], "anti_affinity": ["main"], "count": 2}]}))
        .await;
    let brave = json!({"command": ["true"], "tasks": null});
    assert_eq!(cluster.any().post("/v1/jobs", &brave).await.status, 201);
    let leader = cluster.leader().await;
    cluster.kill(leader);
    let tolerant = json!({"tasks": [{"command": ["true"], "tolerations": ["closed", "reason=repair"]}]});
    let on = workers_of(&cluster, &tolerant).await;
    assert!(["eu1", "eu2", "us1"].contains(&on["main"][0].as_str()), "{on:?}");
    let tasks = cluster.any().tasks(id).await;
    assert!(tasks.iter().all(|task| task["state"] == "pending"), "every worker is tainted: {tasks:?}");
    say(&["worker", "taint", "eu1"], 0).await;
    cluster.any().task_is(id, "main", 0, "running").await;
    let waits = cluster.any().task(id, "main", 1).await;
    assert_eq!(waits["state"], "pending", "two don't share a worker: {waits}");
    cluster.any().put("/v1/workers/us1/taints", &json!({"taints": []})).await.ok();
    let started = cluster.any().task_is(id, "main", 1, "running").await;
    assert_eq!(started["worker"], "us1");
    cluster.any().post(&format!("/v1/jobs/{id}/cancel"), &json!({})).await.ok();
    cluster.restart(leader).await;
    cluster.digests_agree().await;
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    start(&mut cluster, "w", &[], &[]).await;
    let task = |field: &str, value: Value| json!({"tasks": [{"command": ["true"], field: value}]});
    for (field, value) in [
        ("requires", json!(["a b"])),
        ("requires", json!(["mem>=lots"])),
        ("requires", json!("zone=eu")),
        ("prefers", json!([{"weight": 3}])),
        ("prefers", json!([{"condition": "a", "weight": 101}])),
        ("tolerations", json!(["=x"])),
        ("spread", json!([{"label": "zone"}])),
        ("spread", json!([{"label": "zone", "max": 0}])),
        ("anti_affinity", json!(["nobody"])),
        ("key", json!("a b")),
    ] {
        let refused = cluster.any().post("/v1/jobs", &task(field, value.clone())).await;
        let says = refused.text();
        assert!([400, 422].contains(&refused.status) && says.contains(field), "{field}: {value}: {says}");
    }
    for (body, says) in [
        (json!({}), "taints"),
        (json!({"taints": ["a=("]}), "taints"),
        (json!({"taints": ["a", "a"]}), "twice"),
        (json!({"taints": (0..17).map(|nth| format!("t{nth}")).collect::<Vec<_>>()}), "16"),
    ] {
        let refused = cluster.any().put("/v1/workers/w/taints", &body).await;
        assert!(refused.status == 400 && refused.text().contains(says), "{body}: {}", refused.text());
    }
    assert_eq!(cluster.any().put("/v1/workers/nobody/taints", &json!({"taints": []})).await.status, 404);
    assert_eq!(cluster.any().read("/v1/workers/w").await["taints"], json!([]));
    assert_eq!(cluster.any().read("/v1/jobs").await["items"], json!([]));
    cluster.finish();
}
