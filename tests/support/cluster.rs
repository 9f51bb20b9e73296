//! Replicas and workers as child processes in a folder of their own.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::events::{self, Event};
use super::http::{Api, client};
use super::namespaces::Host;
use super::process::{Process, flags, path};
use super::{PATIENCE, ports, sys, wait_until};

/// How often a start is repeated because somebody else took a port in between.
const STARTS: usize = 3;
/// On a host of its own every port is free.
const HTTP_PORT: u16 = 7070;
const PEER_PORT: u16 = 7170;
/// For a majority to find a leader.
const ELECTION: Duration = Duration::from_secs(20);

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) replicas: u64,
    /// Settings of each replica by their names in the configuration file.
    pub(crate) settings: Vec<(String, String)>,
    /// Where HTTP is served; other than loopback only within a namespace of the test's own.
    pub(crate) host: String,
    /// Replicas that live on hosts of their own instead.
    pub(crate) hosts: BTreeMap<u64, Host>,
    /// The folder in which the replicas keep their data, each in one named by its id.
    pub(crate) data: Option<PathBuf>,
    /// Goes before the binary of each replica.
    pub(crate) wrapper: Vec<OsString>,
    pub(crate) env: Vec<(String, String)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            replicas: 3,
            settings: Vec::new(),
            host: "127.0.0.1".into(),
            hosts: BTreeMap::new(),
            data: None,
            wrapper: Vec::new(),
            env: Vec::new(),
        }
    }
}

impl Setup {
    pub(crate) fn with(mut self, setting: &str, value: &str) -> Self {
        self.settings.push((setting.into(), value.into()));
        self
    }
}

#[derive(Clone, Debug)]
pub(crate) struct WorkerSetup {
    pub(crate) cpu: &'static str,
    pub(crate) args: Vec<(&'static str, String)>,
    /// Instead of all replicas.
    pub(crate) servers: Option<String>,
    pub(crate) wrapper: Vec<OsString>,
}

impl Default for WorkerSetup {
    fn default() -> Self {
        Self { cpu: "4", args: Vec::new(), servers: None, wrapper: Vec::new() }
    }
}

#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) process: Process,
    pub(crate) http: String,
    pub(crate) peer: String,
    pub(crate) data: PathBuf,
}

#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) process: Process,
    pub(crate) data: PathBuf,
}

#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) dir: PathBuf,
    temp: Option<TempDir>,
    setup: Setup,
    pub(crate) replicas: BTreeMap<u64, Replica>,
    /// Those that will never be started again; their logs still count.
    retired: Vec<Replica>,
    pub(crate) workers: BTreeMap<String, Worker>,
    client: reqwest::Client,
    /// Parts of error lines that a test brings about on purpose.
    pub(crate) expected_errors: Vec<&'static str>,
    finished: bool,
}

impl Cluster {
    /// Three replicas, ready to take writes.
    pub(crate) async fn of_three() -> Self {
        Self::start(Setup::default()).await
    }

    pub(crate) async fn start(setup: Setup) -> Self {
        for _ in 1..STARTS {
            let mut cluster = Self::prepare(setup.clone());
            cluster.start_all();
            if cluster.has_leader_unless_port_taken().await {
                return cluster;
            }
            cluster.finished = true;
        }
        let mut cluster = Self::prepare(setup);
        cluster.start_all();
        cluster.leader().await;
        cluster
    }

    /// A cluster whose processes are not started yet.
    pub(crate) fn prepare(setup: Setup) -> Self {
        let temp = tempfile::Builder::new().prefix("quorate-test-").tempdir().unwrap();
        let dir = temp.path().to_owned();
        let mut cluster = Self {
            dir,
            temp: Some(temp),
            setup,
            replicas: BTreeMap::new(),
            retired: Vec::new(),
            workers: BTreeMap::new(),
            client: client(),
            expected_errors: Vec::new(),
            finished: false,
        };
        let ids = 1..=cluster.setup.replicas;
        let peers: BTreeMap<u64, String> = ids.map(|id| (id, cluster.peer_address(id))).collect();
        let members: Vec<String> = peers.iter().map(|(id, peer)| format!("{id}={peer}")).collect();
        for (id, peer) in &peers {
            let http = cluster.http_address(*id);
            cluster.add_replica(*id, &http, peer, &[("--cluster", &members.join(","))]);
        }
        cluster
    }

    /// A replica that joins; it is not started yet.
    pub(crate) fn add_joining(&mut self, id: u64, through: u64) {
        let (http, peer) = (self.http_address(id), self.peer_address(id));
        let join = self.url(through);
        self.add_replica(id, &http, &peer, &[("--join", &join)]);
    }

