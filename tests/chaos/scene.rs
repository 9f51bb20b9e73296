//! One cluster under load, on hosts and disks of its own where the machine allows it, and the checks after each fault.

use std::ffi::OsString;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::chaos::chance::Chance;
use crate::chaos::disks::Disks;
use crate::chaos::load::{Load, impatient_client, quick};
use crate::chaos::streams::Streams;
use crate::support::http::id_of;
use crate::support::load::{Accepted, lost};
use crate::support::namespaces::Network;
use crate::support::{Api, Cluster, Journal, PATIENCE, Setup, WorkerSetup, events, wait_until};

pub(crate) const WORKERS: [&str; 2] = ["w1", "w2"];
/// As short as it may be, so that waiting for its end is short.
pub(crate) const LEASE_TTL: Duration = Duration::from_secs(2);
/// After a heal, with a debug build on two busy cores.
const WRITES_WITHIN: Duration = Duration::from_secs(30);
const DRAINS_WITHIN: Duration = Duration::from_secs(90);
/// Room on one worker for all that ran on both.
const WORKER_CPU: &str = "12";
const LONG_TASKS: u64 = 4;
const HOSTS: [&str; 7] = ["r1", "r2", "r3", "r4", "r5", "w1", "w2"];

/// What a cluster is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) replicas: u64,
    pub(crate) snapshot_entries: u64,
}

/// Few, so that snapshots are taken, installed and started from.
pub(crate) const SNAPSHOT_ENTRIES: u64 = 300;
/// More, so that a start applies much of the log again.
pub(crate) const SNAPSHOT_ENTRIES_MANY: u64 = 2_000;

// The order of the fields is the order in which they end: first who uses, then what is used.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) load: Load,
    pub(crate) streams: Streams,
    pub(crate) cluster: Cluster,
    pub(crate) disks: Option<Disks>,
    pub(crate) network: Option<Network>,
    pub(crate) chance: Chance,
    journal: Journal,
    http: reqwest::Client,
    /// Since when clients had no work under way, after the last fault.
    pub(crate) calm_since: Instant,
    /// Looks at event streams that were answered by "gone".
    pub(crate) gone: usize,
    _folder: TempDir,
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Nobody who waits for a frozen disk can be killed.
        if let Some(disks) = &mut self.disks {
            disks.thaw();
        }
    }
}

/// On a host of its own, but among the mounts of the machine: a worker's namespaces would keep the disks of replicas
/// mounted that are to be mounted anew.
fn worker_wrapper(network: Option<&Network>, name: &str) -> Vec<OsString> {
    let mut wrapper = network.map(|network| network.host(name).wrapper).unwrap_or_default();
    if !wrapper.is_empty() {
        wrapper.push(format!("--mount=/proc/{}/ns/mnt", std::process::id()).into());
    }
    wrapper
}

/// The hosts, and the way to the switch between them.
pub(crate) fn network() -> Result<Network, String> {
    Network::new(&HOSTS)
}

impl Scene {
    /// In the network of the calling thread.
    pub(crate) async fn start(shape: Shape, network: Option<Network>, mut chance: Chance) -> Self {
        let folder = tempfile::Builder::new().prefix("quorate-chaos-").tempdir().unwrap();
        let disks = Disks::new(folder.path(), shape.replicas).ok();
        let mut setup = Setup { replicas: shape.replicas, ..Setup::default() }
            .with("lease_ttl", &format!("{}s", LEASE_TTL.as_secs()))
            .with("snapshot_entries", &shape.snapshot_entries.to_string());
        if let Some(network) = &network {
            setup = setup.with("insecure", "true");
            setup.hosts = (1..=shape.replicas).map(|id| (id, network.host(&format!("r{id}")))).collect();
        }
        setup.data = disks.is_some().then(|| folder.path().to_owned());
        let mut cluster = Cluster::start(setup).await;
        for name in WORKERS {
            let wrapper = worker_wrapper(network.as_ref(), name);
            cluster.start_worker_with(name, WorkerSetup { cpu: WORKER_CPU, wrapper, ..WorkerSetup::default() }).await;
        }
        let journal = Journal::new(&cluster.dir);
        let load = Load::start(cluster.apis(), &journal, &mut chance);
        let mut scene = Self {
            load,
            streams: Streams::new(),
            cluster,
            disks,
            network,
            chance,
            journal,
            http: impatient_client(),
            calm_since: Instant::now(),
            gone: 0,
            _folder: folder,
        };
        scene.watch_all();
        scene
    }

