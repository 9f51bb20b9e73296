//! Measurements of this build on a cluster of its own: three replicas as real processes on a real disk.
//!
//! One file for each scenario; `report` is what comes out, `load` the lean HTTP client that leaves the
//! machine to the cluster.

mod array;
mod bulk;
mod catchup;
mod dag;
mod events;
mod failover;
mod latency;
mod load;
mod memory;
mod noop;
mod place;
mod policies;
mod process;
mod reads;
mod report;
mod restart;
mod snapshot;
mod soak;
mod spawn;
mod submit;
mod target;
mod workers;

use std::path::PathBuf;

use anyhow::Context;
use tempfile::TempDir;

use crate::args::{BenchArgs, Scenario};
use crate::cluster_process::{Layout, ProcessCluster, WorkerSize};
pub(crate) use policies::{POLICIES, table as policies_table};
pub(crate) use report::Report;
use report::rounded;
pub(crate) use target::Server;
use target::Target;

const REPLICAS: u16 = 3;

/// Runs a scenario. Every process that it starts has ended when this returns.
pub(crate) async fn run(args: &BenchArgs, server: Option<Server>, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    let bench = Bench::new(args, server)?;
    match args.scenario {
        Scenario::Submit => submit::run(&bench, say).await,
        Scenario::Bulk => bulk::run(&bench, say).await,
        Scenario::Array => array::run(&bench, say).await,
        Scenario::Noop => noop::run(&bench, say).await,
        Scenario::Process => process::run(&bench, say).await,
        Scenario::Latency => latency::run(&bench, say).await,
        Scenario::Dag => dag::run(&bench, say).await,
        Scenario::Reads => reads::run(&bench, say).await,
        Scenario::Events => events::run(&bench, say).await,
        Scenario::Failover => failover::run(&bench, say).await,
        Scenario::Restart => restart::run(&bench, say).await,
        Scenario::Catchup => catchup::run(&bench, say).await,
        Scenario::Idle => workers::idle(&bench, say).await,
        Scenario::Workers => workers::many(&bench, say).await,
        Scenario::Memory => memory::run(&bench, say).await,
        Scenario::Snapshot => snapshot::run(&bench, say).await,
        Scenario::Place => place::run(&bench, say),
        Scenario::Policies => policies::run(&bench, say).await,
        Scenario::Soak => soak::run(&bench, say).await,
    }
}

/// What the scenarios share.
#[derive(Debug)]
struct Bench {
    args: BenchArgs,
    /// A cluster that is there, to be measured instead of one of our own.
    server: Option<Server>,
    folder: TempDir,
}

impl Bench {
    fn new(args: &BenchArgs, server: Option<Server>) -> anyhow::Result<Self> {
        let parent = args.data.clone().unwrap_or_else(std::env::temp_dir);
        std::fs::create_dir_all(&parent).with_context(|| format!("create {}", parent.display()))?;
        let folder = tempfile::Builder::new().prefix("quorate-bench-").tempdir_in(&parent);
        let folder = folder.with_context(|| format!("create a folder in {}", parent.display()))?;
        Ok(Self { args: args.clone(), server, folder })
    }

    /// A fresh cluster, or the one that is there.
    async fn target(&self, name: &str) -> anyhow::Result<Target> {
        match &self.server {
            Some(server) => Target::there(server),
            None => Target::own(self.cluster(name).await?),
        }
    }

    /// The same with a worker of so many slots; one that is there has what it has.
    async fn target_with_worker(&self, name: &str, slots: u32) -> anyhow::Result<Target> {
        if self.server.is_none() {
            return Target::own(self.cluster_with_worker(name, slots).await?);
        }
        let target = self.target(name).await?;
        target.has_worker().await?;
        Ok(target)
    }

    /// A fresh cluster in a folder of its own.
    async fn cluster(&self, name: &str) -> anyhow::Result<ProcessCluster> {
        let dir: PathBuf = self.folder.path().join(name);
        ProcessCluster::start(Layout::loopback(&dir, REPLICAS)?).await
    }

    /// A fresh cluster with one worker of so many slots.
    async fn cluster_with_worker(&self, name: &str, slots: u32) -> anyhow::Result<ProcessCluster> {
        let mut cluster = self.cluster(name).await?;
        cluster.start_workers(1, &WorkerSize { cpu_millis: Some(u64::from(slots) * 1000), zones: &[] }).await?;
        Ok(cluster)
    }
}
