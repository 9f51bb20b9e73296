//! Jobs that grow while they run, and the largest one that may be.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Instant;

use crate::support::http::id_of;
use crate::support::{Cluster, PATIENCE, WorkerSetup, note, turn, wait_until};
use serde_json::{Value, json};

const FANS: u64 = 12;
const QUORATE: &str = env!("CARGO_BIN_EXE_quorate");

/// Every element adds a task that runs twice; the first attempt of some fails after it has said what it adds.
fn growing() -> Value {
    let script = format!(
        "{QUORATE} job extend - <<END || exit 9\n\
         {{\"name\": \"shard-$QUORATE_INDEX\", \"count\": 2, \"before\": [\"gather\"],\n\
           \"command\": [\"sh\", \"-c\", \"printf $QUORATE_INDEX > \\$QUORATE_RESULT\"]}}\nEND\n\
         sleep 0.7\ntest $QUORATE_ATTEMPT = 2 -o $((QUORATE_INDEX % 3)) != 0"
    );
    json!({"name": "growing", "tasks": [
        {"name": "fan", "count": FANS, "retries": 1, "backoff": {"initial": "200ms"},
            "resources": {"cpu": 1}, "command": ["sh", "-c", script]},
        {"name": "gather", "needs": ["fan"], "command": ["sh", "-c", "cat $QUORATE_INPUTS"]}]})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_successes_add_is_there_once_whatever_dies() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker("v").await;
    cluster.start_worker("w").await;
    let id = cluster.any().submit(&growing()).await;
    let leader = cluster.leader().await;
    wait_until("some of it to have ended", PATIENCE, async || {
        let counts = cluster.any().job(id).await["tasks"].clone();
        (counts["succeeded"].as_u64()? >= 2 && counts["running"].as_u64()? >= 2).then_some(())
    })
    .await;
    cluster.kill(leader);
    let job = cluster.any().finished(id, 2 * PATIENCE).await;
    assert_eq!(job["state"], "succeeded", "{job}");
    assert_eq!(job["tasks"]["total"], FANS * 3 + 1, "{job}");
    let (mut names, mut elements) = (BTreeMap::new(), 0);
    for task in cluster.any().tasks(id).await {
        assert_eq!(task["state"], "succeeded", "{task}");
        *names.entry(task["task"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        elements += 1;
    }
    assert_eq!((names.len() as u64, elements), (FANS + 2, FANS * 3 + 1), "{names:?}");
    let gather = job["spec"]["tasks"].as_array().unwrap().iter().find(|task| task["name"] == "gather").unwrap();
    assert_eq!(gather["needs"].as_array().unwrap().len() as u64, FANS + 1, "{gather}");
    let inputs: Value = cluster.any().get(&format!("/v1/jobs/{id}/tasks/gather/0/logs")).await.json();
    for nth in 0..FANS {
        let shard = &inputs["needs"][format!("shard-{nth}")];
        let results: Vec<&Value> = shard.as_array().unwrap().iter().map(|element| &element["result"]).collect();
        assert_eq!(results, [&json!(nth.to_string()), &json!(nth.to_string())], "{shard}");
    }
    cluster.restart(leader).await;
    cluster.digests_agree().await;
    let events = cluster.events_agree(&[id]).await;
    assert_eq!(events.iter().filter(|event| event.kind == "job.extended").count() as u64, FANS);
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_not_be_added_fails_the_attempt_and_says_why() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker("w").await;
    let cases = [
        (r#"[{"name":"main","command":["x"]}]"#, "/0/name: the job has a task of this name"),
        (r#"{"name":"a","command":["x"]} {"name":"b","command":["x"],"needs":["c"]}"#, "/1/needs/0: "),
        (r#"{"name":"a","comand":["x"]}"#, "/0: unknown field `comand`"),
    ];
    for (tasks, why) in cases {
        let command = ["sh", "-c", &format!("printf '%s' '{tasks}' > $QUORATE_EXTEND")].map(str::to_owned);
        let id = cluster.any().submit(&json!({"command": command})).await;
        let job = cluster.any().finished(id, PATIENCE).await;
        assert_eq!((&job["state"], &job["tasks"]["total"]), (&json!("failed"), &json!(1)), "{tasks}: {job}");
        let task = cluster.any().task(id, "main", 0).await;
        assert!(task["reason"].as_str().unwrap().contains(why), "{tasks}: {task}");
    }
    let script = format!("echo '{{\"name\":\"a\"}}' | {QUORATE} job extend; echo $?");
    let id = cluster.any().submit(&json!({"command": ["sh", "-c", script]})).await;
    assert_eq!(cluster.any().finished(id, PATIENCE).await["state"], "succeeded");
    let output = |stream: &str| format!("/v1/jobs/{id}/tasks/main/0/logs?stream={stream}");
    assert_eq!(cluster.any().get(&output("stdout")).await.text(), "5\n");
    assert!(cluster.any().get(&output("stderr")).await.text().contains("/0/command"));
    crate::support::cli::quorate("http://127.0.0.1:1", &["job", "extend"], "{}").await.exits(2);
    cluster.finish();
}

const TASKS: usize = 100_000;
const LAYER: usize = 1_000;
const NEEDS: usize = 10;

/// Layers of tasks, each of which needs ten of the layer before.
fn largest() -> String {
    let mut json = r#"{"name":"largest","tasks":["#.to_owned();
    for at in 0..TASKS {
        let separator = if at == 0 { "" } else { "," };
        write!(json, r#"{separator}{{"name":"t{at}","driver":"noop","needs":["#).unwrap();
        let needed = |nth: usize| at / LAYER * LAYER - LAYER + (7 * at + 101 * nth) % LAYER;
        let needs = (0..if at < LAYER { 0 } else { NEEDS }).map(|nth| format!(r#""t{}""#, needed(nth)));
        json.push_str(&needs.collect::<Vec<_>>().join(","));
        json.push_str("]}");
    }
    json.push_str("]}");
    json
}

/// At first nothing of it runs, since there is no worker: what it costs then is reading, logging, replicating, and
/// applying it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_graph_is_one_job_and_costs_no_leader() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    let (leader, job) = (cluster.leader().await, largest());
    let term = |status: &Value| status["term"].as_u64().unwrap();
    let before = term(&cluster.any().read("/v1/cluster").await);
    let began = Instant::now();
    let follower = cluster.at(cluster.follower().await);
    let answer = follower.send(reqwest::Method::POST, "/v1/jobs", &[], job.into()).await.unwrap();
    note(&format!("{} tasks took {} ms", TASKS, began.elapsed().as_millis()));
    let id = id_of(&answer.ok());
    assert_eq!(term(&cluster.any().read("/v1/cluster").await), before, "it cost the leader its lead");
    let view = cluster.at(leader).job(id).await;
    assert_eq!((&view["tasks"]["waiting"], &view["tasks"]["pending"]), (&json!(TASKS - LAYER), &json!(LAYER)));
    assert_eq!(view["spec"]["tasks"].as_array().unwrap().len(), TASKS);
    let last = cluster.any().task(id, &format!("t{}", TASKS - 1), 0).await;
    assert_eq!(last["state"], "waiting");
    cluster.kill_all_at_once();
    cluster.start_all();
    wait_until("the job after a restart", 2 * PATIENCE, async || {
        let answer = cluster.any().try_get(&format!("/v1/jobs/{id}/tasks/t5000/0")).await?;
        (answer.status == 200).then_some(())
    })
    .await;
    let began = Instant::now();
    cluster.start_worker_with("w", WorkerSetup { cpu: "512", ..WorkerSetup::default() }).await;
    wait_until("a part of it", 4 * PATIENCE, async || {
        // With all of its definitions it is thirteen megabytes.
        let jobs = cluster.any().read("/v1/jobs?limit=1").await;
        (jobs["items"][0]["tasks"]["succeeded"].as_u64().unwrap() > 20 * LAYER as u64).then_some(())
    })
    .await;
    let leader = cluster.leader().await;
    cluster.kill(leader);
    let job = cluster.any().finished(id, 4 * PATIENCE).await;
    assert_eq!((&job["state"], &job["tasks"]["succeeded"]), (&json!("succeeded"), &json!(TASKS)));
    note(&format!("all of them ran within {} s, over a dead leader", began.elapsed().as_secs()));
    cluster.restart(leader).await;
    cluster.digests_agree().await;
    cluster.finish();
}
