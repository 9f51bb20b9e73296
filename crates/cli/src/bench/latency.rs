//! One job at a time: from its submission to accepted, started and result, as a client sees them.

use std::collections::HashMap;
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use quorate_client::{Client, EventFilter, Events};
use quorate_types::JobId;
use quorate_types::event::{EventType, EventView};
use serde_json::{Value, json};
use tokio::time::timeout_at;

use super::Bench;
use super::report::{Latencies, Report};

const JOBS_DEFAULT: u32 = 1_000;
const WARM_UP_JOBS: u32 = 50;
const SLOTS: u32 = 8;
/// An event that does not come is an error, not a long latency.
const EVENT_WITHIN: Duration = Duration::from_secs(30);

pub(super) async fn run(bench: &Bench, say: &impl Fn(&str)) -> anyhow::Result<Report> {
    let jobs = bench.args.tasks.unwrap_or(JOBS_DEFAULT);
    let mut target = bench.target_with_worker("latency", SLOTS).await?;
    let client = target.client().clone();
    let kinds = [("noop", json!({"driver": "noop"})), ("true", json!({"command": ["true"]}))];
    let mut found = Vec::new();
    for (name, task) in kinds {
        let job = super::noop::array(name, &task, 1);
        say(&format!("{name}: warming up"));
        measure(&client, &job, WARM_UP_JOBS).await?;
        let (mut runs, mut all) = (Vec::new(), Stages::new()?);
        for run in 1..=bench.args.runs() {
            let stages = measure(&client, &job, jobs).await?;
            runs.push(stages.result.quantile_ms(0.5));
            say(&format!(
                "{name}, run {run}: to result p50 {:.2} ms, p99 {:.2} ms",
                runs[runs.len() - 1],
                stages.result.quantile_ms(0.99)
            ));
            all.add(&stages)?;
        }
        found.push((name, runs, all));
    }
    target.stop().await;
    let (_, runs, stages) = &found[0];
    let mut report = Report::new("latency", "ms", runs).latency(&stages.result).detail("jobs_per_run", jobs);
    for (name, runs, stages) in &found {
        report = report.detail(name, stages.to_json()).detail(&format!("{name}_runs"), runs.clone());
    }
    Ok(report)
}

/// Latencies of the three stages of a job.
#[derive(Debug)]
struct Stages {
    accepted: Latencies,
    started: Latencies,
    result: Latencies,
}

impl Stages {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { accepted: Latencies::new()?, started: Latencies::new()?, result: Latencies::new()? })
    }

    fn add(&mut self, other: &Self) -> anyhow::Result<()> {
        self.accepted.add(&other.accepted)?;
        self.started.add(&other.started)?;
        self.result.add(&other.result)
    }

    fn to_json(&self) -> Value {
        json!({"accepted": self.accepted.to_json(), "started": self.started.to_json(), "result": self.result.to_json()})
    }
}

async fn measure(client: &Client, job: &Value, count: u32) -> anyhow::Result<Stages> {
    let mut stages = Stages::new()?;
    let mut events = client.events(EventFilter::default()).await?;
    for _ in 0..count {
        one(client, &mut events, job, &mut stages).await?;
    }
    Ok(stages)
}

async fn one(client: &Client, events: &mut Events, job: &Value, stages: &mut Stages) -> anyhow::Result<()> {
    let (sent, mut seen) = (Instant::now(), HashMap::new());
    let mut submission = pin!(client.submit(job, None));
    let (mut id, deadline) = (None, tokio::time::Instant::now() + EVENT_WITHIN);
    // Events are read meanwhile: the result may be known before the answer has come. Others' jobs may end, too.
    let ended = loop {
        if let Some(ended) = id.and_then(|id| seen.get(&id)).filter(|seen: &&Seen| seen.result.is_some()) {
            break *ended;
        }
        tokio::select! {
            submitted = &mut submission, if id.is_none() => {
                id = Some(submitted?.id);
                stages.accepted.record(sent.elapsed());
            }
            event = timeout_at(deadline, events.next()) => {
                let event = event.context("the job's events did not come")??;
                note(&event.context("the stream of events ended")?, sent.elapsed(), &mut seen);
            }
        }
    };
    ensure!(!ended.failed, "a job of the measurement failed");
    let result = ended.result.context("no result")?;
    // A task whose start and end were reported together counts as started when it ended.
    stages.started.record(ended.started.unwrap_or(result));
    stages.result.record(result);
    Ok(())
}

/// When what happened to a job was seen, counted from the submission.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    started: Option<Duration>,
    result: Option<Duration>,
    failed: bool,
}

fn note(event: &EventView, at: Duration, seen: &mut HashMap<JobId, Seen>) {
    let Some(job) = event.job else { return };
    let seen = seen.entry(job).or_default();
    match event.kind {
        EventType::TaskRunning => seen.started = seen.started.or(Some(at)),
        EventType::JobSucceeded | EventType::JobFailed => {
            seen.result = Some(at);
            seen.failed = event.kind == EventType::JobFailed;
        }
        _ => {}
    }
}
