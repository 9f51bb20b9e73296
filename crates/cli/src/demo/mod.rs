//! The demo: a cluster that runs a real workflow and loses its leader half-way.

mod check;
mod failover;
mod workflow;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use quorate_client::Client;
use quorate_types::JobId;
use quorate_types::api::JobView;
use quorate_types::status::JobState;

use crate::cluster_process::{Layout, ProcessCluster, WorkerSize};
use crate::output::progress::Progress;
use check::Checked;
use failover::Failover;

/// A demo that takes longer than this has failed, whatever it is waiting for.
const TIME_LIMIT: Duration = Duration::from_secs(58);
const REPLICAS: u16 = 3;
const WORKERS: u16 = 2;
/// Four tasks at a time on each worker, however few cores this machine has: they mostly sleep.
const WORKER_CPU_MILLIS: u64 = 4_000;
/// Tasks that should be running when the leader is killed.
const RUNNING_WANTED: u64 = 4;
/// The cluster's end is no part of the demo: what is not down by then is killed.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// How long one look at the workflow's progress is held.
const POLL: Duration = Duration::from_millis(100);

/// What the demo found.
#[derive(Debug)]
pub(crate) struct Summary {
    pub(crate) job: JobId,
    pub(crate) took: Duration,
    pub(crate) failover: Failover,
    pub(crate) checked: Checked,
    pub(crate) digest: String,
    pub(crate) digest_index: u64,
}

/// Runs the demo in `folder`. Every process that it starts has ended when this returns.
pub(crate) async fn run(folder: &Path, say: impl Fn(&str)) -> anyhow::Result<Summary> {
    let within_limit = tokio::time::timeout(TIME_LIMIT, stages(folder, &say)).await;
    within_limit.unwrap_or_else(|_| bail!("the demo did not end within {TIME_LIMIT:?}"))
}

async fn stages(folder: &Path, say: &impl Fn(&str)) -> anyhow::Result<Summary> {
    say(&format!(
        "starting {REPLICAS} replicas and {WORKERS} workers as processes on loopback, in {}",
        folder.display()
    ));
    let mut cluster = ProcessCluster::start(Layout::loopback(folder, REPLICAS)?).await?;
    cluster.start_workers(WORKERS, &WorkerSize { cpu_millis: Some(WORKER_CPU_MILLIS), zones: &[] }).await?;
    say(&format!("replicas at {}", cluster.urls().join(", ")));

    let journal = folder.join("executions.txt");
    let workflow = workflow::build(&journal);
    let client = cluster.client()?;
    let started = Instant::now();
    let job = client.submit(&workflow, Some("demo")).await.context("submit the workflow")?.id;
    say(&format!(
        "submitted job {job}: {} tasks, {} with the elements of its array",
        workflow::TASKS,
        workflow::ELEMENTS
    ));

    let mut progress = Progress::new(format!("job {job}"));
    wait_until_half(&client, job, &mut progress).await?;
    let failover = failover::kill_leader(&mut cluster, &|line| progress.suspend(|| say(line))).await?;
    let view = wait_until_finished(&client, job, &mut progress).await?;
    progress.finish();
    ensure!(view.state == JobState::Succeeded, "the workflow ended as {}: {:?}", view.state, view.tasks);
    let took = started.elapsed();
    say(&format!("the workflow succeeded in {:.1} s", took.as_secs_f64()));

    let checked = check::executions(&client, job, &journal).await?;
    say(&format!(
        "checked {} results through the API and {} executions in the tasks' own file",
        checked.results, checked.executions
    ));

    say(&format!("starting replica {} again", failover.killed));
    let digest = failover::rejoin(&mut cluster, &failover).await?;
    let _ = tokio::time::timeout(STOP_WITHIN, cluster.stop()).await;
    let (digest, digest_index) = (digest.digest, digest.index.0);
    Ok(Summary { job, took, failover, checked, digest, digest_index })
}

async fn wait_until_half(client: &Client, job: JobId, progress: &mut Progress) -> anyhow::Result<()> {
    loop {
        let view = client.poll_job(job, POLL).await?;
        progress.update(&view.tasks);
        ensure!(!view.state.is_finished(), "the workflow ended as {} before its half: {:?}", view.state, view.tasks);
        let (done, all) = (view.tasks.succeeded, view.tasks.total);
        // The more tasks run when the leader dies, the more the demo shows; but it must not be missed.
        if done * 2 >= all && view.tasks.running >= RUNNING_WANTED || done * 4 >= all * 3 {
            return Ok(());
        }
        // A replica that does not hold the poll must not be asked without pause.
        tokio::time::sleep(POLL / 4).await;
    }
}

async fn wait_until_finished(client: &Client, job: JobId, progress: &mut Progress) -> anyhow::Result<JobView> {
    loop {
        let view = client.poll_job(job, POLL).await?;
        progress.update(&view.tasks);
        if view.state.is_finished() {
            return Ok(view);
        }
        // A replica that does not hold the poll must not be asked without pause.
        tokio::time::sleep(POLL / 4).await;
    }
}
