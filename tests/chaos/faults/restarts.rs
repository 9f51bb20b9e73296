//! A replica that is away for long, and one that is never left in peace.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::chaos::fault::{Fault, Step};
use crate::chaos::scene::{SNAPSHOT_ENTRIES_MANY, Scene};
use crate::support::{Api, PATIENCE, wait_until};

/// So many in a row, by -9 and in peace in turn.
#[derive(Debug)]
pub(crate) struct Restarts {
    wanted: u64,
    made: u64,
}

impl Restarts {
    pub(crate) fn new(wanted: u64) -> Self {
        Self { wanted, made: 0 }
    }
}

impl Fault for Restarts {
    fn inject<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, ()> {
        Box::pin(async move {
            let all = scene.cluster.alive();
            let id = scene.chance.pick(&all);
            for number in 0..self.wanted {
                let process = &mut scene.cluster.replica(id).process;
                if number % 2 == 0 {
                    process.kill();
                } else {
                    process.signal(libc::SIGTERM);
                    process.wait_exit(PATIENCE).await;
                }
                scene.cluster.restart(id).await;
                self.made += 1;
            }
        })
    }

    fn heal<'a>(&'a mut self, _scene: &'a mut Scene) -> Step<'a, u64> {
        Box::pin(async move { self.made })
    }
}

/// A follower that misses more than the others keep of their logs: it needs a snapshot, while clients go on.
#[derive(Debug)]
pub(crate) struct FarBehind {
    id: u64,
    sent_before: usize,
}

/// Entries that are kept behind a snapshot and that are purged at once, the distance of snapshots, and some more.
const MISSED: u64 = 10_000 + 4_096 + 2 * SNAPSHOT_ENTRIES_MANY + 1_000;
const PUMPS: usize = 6;
const PUMPED_WITHIN: Duration = Duration::from_secs(400);

impl FarBehind {
    pub(crate) fn new() -> Self {
        Self { id: 0, sent_before: 0 }
    }

    /// How many snapshots the replicas say they sent.
    fn sent(scene: &Scene) -> usize {
        let logs = scene.cluster.replicas.values().map(|replica| replica.process.log_text());
        logs.map(|log| log.matches("sending a snapshot").count()).sum()
    }
}

async fn index(scene: &Scene) -> u64 {
    wait_until("the index of the log", PATIENCE, || async {
        let leader = scene.leader().await;
        let view = scene.at(leader).try_get("/v1/cluster?consistency=stale").await?;
        (view.status == 200).then(|| view.json()["index"].as_u64())?
    })
    .await
}

/// Makes entries and nothing else: a job that fits nowhere is paused and resumed.
async fn pump(api: Api, number: usize) {
    let task = json!({"name": "main", "command": ["true"], "resources": {"gpu": 1}});
    let job = json!({"name": format!("pump-{number}"), "tasks": [task]});
    let id = api.submit(&job).await;
    loop {
        for what in ["pause", "resume"] {
            let path = format!("/v1/jobs/{id}/{what}");
            let _ = api.send(reqwest::Method::POST, &path, &[], Vec::new()).await;
        }
    }
}

impl Fault for FarBehind {
    fn inject<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, ()> {
        Box::pin(async move {
            self.id = scene.followers().await[0];
            self.sent_before = Self::sent(scene);
            scene.cluster.kill(self.id);
            let until = index(scene).await + MISSED;
            let mut pumps = JoinSet::new();
            let apis = scene.cluster.apis();
            for number in 0..PUMPS {
                pumps.spawn(pump(apis[number % apis.len()].clone(), number));
            }
            wait_until("the follower to be far behind", PUMPED_WITHIN, || async {
                (index(scene).await >= until).then_some(())
            })
            .await;
            pumps.shutdown().await;
            cancel_pumped(scene).await;
        })
    }

    fn heal<'a>(&'a mut self, scene: &'a mut Scene) -> Step<'a, u64> {
        Box::pin(async move {
            scene.cluster.restart(self.id).await;
            (Self::sent(scene) - self.sent_before) as u64
        })
    }
}

/// They would never end.
async fn cancel_pumped(scene: &Scene) {
    let api = scene.cluster.any();
    let unfinished = |job: &Value| job["finished_at"].is_null();
    for number in 0..PUMPS {
        for job in
            api.all(&format!("/v1/jobs?limit=1000&name=pump-{number}")).await.iter().filter(|job| unfinished(job))
        {
            let answer = api.post(&format!("/v1/jobs/{}/cancel", job["id"]), &Value::Null).await;
            assert!(answer.is_success(), "{}", answer.text());
        }
    }
}
