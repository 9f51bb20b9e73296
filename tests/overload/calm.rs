//! What must stay as it is while something goes on: the leader, its term, the workers and what they run; honest
//! clients, who are answered; and the memory of the replicas.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::overload::wire::{Reply, Wire, request, submission};
use crate::support::{Api, Cluster, sys};

/// Between two honest requests.
const REST: Duration = Duration::from_millis(40);
/// Between two looks at the memory.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What nobody may notice.
#[derive(Debug, PartialEq)]
pub(crate) struct Calm {
    pub(crate) leader: Value,
    pub(crate) term: Value,
    /// Names, epochs and states.
    pub(crate) workers: Vec<[Value; 3]>,
}

impl Calm {
    pub(crate) async fn of(api: &Api) -> Self {
        let cluster = api.read("/v1/cluster").await;
        let workers = api.all("/v1/workers?limit=100").await;
        let fields = |worker: &Value| ["name", "epoch", "state"].map(|field| worker[field].clone());
        Self {
            leader: cluster["leader"].clone(),
            term: cluster["term"].clone(),
            workers: workers.iter().map(fields).collect(),
        }
    }
}

/// How honest clients may be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manners {
    /// Reads and submissions, each of which must succeed.
    Served,
    /// Reads; they may be refused in the agreed form.
    MayBeRefused,
}

/// Honest clients, one at each replica.
#[derive(Debug)]
pub(crate) struct Honest {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Answered>>,
}

/// How they fared.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    pub(crate) took: Vec<Duration>,
    pub(crate) refused: usize,
    pub(crate) wrong: Vec<String>,
}

impl Honest {
    pub(crate) fn start(cluster: &Cluster, manners: Manners, authorization: &str) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let mut clients = Vec::new();
        for (id, replica) in &cluster.replicas {
            let (stop, address, header) = (stop.clone(), replica.http.clone(), authorization.to_owned());
            let job = json!({"name": format!("honest-{id}"), "command": ["true"]}).to_string();
            let headers: Vec<&str> =
                ["Content-Type: application/json", &header].into_iter().filter(|h| !h.is_empty()).collect();
            let mut requests = vec![request("GET /v1/jobs?limit=1", &headers, b"")];
            if manners == Manners::Served {
                requests.push(request("POST /v1/jobs", &headers, job.as_bytes()));
            }
            clients.push(tokio::spawn(async move {
                let mut answered = Answered::default();
                for request in requests.iter().cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let started = Instant::now();
                    // Each on a connection of its own: whoever comes must be let in.
                    let reply = async { Wire::open(&address).await?.ask(request).await }.await;
                    answered.note(started.elapsed(), reply, manners);
                    tokio::time::sleep(REST).await;
                }
                answered
            }));
        }
        Self { stop, clients }
    }

    /// Ends them, and fails if one was not answered as it should be.
    pub(crate) async fn end(self) -> Answered {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Answered::default();
        for client in self.clients {
            let one = client.await.unwrap();
            all.took.extend(one.took);
            all.refused += one.refused;
            all.wrong.extend(one.wrong);
        }
        all.took.sort();
        assert!(all.wrong.is_empty(), "honest clients: {:#?}", all.wrong);
        assert!(!all.took.is_empty(), "no honest client was answered");
        all
    }
}

impl Answered {
    fn note(&mut self, took: Duration, reply: std::io::Result<Reply>, manners: Manners) {
        match reply {
            Ok(reply) if (200..300).contains(&reply.status) => self.took.push(took),
            Ok(reply) if manners == Manners::MayBeRefused && reply.is_refusal() => self.refused += 1,
            Ok(reply) => self.wrong.push(reply.text()),
            Err(error) => self.wrong.push(format!("after {took:?}: {error}")),
        }
    }

    pub(crate) fn slowest(&self) -> Duration {
        *self.took.last().unwrap()
    }

    pub(crate) fn summary(&self) -> String {
        let middle = self.took[self.took.len() / 2].as_millis();
        let (count, slowest) = (self.took.len(), self.slowest().as_millis());
        format!("{count} honest requests answered, half of them within {middle} ms and all within {slowest} ms")
    }
}

/// The most memory that each replica was seen to have.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    stop: Arc<AtomicBool>,
    watcher: JoinHandle<BTreeMap<u64, u64>>,
}

impl MemoryWatch {
    pub(crate) fn start(cluster: &Cluster) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let pids: Vec<(u64, i32)> = cluster.replicas.iter().map(|(id, replica)| (*id, replica.process.pid())).collect();
        let stopped = stop.clone();
        let watcher = tokio::spawn(async move {
            let mut most = BTreeMap::new();
            while !stopped.load(Ordering::Relaxed) {
                for (id, pid) in &pids {
                    let seen = most.entry(*id).or_insert(0);
                    *seen = sys::resident_bytes(*pid).unwrap_or(0).max(*seen);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
            most
        });
        Self { stop, watcher }
    }

    pub(crate) async fn end(self) -> BTreeMap<u64, u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.watcher.await.unwrap()
    }
}

/// A submission whose name says who it is from.
pub(crate) fn named(name: &str) -> Vec<u8> {
    submission(&format!(r#"{{"name":"{name}","command":["true"]}}"#))
}
