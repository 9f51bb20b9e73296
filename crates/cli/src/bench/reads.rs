//! Reads of jobs a second: linearizable through all replicas and through followers only, and stale.

use std::time::{Duration, Instant};

use anyhow::ensure;
use quorate_types::JobId;
use serde_json::json;
use tokio::task::JoinSet;

use super::Bench;
use super::load::Door;
use super::report::{Latencies, Report, median, rounded};
use super::submit::{CONNECTIONS_DEFAULT, WARM_UP};

/// Jobs that are read in turn.
const JOBS: usize = 1_000;

pub(super) async fn run(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    let connections = bench.args.connections.unwrap_or(CONNECTIONS_DEFAULT);
    let duration = bench.args.duration.as_duration();
    let mut target = bench.target("reads").await?;
    let client = target.client();
    let mut jobs = Vec::new();
    for number in 0..JOBS {
        jobs.push(client.submit(&json!({"name": format!("read-{number}"), "command": ["true"]}), None).await?.id);
    }
    let (all, followers) = (target.doors.clone(), target.followers().await?);
    ensure!(!followers.is_empty(), "reads through followers need the addresses of some");
    let kinds = [("linearizable", &all, ""), ("followers", &followers, ""), ("stale", &all, "?consistency=stale")];
    let mut found = Vec::new();
    for (name, doors, query) in kinds {
        let reads = Reads { doors, jobs: &jobs, query, connections };
        reads.measure(WARM_UP).await?;
        let (mut runs, mut latencies) = (Vec::new(), Latencies::new()?);
        for run in 1..=bench.args.runs() {
            let (rate, seen) = reads.measure(duration).await?;
            say(&format!("{name}, run {run}: {rate:.0} reads/s, p99 {:.2} ms", seen.quantile_ms(0.99)));
            runs.push(rounded(rate));
            latencies.add(&seen)?;
        }
        found.push((name, runs, latencies));
    }
    target.stop().await;
    let (_, runs, latencies) = &found[0];
    let mut report = Report::new("reads", "reads/s", runs)
        .latency(latencies)
        .detail("connections", connections)
        .detail("run_s", rounded(duration.as_secs_f64()));
    for (name, runs, latencies) in &found {
        report = report.detail(name, json!({"median": median(runs), "runs": runs, "latency": latencies.to_json()}));
    }
    Ok(report)
}

/// What is read, and where.
struct Reads<'a> {
    doors: &'a [Door],
    jobs: &'a [JobId],
    query: &'a str,
    connections: u32,
}

impl Reads<'_> {
    /// Reads a second, and how long each took.
    async fn measure(&self, duration: Duration) -> anyhow::Result<(f64, Latencies)> {
        let (started, mut readers) = (Instant::now(), JoinSet::new());
        for nth in 0..self.connections as usize {
            let door = self.doors[nth % self.doors.len()].clone();
            let paths = self.jobs.iter().map(|job| door.get(&format!("/v1/jobs/{job}{}", self.query)));
            let requests = paths.collect();
            readers.spawn(read_until(door, requests, nth, started + duration));
        }
        let mut latencies = Latencies::new()?;
        while let Some(read) = readers.join_next().await {
            latencies.add(&read??)?;
        }
        Ok((latencies.count() as f64 / started.elapsed().as_secs_f64(), latencies))
    }
}

async fn read_until(door: Door, requests: Vec<Vec<u8>>, first: usize, until: Instant) -> anyhow::Result<Latencies> {
    let mut connection = door.open().await?;
    let mut latencies = Latencies::new()?;
    for request in requests.iter().cycle().skip(first) {
        let sent = Instant::now();
        if sent >= until {
            break;
        }
        let reply = connection.send(request).await?;
        ensure!(reply.status == 200, "a read was answered with {}", reply.status);
        latencies.record(sent.elapsed());
    }
    Ok(latencies)
}
