//! A whole cluster as real processes of this very executable: `dev`, `demo` and `bench` use it.
//!
//! Children hold the reading end of a pipe as their standard input and stop when it closes, so that
//! they can't outlive whoever started them, however that ended.

mod ports;
mod process;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use quorate_client::{Client, Options};
use quorate_types::api::ClusterView;
use quorate_types::status::WorkerState;

pub(crate) use ports::free as free_ports;
pub(crate) use process::Process;

/// How long a replica or worker may take until it is ready, on a slow machine and a debug build.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a process has between TERM and KILL.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(10);
/// The same when a cluster is dropped, because its starter was interrupted or failed.
const DROP_GRACE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(25);

/// Where and how large.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) dir: PathBuf,
    /// The HTTP address of each replica.
    pub(crate) http: Vec<SocketAddr>,
    pub(crate) token: Option<String>,
    pub(crate) insecure: bool,
}

impl Layout {
    /// Replicas on free loopback ports, without a token.
    pub(crate) fn loopback(dir: &Path, replicas: u16) -> anyhow::Result<Self> {
        let ports = free_ports(usize::from(replicas))?;
        let http = ports.into_iter().map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect();
        Ok(Self { dir: dir.to_owned(), http, token: None, insecure: false })
    }
}

/// What a worker offers.
#[derive(Clone, Debug)]
pub(crate) struct WorkerSize {
    pub(crate) cpu_millis: Option<u64>,
    /// The values of its label `zone`: each worker has one, in turn. None if it has no such label.
    pub(crate) zones: &'static [&'static str],
}

/// A replica, running or not.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) id: u64,
    pub(crate) http: SocketAddr,
    pub(crate) process: Process,
}

impl Replica {
    pub(crate) fn url(&self) -> String {
        format!("http://{}", reachable(self.http))
    }
}

/// The cluster's processes. Dropping it kills what still runs.
#[derive(Debug)]
pub(crate) struct ProcessCluster {
    layout: Layout,
    executable: PathBuf,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) workers: Vec<Process>,
}

impl ProcessCluster {
    /// Starts the replicas and waits until all of them are ready.
    pub(crate) async fn start(layout: Layout) -> anyhow::Result<Self> {
        let executable = std::env::current_exe().context("find this executable")?;
        for folder in ["logs", "data"] {
            let path = layout.dir.join(folder);
            std::fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        }
        // Whoever answers there would be taken for a replica of this cluster.
        for http in &layout.http {
            drop(TcpListener::bind(http).with_context(|| format!("listen on {http}"))?);
        }
        let peers = peers(&layout)?;
        let mut cluster = Self { layout, executable, replicas: Vec::new(), workers: Vec::new() };
        for (at, http) in cluster.layout.http.clone().into_iter().enumerate() {
            let id = at as u64 + 1;
            let mut process = cluster.process(&format!("replica-{id}"), cluster.serve_args(id, http, &peers));
            process.start()?;
            cluster.replicas.push(Replica { id, http, process });
        }
        for at in 0..cluster.replicas.len() {
            cluster.wait_replica_ready(at).await?;
        }
        Ok(cluster)
    }

    /// Starts `count` workers and waits until all of them are ready.
    pub(crate) async fn start_workers(&mut self, count: u16, size: &WorkerSize) -> anyhow::Result<()> {
        let servers = self.urls().join(",");
        for _ in 0..count {
            self.start_worker(&servers, size)?;
        }
        self.wait_workers_ready().await
    }

    /// Starts a worker that reaches the replicas at another address, and waits until it is ready.
    pub(crate) async fn start_worker_through(&mut self, servers: &str, size: &WorkerSize) -> anyhow::Result<()> {
        self.start_worker(servers, size)?;
        self.wait_workers_ready().await
    }

    fn start_worker(&mut self, servers: &str, size: &WorkerSize) -> anyhow::Result<()> {
        let name = format!("worker-{}", self.workers.len() + 1);
        let mut process = self.process(&name, self.work_args(&name, servers, size));
        process.start()?;
        self.workers.push(process);
        Ok(())
    }

