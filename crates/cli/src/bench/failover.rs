//! The longest gap in writes when the leader is killed with -9, under writers that retry.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use quorate_client::{Client, Options};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::report::{Latencies, Report};
use super::{Bench, rounded};
use crate::cluster_process::ProcessCluster;

const WRITERS_DEFAULT: u32 = 8;
/// Writers write before the first kill and after each restart for so long.
const STEADY: Duration = Duration::from_secs(1);
/// After a kill, a cluster that takes no writes for so long is broken.
const RECOVER_WITHIN: Duration = Duration::from_secs(30);
/// A replica that is so many entries behind has caught up: writing goes on.
const BEHIND_MAX: u64 = 200;
const POLL: Duration = Duration::from_millis(20);

/// When writes were accepted, in order.
type Accepted = Arc<Mutex<Vec<Instant>>>;

pub(super) async fn run(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    let writers = bench.args.connections.unwrap_or(WRITERS_DEFAULT);
    let mut cluster = bench.cluster("failover").await?;
    let accepted = Accepted::default();
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    for nth in 0..writers {
        tasks.spawn(write(cluster.client()?, nth, accepted.clone(), stop.clone()));
    }
    let mut gaps = Vec::new();
    for kill in 1..=bench.args.kills {
        tokio::time::sleep(STEADY).await;
        let gap = kill_once(&mut cluster, &accepted).await?;
        say(&format!("kill {kill}: {:.0} ms without a write", gap.as_secs_f64() * 1000.0));
        gaps.push(gap);
    }
    stop.cancel();
    let mut written = 0;
    while let Some(result) = tasks.join_next().await {
        written += result??;
    }
    cluster.stop().await;
    report(&gaps, writers, written)
}

fn report(gaps: &[Duration], writers: u32, written: u64) -> anyhow::Result<Report> {
    let mut latencies = Latencies::new()?;
    gaps.iter().for_each(|gap| latencies.record(*gap));
    let runs: Vec<f64> = gaps.iter().map(|gap| rounded(gap.as_secs_f64() * 1000.0)).collect();
    Ok(Report::new("failover", "ms", &runs)
        .latency(&latencies)
        .detail("kills", gaps.len())
        .detail("writers", writers)
        .detail("accepted", written))
}

/// Writes one job after the other. The client's retries are the user's: an error ends the measurement.
async fn write(client: Client, nth: u32, accepted: Accepted, stop: CancellationToken) -> anyhow::Result<u64> {
    let mut number = 0;
    while !stop.is_cancelled() {
        let job = json!({"name": "bench", "command": ["echo", format!("{nth}-{number}")]});
        client.submit(&job, None).await.context("a writer was refused")?;
        accepted.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        number += 1;
    }
    Ok(number)
}

/// Kills the leader, measures the gap, and brings the replica back.
async fn kill_once(cluster: &mut ProcessCluster, accepted: &Accepted) -> anyhow::Result<Duration> {
    let at = cluster.leader().await?;
    // What was accepted before is of no interest any more, and a long run's list would only grow.
    accepted.lock().unwrap_or_else(PoisonError::into_inner).clear();
    wait_for_write_after(accepted, Instant::now()).await?;
    let before = Instant::now();
    cluster.replicas[at].process.kill()?;
    wait_for_other_leader(cluster, at).await?;
    wait_for_write_after(accepted, Instant::now()).await?;
    tokio::time::sleep(STEADY).await;
    let gap = longest_gap(accepted, before);
    cluster.replicas[at].process.start()?;
    cluster.wait_replica_ready(at).await?;
    wait_caught_up(cluster, at).await?;
    Ok(gap)
}

async fn wait_for_write_after(accepted: &Accepted, after: Instant) -> anyhow::Result<()> {
    let deadline = after + RECOVER_WITHIN;
    while accepted.lock().unwrap_or_else(PoisonError::into_inner).last().is_none_or(|last| *last <= after) {
        ensure!(Instant::now() < deadline, "no write was accepted for {RECOVER_WITHIN:?}");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

async fn wait_for_other_leader(cluster: &ProcessCluster, dead: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + RECOVER_WITHIN;
    loop {
        if cluster.leader().await? != dead {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("no other replica led within {RECOVER_WITHIN:?}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The longest time between two accepted writes around and after `kill`.
fn longest_gap(accepted: &Accepted, kill: Instant) -> Duration {
    let times = accepted.lock().unwrap_or_else(PoisonError::into_inner);
    let around: Vec<Instant> = times.iter().copied().skip_while(|at| *at + STEADY < kill).collect();
    around.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])).max().unwrap_or_default()
}

async fn wait_caught_up(cluster: &ProcessCluster, at: usize) -> anyhow::Result<()> {
    let deadline = Instant::now() + RECOVER_WITHIN;
    let own = Client::with_options(&[cluster.replicas[at].url()], None, Options::default())?;
    let all = cluster.client()?;
    loop {
        let (mine, others) = (own.cluster_stale().await?.index.0, all.cluster().await?.index.0);
        if mine + BEHIND_MAX >= others {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the replica did not catch up within {RECOVER_WITHIN:?}");
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_is_the_longest_around_the_kill() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let times = Arc::new(Mutex::new([0, 5000, 5100, 5110, 5900, 5950].map(at).to_vec()));
        assert_eq!(longest_gap(&times, at(5105)), Duration::from_millis(790));
    }
}
