//! Lists, long polls, output and events, through every replica.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{logs, sh, with_workers};
use crate::support::events::Event;
use crate::support::http::{id_of, raw};
use crate::support::{Cluster, PATIENCE, turn, wait_until};

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

/// On a leader that has nothing else to do, what can start at once shares the entry that made it possible.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_can_start_needs_no_commit_of_its_own() {
    let _turn = turn().await;
    let cluster = with_workers(&["w"]).await;
    let api = cluster.any();
    let chain = json!({"name": "chain", "tasks": [
        {"name": "a", "driver": "noop"}, {"name": "b", "driver": "noop", "needs": ["a"]},
    ]});
    let at = |events: &[Event], kind: &str, task: Option<&str>| {
        let found = events.iter().find(|event| event.kind == kind && event.task.as_deref() == task);
        found.unwrap_or_else(|| panic!("no {kind} of {task:?}")).at.0
    };
    // Another entry may be under way at that moment, but hardly each time.
    let (mut with_submission, mut with_result) = (0, 0);
    for _ in 0..10 {
        let job = api.submit(&chain).await;
        api.ends_as(job, "succeeded").await;
        let headers = [("accept", "application/x-ndjson")];
        let path = format!("/v1/events?from=1&until=now&job={job}");
        let answer = api.send(reqwest::Method::GET, &path, &headers, Vec::new()).await.unwrap().ok();
        let events: Vec<Event> = answer.text().lines().map(Event::parse).collect();
        with_submission += u32::from(at(&events, "task.assigned", Some("a")) == at(&events, "job.submitted", None));
        with_result += u32::from(at(&events, "task.assigned", Some("b")) == at(&events, "task.succeeded", Some("a")));
    }
    assert!(with_submission > 0 && with_result > 0, "{with_submission} and {with_result} of 10");
    // What shares an entry is counted too, by whoever led.
    let mut counted = 0;
    for api in cluster.apis() {
        let metrics = api.get("/metrics").await.ok().text();
        let line =
            metrics.lines().find_map(|line| line.strip_prefix("quorate_assignments_total{result=\"accepted\"} "));
        counted += line.map_or(0, |count| count.parse::<u32>().unwrap());
    }
    assert!(counted >= 20, "{counted} of 20 assignments were counted");
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

/// The connections of workers that the replicas count.
async fn sessions(cluster: &Cluster) -> u64 {
    let mut open = 0;
    for replica in cluster.replicas.values() {
        let request = b"GET /metrics HTTP/1.1\r\nHost: q\r\nConnection: close\r\n\r\n";
        let answer = raw(&replica.http, request).await.expect("no metrics");
        let text = answer.text();
        let gauge = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        open += gauge("quorate_worker_sessions ").expect("no such gauge");
        // This very connection, at least.
        assert!(gauge("quorate_http_connections ").is_some_and(|open| open > 0), "{text}");
    }
    open
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connection_of_a_worker_counts_for_as_long_as_it_is_open() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    assert_eq!(sessions(&cluster).await, 0);
    cluster.start_worker("w").await;
    assert_eq!(sessions(&cluster).await, 1);
    cluster.worker("w").process.kill();
    wait_until("the worker to be gone", PATIENCE, || async { (sessions(&cluster).await == 0).then_some(()) }).await;
    cluster.finish();
}