    /// A client that knows all replicas.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::new(&self.urls(), self.layout.token.as_deref())?)
    }

    /// A client of one replica only.
    pub(crate) fn client_of(&self, at: usize) -> anyhow::Result<Client> {
        Ok(Client::new(&[self.replicas[at].url()], self.layout.token.as_deref())?)
    }

    /// The resident memory of the largest replica.
    pub(crate) fn largest_resident_mib(&self) -> anyhow::Result<f64> {
        self.replicas.iter().try_fold(0.0, |largest: f64, replica| {
            let pid = replica.process.pid().context("a replica is not running")?;
            Ok(largest.max(resident_mib(pid)?))
        })
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.replicas.iter().map(Replica::url).collect()
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.layout.dir.join("logs")
    }

    /// The position of the leader, as the cluster sees it once it has one.
    pub(crate) async fn leader(&self) -> anyhow::Result<usize> {
        let client = self.client()?;
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let view: ClusterView = client.cluster().await?;
            let leader = view.leader.and_then(|id| self.replicas.iter().position(|replica| replica.id == id.0));
            match leader {
                Some(at) => return Ok(at),
                None if Instant::now() >= deadline => bail!("no leader was elected within {READY_TIMEOUT:?}"),
                None => tokio::time::sleep(POLL).await,
            }
        }
    }

    /// Waits until the replica says that it is ready.
    pub(crate) async fn wait_replica_ready(&mut self, at: usize) -> anyhow::Result<()> {
        let patience = Duration::ZERO;
        let options = Options { patience, unreachable_patience: patience, ..Options::default() };
        let client = Client::with_options(&[self.replicas[at].url()], self.layout.token.as_deref(), options)?;
        let deadline = Instant::now() + READY_TIMEOUT;
        while !client.is_ready().await {
            self.replicas[at].process.check_alive()?;
            if Instant::now() >= deadline {
                let process = &self.replicas[at].process;
                bail!("{} is not ready after {READY_TIMEOUT:?}; its log: {}", process.name(), process.log().display());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Waits until the cluster calls every worker ready.
    pub(crate) async fn wait_workers_ready(&mut self) -> anyhow::Result<()> {
        let client = self.client()?;
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            let page = client.workers(None).await?;
            let ready =
                |name: &str| page.items.iter().any(|w| w.name.as_str() == name && w.state == WorkerState::Ready);
            let Some(missing) = self.workers.iter_mut().find(|worker| !ready(worker.name())) else { return Ok(()) };
            missing.check_alive()?;
            if Instant::now() >= deadline {
                bail!("{} is not ready after {READY_TIMEOUT:?}; its log: {}", missing.name(), missing.log().display());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Stops workers, then replicas: TERM to all of a kind, a bounded wait, KILL.
    pub(crate) async fn stop(&mut self) {
        let replicas = self.replicas.iter_mut().map(|replica| &mut replica.process);
        process::stop_all(self.workers.iter_mut(), STOP_GRACE).await;
        process::stop_all(replicas, STOP_GRACE).await;
    }

    fn process(&self, name: &str, args: Vec<OsString>) -> Process {
        let log = self.logs().join(format!("{name}.log"));
        Process::new(name, &self.executable, args, log, self.layout.token.clone())
    }

    fn serve_args(&self, id: u64, http: SocketAddr, peers: &BTreeMap<u64, SocketAddr>) -> Vec<OsString> {
        let cluster: Vec<String> = peers.iter().map(|(id, peer)| format!("{id}={peer}")).collect();
        let peer = peers[&id].to_string();
        let data = self.layout.dir.join("data").join(format!("replica-{id}"));
        let mut args: Vec<OsString> = vec!["serve".into(), "--exit-with-stdin".into(), "--data".into(), data.into()];
        let pairs = [
            ("--id", id.to_string()),
            ("--http", http.to_string()),
            ("--peer", peer),
            ("--cluster", cluster.join(",")),
        ];
        args.extend(pairs.into_iter().flat_map(|(flag, value)| [flag.into(), value.into()]));
        if self.layout.insecure {
            args.push("--insecure".into());
        }
        args
    }

    fn work_args(&self, name: &str, servers: &str, size: &WorkerSize) -> Vec<OsString> {
        let data = self.layout.dir.join("data").join(name);
        let mut args: Vec<OsString> = vec!["work".into(), "--exit-with-stdin".into(), "--data".into(), data.into()];
        args.extend(["--servers".into(), servers.into(), "--name".into(), name.into()]);
        if let Some(millis) = size.cpu_millis {
            args.extend(["--cpu".into(), format!("{}.{:03}", millis / 1000, millis % 1000).into()]);
        }
        if !size.zones.is_empty() {
            let zone = size.zones[self.workers.len() % size.zones.len()];
            args.extend(["--label".into(), format!("zone={zone}").into()]);
        }
        args
    }
}

impl Drop for ProcessCluster {
    /// Workers first, and asked: one that is killed leaves it to its watchdog to end its tasks and to look
    /// for a cluster that is gone too. The replicas' processes are killed as they are dropped.
    fn drop(&mut self) {
        process::end_all(&mut self.workers, DROP_GRACE);
    }
}

/// The replicas' peer addresses. A folder that is used again keeps them: they are in its membership.
fn peers(layout: &Layout) -> anyhow::Result<BTreeMap<u64, SocketAddr>> {
    let path = layout.dir.join("data").join("peers.json");
    if let Ok(text) = std::fs::read_to_string(&path) {
        let peers: BTreeMap<u64, SocketAddr> =
            serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))?;
        if peers.len() != layout.http.len() {
            bail!("{} was made for {} replicas, not {}", layout.dir.display(), peers.len(), layout.http.len());
        }
        return Ok(peers);
    }
    let ids = 1..=layout.http.len() as u64;
    let ports = free_ports(layout.http.len())?;
    // Peers talk on loopback: whatever is reachable from outside, the cluster is on one machine.
    let peers = ids.zip(ports).map(|(id, port)| (id, SocketAddr::from(([127, 0, 0, 1], port)))).collect();
    std::fs::write(&path, serde_json::to_string(&peers)?).with_context(|| format!("write {}", path.display()))?;
    Ok(peers)
}

/// For thousands of connections of this process and of those that it starts from now on: as many open files as the
/// system allows. Fewer show when they run out.
pub(crate) fn raise_open_files() {
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// An address to connect to for one that is listened on.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn resident_mib(pid: u32) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).context("read a replica's status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok()).context("find VmRSS")?;
    Ok(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_peers() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let layout = Layout::loopback(folder.path(), 3).unwrap();
        let first = peers(&layout).unwrap();
        assert_eq!(first.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(peers(&layout).unwrap(), first);
        let larger = Layout::loopback(folder.path(), 5).unwrap();
        assert!(peers(&larger).is_err());
    }

    #[test]
    fn everywhere_is_reached_at_loopback() {
        assert_eq!(reachable("0.0.0.0:7".parse().unwrap()).to_string(), "127.0.0.1:7");
        assert_eq!(reachable("10.1.1.1:7".parse().unwrap()).to_string(), "10.1.1.1:7");
    }

    #[test]
    fn a_process_has_resident_memory() {
        assert!(resident_mib(std::process::id()).unwrap() > 1.0);
    }
}