    /// The same on the host and with the addresses of one that was retired.
    pub(crate) fn add_in_place_of(&mut self, old: u64, id: u64, through: u64) {
        let name = format!("replica {old}");
        let replica = self.retired.iter().find(|replica| replica.process.name == name).unwrap();
        let (http, peer) = (replica.http.clone(), replica.peer.clone());
        if let Some(host) = self.host_of(old).cloned() {
            self.setup.hosts.insert(id, host);
        }
        let join = self.url(through);
        self.add_replica(id, &http, &peer, &[("--join", &join)]);
    }

    pub(crate) fn host_of(&self, id: u64) -> Option<&Host> {
        self.setup.hosts.get(&id)
    }

    fn peer_address(&self, id: u64) -> String {
        match self.host_of(id) {
            Some(host) => format!("{}:{PEER_PORT}", host.address),
            None => format!("127.0.0.1:{}", ports::free("127.0.0.1")),
        }
    }

    fn http_address(&self, id: u64) -> String {
        match self.host_of(id) {
            Some(host) => format!("{}:{HTTP_PORT}", host.address),
            None => format!("{}:{}", self.setup.host, ports::free(&self.setup.host)),
        }
    }

    fn add_replica(&mut self, id: u64, http: &str, peer: &str, start: &[(&str, &str)]) {
        let host_wrapper = self.host_of(id).map(|host| host.wrapper.clone()).unwrap_or_default();
        let folder = self.setup.data.clone().unwrap_or_else(|| self.dir.join("data"));
        let data = folder.join(format!("r{id}"));
        std::fs::create_dir_all(&folder).unwrap();
        let mut args: Vec<OsString> = vec!["serve".into(), "--exit-with-stdin".into()];
        let (number, data_text) = (id.to_string(), path(&data));
        args.extend(flags(&[("--id", &number), ("--data", &data_text), ("--http", http), ("--peer", peer)]));
        args.extend(flags(start));
        for (name, value) in &self.setup.settings {
            args.extend(flags(&[("--set", &format!("{name}={value}"))]));
        }
        let mut process = Process::new(&format!("replica {id}"), args, self.dir.join(format!("r{id}.log")));
        process.wrapper = [host_wrapper, self.setup.wrapper.clone()].concat();
        process.env.clone_from(&self.setup.env);
        self.replicas.insert(id, Replica { process, http: http.to_owned(), peer: peer.to_owned(), data });
    }

    /// Ends a replica for good, and returns its data folder.
    pub(crate) fn retire(&mut self, id: u64) -> PathBuf {
        let mut replica = self.replicas.remove(&id).unwrap();
        replica.process.kill();
        let data = replica.data.clone();
        self.retired.push(replica);
        data
    }

    /// Starts every replica that does not run.
    pub(crate) fn start_all(&mut self) {
        for replica in self.replicas.values_mut().filter(|replica| !replica.process.is_started()) {
            replica.process.start();
        }
    }

    async fn has_leader_unless_port_taken(&mut self) -> bool {
        let end = std::time::Instant::now() + ELECTION;
        while std::time::Instant::now() < end {
            for replica in self.replicas.values_mut() {
                if let Some(status) = replica.process.exited() {
                    let log = replica.process.log_tail();
                    assert!(log.contains("in use"), "{} ended with {status}:\n{log}", replica.process.name);
                    return false;
                }
            }
            if self.find_leader().await.is_some() {
                return true;
            }
            tokio::time::sleep(super::LOOK_EVERY).await;
        }
        panic!("no leader within {ELECTION:?}");
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.replicas.keys().copied().collect()
    }

    /// Replicas that run, as far as the test knows.
    pub(crate) fn alive(&self) -> Vec<u64> {
        self.replicas.iter().filter(|(_, replica)| replica.process.is_started()).map(|(id, _)| *id).collect()
    }

    pub(crate) fn url(&self, id: u64) -> String {
        format!("http://{}", self.replicas[&id].http)
    }

    /// All addresses, as `--server` takes them.
    pub(crate) fn urls(&self) -> String {
        self.ids().iter().map(|id| self.url(*id)).collect::<Vec<_>>().join(",")
    }

    pub(crate) fn at(&self, id: u64) -> Api {
        Api::new(self.url(id), self.client.clone())
    }

    /// A replica that runs.
    pub(crate) fn any(&self) -> Api {
        self.at(*self.alive().first().unwrap())
    }

    /// All replicas that run.
    pub(crate) fn apis(&self) -> Vec<Api> {
        self.alive().into_iter().map(|id| self.at(id)).collect()
    }

