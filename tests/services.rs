//! Services and system jobs: the examples of docs/services.md, and services that live through the deaths of attempts,
//! workers and the leader, and through good and bad changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::cli::quorate;
use crate::support::cluster::WorkerSetup;
use crate::support::{Api, Cluster, PATIENCE, turn, wait_until};
use serde_json::{Value, json};

fn examples() -> Vec<Value> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/services.md")).unwrap();
    let blocks = page.split("```json job\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.map(|text| serde_json::from_str(text).unwrap()).collect()
}

/// Waits until the service stands like this.
async fn stands(api: &Api, id: u64, wanted: &Value) -> Value {
    let what = format!("service {id} to be {wanted}");
    wait_until(&what, 2 * PATIENCE, || async {
        let view = api.job(id).await["service"].clone();
        wanted.as_object().unwrap().iter().all(|(key, value)| view[key] == *value).then_some(view)
    })
    .await
}

/// Where the elements run.
async fn running(api: &Api, id: u64) -> Vec<(u64, String)> {
    let tasks = api.tasks(id).await;
    let running = tasks.iter().filter(|task| task["state"] == "running");
    running.map(|task| (task["index"].as_u64().unwrap(), task["worker"].as_str().unwrap().to_owned())).collect()
}

/// Looks again and again how many elements are available, until it is told to stop; gives the fewest.
fn watch(api: Api, id: u64) -> (Arc<AtomicBool>, tokio::task::JoinHandle<u64>) {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let watching = tokio::spawn(async move {
        let mut fewest = u64::MAX;
        while !stopped.load(Ordering::Relaxed) {
            let path = format!("/v1/jobs/{id}?consistency=stale");
            if let Some(answer) = api.try_get(&path).await.filter(|answer| answer.status == 200) {
                fewest = fewest.min(answer.json()["service"]["available"].as_u64().unwrap());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        fewest
    });
    (stop, watching)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_page_are_kept_running() {
    let _turn = turn().await;
    let examples = examples();
    assert_eq!(examples.len(), 3);
    let mut cluster = Cluster::of_three().await;
    cluster.start_worker("w1").await;
    let api = cluster.any();
    let web = api.submit(&examples[0]).await;
    stands(&api, web, &json!({"version": 1, "available": 3, "rollout": "done"})).await;
    let agent = api.submit(&examples[2]).await;
    stands(&api, agent, &json!({"wanted": 1, "available": 1})).await;
    let file = cluster.dir.join("web.json");
    std::fs::write(&file, examples[1].to_string()).unwrap();
    let update = ["job", "update", &web.to_string(), file.to_str().unwrap()];
    quorate(&cluster.urls(), &update, "").await.exits(0);
    stands(&api, web, &json!({"version": 2, "available": 3, "updated": 3, "rollout": "done"})).await;
    let said = quorate(&cluster.urls(), &["job", "explain", &web.to_string()], "").await.exits(0).stdout;
    assert!(said.contains("Of its 3 elements 3 are available, and 3 have the newest version"), "{said}");
    let shown = api.job(web).await;
    assert_eq!((&shown["spec"]["tasks"][0]["count"], &shown["tasks"]["total"]), (&json!(3), &json!(3)), "{shown}");
    // A worker that comes gets its agent, and one that leaves takes it along.
    cluster.start_worker("w2").await;
    stands(&api, agent, &json!({"wanted": 2, "available": 2})).await;
    let mut on: Vec<String> = running(&api, agent).await.into_iter().map(|(_, worker)| worker).collect();
    on.sort();
    assert_eq!(on, ["w1", "w2"]);
    cluster.worker("w2").process.kill();
    stands(&api, agent, &json!({"wanted": 1, "available": 1})).await;
    // It is the last to go from a worker that drains.
    api.post("/v1/workers/w1/drain", &Value::Null).await.ok();
    assert_eq!(running(&api, agent).await.len(), 1);
    api.post(&format!("/v1/jobs/{web}/cancel"), &Value::Null).await.ok();
    api.ends_as(web, "cancelled").await;
    stands(&api, agent, &json!({"wanted": 0})).await;
    let again = api.put(&format!("/v1/jobs/{web}"), &examples[0]).await;
    assert_eq!((again.status, again.code().as_str()), (409, "conflict"));
    cluster.digests_agree().await;
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_outlives_its_attempts_its_workers_and_the_leader() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    for worker in ["w1", "w2", "w3"] {
        cluster.start_worker_with(worker, WorkerSetup { cpu: "2", ..WorkerSetup::default() }).await;
    }
    let there = cluster.dir.join("there");
    std::fs::create_dir(&there).unwrap();
    // Each attempt says that it is there, and ends when its file says so.
    let script = format!(
        "cd {}; echo $QUORATE_ATTEMPT > $QUORATE_INDEX; until test -e end-$QUORATE_INDEX; do sleep 0.05; done; \
         rm end-$QUORATE_INDEX",
        there.display()
    );
    let job = json!({"kind": "service", "tasks": [{"count": 3, "command": ["sh", "-c", script],
        "anti_affinity": ["main"], "backoff": {"initial": "100ms"}}]});
    let id = cluster.any().submit(&job).await;
    stands(&cluster.any(), id, &json!({"available": 3})).await;
    // One that ends, with 0, is started again.
    std::fs::write(there.join("end-1"), "").unwrap();
    wait_until("the second attempt", PATIENCE, async || {
        let task = cluster.any().task(id, "main", 1).await;
        (task["state"] == "running" && task["attempt"] == 2).then_some(())
    })
    .await;
    // A worker dies, and the leader with it; there is a fourth to go to.
    cluster.start_worker_with("w4", WorkerSetup { cpu: "2", ..WorkerSetup::default() }).await;
    let (index, lost) = running(&cluster.any(), id).await.remove(0);
    cluster.worker(&lost).process.kill();
    let leader = cluster.leader().await;
    cluster.kill(leader);
    let moved = wait_until("the lost element elsewhere", 2 * PATIENCE, async || {
        let task = cluster.any().task(id, "main", index).await;
        (task["state"] == "running" && task["worker"] != lost.as_str()).then_some(task)
    })
    .await;
    assert_eq!(moved["worker"], "w4", "{moved}");
    cluster.restart(leader).await;
    stands(&cluster.any(), id, &json!({"wanted": 3, "available": 3})).await;
    cluster.digests_agree().await;
    cluster.finish();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_keeps_to_its_bound_and_a_bad_version_takes_nothing_down() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    for worker in ["w1", "w2"] {
        cluster.start_worker(worker).await;
    }
    let service = |version: &str, command: &str| {
        json!({"kind": "service", "max_unavailable": 2, "health": {"command": ["test", "-e", "up"], "interval": "500ms", "failures": 6},
            "tasks": [{"count": 5, "env": {"VERSION": version}, "grace": "1s", "command": ["sh", "-c", command]}]})
    };
    const GOOD: &str = "echo $VERSION; sleep 0.2; touch up; exec sleep 1000";
    let id = cluster.any().submit(&service("1", GOOD)).await;
    stands(&cluster.any(), id, &json!({"version": 1, "available": 5, "rollout": "done"})).await;
    let follower = cluster.follower().await;
    let (stop, watching) = watch(cluster.at(follower), id);
    cluster.any().put(&format!("/v1/jobs/{id}"), &service("2", GOOD)).await.ok();
    // The leader dies in the middle of it.
    wait_until("the first elements of version 2", PATIENCE, async || {
        let view = cluster.at(follower).job(id).await["service"].clone();
        (view["updated"].as_u64().unwrap() >= 2).then_some(())
    })
    .await;
    let leader = cluster.leader().await;
    cluster.kill(leader);
    let api = cluster.at(follower);
    stands(&api, id, &json!({"version": 2, "updated": 5, "available": 5, "rollout": "done"})).await;
    stop.store(true, Ordering::Relaxed);
    assert_eq!(watching.await.unwrap(), 3, "two of five may be unavailable, and no more");
    cluster.restart(leader).await;
    let logs = api.get(&format!("/v1/jobs/{id}/tasks/main/0/logs")).await.ok();
    assert_eq!((logs.text().as_str(), logs.header("quorate-attempt")), ("2\n", "2"));
    let logs = api.get(&format!("/v1/jobs/{id}/tasks/main/0/logs?attempt=1")).await.ok();
    assert_eq!(logs.text(), "1\n", "what it wrote in another version");
    // One that never becomes well, and one that ends at once.
    for (nth, bad) in ["exec sleep 1000", "exit 3"].into_iter().enumerate() {
        let (stop, watching) = watch(cluster.at(follower), id);
        api.put(&format!("/v1/jobs/{id}"), &service("bad", bad)).await.ok();
        let view =
            stands(&api, id, &json!({"version": 3 + 2 * nth, "available": 3, "updated": 2, "rollout": "stalled"}))
                .await;
        let why = view["stalled_by"].as_str().unwrap();
        assert!(why.contains(["its health command failed 6 times in a row", "exited with code 3"][nth]), "{why}");
        let said = quorate(&cluster.urls(), &["job", "explain", &id.to_string()], "").await.exits(0).stdout;
        assert!(said.contains("The rollout stands still"), "{said}");
        let before = running(&api, id).await;
        api.put(&format!("/v1/jobs/{id}"), &service("2", GOOD)).await.ok();
        stands(&api, id, &json!({"version": 4 + 2 * nth, "updated": 5, "available": 5, "rollout": "done"})).await;
        stop.store(true, Ordering::Relaxed);
        assert_eq!(watching.await.unwrap(), 3);
        let untouched = before.iter().filter(|(index, _)| *index >= 2).count();
        assert_eq!(untouched, 3, "{before:?}");
        assert_eq!(api.task(id, "main", 4).await["attempt"], 2, "it never ran anything but versions 1 and 2");
    }
    // More and fewer.
    let mut more = service("2", GOOD);
    for count in [6, 2] {
        more["tasks"][0]["count"] = count.into();
        api.put(&format!("/v1/jobs/{id}"), &more).await.ok();
        stands(&api, id, &json!({"wanted": count, "available": count, "version": 6})).await;
    }
    let refused = api.put(&format!("/v1/jobs/{id}"), &json!({"kind": "system", "command": ["x"]})).await;
    assert_eq!((refused.status, refused.code().as_str()), (422, "invalid_job"));
    assert_eq!(refused.json()["errors"][0]["pointer"], "/kind");
    cluster.digests_agree().await;
    cluster.finish();
}
