//! Gangs: the examples of docs/gangs.md, and one that loses a worker and the leader.

use crate::support::cli::quorate;
use crate::support::cluster::WorkerSetup;
use crate::support::{Cluster, PATIENCE, turn, wait_until};
use serde_json::{Value, json};

async fn start(cluster: &mut Cluster, worker: &str) {
    let args = vec![("--advertise-host", "127.0.0.1".to_owned())];
    cluster.start_worker_with(worker, WorkerSetup { cpu: "3", args, ..WorkerSetup::default() }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_the_page_find_each_other() {
    let _turn = turn().await;
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/gangs.md")).unwrap();
    let blocks = page.split("```json job\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let examples: Vec<Value> = blocks.map(|text| serde_json::from_str(text).unwrap()).collect();
    let mut cluster = Cluster::of_three().await;
    start(&mut cluster, "w1").await;
    let early = cluster.any().submit(&examples[0]).await;
    let said = quorate(&cluster.urls(), &["job", "explain", &early.to_string(), "train"], "").await.exits(0).stdout;
    assert!(said.contains("Its gang train starts all of its 4 elements at once"), "{said}");
    assert!(said.contains("3 of them would fit now"), "{said}");
    start(&mut cluster, "w2").await;
    cluster.any().ends_as(early, "succeeded").await;
    assert_eq!(cluster.any().task(early, "train", 0).await["result"], "[1, 2, 3]");
    let mut seen = vec![examples[0]["name"].as_str().unwrap()];
    for example in &examples[1..] {
        let id = cluster.any().submit(example).await;
        cluster.any().ends_as(id, "succeeded").await;
        seen.push(example["name"].as_str().unwrap());
    }
    assert_eq!(seen, ["rendezvous", "served"]);
    assert_eq!(cluster.any().read("/v1/workers/w1").await["host"], "127.0.0.1");
    cluster.finish();
}

/// Each member says that it is there, waits for the others, and then runs on for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_goes_on_as_one_after_a_workers_and_a_leaders_death() {
    let _turn = turn().await;
    let mut cluster = Cluster::of_three().await;
    start(&mut cluster, "w1").await;
    start(&mut cluster, "w2").await;
    let there = cluster.dir.join("there");
    std::fs::create_dir(&there).unwrap();
    let script = format!(
        "cd {}; touch $QUORATE_FENCE-$QUORATE_GANG_RANK; \
         until test $(ls | grep -c ^$QUORATE_FENCE-) = $QUORATE_GANG_SIZE; do sleep 0.05; done; \
         sleep 4; echo $QUORATE_GANG_HOSTS > $QUORATE_RESULT",
        there.display()
    );
    let task = |name: &str, count: u32| json!({"name": name, "count": count, "gang": "g", "timeout": "1m", "command": ["sh", "-c", script]});
    let job = json!({"tasks": [task("lead", 1), task("rest", 3),
        {"name": "after", "command": ["true"], "needs": ["lead", "rest"]}]});
    let id = cluster.any().submit(&job).await;
    for (task, index) in [("lead", 0), ("rest", 0), ("rest", 1), ("rest", 2)] {
        cluster.any().task_is(id, task, index, "running").await;
    }
    let starts = || -> std::collections::BTreeMap<String, usize> {
        let names = std::fs::read_dir(&there).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        names.fold(Default::default(), |mut starts, name| {
            *starts.entry(name.split('-').next().unwrap().to_owned()).or_default() += 1;
            starts
        })
    };
    assert_eq!(starts().len(), 1);
    cluster.worker("w2").process.kill();
    let leader = cluster.leader().await;
    cluster.kill(leader);
    // Three cores are left for four members: nothing of it starts.
    cluster.any().worker_is("w2", "left").await;
    for index in 0..3 {
        cluster.any().task_is(id, "rest", index, "pending").await;
    }
    // What came later ran, so the gang has been looked at.
    let later = cluster.any().submit(&json!({"command": ["true"]})).await;
    cluster.any().ends_as(later, "succeeded").await;
    assert_eq!(starts().len(), 1, "{:?}", starts());
    cluster.restart(leader).await;
    start(&mut cluster, "w3").await;
    let job = wait_until("the end of the job", PATIENCE, async || {
        let job = cluster.any().job(id).await;
        (job["finished_at"] != Value::Null).then_some(job)
    })
    .await;
    assert_eq!(job["state"], "succeeded", "{job}");
    let starts = starts();
    assert_eq!((starts.len(), starts.values().all(|members| *members == 4)), (2, true), "{starts:?}");
    let lead = cluster.any().task(id, "lead", 0).await;
    assert_eq!(
        (&lead["attempt"], lead["result"].as_str().unwrap().trim()),
        (&json!(2), "127.0.0.1,127.0.0.1,127.0.0.1,127.0.0.1")
    );
    cluster.finish();
}
