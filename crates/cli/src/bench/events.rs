//! Events delivered a second, to one subscriber and to a thousand: each reads every event of an array that a worker
//! without processes runs. One subscriber gets them as fast as they happen; with a thousand, delivery is the limit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use quorate_types::{JobId, LogIndex};
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::load::{Door, Next};
use super::report::{Report, median, rounded};
use super::target::Target;
use super::{Bench, noop};
use crate::cluster_process::raise_open_files;

const SLOTS_DEFAULT: u32 = 512;
/// Tasks of the array for one subscriber; each makes two events.
const TASKS_ONE: u32 = 100_000;
const SUBSCRIBERS: u32 = 1_000;
const TASKS_MANY: u32 = 1_000;
/// The array runs for a second or two.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) async fn run(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    raise_open_files();
    let subscribers = bench.args.connections.unwrap_or(SUBSCRIBERS);
    let mut target = bench.target_with_worker("events", bench.args.slots.unwrap_or(SLOTS_DEFAULT)).await?;
    let (mut one, mut many) = (Vec::new(), Vec::new());
    for run in 0..=bench.args.runs() {
        let alone = rate(&target, 1, bench.args.tasks.unwrap_or(TASKS_ONE)).await?;
        let crowd = rate(&target, subscribers, TASKS_MANY).await?;
        // The first warms up.
        if run > 0 {
            say(&format!("run {run}: {alone:.0} events/s to one, {crowd:.0} to {subscribers}"));
            one.push(rounded(alone));
            many.push(rounded(crowd));
        }
    }
    target.stop().await;
    Ok(Report::new("events", "events/s", &many)
        .detail("subscribers", subscribers)
        .detail("to_one_runs", one.clone())
        .detail("to_one", median(&one)))
}

/// Events a second that reach somebody, from the submission until the last subscriber has read the last of them.
async fn rate(target: &Target, subscribers: u32, tasks: u32) -> anyhow::Result<f64> {
    let client = target.client();
    let from = LogIndex(client.cluster().await?.index.0 + 1);
    let ready = Arc::new(Barrier::new(subscribers as usize + 1));
    let (job, told) = tokio::sync::watch::channel(None::<JobId>);
    let mut reading = JoinSet::new();
    for nth in 0..subscribers as usize {
        reading.spawn(read(target.door(nth), from, ready.clone(), told.clone()));
    }
    ready.wait().await;
    let started = Instant::now();
    let submitted = client.submit(&noop::array("events", &json!({"driver": "noop"}), tasks), None).await?;
    job.send_replace(Some(submitted.id));
    let mut events = 0;
    while let Some(read) = reading.join_next().await {
        events += read??;
    }
    Ok(events as f64 / started.elapsed().as_secs_f64())
}

/// Reads until the job has succeeded; how many events that were.
async fn read(
    door: Door,
    from: LogIndex,
    ready: Arc<Barrier>,
    mut job: tokio::sync::watch::Receiver<Option<JobId>>,
) -> anyhow::Result<u64> {
    let mut connection = door.open().await?;
    ready.wait().await;
    let submitted = job.wait_for(Option::is_some).await?.unwrap_or_default();
    let last = format!(r#""type":"job.succeeded","job":{submitted}"#);
    let (mut events, path) = (0, format!("/v1/events?from={from}"));
    let on_line = |line: &[u8]| {
        events += 1;
        let ended = line.windows(last.len()).any(|window| window == last.as_bytes());
        if ended { Next::Stop } else { Next::Line }
    };
    let request = door.get_lines(&path);
    let read = tokio::time::timeout(PATIENCE, connection.follow(&request, on_line)).await;
    let last = read.context("the job's end did not come")??;
    ensure!(last == Next::Stop, "the stream ended before the job's end: its reader was too slow");
    Ok(events)
}
