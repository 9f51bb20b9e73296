//! A follower is away while jobs are submitted: how long until it has applied what it missed.

use std::time::{Duration, Instant};

use anyhow::ensure;

use super::report::Report;
use super::target::doors;
use super::{Bench, bulk};

const JOBS_DEFAULT: u32 = 200_000;
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(5);

pub(super) async fn run(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    let jobs = bench.args.tasks.unwrap_or(JOBS_DEFAULT);
    let (mut runs, mut entries) = (Vec::new(), 0);
    for run in 1..=bench.args.runs() {
        let mut cluster = bench.cluster(&format!("catchup-{run}")).await?;
        let leader = cluster.leader().await?;
        let follower = (leader + 1) % cluster.replicas.len();
        let before = cluster.client()?.cluster().await?.index;
        cluster.replicas[follower].process.kill()?;
        bulk::submit_through(vec![doors(&cluster)[leader].clone()], jobs).await?;
        let newest = cluster.client_of(leader)?.cluster().await?.index;
        entries = newest.0 - before.0;
        let started = Instant::now();
        cluster.replicas[follower].process.start()?;
        cluster.wait_replica_ready(follower).await?;
        let client = cluster.client_of(follower)?;
        while client.cluster_stale().await?.index < newest {
            ensure!(started.elapsed() < PATIENCE, "the follower did not catch up within {PATIENCE:?}");
            tokio::time::sleep(POLL).await;
        }
        runs.push(started.elapsed().as_secs_f64() * 1000.0);
        say(&format!("run {run}: {:.0} ms for {jobs} jobs in {entries} entries", runs[runs.len() - 1]));
        cluster.stop().await;
    }
    Ok(Report::new("catchup", "ms", &runs).detail("jobs", jobs).detail("entries", entries))
}
