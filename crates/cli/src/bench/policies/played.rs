//! One piece of work done on a cluster of its own, and what was measured of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use quorate_client::{Client, LineOutcome};
use quorate_types::api::JobView;
use quorate_types::policy::{BackfillRequest, Policy, PolicyRequest};
use quorate_types::scheduling::{SchedulingView, Window};
use quorate_types::status::JobState;
use quorate_types::{JobId, Name, Timestamp};

use super::super::Bench;
use super::work::{PREFERRED, Work};
use crate::cluster_process::{ProcessCluster, WorkerSize};

/// The zones of the workers, in turn, as they start: of 18, 10 and 12 cores.
const ZONES: &[&str] = &["a", "b", "c"];
const END_WITHIN: Duration = Duration::from_secs(120);

/// What is to be done, and by whom.
pub(super) struct Load {
    pub(super) work: Vec<Work>,
    /// How many workers of how many cores.
    pub(super) workers: &'static [(u16, u64)],
    /// When as many again join.
    pub(super) join_after: Option<Duration>,
    /// Whether jobs may fail, because their deadlines pass.
    pub(super) may_miss: bool,
}

/// When and where a task ran, and for which of the works.
struct Ran {
    nth: usize,
    worker: usize,
    submitted: Timestamp,
    from: Timestamp,
    to: Timestamp,
}

impl Ran {
    const fn zone(&self) -> usize {
        (self.worker - 1) % ZONES.len()
    }
}

/// What came of it.
pub(super) struct Played {
    pub(super) view: SchedulingView,
    pub(super) jobs: usize,
    /// See [`in_one_zone`].
    pub(super) in_one_zone: f64,
    /// Of the weights of all preferences those that were met; none where nothing was preferred.
    pub(super) preferred: Option<f64>,
    /// Which part of the jobs was not done in time, where some may be late.
    pub(super) missed: Option<f64>,
    /// The mean wait of the jobs that are urgent, in seconds.
    pub(super) urgent_wait_s: Option<f64>,
    /// The mean time from the submission of a job to its end, in seconds, where jobs have several tasks.
    pub(super) job_s: Option<f64>,
    /// See [`at_home`].
    pub(super) at_home: Option<f64>,
}

/// Has it done, and asks what was measured.
pub(super) async fn play(bench: &Bench, policy: &Policy, load: &Load) -> anyhow::Result<Played> {
    let Policy { queue, backfill, placement, rebalance, .. } = policy;
    let folder = format!("policies-{queue}-{backfill}-{placement}-{rebalance}");
    let mut cluster: ProcessCluster = bench.cluster(&folder).await?;
    let client = cluster.client()?;
    let change = PolicyRequest {
        queue: Some(policy.queue),
        backfill: Some(BackfillRequest::Named(policy.backfill)),
        placement: Some(policy.placement),
        spread_label: Some(policy.spread_label.clone()),
        quantum: Some(policy.quantum),
        rebalance: Some(policy.rebalance),
        rebalance_share: Some(policy.rebalance_share),
    };
    client.change_policy(change).await?;
    start(&mut cluster, load.workers).await?;
    let submitted = submit(&client, &load.work).await?;
    if let Some(after) = load.join_after {
        tokio::time::sleep(after).await;
        start(&mut cluster, load.workers).await?;
    }
    let mut ended = Vec::new();
    for id in &submitted {
        let view = client.wait_job(*id, Some(END_WITHIN)).await?;
        let as_it_may = view.state == JobState::Succeeded || (load.may_miss && view.state == JobState::Failed);
        ensure!(as_it_may, "job {id} is {} after {END_WITHIN:?}", view.state);
        ended.push(view);
    }
    let ran = where_they_ran(&client, &ended).await?;
    let view = client.scheduling(None::<&Name>, Some(Window::Hour)).await?;
    let counted = view.windows.first().map_or(0, |window| window.finished.succeeded);
    let done: u64 = ended.iter().map(|job| job.tasks.succeeded).sum();
    ensure!(counted == done, "{counted} tasks of {done} were measured");
    cluster.stop().await;
    Ok(measured(load, view, &ended, &ran))
}