    pub(crate) fn replica(&mut self, id: u64) -> &mut Replica {
        self.replicas.get_mut(&id).unwrap()
    }

    pub(crate) fn worker(&mut self, name: &str) -> &mut Worker {
        self.workers.get_mut(name).unwrap()
    }

    pub(crate) fn kill(&mut self, id: u64) {
        self.replica(id).process.kill();
    }

    /// Kills every replica with -9, all signals before the first wait.
    pub(crate) fn kill_all_at_once(&mut self) {
        for id in self.alive() {
            self.replica(id).process.signal(libc::SIGKILL);
        }
        for id in self.alive() {
            self.kill(id);
        }
    }

    /// Starts a killed replica again and waits until it serves.
    pub(crate) async fn restart(&mut self, id: u64) {
        self.replica(id).process.start();
        self.ready(id).await;
    }

    /// Waits until a replica knows a leader and has caught up with it.
    pub(crate) async fn ready(&mut self, id: u64) {
        let api = self.at(id);
        let process = std::sync::Mutex::new(&mut self.replica(id).process);
        wait_until(&format!("replica {id} to be ready"), PATIENCE, || async {
            let ended = process.lock().unwrap().exited();
            assert!(ended.is_none(), "replica {id} ended with {ended:?}: {}", process.lock().unwrap().log_tail());
            let ready = api.try_get("/readyz").await.is_some_and(|answer| answer.status == 200);
            let caught_up = ready && api.try_get("/v1/jobs?limit=1").await.is_some_and(|answer| answer.status == 200);
            caught_up.then_some(())
        })
        .await;
    }

    /// The replica that every running one says is the leader, which runs itself.
    pub(crate) async fn leader(&self) -> u64 {
        wait_until("a leader that all running replicas agree on", ELECTION, || self.find_leader()).await
    }

    async fn find_leader(&self) -> Option<u64> {
        let alive = self.alive();
        let mut found = None;
        for id in &alive {
            let answer = self.at(*id).try_get("/v1/cluster?consistency=stale").await?;
            let leader = (answer.status == 200).then(|| answer.json()["leader"].as_u64())??;
            if found.is_some_and(|other| other != leader) {
                return None;
            }
            found = Some(leader);
        }
        found.filter(|leader| alive.contains(leader))
    }

    /// Waits until the replicas have told each other where they serve HTTP: from then on only clients write.
    pub(crate) async fn settled(&self) {
        wait_until("every replica to know every other's address", PATIENCE, || async {
            for id in self.alive() {
                let view = self.at(id).try_get("/v1/cluster?consistency=stale").await?.ok().json();
                let members = view["replicas"].as_array()?;
                let is_known = |member: &Value| {
                    let replica = member["id"].as_u64().and_then(|id| self.replicas.get(&id));
                    replica.is_some_and(|replica| member["http"] == replica.http.as_str())
                };
                (members.len() == self.replicas.len() && members.iter().all(is_known)).then_some(())?;
            }
            Some(())
        })
        .await;
    }

    /// A running replica that does not lead.
    pub(crate) async fn follower(&self) -> u64 {
        let leader = self.leader().await;
        self.alive().into_iter().find(|id| *id != leader).unwrap()
    }

    pub(crate) async fn start_worker(&mut self, name: &str) {
        self.start_worker_with(name, WorkerSetup::default()).await;
    }

    /// Starts a worker and waits until it is ready.
    pub(crate) async fn start_worker_with(&mut self, name: &str, setup: WorkerSetup) {
        let data = self.dir.join(format!("worker-{name}"));
        let servers = setup.servers.clone().unwrap_or_else(|| self.urls());
        let mut args: Vec<OsString> = vec!["work".into(), "--exit-with-stdin".into()];
        let data_text = path(&data);
        args.extend(flags(&[("--name", name), ("--data", &data_text), ("--servers", &servers), ("--cpu", setup.cpu)]));
        args.extend(setup.args.iter().flat_map(|(flag, value)| flags(&[(flag, value)])));
        let mut process = Process::new(&format!("worker {name}"), args, self.dir.join(format!("{name}.log")));
        process.wrapper = setup.wrapper;
        process.start();
        self.workers.insert(name.to_owned(), Worker { process, data });
        self.any().worker_is(name, "ready").await;
    }

