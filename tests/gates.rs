//! What tasks share: the examples of docs/gates.md, resources and locks through deaths of leaders and workers, and
//! what is refused.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::attempts::Seen;
use crate::support::cli::quorate;
use crate::support::events::Event;
use crate::support::{Cluster, Journal, PATIENCE, process, turn, wait_until};
use serde_json::{Value, json};

/// Licences that there are.
const TOTAL: usize = 2;
const LICENSED: u64 = 14;
const LOCKED: u64 = 8;
const KILLS: usize = 3;

async fn cluster() -> Cluster {
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker("a").await;
    cluster.start_worker("b").await;
    let total = TOTAL.to_string();
    quorate(&cluster.urls(), &["resource", "set", "matlab", "--total", &total], "").await.exits(0);
    cluster
}

async fn held(cluster: &Cluster) -> u64 {
    cluster.any().read("/v1/resources/matlab").await["held"].as_u64().unwrap()
}

fn binary() -> String {
    process::quorate().into_string().unwrap()
}

/// The times of events of a type, in milliseconds, in order.
fn times(events: &[Event], kind: &str, task: &str) -> Vec<u64> {
    let of = events.iter().filter(|event| event.kind == kind && event.task.as_deref() == Some(task));
    of.map(|event| event.raw["time"].as_str().unwrap().parse::<quorate_types::Timestamp>().unwrap().0).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_page_run() {
    let _turn = turn().await;
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/gates.md")).unwrap();
    let blocks = page.split("```json job\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let cluster = cluster().await;
    let mut seen = Vec::new();
    for mut example in blocks.map(|text| serde_json::from_str::<Value>(text).unwrap()) {
        let command = example.pointer_mut("/tasks/0/command/0").unwrap();
        if command == "quorate" {
            *command = json!(binary());
        }
        let id = cluster.any().submit(&example).await;
        cluster.any().ends_as(id, "succeeded").await;
        let (events, _) = cluster.any().events(1).await;
        let events: Vec<Event> = events.into_iter().filter(|event| event.job == Some(id)).collect();
        let count = |kind: &str| times(&events, kind, "main").len();
        match example["name"].as_str().unwrap() {
            "licensed" => {}
            "rated" => {
                let starts = times(&events, "task.assigned", "main");
                assert_eq!(starts.len(), 3);
                assert!(starts[2] >= starts[0] + 2_000, "two in two seconds: {starts:?}");
            }
            "locked" => assert_eq!((count("lock.acquired"), count("lock.released")), (3, 3)),
            other => panic!("an example that nobody expects: {other}"),
        }
        seen.push(example["name"].clone());
    }
    assert_eq!(seen, ["licensed", "rated", "locked"]);
    assert_eq!(held(&cluster).await, 0);
    cluster.digests_agree().await;
    cluster.finish();
}

/// How many of these attempts ran at one time at the most, by what they wrote themselves.
fn most_at_once(attempts: &[&Seen]) -> usize {
    let at_once = |at: Duration| attempts.iter().filter(|seen| seen.first <= at && at <= seen.last).count();
    attempts.iter().map(|seen| at_once(seen.first)).max().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn semaphores_hold_and_leak_nothing_whatever_dies() {
    let _turn = turn().await;
    let mut cluster = cluster().await;
    let journal = Journal::new(&cluster.dir);
    let mut licensed = journal.task("licensed", LICENSED, Duration::from_millis(600));
    licensed["cluster_resources"] = json!({"matlab": 1});
    let mut locked = journal.task("locked", LOCKED, Duration::from_millis(300));
    let command = locked["command"].as_array().unwrap().clone();
    let mut under_lock = vec![json!(binary()), json!("lock"), json!("run"), json!("db"), json!("--")];
    under_lock.extend(command);
    locked["command"] = json!(under_lock);
    locked["env"]["GRANDCHILD"] = json!("0");
    locked["resources"] = json!({"cpu": 0.1});
    let job = cluster.any().submit(&json!({"name": "shared", "tasks": [licensed, locked]})).await;
    for nth in 0..KILLS {
        let before = cluster.any().job(job).await["tasks"]["succeeded"].as_u64().unwrap();
        wait_until("the work to go on", PATIENCE, async || {
            let tasks = cluster.any().job(job).await["tasks"].clone();
            (tasks["succeeded"].as_u64().unwrap() >= before + 2).then_some(())
        })
        .await;
        let leader = cluster.leader().await;
        if nth == 0 {
            wait_until("something that holds a licence to run on a", PATIENCE, async || {
                let tasks = cluster.any().tasks(job).await;
                let on_a = |task: &Value| task["worker"] == "a" && task["state"] == "running";
                tasks.iter().any(|task| task["task"] == "licensed" && on_a(task)).then_some(())
            })
            .await;
            cluster.worker("a").process.kill();
        }
        cluster.kill(leader);
        if nth == 0 {
            cluster.worker("a").process.start();
        }
        cluster.restart(leader).await;
    }
    cluster.any().ends_as(job, "succeeded").await;
    let all: BTreeMap<String, Vec<Seen>> = journal.check();
    let of = |task: &str| -> Vec<&Seen> {
        all.iter().filter(|(element, _)| element.contains(task)).flat_map(|(_, seen)| seen).collect()
    };
    assert_eq!(most_at_once(&of("licensed")), TOTAL, "as many as there are, and no more");
    assert_eq!(most_at_once(&of("locked")), 1);
    let lost = of("licensed").iter().chain(&of("locked")).filter(|seen| !seen.ended).count();
    assert!(lost > 0, "nothing ran on the worker that was killed");
    let resource = cluster.any().read("/v1/resources/matlab").await;
    assert_eq!((&resource["held"], &resource["waiting"]), (&json!(0), &json!(0)), "{resource}");
    assert_eq!(cluster.any().all("/v1/locks").await, Vec::<Value>::new());
    cluster.digests_agree().await;
    let events = cluster.events_agree(&[job]).await;
    let holders = events.iter().filter(|event| event.raw["lock"] == "db");
    let held = holders.fold(0i32, |held, event| {
        let held = held + if event.kind == "lock.acquired" { 1 } else { -1 };
        assert!((0..=1).contains(&held), "{event:?}");
        held
    });
    assert_eq!(held, 0);
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zombie_gets_no_lock_and_its_token_is_refused() {
    let _turn = turn().await;
    let cluster = cluster().await;
    let api = cluster.any();
    let id = api.submit(&json!({"tasks": [{"name": "t", "command": ["sleep", "60"], "count": 2}]})).await;
    let fence = async |index: u64| {
        api.task_is(id, "t", index, "running").await;
        api.task(id, "t", index).await["attempts"].as_array().unwrap().last().unwrap()["fence"].clone()
    };
    let (zombie, other) = (fence(0).await, fence(1).await);
    let by = |index: u64, fence: &Value| json!({"job": id, "task": "t", "index": index, "fence": fence});
    let acquired = api.post("/v1/locks/db/acquire", &by(0, &zombie)).await.ok().json();
    let mut waits = by(1, &other);
    waits["wait"] = json!("1s");
    let place = api.post("/v1/locks/db/acquire", &waits).await;
    assert_eq!((place.status, &place.json()["place"]), (202, &json!(1)));
    let taken = api.post("/v1/locks/db/acquire", &by(1, &other)).await;
    assert_eq!((taken.status, taken.code().as_str()), (409, "conflict"));
    assert_eq!(taken.json()["retryable"], true);
    waits["wait"] = json!("60s");
    let (next, _) = tokio::join!(api.post("/v1/locks/db/acquire", &waits), async {
        api.post(&format!("/v1/jobs/{id}/tasks/t/0/reassign"), &json!({})).await.ok()
    });
    let next = next.ok().json();
    assert_eq!(next["holder"]["index"], 1);
    assert!(next["token"].as_u64() > acquired["token"].as_u64());
    fence(0).await;
    for (path, body) in
        [("acquire", by(0, &zombie)), ("release", by(0, &zombie)), ("check", json!({"token": acquired["token"]}))]
    {
        let refused = api.post(&format!("/v1/locks/db/{path}"), &body).await;
        assert_eq!((refused.status, refused.code().as_str()), (409, "conflict"), "{path}");
    }
    let token = next["token"].to_string();
    quorate(&cluster.urls(), &["lock", "check", "db", &token], "").await.exits(0);
    quorate(&cluster.urls(), &["lock", "check", "db", "1000000"], "").await.exits(5);
    let listed = quorate(&cluster.urls(), &["lock", "list"], "").await.exits(0);
    assert!(listed.stdout.contains("db") && listed.stdout.contains("t[1]"), "{listed:?}");
    api.post(&format!("/v1/jobs/{id}/cancel"), &json!({})).await.ok();
    api.ends_as(id, "cancelled").await;
    assert_eq!(api.get("/v1/locks/db").await.code(), "not_found");
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_refused_and_names_its_field() {
    let _turn = turn().await;
    let cluster = cluster().await;
    let api = cluster.any();
    let pointer =
        |answer: &crate::support::Answer| answer.json()["errors"][0]["pointer"].as_str().unwrap_or_default().to_owned();
    let task = |fields: Value| {
        let mut task = json!({"command": ["true"]});
        task.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"tasks": [task]})
    };
    for (fields, at) in [
        (json!({"cluster_resources": {"nobody": 1}}), "cluster_resources/nobody"),
        (json!({"cluster_resources": {"matlab": TOTAL + 1}}), "cluster_resources/matlab"),
        (json!({"cluster_resources": {"matlab": 0}}), "cluster_resources/matlab"),
        (json!({"cluster_resources": {"a b": 1}}), "cluster_resources/a b"),
        (json!({"rate": {"key": "k", "limit": 0, "per": "1s"}}), "rate/limit"),
        (json!({"rate": {"key": "k", "limit": 10_001, "per": "1s"}}), "rate/limit"),
        (json!({"rate": {"key": "k", "limit": 1, "per": "0s"}}), "rate/per"),
        (json!({"rate": {"key": "k", "limit": 1, "per": "32d"}}), "rate/per"),
        (json!({"rate": {"key": "k", "limit": 1, "per": "1s", "burst": 1}}), "rate/burst"),
        (json!({"rate": []}), "rate"),
    ] {
        let refused = api.post("/v1/jobs", &task(fields.clone())).await;
        assert_eq!((refused.status, refused.code().as_str()), (422, "invalid_job"), "{fields}");
        assert_eq!(pointer(&refused), format!("/tasks/0/{at}"), "{}", refused.text());
    }
    let claim = |fence: Value, wait: Value| json!({"job": 1, "task": "t", "index": 0, "fence": fence, "wait": wait});
    for (path, body, status, code) in [
        ("resources/m", json!({"total": -1}), 400, "invalid_json"),
        ("resources/m", json!({"total": 1_000_001}), 400, "invalid_json"),
        ("resources/m", json!({}), 400, "invalid_json"),
        ("resources/a%20b", json!({"total": 1}), 400, "invalid_json"),
    ] {
        let refused = api.put(&format!("/v1/{path}"), &body).await;
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{path} {body}");
    }
    for (body, status, code) in [
        (claim(json!(1), json!("1s")), 409, "conflict"),
        (claim(json!("x"), json!("1s")), 400, "invalid_json"),
        (claim(json!(1), json!("2m")), 400, "invalid_json"),
        (json!({}), 400, "invalid_json"),
    ] {
        let refused = api.post("/v1/locks/db/acquire", &body).await;
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{body}");
    }
    assert_eq!(api.delete("/v1/resources/nobody").await.code(), "not_found");
    let removed = quorate(&cluster.urls(), &["resource", "remove", "matlab"], "").await.exits(0);
    assert!(removed.stderr.contains("is removed"), "{removed:?}");
    cluster.finish();
}
