//! Clients that submit without pause through all replicas, and remember what they were promised.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::task::JoinSet;

use super::http::{Api, id_of};
use super::{PATIENCE, wait_until};

/// An accepted job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) id: u64,
    pub(crate) name: String,
}

#[derive(Debug)]
pub(crate) struct Load {
    accepted: Arc<Mutex<Vec<Accepted>>>,
    stop: Arc<AtomicBool>,
    /// Answers and errors other than a success.
    refused: Arc<AtomicUsize>,
    clients: JoinSet<()>,
}

impl Load {
    /// Half of the jobs carry an idempotency key, the field or the header in turn.
    pub(crate) fn start(apis: &[Api], clients: usize, prefix: &str) -> Self {
        let mut load =
            Self { accepted: Arc::default(), stop: Arc::default(), refused: Arc::default(), clients: JoinSet::new() };
        for client in 0..clients {
            let apis: Vec<Api> = apis.iter().map(Api::fresh).collect();
            let (accepted, stop, refused) = (load.accepted.clone(), load.stop.clone(), load.refused.clone());
            let prefix = format!("{prefix}-{client}");
            load.clients.spawn(async move {
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let name = format!("{prefix}-{n}");
                    let mut job = json!({"name": name, "command": ["true"], "labels": {"load": prefix}});
                    if n % 4 == 0 {
                        job["idempotency_key"] = name.clone().into();
                    }
                    let key = (n % 4 == 2).then_some(name.as_str());
                    match apis[(client + n) % apis.len()].try_submit(&job, key).await {
                        Ok(answer) if answer.is_success() => {
                            let id = id_of(&answer);
                            accepted.lock().unwrap().push(Accepted { id, name });
                        }
                        Ok(_) | Err(_) => {
                            refused.fetch_add(1, Ordering::Relaxed);
                            tokio::time::sleep(Duration::from_millis(2)).await;
                        }
                    }
                }
            });
        }
        load
    }

    pub(crate) fn accepted(&self) -> usize {
        self.accepted.lock().unwrap().len()
    }

    pub(crate) async fn reaches(&self, jobs: usize) {
        wait_until(&format!("{jobs} accepted jobs"), PATIENCE, || async { (self.accepted() >= jobs).then_some(()) })
            .await;
    }

    /// Ends the clients and returns what was accepted.
    pub(crate) async fn stop(mut self) -> Vec<Accepted> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut self.accepted.lock().unwrap())
    }
}

/// What is missing, or is another job than it was, of what was accepted.
pub(crate) async fn lost(api: &Api, accepted: &[Accepted]) -> Vec<String> {
    let listed = api.all("/v1/jobs?limit=1000").await;
    let mut names: BTreeMap<u64, String> = BTreeMap::new();
    for job in &listed {
        let (id, name) = (job["id"].as_u64().unwrap(), job["name"].as_str().unwrap().to_owned());
        assert!(names.insert(id, name).is_none(), "job {id} is listed twice");
    }
    let is_lost = |job: &&Accepted| names.get(&job.id) != Some(&job.name);
    accepted.iter().filter(is_lost).map(|job| format!("{job:?}, found {:?}", names.get(&job.id))).collect()
}
