//! The leader's death and return.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use quorate_client::{Client, Options};
use quorate_types::ReplicaId;
use quorate_types::api::DigestView;
use serde_json::json;

use crate::cluster_process::ProcessCluster;

/// A cluster that takes no writes for longer than this is broken, also on a slow machine.
const WRITES_WITHIN: Duration = Duration::from_secs(15);
/// How long the replica that returns may take to catch up.
const REJOIN_WITHIN: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// What the leader's death did.
#[derive(Clone, Debug)]
pub(crate) struct Failover {
    /// The killed replica and its position.
    pub(crate) killed: ReplicaId,
    at: usize,
    pub(crate) leader: ReplicaId,
    /// From the kill to the first accepted write through each survivor.
    pub(crate) writes: Vec<(ReplicaId, Duration)>,
}

impl Failover {
    /// How long no write was possible.
    pub(crate) fn unavailable(&self) -> Duration {
        self.writes.iter().map(|(_, took)| *took).max().unwrap_or_default()
    }
}

/// Kills the leader with -9 and submits a tiny job through each survivor.
pub(super) async fn kill_leader(cluster: &mut ProcessCluster, say: &impl Fn(&str)) -> anyhow::Result<Failover> {
    let at = cluster.leader().await?;
    let killed = ReplicaId(cluster.replicas[at].id);
    let survivors: Vec<usize> = (0..cluster.replicas.len()).filter(|other| *other != at).collect();
    let patient = Options { patience: WRITES_WITHIN, ..Options::default() };
    let mut clients = Vec::new();
    for survivor in survivors {
        let replica = &cluster.replicas[survivor];
        clients.push((ReplicaId(replica.id), Client::with_options(&[replica.url()], None, patient)?));
    }
    say(&format!("killing the leader, replica {killed}, with -9"));
    cluster.replicas[at].process.kill()?;
    let died = Instant::now();
    let mut writes = Vec::new();
    for (id, write) in
        clients.iter().map(|(id, client)| (*id, tokio::spawn(submit_tiny(client.clone(), died)))).collect::<Vec<_>>()
    {
        let took = write.await?.with_context(|| format!("submit through replica {id} after the leader's death"))?;
        say(&format!("replica {id} accepted a job {:.2} s after the kill", took.as_secs_f64()));
        writes.push((id, took));
    }
    let leader = ReplicaId(cluster.replicas[cluster.leader().await?].id);
    ensure!(leader != killed, "the dead replica {killed} is still said to lead");
    say(&format!("replica {leader} leads now"));
    Ok(Failover { killed, at, leader, writes })
}

async fn submit_tiny(client: Client, died: Instant) -> anyhow::Result<Duration> {
    client.submit(&json!({"name": "after the kill", "command": ["true"], "priority": 100}), None).await?;
    Ok(died.elapsed())
}

/// Starts the killed replica again and waits until all digests are equal at an equal index.
pub(super) async fn rejoin(cluster: &mut ProcessCluster, failover: &Failover) -> anyhow::Result<DigestView> {
    cluster.replicas[failover.at].process.start()?;
    cluster.wait_replica_ready(failover.at).await?;
    let clients: Vec<Client> = (0..cluster.replicas.len()).map(|at| cluster.client_of(at)).collect::<Result<_, _>>()?;
    let deadline = Instant::now() + REJOIN_WITHIN;
    loop {
        let mut views = Vec::new();
        for client in &clients {
            views.push(client.digest().await.context("read a digest")?);
        }
        let first = views[0].clone();
        if views.iter().all(|view| view.index == first.index) {
            ensure!(views.iter().all(|view| view.digest == first.digest), "the replicas' states differ: {views:?}");
            return Ok(first);
        }
        if Instant::now() >= deadline {
            bail!("the replicas were not at one index within {REJOIN_WITHIN:?}: {views:?}");
        }
        tokio::time::sleep(POLL).await;
    }
}
