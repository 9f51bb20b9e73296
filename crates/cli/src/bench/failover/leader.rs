//! The leader dies: the longest gap in writes, under writers that retry.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::Signal;
use quorate_client::{Client, Options};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::args::Death;
use crate::bench::Bench;
use crate::cluster_process::{Process, ProcessCluster};

const WRITERS_DEFAULT: u32 = 8;
/// Writers write before each death and after it for so long.
const STEADY: Duration = Duration::from_secs(1);
/// After a death, a cluster that takes no writes for so long is broken.
const RECOVER_WITHIN: Duration = Duration::from_secs(30);
/// A replica that is so many entries behind has caught up: writing goes on.
const BEHIND_MAX: u64 = 200;
const POLL: Duration = Duration::from_millis(20);

/// When writes were accepted, in order.
type Accepted = Arc<Mutex<Vec<Instant>>>;

pub(super) fn writers(bench: &Bench) -> u32 {
    bench.args.connections.unwrap_or(WRITERS_DEFAULT)
}

pub(super) async fn run(
    bench: &Bench,
    death: Death,
    rounds: u32,
    say: &impl Fn(&str),
) -> anyhow::Result<Vec<Duration>> {
    let mut cluster = bench.cluster(death.as_str()).await?;
    let accepted = Accepted::default();
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    for nth in 0..writers(bench) {
        tasks.spawn(write(cluster.client()?, nth, accepted.clone(), stop.clone()));
    }
    let mut gaps = Vec::new();
    for round in 1..=rounds {
        tokio::time::sleep(STEADY).await;
        let gap = once(&mut cluster, death, &accepted).await?;
        say(&format!("{} {round}: {:.0} ms without a write", death.as_str(), gap.as_secs_f64() * 1000.0));
        gaps.push(gap);
    }
    stop.cancel();
    while let Some(result) = tasks.join_next().await {
        result??;
    }
    cluster.stop().await;
    Ok(gaps)
}

/// Writes one job after the other. The client's retries are the user's: an error ends the measurement.
async fn write(client: Client, nth: u32, accepted: Accepted, stop: CancellationToken) -> anyhow::Result<()> {
    let mut number = 0;
    while !stop.is_cancelled() {
        let job = json!({"name": "bench", "command": ["echo", format!("{nth}-{number}")]});
        client.submit(&job, None).await.context("a writer was refused")?;
        accepted.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
        number += 1;
    }
    Ok(())
}

/// Makes the leader die, measures the gap, and brings the replica back.
async fn once(cluster: &mut ProcessCluster, death: Death, accepted: &Accepted) -> anyhow::Result<Duration> {
    let at = cluster.leader().await?;
    let survivor = cluster.client_of((at + 1) % cluster.replicas.len())?;
    // What was accepted before is of no interest any more, and a long run's list would only grow.
    accepted.lock().unwrap_or_else(PoisonError::into_inner).clear();
    wait_for_write_after(accepted, Instant::now()).await?;
    let before = Instant::now();
    let process = &mut cluster.replicas[at].process;
    match death {
        Death::Kill => process.kill()?,
        Death::Stop => process.signal(Signal::SIGSTOP)?,
        Death::Graceful => process.signal(Signal::SIGTERM)?,
        Death::Agent | Death::Host => bail!("{} is no death of a leader", death.as_str()),
    }
    wait_for_other_leader(&survivor, cluster.replicas[at].id).await?;
    wait_for_write_after(accepted, Instant::now()).await?;
    tokio::time::sleep(STEADY).await;
    let gap = longest_gap(accepted, before);
    if death == Death::Stop {
        cluster.replicas[at].process.signal(Signal::SIGCONT)?;
    } else {
        wait_for_end(&mut cluster.replicas[at].process).await?;
        cluster.replicas[at].process.start()?;
    }
    cluster.wait_replica_ready(at).await?;
    wait_caught_up(cluster, at).await?;
    Ok(gap)
}

async fn wait_for_end(process: &mut Process) -> anyhow::Result<()> {
    let deadline = Instant::now() + RECOVER_WITHIN;
    while process.pid().is_some() && process.exited().is_none() {
        ensure!(Instant::now() < deadline, "{} did not end within {RECOVER_WITHIN:?}", process.name());
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

async fn wait_for_write_after(accepted: &Accepted, after: Instant) -> anyhow::Result<()> {
    let deadline = after + RECOVER_WITHIN;
    while accepted.lock().unwrap_or_else(PoisonError::into_inner).last().is_none_or(|last| *last <= after) {
        ensure!(Instant::now() < deadline, "no write was accepted for {RECOVER_WITHIN:?}");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

/// Asks a survivor: the dead one may hold the line for long.
async fn wait_for_other_leader(survivor: &Client, dead: u64) -> anyhow::Result<()> {
    let deadline = Instant::now() + RECOVER_WITHIN;
    while survivor.cluster_stale().await?.leader.is_none_or(|leader| leader.0 == dead) {
        ensure!(Instant::now() < deadline, "no other replica led within {RECOVER_WITHIN:?}");
        tokio::time::sleep(POLL).await;
    }
    Ok(())
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