    /// Follows the streams of all replicas there are, and sends clients to all of them.
    pub(crate) fn watch_all(&mut self) {
        for id in self.cluster.alive() {
            self.streams.follow(id, &self.cluster.at(id));
        }
        self.load.use_replicas(self.cluster.apis());
    }

    /// A replica for somebody who may not get an answer.
    pub(crate) fn at(&self, id: u64) -> Api {
        Api::new(self.cluster.url(id), self.http.clone())
    }

    /// Who leads, as far as the newest term that anybody knows goes.
    pub(crate) async fn leader(&self) -> u64 {
        wait_until("a leader", PATIENCE, || async {
            let mut newest = None;
            for id in self.cluster.alive() {
                let Some(answer) = self.at(id).try_get("/v1/cluster?consistency=stale").await else { continue };
                let view = if answer.status == 200 { answer.json() } else { Value::Null };
                newest = newest.max(view["term"].as_u64().map(|term| (term, view["leader"].as_u64())));
            }
            newest?.1.filter(|leader| self.cluster.alive().contains(leader))
        })
        .await
    }

    /// Has the leadership handed over to it, if need be.
    pub(crate) async fn make_leader(&self, id: u64) {
        let body = json!({"to": id}).to_string().into_bytes();
        wait_until(&format!("replica {id} to lead"), PATIENCE, || async {
            let present = self.leader().await;
            if present == id {
                return Some(());
            }
            let headers = [("content-type", "application/json")];
            let _ = self.at(present).send(Method::POST, "/v1/cluster/transfer-leader", &headers, body.clone()).await;
            None
        })
        .await;
    }

    /// Replicas that run and do not lead, in random order.
    pub(crate) async fn followers(&mut self) -> Vec<u64> {
        let leader = self.leader().await;
        let mut others: Vec<u64> = self.cluster.alive().into_iter().filter(|id| *id != leader).collect();
        self.chance.shuffle(&mut others);
        others
    }

    /// The name of a replica's host.
    pub(crate) fn host_name(&self, id: u64) -> String {
        let address = self.cluster.host_of(id).map(|host| host.address.clone()).unwrap_or_default();
        format!("r{}", address.rsplit('.').next().unwrap_or_default())
    }

    pub(crate) fn network(&self) -> &Network {
        self.network.as_ref().unwrap_or_else(|| panic!("the fault needs a network of its own"))
    }

    pub(crate) fn disks(&mut self) -> &mut Disks {
        self.disks.as_mut().unwrap_or_else(|| panic!("the fault needs disks of its own"))
    }

    /// Starts replicas that do not run, and waits until all serve.
    pub(crate) async fn all_ready(&mut self) {
        for id in self.cluster.ids() {
            self.let_go(id).await;
        }
        self.cluster.start_all();
        for id in self.cluster.ids() {
            self.cluster.ready(id).await;
        }
    }

    /// One whose disk failed a moment ago may have said that it can't go on, and not have ended yet. One that was
    /// started again since says so.
    async fn let_go(&mut self, id: u64) {
        let process = std::sync::Mutex::new(&mut self.cluster.replica(id).process);
        wait_until(&format!("replica {id} to end or to start"), PATIENCE, || async {
            let mut process = process.lock().unwrap();
            let log = process.log_text();
            let goes_on = log.rfind("can't go on") <= log.rfind("replica started");
            (goes_on || !process.is_started() || process.exited().is_some()).then_some(())
        })
        .await;
    }

    /// Takes a dead replica out of the cluster, and puts a new one with an empty disk on its host.
    pub(crate) async fn replace(&mut self, old: u64) {
        let new = self.cluster.ids().into_iter().max().unwrap() + 1;
        let data = self.cluster.retire(old);
        self.removed(old).await;
        match &mut self.disks {
            Some(disks) => disks.add(new).unwrap(),
            None => std::fs::remove_dir_all(&data).unwrap(),
        }
        let through = self.leader().await;
        self.cluster.add_in_place_of(old, new, through);
        self.cluster.replica(new).process.start();
        wait_until(&format!("replica {new} to vote"), PATIENCE, || async {
            let answer = self.at(through).try_get("/v1/cluster").await.filter(|answer| answer.status == 200)?;
            let replicas = answer.json()["replicas"].as_array()?.clone();
            replicas.iter().any(|seen| seen["id"] == new && seen["voter"] == true).then_some(())
        })
        .await;
        self.watch_all();
    }

