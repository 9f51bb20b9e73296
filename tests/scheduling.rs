//! What `/v1/scheduling` says, beside what tasks, events and workers say themselves.

use std::time::Duration;

use crate::support::cli::quorate;
use crate::support::{Api, Cluster, WorkerSetup, turn, wait_until};
use quorate_types::Timestamp;
use serde_json::{Value, json};

/// Seconds since 1970.
fn seconds(time: &Value) -> f64 {
    let time = time.as_str().unwrap_or_else(|| panic!("no time: {time}"));
    let time: Timestamp = time.parse().unwrap_or_else(|e| panic!("{time}: {e}"));
    time.0 as f64 / 1000.0
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

#[track_caller]
fn near(found: &Value, expected: f64, off: f64) {
    let found = number(found);
    assert!((found - expected).abs() <= off, "{found} instead of {expected}");
}

/// One window of the answer of a replica.
async fn window(api: &Api, query: &str) -> (Value, Value) {
    let view = api.read(&format!("/v1/scheduling?{query}")).await;
    let windows = view["windows"].as_array().unwrap();
    assert_eq!(windows.len(), 1, "{view}");
    (view.clone(), windows[0].clone())
}

/// A finished task in seconds: how long it waited, ran, and took from its submission.
struct Took {
    wait: f64,
    run: f64,
    completion: f64,
}

async fn took(api: &Api, job: u64) -> Vec<Took> {
    let submitted = seconds(&api.job(job).await["submitted_at"]);
    let tasks = api.tasks(job).await;
    let took = tasks.iter().map(|task| {
        let (started, finished) = (seconds(&task["started_at"]), seconds(&task["finished_at"]));
        Took { wait: started - submitted, run: finished - started, completion: finished - submitted }
    });
    took.collect()
}

fn mean(values: impl Iterator<Item = f64> + Clone) -> f64 {
    values.clone().sum::<f64>() / values.count() as f64
}

/// What the answer must be of these tasks.
fn check_tasks(window: &Value, took: &[Took]) {
    assert_eq!(window["finished"], json!({"succeeded": took.len(), "failed": 0}), "{window}");
    near(&window["average_task_completion_time_s"], mean(took.iter().map(|took| took.completion)), 1e-6);
    near(&window["wait_s"]["mean"], mean(took.iter().map(|took| took.wait)), 1e-6);
    let slowdown = |took: &Took| ((took.wait + took.run) / took.run.max(10.0)).max(1.0);
    near(&window["bounded_slowdown"], mean(took.iter().map(slowdown)), 1e-6);
    let mut waits: Vec<f64> = took.iter().map(|took| took.wait).collect();
    waits.sort_by(f64::total_cmp);
    for (name, part) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
        let exact = waits[(waits.len() as f64 * part).ceil() as usize - 1];
        near(&window["wait_s"][name], exact, exact / 16.0 + 1e-6);
    }
}

