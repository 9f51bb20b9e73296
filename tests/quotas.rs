//! What namespaces are entitled to: the examples of docs/namespaces.md, a quota that is given back while the leader
//! dies, the command line, and what is refused.

use std::time::Duration;

use crate::support::cli::quorate;
use crate::support::{Cluster, turn, wait_until};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// The examples of the page behind this fence, in order.
fn examples(fence: &str) -> Vec<Value> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/namespaces.md")).unwrap();
    let fence = format!("```{fence}\n");
    let blocks = page.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.map(|text| serde_json::from_str(text).unwrap()).collect()
}

async fn entitle(cluster: &Cluster, namespace: &str, rules: &Value) {
    cluster.any().put(&format!("/v1/namespaces/{namespace}"), rules).await.ok();
}

/// Waits until a namespace has so many live attempts; at no time may `web` hold more than its limit.
async fn live_are(cluster: &Cluster, namespace: &str, live: u64) {
    let path = format!("/v1/namespaces/{namespace}");
    wait_until(&format!("{live} live attempts of {namespace}"), PATIENCE, async || {
        let web = cluster.any().read("/v1/namespaces/web").await;
        let (held, limit) = (&web["held"]["cpu"], &web["rules"]["limit"]["cpu"]);
        assert!(limit.is_null() || held.as_u64() <= limit.as_u64(), "{web}");
        (cluster.any().read(&path).await["live"] == live).then_some(())
    })
    .await;
}