fn measured(load: &Load, view: SchedulingView, ended: &[JobView], ran: &[Ran]) -> Played {
    let work = &load.work;
    let preferring: u64 = work.iter().map(|work| work.weight).sum();
    let met = ran.iter().filter(|ran| ZONES[ran.zone()] == PREFERRED).map(|ran| work[ran.nth].weight);
    let preferred = (preferring > 0).then(|| met.sum::<u64>() as f64 / preferring as f64);
    let late = ended.iter().filter(|job| job.state == JobState::Failed).count();
    let waits = ran.iter().filter(|ran| work[ran.nth].urgent).map(|ran| seconds(ran.submitted, ran.from));
    let whole = ended.iter().filter(|job| job.tasks.succeeded > 1);
    let whole = whole.filter_map(|job| Some(seconds(job.submitted_at, job.finished_at?)));
    Played {
        view,
        jobs: ended.len(),
        in_one_zone: in_one_zone(ran),
        preferred,
        missed: load.may_miss.then(|| late as f64 / ended.len() as f64),
        urgent_wait_s: mean(waits),
        job_s: mean(whole),
        at_home: at_home(ran.iter().filter_map(|ran| Some((work[ran.nth].key?, ran.worker)))),
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.since(from).0 as f64 / 1000.0
}

fn mean(of: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = of.fold((0.0, 0_u32), |(sum, count), one| (sum + one, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// Where and when each task ran at last, of those that ran.
async fn where_they_ran(client: &Client, jobs: &[JobView]) -> anyhow::Result<Vec<Ran>> {
    let mut all = Vec::new();
    for (nth, job) in jobs.iter().enumerate() {
        for task in client.all_tasks(job.id).await? {
            let Some((worker, from)) = task.worker.zip(task.started_at) else { continue };
            let number = worker.as_str().rsplit('-').next().and_then(|number| number.parse::<usize>().ok());
            let worker = number.with_context(|| format!("the number of {worker}"))?;
            let to = task.finished_at.context("a task that did not end")?;
            all.push(Ran { nth, worker, submitted: job.submitted_at, from, to });
        }
    }
    Ok(all)
}

/// The part of what runs that is in the zone where most is, over time, weighed by how much runs.
fn in_one_zone(all: &[Ran]) -> f64 {
    let starts = all.iter().map(|ran| (ran.from, 1, ran.zone()));
    let mut changes: Vec<(Timestamp, i64, usize)> =
        starts.chain(all.iter().map(|ran| (ran.to, -1, ran.zone()))).collect();
    changes.sort_unstable();
    let (mut running, mut since) = (vec![0_i64; ZONES.len()], Timestamp(0));
    let (mut most, mut sum) = (0.0, 0.0);
    for (at, change, zone) in changes {
        let span = at.since(since).0 as f64;
        most += running.iter().max().map_or(0.0, |most| *most as f64) * span;
        sum += running.iter().sum::<i64>() as f64 * span;
        running[zone] += change;
        since = at;
    }
    most / sum
}

/// Which part of the tasks with keys ran where most with the same key did.
fn at_home(ran: impl Iterator<Item = (usize, usize)>) -> Option<f64> {
    let mut by_key: BTreeMap<usize, BTreeMap<usize, u32>> = BTreeMap::new();
    for (key, worker) in ran {
        *by_key.entry(key).or_default().entry(worker).or_default() += 1;
    }
    let all: u32 = by_key.values().flat_map(BTreeMap::values).sum();
    let home: u32 = by_key.values().filter_map(|workers| workers.values().max()).sum();
    (all > 0).then(|| f64::from(home) / f64::from(all))
}

async fn start(cluster: &mut ProcessCluster, workers: &[(u16, u64)]) -> anyhow::Result<()> {
    for (count, cores) in workers {
        cluster.start_workers(*count, &WorkerSize { cpu_millis: Some(cores * 1000), zones: ZONES }).await?;
    }
    Ok(())
}

/// Each in its time, and together what comes together.
async fn submit(client: &Client, work: &[Work]) -> anyhow::Result<Vec<JobId>> {
    let started = Instant::now();
    let mut submitted = Vec::new();
    for burst in work.chunk_by(|a, b| a.at == b.at) {
        tokio::time::sleep(burst[0].at.saturating_sub(started.elapsed())).await;
        let lines: Vec<Bytes> = burst.iter().map(|work| work.job.to_string().into()).collect();
        for outcome in client.submit_lines(&lines).await? {
            match outcome {
                LineOutcome::Accepted { id, .. } => submitted.push(id),
                LineOutcome::Rejected { error } => bail!("a job was refused: {error}"),
            }
        }
    }
    Ok(submitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_much_is_in_one_zone_is_a_mean_over_time() {
        let ran = |worker, from, to| Ran {
            nth: 0,
            worker,
            submitted: Timestamp(0),
            from: Timestamp(from),
            to: Timestamp(to),
        };
        assert_eq!(in_one_zone(&[ran(1, 0, 10), ran(2, 0, 10), ran(3, 0, 10)]), 1.0 / 3.0);
        // Two in one zone for ten, then one in each of two for ten more.
        assert_eq!(in_one_zone(&[ran(1, 0, 20), ran(4, 0, 10), ran(2, 10, 20)]), 0.75);
    }

    #[test]
    fn at_home_is_where_most_of_a_key_ran() {
        assert_eq!(at_home([].into_iter()), None);
        assert_eq!(at_home([(1, 1), (1, 1), (1, 2), (2, 2)].into_iter()), Some(0.75));
    }
}