/// Seconds for which attempts of a job held what they were assigned.
async fn held(api: &Api, job: u64) -> f64 {
    let (events, _) = api.events(1).await;
    let assigned = |event: &&crate::support::events::Event| event.job == Some(job) && event.kind == "task.assigned";
    let began: f64 = events.iter().filter(assigned).map(|event| seconds(&event.raw["time"])).sum();
    let ended: f64 = api.tasks(job).await.iter().map(|task| seconds(&task["finished_at"])).sum();
    ended - began
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_replica_measures_what_happened() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker_with("w", WorkerSetup { cpu: "2", ..WorkerSetup::default() }).await;
    let api = cluster.any();
    let sleep = |namespace: &str, count: u32, cpu: u32| {
        let task = json!({"name": "main", "command": ["sleep", "1"], "count": count, "resources": {"cpu": cpu}});
        json!({"namespace": namespace, "tasks": [task]})
    };
    // Two at a time: two of them wait for a second.
    let web = api.submit(&sleep("web", 4, 1)).await;
    wait_until("two tasks to run and two to wait", Duration::from_secs(20), async || {
        let now = api.read("/v1/scheduling").await;
        (now["running"] == 2 && now["queued"] == 2 && now["workers"] == 1).then_some(())
    })
    .await;
    api.ends_as(web, "succeeded").await;
    let batch = api.submit(&sleep("batch", 1, 2)).await;
    api.ends_as(batch, "succeeded").await;

    let (of_web, of_batch) = (took(&api, web).await, took(&api, batch).await);
    let (held_by_web, held_by_batch) = (held(&api, web).await, held(&api, batch).await);
    let (attempts_s, core_s) = (held_by_web + held_by_batch, held_by_web + 2.0 * held_by_batch);
    let (events, _) = api.events(1).await;
    let ready = events.iter().find(|event| event.kind == "worker.ready").unwrap();
    let ready = seconds(&ready.raw["time"]);
    for id in cluster.ids() {
        let api = cluster.at(id);
        let (web, window_of_web) = window(&api, "window=1h&namespace=web").await;
        assert_eq!((&web["namespace"], &web["queued"], &web["running"]), (&json!("web"), &json!(0), &json!(0)));
        check_tasks(&window_of_web, &of_web);
        let queued_max = number(&window_of_web["queue_length"]["max"]);
        assert!((2.0..=4.0).contains(&queued_max), "two waited for the others: {window_of_web}");
        assert_eq!(window_of_web["fairness"], Value::Null);
        check_tasks(&window(&api, "window=1h&namespace=batch").await.1, &of_batch);
        let (_, nobody) = window(&api, "window=1h&namespace=nobody").await;
        assert_eq!((&nobody["finished"]["succeeded"], &nobody["wait_s"]), (&json!(0), &Value::Null));

        let (all, of_all) = window(&api, "window=1h").await;
        assert_eq!((&all["namespace"], &all["workers"]), (&Value::Null, &json!(1)));
        assert_eq!(of_all["finished"], json!({"succeeded": 5, "failed": 0}));
        let until = seconds(&all["until"]);
        near(&of_all["resource_utilisation"]["cpu"], core_s / (2.0 * (until - ready)), 0.002);
        near(&of_all["load_balance_degree"]["cpu"], 0.0, 1e-9);
        near(&of_all["resource_utilisation"]["memory"], 0.0, 1e-9);
        let measured = until - seconds(&of_all["from"]);
        near(&of_all["throughput_per_s"], 5.0 / measured, 1e-3);
        near(&of_all["running"], attempts_s / measured, 0.002);
        let fairness = number(&of_all["fairness"]);
        assert!(fairness > 0.5 && fairness <= 1.0, "{fairness}");
    }
    cluster.finish();
}

