//! What the cluster says of itself, page by page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_client::JobFilter;
use quorate_types::api::{JobView, TaskView, WorkerView};
use quorate_types::status::{JobState, TaskState};
use quorate_types::{JobName, Name, NamespaceRules, Policy, Span, Timestamp};

use crate::commands::Context;
use crate::commands::simulate::history::{PAGE, now};
use crate::exit::Failure;

/// Unfinished elements of tasks. Each becomes a job of the replay, of about 500 bytes.
pub(super) const LIVE_ELEMENTS_MAX: u64 = 1_000_000;
/// Names of jobs whose earlier runs are looked up to learn how long their tasks take.
const LEARNED_NAMES_MAX: usize = 1_000;
/// Of one name the last two jobs are looked at: those whose run times the cluster's own policies go by.
const LEARNED_JOBS: u32 = 2;

/// What waits and runs, and where it could run.
#[derive(Clone, Debug, Default)]
pub(super) struct Live {
    pub(super) now: Timestamp,
    pub(super) policy: Policy,
    pub(super) rules: BTreeMap<Name, Arc<NamespaceRules>>,
    pub(super) workers: Vec<WorkerView>,
    /// By their numbers.
    pub(super) jobs: Vec<LiveJob>,
    pub(super) paused: usize,
    pub(super) learned: Learned,
}

#[derive(Clone, Debug)]
pub(super) struct LiveJob {
    /// With its specification.
    pub(super) view: JobView,
    /// What is known of single elements. Those that are not in it wait.
    pub(super) tasks: Vec<TaskView>,
}

/// How long the last two elements of a task ran, by owner, job and task.
#[derive(Clone, Debug, Default)]
pub(super) struct Learned(BTreeMap<(Name, JobName, Name), Vec<(Timestamp, Span)>>);

/// Who counts as the owner of a job: the label `owner`, or else the namespace.
pub(super) fn owner(job: &JobView) -> Name {
    let label = job.labels.get("owner").and_then(|owner| Name::new(owner).ok());
    label.unwrap_or_else(|| job.namespace.clone())
}

impl Learned {
    pub(super) fn add(&mut self, job: &JobView, tasks: &[TaskView]) {
        for task in tasks.iter().filter(|task| task.state == TaskState::Succeeded) {
            let (Some(started), Some(finished)) = (task.started_at, task.finished_at) else { continue };
            let key = (owner(job), job.name.clone(), task.task.clone());
            let ran = self.0.entry(key).or_default();
            ran.push((finished, finished.since(started)));
            ran.sort_unstable();
            let more = ran.len().saturating_sub(2);
            ran.drain(..more);
        }
    }

    /// The mean.
    pub(super) fn of(&self, job: &JobView, task: &Name) -> Option<Span> {
        let ran = self.0.get(&(owner(job), job.name.clone(), task.clone()))?;
        let sum: u64 = ran.iter().map(|(_, ran)| ran.0).sum();
        Some(Span((sum / ran.len() as u64).max(1)))
    }
}

pub(super) async fn fetch(context: &Context) -> Result<Live, Failure> {
    let mut live = Live { now: now(), policy: context.client.policy().await?, ..Live::default() };
    let mut cursor = None;
    loop {
        let page = context.client.workers(cursor.as_deref()).await?;
        live.workers.extend(page.items);
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    let mut elements = 0;
    for state in [JobState::Running, JobState::Pending] {
        for job in jobs(context, state).await? {
            elements += job.tasks.total - job.tasks.finished();
            if elements > LIVE_ELEMENTS_MAX {
                return Err(Failure::Usage(format!(
                    "--now: more than {LIVE_ELEMENTS_MAX} tasks wait or run; quorate simulate --trace takes any number"
                )));
            }
            live.jobs.push(one(context, job).await?);
        }
    }
    live.paused = jobs(context, JobState::Paused).await?.len();
    // A job may have begun between the two lists.
    live.jobs.sort_unstable_by_key(|job| job.view.id);
    live.jobs.dedup_by_key(|job| job.view.id);
    learn(context, &mut live).await?;
    live.now = live.newest();
    Ok(live)
}

async fn jobs(context: &Context, state: JobState) -> Result<Vec<JobView>, Failure> {
    let mut filter = JobFilter { state: Some(state), limit: Some(PAGE), ..JobFilter::default() };
    let mut jobs = Vec::new();
    loop {
        let page = context.client.jobs(&filter).await?;
        // What a schedule is waits for nothing; its runs are jobs of their own.
        jobs.extend(page.items.into_iter().filter(|job| job.runs.is_none()));
        match page.next_cursor {
            Some(cursor) if (jobs.len() as u64) <= LIVE_ELEMENTS_MAX => filter.cursor = Some(cursor),
            Some(_) | None => return Ok(jobs),
        }
    }
}

async fn one(context: &Context, listed: JobView) -> Result<LiveJob, Failure> {
    let untouched = listed.tasks.live() + listed.tasks.finished() == 0;
    let view = context.client.job(listed.id).await?;
    let tasks = if untouched { Vec::new() } else { context.client.all_tasks(listed.id).await? };
    Ok(LiveJob { view, tasks })
}

/// Looks up how long tasks ran of which nobody says how long they take.
async fn learn(context: &Context, live: &mut Live) -> Result<(), Failure> {
    live.jobs.iter().for_each(|job| live.learned.add(&job.view, &job.tasks));
    let mut names = BTreeSet::new();
    for LiveJob { view, .. } in &live.jobs {
        let tasks = view.spec.iter().flat_map(|spec| &spec.tasks);
        let mut unknown = tasks.filter(|task| task.expected.is_none());
        if unknown.any(|task| live.learned.of(view, &task.name).is_none()) {
            names.insert((view.namespace.clone(), view.name.clone()));
        }
    }
    for (namespace, name) in names.into_iter().take(LEARNED_NAMES_MAX) {
        let filter = JobFilter {
            state: Some(JobState::Succeeded),
            namespace: Some(namespace),
            name: Some(name),
            limit: Some(LEARNED_JOBS),
            ..JobFilter::default()
        };
        for job in context.client.jobs(&filter).await?.items {
            let tasks = context.client.all_tasks(job.id).await?;
            live.learned.add(&job, &tasks);
        }
    }
    Ok(())
}

impl Live {
    /// The newest of all times that are known: clocks differ a little.
    fn newest(&self) -> Timestamp {
        let started = self.jobs.iter().flat_map(|job| &job.tasks).filter_map(|task| task.started_at);
        let submitted = self.jobs.iter().map(|job| job.view.submitted_at);
        started.chain(submitted).fold(now(), Timestamp::max)
    }
}
