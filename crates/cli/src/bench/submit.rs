//! Single-job submissions a second: one job a request, connections kept alive and spread over the replicas.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::load::Door;
use super::report::{Latencies, Report};
use super::target::Target;
use super::{Bench, rounded};

pub(super) const CONNECTIONS_DEFAULT: u32 = 64;
pub(super) const WARM_UP: Duration = Duration::from_secs(2);
/// After an answer that asks for patience, or a broken connection.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn run(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    let connections = bench.args.connections.unwrap_or(CONNECTIONS_DEFAULT);
    let duration = bench.args.duration.as_duration();
    let mut target = bench.target("submit").await?;
    say(&format!("{connections} connections to {} replicas; warming up", target.doors.len()));
    measure(&target, connections, WARM_UP, job).await?;
    let (mut runs, mut all) = (Vec::new(), Tally::new()?);
    for run in 1..=bench.args.runs() {
        let tally = measure(&target, connections, duration, job).await?;
        runs.push(tally.accepted as f64 / tally.took.as_secs_f64());
        say(&format!("run {run}: {:.0} jobs/s, p99 {:.2} ms", runs[runs.len() - 1], tally.latencies.quantile_ms(0.99)));
        all.add(&tally)?;
    }
    target.stop().await;
    Ok(Report::new("submit", "jobs/s", &runs)
        .latency(&all.latencies)
        .detail("connections", connections)
        .detail("replicas", target.doors.len())
        .detail("accepted", all.accepted)
        .detail("refused", all.refused)
        .detail("run_s", rounded(duration.as_secs_f64()))
        .detail("latency", all.latencies.to_json()))
}

/// What one or many connections brought.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) accepted: u64,
    pub(super) refused: u64,
    pub(super) took: Duration,
    pub(super) latencies: Latencies,
}

impl Tally {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self { accepted: 0, refused: 0, took: Duration::ZERO, latencies: Latencies::new()? })
    }

    pub(super) fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.accepted += other.accepted;
        self.refused += other.refused;
        self.took = self.took.max(other.took);
        self.latencies.add(&other.latencies)
    }
}

/// Distinct jobs, as users' are: the nth connection's job of this number.
fn job(nth: usize, number: u64) -> String {
    format!(r#"{{"name":"bench","command":["echo","{nth}-{number}"]}}"#)
}

/// Has each connection submit one job after the other, made by `job`, for so long.
pub(super) async fn measure(
    target: &Target,
    connections: u32,
    duration: Duration,
    job: fn(usize, u64) -> String,
) -> anyhow::Result<Tally> {
    let until = Instant::now() + duration;
    let mut writers = JoinSet::new();
    for nth in 0..connections as usize {
        writers.spawn(write_until(target.door(nth), until, move |number| job(nth, number)));
    }
    let mut all = Tally::new()?;
    while let Some(tally) = writers.join_next().await {
        all.add(&tally??)?;
    }
    Ok(all)
}

async fn write_until(door: Door, until: Instant, job: impl Fn(u64) -> String) -> anyhow::Result<Tally> {
    let mut tally = Tally::new()?;
    let mut connection = door.open().await?;
    let started = Instant::now();
    while Instant::now() < until {
        let request = door.post("/v1/jobs", &job(tally.accepted));
        let sent = Instant::now();
        match connection.send(&request).await {
            Ok(reply) if reply.status == 201 => {
                tally.accepted += 1;
                tally.latencies.record(sent.elapsed());
            }
            Ok(_) => {
                tally.refused += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(_) => {
                tally.refused += 1;
                tokio::time::sleep(PAUSE).await;
                connection = door.open().await?;
            }
        }
    }
    tally.took = started.elapsed();
    Ok(tally)
}
