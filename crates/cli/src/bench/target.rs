//! What is measured: a cluster of the bench's own, or with `--server` one that is there.

use std::net::{SocketAddr, ToSocketAddrs as _};

use anyhow::{Context, bail, ensure};
use quorate_client::Client;
use quorate_types::status::WorkerState;

use super::load::Door;
use crate::cluster_process::ProcessCluster;

/// A cluster that is there: where, and the token that it asks for.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) urls: String,
    pub(crate) token: Option<String>,
}

#[derive(Debug)]
pub(super) struct Target {
    /// One for each replica that is known.
    pub(super) doors: Vec<Door>,
    client: Client,
    own: Option<ProcessCluster>,
}

impl Target {
    pub(super) fn own(cluster: ProcessCluster) -> anyhow::Result<Self> {
        Ok(Self { doors: doors(&cluster), client: cluster.client()?, own: Some(cluster) })
    }

    pub(super) fn there(server: &Server) -> anyhow::Result<Self> {
        let token = server.token.as_deref();
        let urls: Vec<&str> = server.urls.split(',').map(str::trim).collect();
        let doors = urls.iter().map(|url| Ok(Door::new(resolve(url)?, token))).collect::<anyhow::Result<_>>()?;
        Ok(Self { doors, client: Client::new(&urls, token)?, own: None })
    }

    /// A client that knows all replicas.
    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn door(&self, nth: usize) -> Door {
        self.doors[nth % self.doors.len()].clone()
    }

    /// The doors that do not lead to the leader, if there are others.
    pub(super) async fn followers(&self) -> anyhow::Result<Vec<Door>> {
        let view = self.client.cluster().await?;
        let leader = view.replicas.iter().find(|replica| Some(replica.id) == view.leader);
        let leader = leader.context("the cluster has no leader")?;
        let leader = resolve(&leader.http)?;
        let followers: Vec<Door> = self.doors.iter().filter(|door| door.address() != leader).cloned().collect();
        ensure!(followers.len() < self.doors.len(), "which address is the leader's ({leader}) can't be told");
        Ok(followers)
    }

    /// Fails if nothing would run what is submitted.
    pub(super) async fn has_worker(&self) -> anyhow::Result<()> {
        let workers = self.client.workers(None).await?.items;
        ensure!(
            workers.iter().any(|worker| worker.state == WorkerState::Ready),
            "the cluster has no worker that is ready"
        );
        Ok(())
    }

    /// The resident memory of the largest replica, where we can see it.
    pub(super) fn largest_resident_mib(&self) -> anyhow::Result<Option<f64>> {
        self.own.as_ref().map(ProcessCluster::largest_resident_mib).transpose()
    }

    /// A cluster that is there goes on.
    pub(super) async fn stop(&mut self) {
        if let Some(own) = &mut self.own {
            own.stop().await;
        }
    }
}

/// One for each replica.
pub(super) fn doors(cluster: &ProcessCluster) -> Vec<Door> {
    cluster.replicas.iter().map(|replica| Door::new(replica.http, None)).collect()
}

/// `http://host:port/` or `host:port`.
fn resolve(url: &str) -> anyhow::Result<SocketAddr> {
    if url.starts_with("https:") {
        bail!("{url} is not an http:// address");
    }
    let host = url.strip_prefix("http://").unwrap_or(url).trim_end_matches('/');
    let mut found = host.to_socket_addrs().with_context(|| format!("look up {url}"))?;
    found.next().with_context(|| format!("{url} has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_urls() {
        let address: SocketAddr = "127.0.0.1:7070".parse().unwrap();
        assert_eq!(resolve("http://127.0.0.1:7070/").unwrap(), address);
        assert_eq!(resolve("127.0.0.1:7070").unwrap(), address);
        assert!(resolve("https://127.0.0.1:7070").is_err());
        assert!(resolve("http://127.0.0.1").is_err());
    }
}
