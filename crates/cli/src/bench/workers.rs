//! What workers cost that do nothing: `idle` with a thousand of them, `workers` with ten thousand. They are stand-ins
//! in this process, which register and send heartbeats as real ones do.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use quorate_types::Name;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Bench;
use super::report::{Report, rounded};
use crate::cluster_process::{ProcessCluster, raise_open_files};

/// Until registrations are applied everywhere and what they left to do is done.
const SETTLE: Duration = Duration::from_secs(3);
/// Registering at once: they are written to the log.
const AT_ONCE: usize = 256;

/// A thousand workers: processor time and bytes written of the replica that takes most.
pub(super) async fn idle(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    run("idle", 1_000, bench, say).await
}

/// Ten thousand workers.
pub(super) async fn many(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    run("workers", 10_000, bench, say).await
}

async fn run(scenario: &'static str, count: usize, bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    raise_open_files();
    let count = bench.args.connections.map_or(count, |count| count as usize);
    let mut cluster = bench.cluster(scenario).await?;
    let started = Instant::now();
    let mut workers = register(&cluster, count).await?;
    let registering = started.elapsed();
    say(&format!("{count} workers registered within {:.1} s", registering.as_secs_f64()));
    tokio::time::sleep(SETTLE).await;
    let (mut runs, mut written, mut leaders) = (Vec::new(), 0, Vec::new());
    for run in 1..=bench.args.runs() {
        let leader = cluster.leader().await?;
        let before = usage(&cluster)?;
        let begun = Instant::now();
        tokio::select! {
            () = tokio::time::sleep(bench.args.duration.as_duration()) => {}
            Some(ended) = workers.join_next() => bail!("a worker's session ended: {:?}", ended?),
        }
        let seconds = begun.elapsed().as_secs_f64();
        let spent: Vec<Usage> = usage(&cluster)?.iter().zip(&before).map(|(now, then)| now.since(*then)).collect();
        let percent = |usage: &Usage| rounded(usage.cpu.as_secs_f64() / seconds * 100.0);
        runs.push(spent.iter().map(percent).fold(0.0, f64::max));
        leaders.push(percent(&spent[leader]));
        let of_run = spent.iter().map(|usage| usage.written).max().unwrap_or(0);
        written = written.max(of_run);
        say(&format!("run {run}: {:.2} % of a core, {of_run} bytes written", runs[runs.len() - 1]));
    }
    let term = cluster.client()?.cluster().await?.term;
    workers.abort_all();
    cluster.stop().await;
    Ok(Report::new(scenario, "% of a core", &runs)
        .detail("workers", count)
        .detail("leader_percent", leaders)
        .detail("bytes_written_max", written)
        .detail("registered_s", rounded(registering.as_secs_f64()))
        .detail("term", term)
        .detail("run_s", json!(rounded(bench.args.duration.as_duration().as_secs_f64()))))
}

/// The sessions; they end only if something is wrong.
async fn register(cluster: &ProcessCluster, count: usize) -> anyhow::Result<JoinSet<Result<(), String>>> {
    let (urls, mut sessions) = (cluster.urls(), JoinSet::new());
    let (taken, mut registered) = mpsc::channel::<()>(AT_ONCE);
    for nth in 0..count {
        if nth >= AT_ONCE {
            wait_for_one(&mut registered, &mut sessions).await?;
        }
        let name = Name::new(&format!("stand-in-{nth}")).context("name a worker")?;
        let (server, taken) = (urls[nth % urls.len()].clone(), taken.clone());
        // There is room for as many as are under way.
        let registered = move || taken.try_send(()).unwrap_or_default();
        sessions.spawn(quorate_worker::stand_in(server, name, registered));
    }
    for _ in 0..count.min(AT_ONCE) {
        wait_for_one(&mut registered, &mut sessions).await?;
    }
    Ok(sessions)
}

async fn wait_for_one(
    registered: &mut mpsc::Receiver<()>,
    sessions: &mut JoinSet<Result<(), String>>,
) -> anyhow::Result<()> {
    tokio::select! {
        _ = registered.recv() => Ok(()),
        Some(ended) = sessions.join_next() => bail!("a worker was not registered: {:?}", ended?),
    }
}

/// What a process has used.
#[derive(Clone, Copy, Debug)]
struct Usage {
    cpu: Duration,
    /// Bytes that went to a disk, or are on their way.
    written: u64,
}

impl Usage {
    fn since(self, earlier: Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(earlier.cpu), written: self.written.saturating_sub(earlier.written) }
    }
}

fn usage(cluster: &ProcessCluster) -> anyhow::Result<Vec<Usage>> {
    let of = |pid: u32| {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
        // The fields after the name in parentheses; user and system time are the 14th and 15th of all, in ticks
        // of 10 ms.
        let stat = read("stat")?;
        let fields = stat.rsplit_once(')').context("read /proc/PID/stat")?.1.split_ascii_whitespace().skip(11).take(2);
        let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
        let io = read("io")?;
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok());
        Ok(Usage { cpu: Duration::from_millis(ticks * 10), written: written.context("read /proc/PID/io")? })
    };
    let pids = cluster.replicas.iter().map(|replica| replica.process.pid().context("a replica is not running"));
    pids.map(|pid| of(pid?)).collect()
}