async fn cancel(cluster: &Cluster, id: u64) {
    cluster.any().post(&format!("/v1/jobs/{id}/cancel"), &json!({})).await.ok();
    cluster.any().ends_as(id, "cancelled").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_page_do_what_it_says_whoever_leads() {
    let _turn = turn().await;
    let (rules, jobs) = (examples("json rules"), examples("json job"));
    let ([limit, quota], [limited, borrows, owns]) = (&rules[..], &jobs[..]) else { panic!("{rules:?} {jobs:?}") };
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker("w").await;

    entitle(&cluster, "web", limit).await;
    let id = cluster.any().submit(limited).await;
    live_are(&cluster, "web", 2).await;
    let explained = cluster.any().read(&format!("/v1/jobs/{id}/tasks/a/2/explain")).await;
    let says = "Namespace web holds 2 cores and may hold 2 cores; it asks for 1 core.";
    assert!(explained["sentences"].as_array().unwrap().contains(&json!(says)), "{explained}");
    let wait = json!({"kind": "namespace_limit", "namespace": "web", "resource": "cpu", "asked": 1, "held": 2, "limit": 2, "ahead": 0});
    assert_eq!(explained["waits_for"], json!([wait]));
    // What would wait says so before it is submitted.
    let dry = cluster.any().post("/v1/jobs?dry_run=true", limited).await.ok().json();
    assert!(dry["explanation"].to_string().contains("namespace_limit"), "{dry}");
    cancel(&cluster, id).await;

    entitle(&cluster, "web", quota).await;
    let borrower = cluster.any().submit(borrows).await;
    live_are(&cluster, "batch", 4).await;
    let leader = cluster.leader().await;
    cluster.kill(leader);
    let owner = cluster.any().submit(owns).await;
    live_are(&cluster, "web", 2).await;
    live_are(&cluster, "batch", 2).await;
    cluster.restart(leader).await;
    let explained = cluster.any().read(&format!("/v1/jobs/{owner}/tasks/a/2/explain")).await;
    assert_eq!(explained["queue"]["quota"]["covered"], false, "{explained}");
    assert_eq!(explained["queue"]["quota"]["amounts"], json!([{"resource": "cpu", "held": 2, "quota": 2}]));

    let tasks = cluster.any().tasks(borrower).await;
    let running = tasks.iter().filter(|task| task["state"] == "running").count();
    assert_eq!(running, 2, "what is within the quota takes no more than the quota: {tasks:?}");
    let metrics = cluster.any().get("/metrics").await.text();
    assert!(metrics.contains(r#"quorate_namespace_quota{namespace="web",resource="cpu"} 2"#), "{metrics}");
    assert!(metrics.contains(r#"quorate_namespace_held{namespace="web",resource="cpu"} 2"#), "{metrics}");
    for id in [borrower, owner] {
        cancel(&cluster, id).await;
    }
    cluster.digests_agree().await;
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_set_listed_and_reset_and_what_makes_no_sense_is_refused() {
    let _turn = turn().await;
    let cluster = Cluster::of_three().await;
    let urls = cluster.urls();
    let say = async |args: &[&str], code| quorate(&urls, args, "").await.exits(code);
    say(&["namespace", "set", "web", "--quota", "cpu=2,memory=1GiB", "--weight", "3"], 0).await;
    say(&["namespace", "set", "web", "--limit", "cpu=4", "--max-unfinished", "5", "--reclaim", "never"], 0).await;
    let rules = json!({"weight": 3, "quota": {"cpu": 2, "memory": 1_u64 << 30}, "limit": {"cpu": 4}, "reclaim": "never",
                       "max_unfinished": 5});
    let shown = cluster.any().read("/v1/namespaces/web").await;
    assert_eq!((&shown["rules"], &shown["recorded"]), (&rules, &json!(true)), "what a change leaves out stays");
    let table = say(&["namespace", "show", "web"], 0).await.stdout;
    assert!(table.contains("cpu=2,memory=1GiB"), "{table}");

    let later =
        |count| json!({"namespace": "web", "start_after": "1h", "tasks": [{"command": ["true"], "count": count}]});
    let waiting = cluster.any().submit(&later(3)).await;
    for (count, status, code) in [(3, 429, "overloaded"), (6, 409, "conflict")] {
        let refused = cluster.any().post("/v1/jobs", &later(count)).await;
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{}", refused.text());
    }
    say(&["job", "cancel", &waiting.to_string()], 0).await;

    cluster.any().submit(&json!({"namespace": "lab", "command": ["true"]})).await;
    say(&["namespace", "set", "zoo", "--limit", "gpu=0"], 0).await;
    let names = async |query: &str| {
        let page = cluster.any().read(&format!("/v1/namespaces{query}")).await;
        let items = page["items"].as_array().unwrap().iter().map(|item| item["name"].clone()).collect::<Vec<_>>();
        (items, page["next_cursor"].clone())
    };
    assert_eq!(names("").await, (vec![json!("lab"), json!("web"), json!("zoo")], Value::Null));
    assert_eq!(names("?limit=2").await, (vec![json!("lab"), json!("web")], json!("web")));
    assert_eq!(names("?limit=2&cursor=web").await, (vec![json!("zoo")], Value::Null));
    let nobody = cluster.any().read("/v1/namespaces/nobody").await;
    assert_eq!((&nobody["recorded"], &nobody["rules"]["weight"]), (&json!(false), &json!(1)));

    for (body, says) in [
        (json!({"weight": 0}), "/weight"),
        (json!({"weight": 1001}), "/weight"),
        (json!({"quota": {"cpu": 2}, "limit": {"cpu": 1}}), "/limit/cpu"),
        (json!({"quota": {"cpu": -1}}), "/quota/cpu"),
        (json!({"limit": {"a b": 1}}), "/limit"),
        (json!({"limit": {"memory": "lots"}}), "/limit/memory"),
        (json!({"reclaim": "maybe"}), "/reclaim"),
        (json!({"max_unfinished": -1}), "/max_unfinished"),
        (json!({"share": 1}), "share"),
        (json!([1, {}, {}, "never", null]), "object"),
    ] {
        let refused = cluster.any().put("/v1/namespaces/web", &body).await;
        assert!(refused.status == 400 && refused.text().contains(says), "{body}: {}", refused.text());
    }
    assert_eq!(cluster.any().put("/v1/namespaces/a%20b", &json!({})).await.status, 404);
    assert_eq!(cluster.any().read("/v1/namespaces/web").await["rules"], rules, "nothing of that changed anything");
    say(&["namespace", "set", "web", "--weight", "0"], 5).await;
    say(&["namespace", "reset", "web"], 0).await;
    assert_eq!(cluster.any().read("/v1/namespaces/web").await["recorded"], false);
    assert_eq!(cluster.any().submit(&later(6)).await, 3);
    cluster.finish();
}
