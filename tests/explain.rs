//! Why tasks are where they are, what a submission would do, and the examples of docs/explain.md.

use crate::support::cli::quorate;
use crate::support::{Api, Cluster, WorkerSetup, turn};
use serde_json::{Value, json};

async fn explain(api: &Api, job: u64, task: &str, index: u64) -> Value {
    api.read(&format!("/v1/jobs/{job}/tasks/{task}/{index}/explain")).await
}

fn sleeper(cpu: u64) -> Value {
    json!({"name": "sleeper", "tasks": [{"name": "main", "command": ["sleep", "1000"], "resources": {"cpu": cpu}}]})
}

fn kinds(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["kind"].as_str().unwrap()).collect()
}

#[track_caller]
fn says(explanation: &Value, sentence: &str) {
    let said = explanation["sentences"].as_array().unwrap();
    assert!(said.iter().any(|said| said.as_str().unwrap().contains(sentence)), "{sentence:?} in {explanation:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_says_why_a_task_is_where_it_is() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker("w").await;
    let api = cluster.at(cluster.follower().await);
    let runs = api.submit(&sleeper(2)).await;
    api.task_is(runs, "main", 0, "running").await;
    let explained = explain(&api, runs, "main", 0).await;
    assert_eq!((&explained["attempt"]["worker"], &explained["attempt"]["number"]), (&json!("w"), &json!(1)));

    let wide = api.submit(&sleeper(4)).await;
    let explained = explain(&api, wide, "main", 0).await;
    let short = json!([{"kind": "short", "resource": "cpu", "asked": 4, "free": 2, "capacity": 4, "missing": 2}]);
    assert_eq!(explained["workers"]["listed"][0]["obstacles"], short, "{explained:#}");
    assert_eq!((&explained["queue"]["place"], &explained["queue"]["of"]), (&json!(1), &json!(1)));
    assert_eq!(explained["queue"]["policy"], "priority");
    assert_eq!(explained["start"], json!({"basis": "hold", "worker": "w"}));
    assert_eq!(explained["unblock"], json!(["w has 2 cores more free"]));

    let typo = json!({"tasks": [{"name": "main", "command": ["true"], "resources": {"gpuu": 1}}]});
    let typo = api.submit(&typo).await;
    let explained = explain(&api, typo, "main", 0).await;
    assert_eq!((&explained["workers"]["lacking"], &explained["workers"]["able"]), (&json!(["gpuu"]), &json!(0)));
    says(&explained, "No worker has the resource gpuu; they have cpu and memory");

    let flow = json!({"tasks": [{"name": "a", "command": ["true"], "count": 3},
                                {"name": "b", "command": ["true"], "needs": ["a", {"job": runs}]}]});
    let flow = api.submit(&flow).await;
    let explained = explain(&api, flow, "b", 0).await;
    assert_eq!(explained["state"], "waiting");
    let waits = json!([{"kind": "task", "task": "a", "on": "success", "left": 3, "of": 3},
                       {"kind": "job", "job": runs, "on": "success", "state": "running"}]);
    assert_eq!(explained["waits_for"], waits);

    let later = json!({"command": ["true"], "start_after": "1h", "concurrency": {"key": "db"}});
    let later = api.submit(&later).await;
    assert_eq!(kinds(&explain(&api, later, "main", 0).await["waits_for"]), ["start_time"]);
    let keyed = json!({"command": ["true"], "concurrency": {"key": "db"}});
    let (holds, waits) = (api.submit(&keyed).await, api.submit(&keyed).await);
    let explained = explain(&api, waits, "main", 0).await;
    let line = json!([{"kind": "concurrency", "key": "db", "limit": 1, "holders": [holds], "held": 1, "place": 1,
                       "waiting": 1}]);
    assert_eq!(explained["waits_for"], line);
    api.post(&format!("/v1/jobs/{holds}/pause"), &Value::Null).await.ok();
    let explained = explain(&api, holds, "main", 0).await;
    assert_eq!(kinds(&explained["waits_for"]), ["paused"]);
    assert_eq!(explained["unblock"], json!([format!("job {holds} is resumed")]));

    api.post("/v1/workers/w/drain", &Value::Null).await.ok();
    let explained = explain(&api, wide, "main", 0).await;
    assert_eq!(kinds(&explained["workers"]["listed"][0]["obstacles"]), ["not_ready", "short"]);
    says(&explained, "w takes no new tasks: it is draining");

    // The job as a whole, and what has ended.
    let groups = api.read(&format!("/v1/jobs/{flow}/explain")).await["groups"].clone();
    let shown = groups.as_array().unwrap().iter().map(|group| (group["task"].clone(), group["elements"].clone()));
    assert_eq!(shown.collect::<Vec<_>>(), [(json!("a"), json!(3)), (json!("b"), json!(1))]);
    api.post(&format!("/v1/jobs/{flow}/cancel"), &Value::Null).await.ok();
    api.ends_as(flow, "cancelled").await;
    assert_eq!(explain(&api, flow, "b", 0).await["end"]["cause"], "job_cancelled");

    // All replicas say the same of the same version.
    let (index, _) = cluster.digests_agree().await;
    let mut said: Vec<Value> = Vec::new();
    for api in cluster.apis() {
        let path = format!("/v1/jobs/{typo}/tasks/main/0/explain?consistency=stale&min_index={index}");
        let answer = api.get(&path).await.ok();
        assert!(!answer.header("quorate-staleness-ms").is_empty());
        said.push(answer.json()["workers"].clone());
    }
    assert!(said.iter().all(|other| *other == said[0]), "{said:#?}");
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_not_explained() {
    let _turn = turn().await;
    let cluster = Cluster::of_three().await;
    let api = cluster.any();
    let job = api.submit(&json!({"command": ["true"]})).await;
    for path in ["tasks/other/0", "tasks/main/1", "tasks/main/x", "tasks/a b/0"] {
        let answer = api.get(&format!("/v1/jobs/{job}/{path}/explain").replace(' ', "%20")).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "not_found"), "{path}: {}", answer.text());
    }
    for path in ["/v1/jobs/99/explain", "/v1/jobs/99/tasks/main/0/explain", "/v1/jobs/x/explain"] {
        assert_eq!(api.get(path).await.status, 404, "{path}");
    }
    let unknown = api.get(&format!("/v1/jobs/{job}/explain?depth=3")).await;
    assert!(unknown.status == 400 && unknown.text().contains("depth"), "{}", unknown.text());
    let schedule = api.submit(&json!({"command": ["true"], "schedule": {"every": "1h"}})).await;
    let answer = api.get(&format!("/v1/jobs/{schedule}/tasks/main/0/explain")).await;
    assert_eq!((answer.status, answer.code().as_str()), (409, "conflict"), "{}", answer.text());
    says(&api.read(&format!("/v1/jobs/{schedule}/explain")).await, "It is a schedule");
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_changes_nothing() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker("w").await;
    let api = cluster.at(cluster.follower().await);
    let keyed = json!({"command": ["true"], "idempotency_key": "once"});
    let first = api.submit(&keyed).await;
    api.ends_as(first, "succeeded").await;
    let held = api.submit(&json!({"command": ["sleep", "1000"], "concurrency": {"key": "db"}})).await;
    api.task_is(held, "main", 0, "running").await;
    cluster.settled().await;
    let before = cluster.digests_agree().await;

    let dry = async |job: &Value| api.post("/v1/jobs?dry_run=true", job).await;
    let job = json!({"name": "try", "tasks": [
        {"name": "a", "command": ["true"], "count": 5}, {"name": "b", "command": ["true"], "needs": ["a"]},
        {"name": "c", "command": ["true"], "resources": {"cpu": 64}}]});
    let answer = dry(&job).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let tried = answer.json();
    assert_eq!((&tried["existing"], &tried["spec"]["tasks"][0]["retries"]), (&Value::Null, &json!(0)));
    let groups = tried["explanation"]["groups"].as_array().unwrap();
    assert_eq!(groups[0]["starts"], json!([{"worker": "w", "elements": 3}]), "{tried:#}");
    assert!(groups[0]["explanation"].get("job").is_none(), "it has no number");
    assert_eq!(kinds(&groups[1]["explanation"]["waits_for"]), ["task"]);
    assert_eq!(groups[2]["explanation"]["workers"]["able"], 0);
    assert_eq!(dry(&keyed).await.json()["existing"], first);

    // It is refused as the submission would be.
    let mut refused = Vec::new();
    for (job, status, code) in [
        (json!({"command": []}), 422, "invalid_job"),
        (json!({"tasks": [{"command": ["true"], "needs": [{"job": 99}]}]}), 422, "invalid_job"),
        (json!({"command": ["true"], "concurrency": {"key": "db", "when_full": "reject"}}), 409, "conflict"),
        (json!({"command": ["false"], "idempotency_key": "once"}), 422, "idempotency_conflict"),
    ] {
        let answer = dry(&job).await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{job}: {}", answer.text());
        refused.push((job, answer.json()));
    }
    for (path, says) in [
        ("/v1/jobs?dry_run=maybe", "dry_run"),
        ("/v1/jobs?dryrun=true", "dryrun"),
        ("/v1/jobs?consistency=stale", "dry_run"),
        ("/v1/jobs?dry_run=true&dry_run=true", "dry_run"),
    ] {
        let answer = api.post(path, &keyed).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "invalid_json"), "{path}");
        assert!(answer.text().contains(says), "{}", answer.text());
    }
    let lines = [("content-type", "application/x-ndjson")];
    let many = api.send(reqwest::Method::POST, "/v1/jobs?dry_run=true", &lines, b"{}\n".to_vec()).await.unwrap();
    assert!(many.status == 400 && many.text().contains("dry_run"), "{}", many.text());

    let say = async |args: &[&str], input: &str, code| quorate(&cluster.urls(), args, input).await.exits(code);
    let text = say(&["job", "submit", "-", "--dry-run"], &job.to_string(), 0).await.stdout;
    assert!(text.starts_with("The job is valid. Nothing was submitted.\nThe job (try) would be pending"), "{text}");
    assert!(text.contains("The next round starts 3 of them on w."), "{text}");
    let shown = say(&["job", "submit", "-", "--dry-run", "-o", "json"], &job.to_string(), 0).await.stdout;
    assert_eq!(
        serde_json::from_str::<Value>(&shown).unwrap()["explanation"]["groups"][0]["starts"],
        groups[0]["starts"]
    );
    say(&["job", "submit", "-", "--dry-run"], r#"{"command":[]}"#, 5).await;
    say(&["job", "submit", "-", "--dry-run", "--wait"], "{}", 2).await;
    say(&["job", "submit", "-", "--dry-run"], "{\"command\":[\"true\"]}\n{\"command\":[\"true\"]}\n", 2).await;

    let after = cluster.digests_agree().await;
    assert_eq!(before, after, "something was written");
    for (job, problem) in refused {
        assert_eq!(api.post("/v1/jobs", &job).await.json(), problem, "{job}");
    }
    let next = api.submit(&json!({"command": ["true"]})).await;
    assert_eq!(next, held + 1, "no number was used");
    cluster.finish();
}