/// A replica knows what it saw, and says since when.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_away_says_so() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker("w").await;
    let run = async |cluster: &Cluster, count: u32| {
        let job = json!({"tasks": [{"name": "main", "driver": "noop", "count": count}]});
        let id = cluster.any().submit(&job).await;
        cluster.any().ends_as(id, "succeeded").await;
    };
    run(&cluster, 7).await;
    let away = cluster.follower().await;
    let (before, window_before) = window(&cluster.at(away), "window=5m").await;
    assert_eq!(window_before["finished"]["succeeded"], 7);
    assert!(seconds(&before["since"]) <= seconds(&before["until"]), "{before}");
    cluster.kill(away);
    cluster.restart(away).await;
    cluster.ready(away).await;
    let (after, window_after) = window(&cluster.at(away), "window=5m").await;
    assert!(seconds(&after["since"]) >= seconds(&before["until"]), "{after} after {before}");
    assert_eq!(window_after["finished"]["succeeded"], 0, "what it replays from the log was before: {after}");
    assert_eq!(after["workers"], 1, "what is there, it knows");
    run(&cluster, 3).await;
    let succeeded = async |id| window(&cluster.at(id), "window=5m").await.1["finished"]["succeeded"].clone();
    assert_eq!(succeeded(away).await, 3);
    for id in cluster.ids().into_iter().filter(|id| *id != away) {
        assert_eq!(succeeded(id).await, 10, "replica {id}");
    }
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_that_make_no_sense_and_answers_for_people_and_machines() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker("w").await;
    let api = cluster.any();
    for (query, field) in [
        ("window=2m", "window"),
        ("window=", "window"),
        ("window=1m&window=5m", "window"),
        ("namespace=a/b", "namespace"),
        ("namespace=", "namespace"),
        ("windows=1m", "windows"),
    ] {
        let refused = api.get(&format!("/v1/scheduling?{query}")).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, "invalid_json"), "{query}");
        let says = refused.json()["errors"][0]["detail"].as_str().unwrap().to_owned();
        assert!(says.starts_with(&format!("{field}:")), "{query}: {says}");
    }
    let view = api.read("/v1/scheduling").await;
    let windows: Vec<&str> =
        view["windows"].as_array().unwrap().iter().map(|it| it["window"].as_str().unwrap()).collect();
    assert_eq!(windows, ["1m", "5m", "1h", "24h"]);

    let job = json!({"namespace": "web", "tasks": [{"name": "main", "driver": "noop", "count": 3}]});
    let id = api.submit(&job).await;
    api.ends_as(id, "succeeded").await;
    let say = async |args: &[&str], code| quorate(&cluster.urls(), args, "").await.exits(code).stdout;
    let shown = say(&["cluster", "scheduling", "--namespace", "web", "--window", "5m", "-o", "json"], 0).await;
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!((&shown["namespace"], &shown["windows"][0]["finished"]["succeeded"]), (&json!("web"), &json!(3)));
    let table = say(&["cluster", "scheduling"], 0).await;
    let succeeded = table.lines().find(|line| line.starts_with("succeeded")).unwrap();
    assert_eq!(succeeded.split_whitespace().collect::<Vec<_>>(), ["succeeded", "3", "3", "3", "3"], "{table}");
    say(&["cluster", "scheduling", "--window", "2m"], 2).await;
    check_metrics(&api.get("/metrics").await.ok().text());
    cluster.finish();
}

/// Names by the conventions: a prefix, and the unit at the end. And what they say is what the API says.
fn check_metrics(text: &str) {
    let samples: Vec<(&str, &str)> = text
        .lines()
        .filter(|line| line.starts_with("quorate_scheduling_"))
        .map(|line| line.rsplit_once(' ').unwrap())
        .collect();
    for (series, value) in &samples {
        let name = series.split('{').next().unwrap();
        let ends_in_unit = ["_seconds", "_ratio", "_total", "_tasks"].iter().any(|unit| name.ends_with(unit));
        assert!(ends_in_unit && value.parse::<f64>().is_ok(), "{series} {value}");
        assert!(text.contains(&format!("# TYPE {name} ")), "{name} has no type");
    }
    for expected in [
        ("quorate_scheduling_tasks_finished_total{result=\"succeeded\"}", "3"),
        ("quorate_scheduling_namespace_tasks_finished_total{namespace=\"web\",result=\"succeeded\"}", "3"),
        ("quorate_scheduling_bounded_slowdown_ratio{window=\"24h\"}", "1"),
    ] {
        assert!(samples.contains(&expected), "{expected:?} is missing in {samples:?}");
    }
    for part in [
        "quorate_scheduling_utilisation_ratio{window=\"1m\",resource=\"cpu\"}",
        "quorate_scheduling_load_balance_degree_ratio{window=\"1h\",resource=\"memory\"}",
        "quorate_scheduling_wait_seconds{window=\"5m\",quantile=\"0.9\"}",
        "quorate_scheduling_queued_max_tasks{window=\"1m\"}",
        "quorate_scheduling_namespace_wait_mean_seconds{namespace=\"web\",window=\"5m\"}",
    ] {
        assert!(samples.iter().any(|(series, _)| *series == part), "{part} is missing in {samples:?}");
    }
}
