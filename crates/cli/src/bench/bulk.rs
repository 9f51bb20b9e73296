//! Distinct jobs a second through NDJSON: requests of many lines, answers read while they are still being sent.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::ensure;
use tokio::task::JoinSet;

use super::Bench;
use super::load::Door;
use super::report::{Report, rounded};
use super::target::Target;

const JOBS_DEFAULT: u32 = 200_000;
const CONNECTIONS_DEFAULT: u32 = 6;
/// Jobs of one request.
const LINES_PER_REQUEST: u32 = 10_000;
/// A tenth of a run warms up.
const WARM_UP_PART: u32 = 10;

pub(super) async fn run(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    let connections = bench.args.connections.unwrap_or(CONNECTIONS_DEFAULT);
    let jobs = bench.args.tasks.unwrap_or(JOBS_DEFAULT);
    let mut runs = Vec::new();
    for run in 1..=bench.args.runs() {
        // A cluster for each run: a million jobs that wait would be another thing to measure.
        let mut target = bench.target(&format!("bulk-{run}")).await?;
        measure(&target, connections, (jobs / WARM_UP_PART).max(connections)).await?;
        let rate = measure(&target, connections, jobs).await?;
        say(&format!("run {run}: {rate:.0} jobs/s"));
        runs.push(rounded(rate));
        target.stop().await;
    }
    Ok(Report::new("bulk", "jobs/s", &runs)
        .detail("connections", connections)
        .detail("jobs_per_run", jobs)
        .detail("lines_per_request", LINES_PER_REQUEST))
}

/// Jobs a second, from the first byte sent to the last line of the last answer.
async fn measure(target: &Target, connections: u32, jobs: u32) -> anyhow::Result<f64> {
    let started = Instant::now();
    let doors: Vec<Door> = (0..connections as usize).map(|nth| target.door(nth)).collect();
    submit_through(doors, jobs).await?;
    Ok(f64::from(jobs) / started.elapsed().as_secs_f64())
}

/// Submits so many jobs over one connection to each of these doors.
pub(super) async fn submit_through(doors: Vec<Door>, jobs: u32) -> anyhow::Result<()> {
    let (mut writers, connections) = (JoinSet::new(), doors.len() as u32);
    for (nth, door) in (0..).zip(doors) {
        let share = jobs / connections + u32::from(nth < jobs % connections);
        writers.spawn(write(door, nth, share));
    }
    while let Some(written) = writers.join_next().await {
        written??;
    }
    Ok(())
}

async fn write(door: Door, nth: u32, jobs: u32) -> anyhow::Result<()> {
    let mut connection = door.open().await?;
    for first in (0..jobs).step_by(LINES_PER_REQUEST as usize) {
        let count = (jobs - first).min(LINES_PER_REQUEST);
        let mut lines = String::new();
        for number in first..first + count {
            writeln!(lines, r#"{{"name":"bench","command":["echo","{nth}-{number}"]}}"#)?;
        }
        let answers = connection.stream(&door.post_lines("/v1/jobs", &lines), br#"{"id":"#).await?;
        ensure!(answers.all == u64::from(count), "{count} lines were answered with {}", answers.all);
        ensure!(answers.good == answers.all, "{} of {count} jobs were refused", answers.all - answers.good);
    }
    Ok(())
}
