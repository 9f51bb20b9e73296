//! `quorate dev`: a cluster on this machine, until Ctrl-C.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tempfile::TempDir;

use crate::args::{ClientArgs, DevArgs};
use crate::cluster_process::{Layout, ProcessCluster, WorkerSize};
use crate::exit::Failure;
use crate::output;
use crate::runtime::Interrupts;

/// How often is looked whether a process died.
const WATCH_EVERY: Duration = Duration::from_millis(200);

pub(super) async fn run(args: DevArgs, client: ClientArgs) -> Result<(), Failure> {
    let mut interrupts = Interrupts::listen()?;
    let folder = Folder::new(args.data.as_deref())?;
    let layout = Layout {
        dir: folder.path().to_owned(),
        http: addresses(args.http, args.replicas)?,
        token: super::token(&client)?,
        insecure: args.insecure,
    };
    output::note(format!(
        "starting {} replicas and {} workers in {}",
        args.replicas,
        args.workers,
        folder.path().display()
    ));
    let cluster = tokio::select! {
        cluster = start(layout, &args) => cluster?,
        // Dropping what was started ends it.
        () = interrupts.next() => return Ok(()),
    };
    announce(&cluster, &folder)?;
    watch(cluster, interrupts).await;
    Ok(())
}

async fn start(layout: Layout, args: &DevArgs) -> Result<ProcessCluster, Failure> {
    let mut cluster = ProcessCluster::start(layout).await?;
    cluster.start_workers(args.workers, &WorkerSize { cpu_millis: args.cpu, zones: &[] }).await?;
    Ok(cluster)
}

fn addresses(first: SocketAddr, replicas: u16) -> Result<Vec<SocketAddr>, Failure> {
    let address = |nth: u16| {
        let port = first.port().checked_add(nth).filter(|_| first.port() > 0);
        let port = port.ok_or_else(|| Failure::Usage(format!("{first} leaves no ports for {replicas} replicas")))?;
        Ok(SocketAddr::new(first.ip(), port))
    };
    (0..replicas).map(address).collect()
}

fn announce(cluster: &ProcessCluster, folder: &Folder) -> Result<(), Failure> {
    for replica in &cluster.replicas {
        output::data(format!("replica {}  {}", replica.id, replica.url()))?;
    }
    for worker in &cluster.workers {
        output::data(worker.name())?;
    }
    output::note(format!("logs in {}", cluster.logs().display()));
    output::note(format!("try: quorate run --server {} -- echo hello", cluster.urls().join(",")));
    output::note(match folder {
        Folder::Kept(_) => "Ctrl-C stops the cluster; its data stays",
        Folder::Temporary(_) => "Ctrl-C stops the cluster and removes its data (--data DIR keeps it)",
    });
    Ok(())
}

/// Waits for Ctrl-C. A process that dies is reported and not started again: this is the place to
/// try out what its death does.
async fn watch(mut cluster: ProcessCluster, mut interrupts: Interrupts) {
    loop {
        tokio::select! {
            () = interrupts.next() => break,
            () = tokio::time::sleep(WATCH_EVERY) => report_deaths(&mut cluster),
        }
    }
    output::note("stopping (Ctrl-C again leaves at once)");
    tokio::select! {
        () = cluster.stop() => {}
        () = interrupts.next() => {}
    }
}

fn report_deaths(cluster: &mut ProcessCluster) {
    let replicas = cluster.replicas.iter_mut().map(|replica| &mut replica.process);
    for process in replicas.chain(cluster.workers.iter_mut()) {
        if let Some(status) = process.exited() {
            output::note(format!("{} ended with {status}; its log: {}", process.name(), process.log().display()));
        }
    }
}

/// Where the cluster's data is.
#[derive(Debug)]
enum Folder {
    Kept(PathBuf),
    Temporary(TempDir),
}

impl Folder {
    fn new(wanted: Option<&Path>) -> Result<Self, Failure> {
        match wanted {
            Some(path) => {
                std::fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))?;
                let path = path.canonicalize().with_context(|| format!("find {}", path.display()))?;
                Ok(Self::Kept(path))
            }
            None => {
                let folder = tempfile::Builder::new().prefix("quorate-dev-").tempdir();
                Ok(Self::Temporary(folder.context("create a temporary folder")?))
            }
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_take_the_ports_after_the_first() {
        let http = addresses("127.0.0.1:7070".parse().unwrap(), 3).unwrap();
        assert_eq!(http.iter().map(SocketAddr::port).collect::<Vec<_>>(), [7070, 7071, 7072]);
        assert_eq!(addresses("127.0.0.1:65535".parse().unwrap(), 2).unwrap_err().exit_code(), 2);
        assert_eq!(addresses("127.0.0.1:0".parse().unwrap(), 2).unwrap_err().exit_code(), 2);
    }
}
