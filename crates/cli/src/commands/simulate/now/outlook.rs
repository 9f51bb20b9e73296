//! What came out, by job and by worker.

use std::collections::BTreeMap;

use quorate_sim::lab::{Fate, Run};
use quorate_types::{JobId, Name, Span, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};

use super::scene::Plan;
use super::since;

/// What becomes of everything, in times from now on.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Outlook {
    pub(super) at: Timestamp,
    /// Tasks that run now and go on.
    pub(super) running: u64,
    /// Those that run now and start again elsewhere, from the beginning: their worker is lost.
    pub(super) again: u64,
    /// Tasks that wait, those that start again included.
    pub(super) waiting: u64,
    /// Of these, those that start at once.
    pub(super) at_once: u64,
    /// From now until they start, over all that wait.
    pub(super) mean_wait_s: f64,
    pub(super) longest_wait_s: f64,
    /// Until the last one has ended.
    pub(super) drained_in_s: f64,
    pub(super) never: Vec<Never>,
    pub(super) workers: Vec<Worker>,
    /// Those that wait the longest first.
    pub(super) jobs: Vec<Line>,
}

/// Tasks that would wait for ever: no worker that takes new ones is large enough, or they need such a task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Never {
    pub(super) job: JobId,
    pub(super) task: Name,
    pub(super) count: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Worker {
    pub(super) name: Name,
    /// Whether it takes new tasks.
    pub(super) state: &'static str,
    pub(super) running: u64,
    /// Tasks that start there.
    pub(super) to_come: u64,
    /// Until nothing runs there any more.
    pub(super) idle_in_s: f64,
}

/// One job of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Line {
    pub(super) job: JobId,
    pub(super) name: String,
    pub(super) running: u64,
    pub(super) waiting: u64,
    /// Of what waits; none if nothing does.
    pub(super) first_start_in_s: Option<f64>,
    pub(super) last_start_in_s: Option<f64>,
    pub(super) done_in_s: f64,
    /// Where its tasks run, and how many of them.
    pub(super) workers: BTreeMap<Name, u64>,
}

fn seconds(span: Span) -> f64 {
    span.0 as f64 / 1000.0
}

impl Outlook {
    pub(super) fn of(run: &Run, plan: &Plan) -> Self {
        let now = plan.scene.now;
        let never =
            plan.never.iter().map(|((job, task), count)| Never { job: *job, task: task.clone(), count: *count });
        let mut outlook = Self { at: now, never: never.collect(), workers: workers(plan), ..Self::default() };
        outlook.running = plan.scene.running.len() as u64;
        outlook.again = plan.again.len() as u64;
        outlook.waiting = plan.waiting.len() as u64;
        let resumed = plan.scene.running.iter().map(|underway| (underway.job.id, underway.started)).collect();
        let mut jobs: BTreeMap<JobId, Line> = BTreeMap::new();
        let mut wait = 0.0;
        for fate in run.fates.iter().flatten() {
            let started = started(fate, &resumed, now);
            outlook.count(fate, started, now);
            wait += started.map_or(0.0, seconds);
            let Some(job) = plan.owners.get(fate.id as usize - 1) else { continue };
            let name = plan.names.get(job).cloned().unwrap_or_default();
            let machine = plan.machines.get(fate.machine as usize);
            let line = jobs.entry(*job).or_insert_with(|| Line::new(*job, name));
            line.count(started, since(now, fate.finished), machine.map(|machine| &machine.name));
        }
        outlook.mean_wait_s = if outlook.waiting == 0 { 0.0 } else { wait / outlook.waiting as f64 };
        outlook.jobs = jobs.into_values().collect();
        outlook
            .jobs
            .sort_by(|a, b| b.last_start_in_s.partial_cmp(&a.last_start_in_s).unwrap_or(std::cmp::Ordering::Equal));
        outlook
    }

    fn count(&mut self, fate: &Fate, started: Option<Span>, now: Timestamp) {
        let end = seconds(since(now, fate.finished));
        self.drained_in_s = self.drained_in_s.max(end);
        if let Some(wait) = started {
            self.longest_wait_s = self.longest_wait_s.max(seconds(wait));
            self.at_once += u64::from(wait.0 == 0);
        }
        if let Some(worker) = self.workers.get_mut(fate.machine as usize) {
            worker.idle_in_s = worker.idle_in_s.max(end);
            worker.to_come += u64::from(started.is_some());
        }
    }

    /// The run's own figures, with these under `now`.
    pub(super) fn to_json(&self, run: &Run) -> Value {
        let mut object = run.to_json();
        object["now"] = json!(self);
        object
    }
}

/// How long until it starts; none if it runs already, and is not interrupted.
fn started(fate: &Fate, resumed: &BTreeMap<u64, Timestamp>, now: Timestamp) -> Option<Span> {
    (resumed.get(&fate.id) != Some(&fate.started)).then(|| since(now, fate.started))
}

fn workers(plan: &Plan) -> Vec<Worker> {
    let mut running: BTreeMap<u32, u64> = BTreeMap::new();
    plan.scene.running.iter().for_each(|underway| *running.entry(underway.machine).or_default() += 1);
    let state = |at: u32| if plan.scene.closed.contains(&at) { "draining" } else { "ready" };
    let all = (0_u32..).zip(&plan.machines);
    all.map(|(at, machine)| Worker {
        name: machine.name.clone(),
        state: state(at),
        running: running.get(&at).copied().unwrap_or_default(),
        to_come: 0,
        idle_in_s: 0.0,
    })
    .collect()
}

impl Line {
    fn new(job: JobId, name: String) -> Self {
        Self {
            job,
            name,
            running: 0,
            waiting: 0,
            first_start_in_s: None,
            last_start_in_s: None,
            done_in_s: 0.0,
            workers: BTreeMap::new(),
        }
    }

    fn count(&mut self, started: Option<Span>, end: Span, worker: Option<&Name>) {
        self.done_in_s = self.done_in_s.max(seconds(end));
        if let Some(worker) = worker {
            *self.workers.entry(worker.clone()).or_default() += 1;
        }
        let Some(wait) = started.map(seconds) else {
            self.running += 1;
            return;
        };
        self.waiting += 1;
        self.first_start_in_s = Some(self.first_start_in_s.map_or(wait, |first| first.min(wait)));
        self.last_start_in_s = Some(self.last_start_in_s.map_or(wait, |last| last.max(wait)));
    }
}