    async fn removed(&self, id: u64) {
        wait_until(&format!("replica {id} to be removed"), PATIENCE, || async {
            let api = self.at(self.leader().await);
            let path = format!("/v1/cluster/replicas/{id}");
            let answer = api.send(reqwest::Method::DELETE, &path, &[], Vec::new()).await.ok()?;
            (answer.is_success() || answer.status == 404).then_some(())
        })
        .await;
    }

    /// Starts tasks that outlast the lease of their worker: an attempt that lives on where it must not meets the one
    /// that follows it.
    pub(crate) async fn occupy_workers(&self) -> u64 {
        let name = format!("long-{}", self.load.seen(|seen| seen.accepted.len()));
        let task = self.journal.task("long", LONG_TASKS, LEASE_TTL + LEASE_TTL);
        let job = json!({"name": name, "priority": 100, "tasks": [task]});
        let id = wait_until("a job that outlasts leases", PATIENCE, || async {
            let answer = self.cluster.any().try_submit(&job, Some(&name)).await.ok()?;
            answer.is_success().then(|| id_of(&answer))
        })
        .await;
        self.load.watch(Accepted { id, name });
        wait_until("all of it to run", PATIENCE, || async {
            (0..LONG_TASKS).all(|index| !self.journal.of(id, "long", index).is_empty()).then_some(())
        })
        .await;
        id
    }

    /// The worker with more to do, which is the one worth hitting.
    pub(crate) fn busy_worker(&self) -> &'static str {
        let processes = |name: &&str| self.cluster.workers[*name].attempts(None).len();
        WORKERS.into_iter().max_by_key(processes).unwrap()
    }

    /// The replica with which a worker's newest session is.
    pub(crate) fn replica_of(&self, worker: &str) -> u64 {
        let said = self.cluster.workers[worker].process.log_text();
        let session = said.lines().rfind(|line| line.contains("session stands")).expect("a session");
        self.cluster.alive().into_iter().find(|id| session.contains(&self.cluster.url(*id))).expect("its replica")
    }

    /// How many of these tasks had to run again.
    pub(crate) fn interrupted(&self, job: u64) -> u64 {
        (0..LONG_TASKS).filter(|index| self.journal.of(job, "long", *index).len() > 1).count() as u64
    }

    /// What must hold once a fault is healed.
    pub(crate) async fn settle(&mut self) {
        self.all_ready().await;
        self.load.goes_on(1, WRITES_WITHIN).await;
        self.takes_writes_everywhere().await;
        self.calm_since = Instant::now();
        self.load.pause().await;
        self.drains().await;
        let (index, _) = self.cluster.digests_agree().await;
        let (stream, gone) = self.streams.agree(&self.cluster.alive(), index).await;
        self.gone = gone;
        let (arrays, accepted) = self.load.seen(|seen| (seen.arrays.clone(), seen.accepted.clone()));
        for id in &arrays {
            let view = self.cluster.any().job(*id).await;
            assert_eq!(view["state"], "succeeded", "{view}");
            events::check_job(&stream, *id, &view["spec"]);
        }
        for (element, attempts) in self.journal.check() {
            let last = attempts.last().unwrap_or_else(|| panic!("{element} kept no journal"));
            assert!(last.ended, "{element} is said to have succeeded, but its last attempt did not end: {attempts:?}");
        }
        let missing = lost(&self.cluster.any(), &accepted).await;
        assert!(missing.is_empty(), "{} of {} accepted jobs are lost: {missing:?}", missing.len(), accepted.len());
        self.load.nothing_wrong();
        self.load.resume();
    }

    async fn takes_writes_everywhere(&self) {
        for id in self.cluster.alive() {
            let key = format!("after-{id}-{}", self.load.seen(|seen| seen.writes.len()));
            let job = quick(&key);
            wait_until(&format!("a write through replica {id}"), WRITES_WITHIN, || async {
                self.at(id).try_submit(&job, Some(&key)).await.ok().filter(|answer| answer.is_success())
            })
            .await;
        }
    }

    /// Everything that was accepted finishes.
    async fn drains(&self) {
        let deadline = Instant::now() + DRAINS_WITHIN;
        for state in ["pending", "running"] {
            loop {
                let left = self.cluster.any().read(&format!("/v1/jobs?state={state}&limit=5")).await;
                if left["items"].as_array().unwrap().is_empty() {
                    break;
                }
                assert!(Instant::now() < deadline, "not drained within {DRAINS_WITHIN:?}: {left}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    /// The end of a scene that went well.
    pub(crate) async fn finish(mut self) {
        self.load.pause().await;
        self.cluster.conclude();
    }
}