/// Times, and how far away they are, differ from run to run.
fn without_times(text: &str) -> String {
    let is_time = |word: &str| word.len() >= 24 && word.starts_with("20") && word.as_bytes()[10] == b'T';
    let mut words = Vec::new();
    let mut rest = text.split(' ');
    while let Some(word) = rest.next() {
        if !is_time(word) {
            words.push(word);
            continue;
        }
        words.push("TIME");
        for far in rest.by_ref() {
            if let Some((_, after)) = far.split_once(')') {
                words.push(after);
                break;
            }
        }
    }
    words.join(" ")
}

/// Every example of the page: what is submitted, and what is said then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_page_run() {
    let _turn = turn().await;
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/explain.md")).unwrap();
    let mut cluster = Cluster::of_three().await;
    cluster
        .start_worker_with("w1", WorkerSetup { args: vec![("--memory", "8GiB".into())], ..WorkerSetup::default() })
        .await;
    let (mut jobs, mut commands) = (0, 0);
    for block in page.split("\n```").skip(1).step_by(2) {
        let (kind, text) = block.split_once('\n').unwrap();
        match kind {
            "json job" => {
                jobs = cluster.any().submit(&serde_json::from_str(text).unwrap()).await;
                if jobs == 1 {
                    cluster.any().task_is(1, "main", 0, "running").await;
                }
            }
            "console" => {
                for example in text.split("$ ").skip(1) {
                    commands += 1;
                    let (line, expected) = example.split_once('\n').unwrap_or((example, ""));
                    let (input, command) = match line.strip_prefix("echo '").and_then(|rest| rest.split_once("' | ")) {
                        Some((input, command)) => (input, command),
                        None => ("", line),
                    };
                    let args: Vec<&str> = command.split(' ').skip(1).collect();
                    let ran = quorate(&cluster.urls(), &args, input).await;
                    let said = ran.stdout + &ran.stderr;
                    assert_eq!(without_times(said.trim_end()), without_times(expected.trim_end()), "{line}\n{said}");
                }
            }
            other => panic!("a block of the kind {other:?}"),
        }
    }
    assert_eq!((jobs, commands), (5, 7));
    cluster.finish();
}