    /// The digests of all running replicas at one index, which must be the same. Returns index and digest.
    pub(crate) async fn digests_agree(&self) -> (u64, String) {
        let apis = self.apis();
        let views = wait_until("the replicas to be at one index", PATIENCE, || async {
            let mut views: Vec<Value> = Vec::new();
            for api in &apis {
                let answer = api.try_get("/v1/cluster/digest?consistency=stale").await?;
                views.push((answer.status == 200).then(|| answer.json())?);
            }
            views.iter().all(|view| view["index"] == views[0]["index"]).then_some(views)
        })
        .await;
        assert_eq!(views.len(), self.alive().len());
        assert!(views.iter().all(|view| view["digest"] == views[0]["digest"]), "the states differ: {views:?}");
        (views[0]["index"].as_u64().unwrap(), views[0]["digest"].as_str().unwrap().to_owned())
    }

    /// The events of all running replicas, which must agree, and what must hold about each of these jobs.
    pub(crate) async fn events_agree(&self, jobs: &[u64]) -> Vec<Event> {
        let mut streams = BTreeMap::new();
        for id in self.alive() {
            streams.insert(id, self.at(id).events(1).await);
        }
        let events = events::agree(&streams);
        for job in jobs {
            let view = self.any().job(*job).await;
            events::check_job(&events, *job, &view["spec"]);
        }
        events
    }

    /// Fails if any process panicked or logged an error that the test does not expect.
    pub(crate) fn check_logs(&self) {
        for process in self.processes() {
            for line in process.log_text().lines() {
                assert!(!line.contains("panicked at"), "{}: {line}", process.name);
                // Errors of openraft's own are about its callers and its shutdown; what matters of them we log
                // ourselves.
                let is_error = line.contains(" ERROR ") && !line.contains(" ERROR openraft::");
                let expected = self.expected_errors.iter().any(|part| line.contains(part));
                assert!(!is_error || expected, "{}: {line}", process.name);
            }
        }
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        let replicas = self.replicas.values().chain(&self.retired).map(|replica| &replica.process);
        replicas.chain(self.workers.values().map(|worker| &worker.process))
    }

    /// The end of a test that went well: nothing panicked, and nothing is left.
    pub(crate) fn finish(mut self) {
        self.conclude();
    }

    /// The same for who can't give it away.
    pub(crate) fn conclude(&mut self) {
        self.check_logs();
        self.finished = true;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for worker in self.workers.values_mut() {
            worker.end();
        }
        for replica in self.replicas.values_mut() {
            replica.process.kill();
        }
        if std::thread::panicking() {
            for process in self.processes() {
                eprintln!("--- the end of {} ({})\n{}", process.log.display(), process.name, process.log_tail());
            }
            eprintln!("--- kept: {}", self.dir.display());
            self.temp.take().map(TempDir::keep);
        } else {
            assert!(self.finished, "a test must end with Cluster::finish, which looks into the logs");
        }
    }
}

impl Worker {
    pub(crate) fn agent(&self) -> i32 {
        self.process.pid()
    }

    /// The agent's child that starts the attempts.
    pub(crate) fn watchdog(&self) -> i32 {
        let agent = self.agent();
        let found = sys::processes().into_iter().find(|seen| seen.parent == agent && seen.command.contains("watchdog"));
        found.unwrap_or_else(|| panic!("{} has no watchdog", self.process.name)).pid
    }

    /// Living processes of attempts of this worker; with a fence, of that attempt only.
    pub(crate) fn attempts(&self, fence: Option<u64>) -> Vec<sys::Seen> {
        let mut variables = vec![format!("QUORATE_RESULT={}/", self.data.display())];
        variables.extend(fence.map(|fence| format!("QUORATE_FENCE={fence}")));
        // With `starts_with`, 12 would also find 123.
        let exact = |seen: &sys::Seen| fence.is_none_or(|fence| has_fence(seen.pid, fence));
        sys::with_environment(&variables).into_iter().filter(exact).collect()
    }

    /// Ends the worker and all that it may have left.
    fn end(&mut self) {
        let watchdog = std::fs::read_to_string(self.data.join("watchdog")).unwrap_or_default();
        self.process.kill();
        let recorded = watchdog.split_whitespace().next().and_then(|pid| pid.parse().ok()).and_then(sys::seen);
        if let Some(seen) = recorded.filter(|seen| seen.command.ends_with(" watchdog")) {
            sys::signal(seen.pid, libc::SIGKILL);
        }
        // What is killed may just have started a process: so look until there is none.
        loop {
            let left = self.attempts(None);
            if left.is_empty() {
                break;
            }
            for seen in left {
                sys::signal(seen.pid, libc::SIGKILL);
            }
        }
    }
}

fn has_fence(pid: i32, fence: u64) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let wanted = format!("QUORATE_FENCE={fence}");
    environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
}
