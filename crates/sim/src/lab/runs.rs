//! Many replays of the same work, each under another policy, over the cores of this machine.

use std::cell::RefCell;
use std::fs::File;
use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use quorate_types::Name;
use serde_json::Value;

use super::engine::{EventRule, Failures, Options, replay_from};
use super::error::LabError;
use super::gantt::Window;
use super::input::{InputError, Workload};
use super::job::{Job, Machine, Record, Totals};
use super::metrics::{Metrics, Summary};
use super::plots::Plots;
use super::policy::Variant;
use super::scene::{Fate, Scene};
use super::tables::{JobTable, StartTable};

/// Ends of jobs between two reports of progress.
const PROGRESS_EVERY: u64 = 1024;

/// What all runs have in common.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub event_rule: EventRule,
    pub failures: Option<Failures>,
    /// Where random placement starts.
    pub seed: u64,
    /// The label that the placement `spread` goes by, if it is not the usual one.
    pub spread_label: Option<Name>,
}

/// What is wanted of a run beside its summary.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// When each job started.
    pub starts: bool,
    /// How each job went.
    pub jobs: bool,
    /// What became of each job, in memory: for work that is there as well.
    pub fates: bool,
    /// What the report draws, with what ran in this window.
    pub plots: Option<Window>,
}

/// How one run went.
#[derive(Debug)]
pub struct Run {
    pub variant: Variant,
    pub summary: Summary,
    /// Temporary files at their beginning, if they were wanted.
    pub starts: Option<File>,
    pub jobs: Option<File>,
    /// In the order of their ends, if they were wanted.
    pub fates: Option<Vec<Fate>>,
    pub(super) plots: Option<Plots>,
}

impl Run {
    /// The policy and what it came to, as one JSON object.
    pub fn to_json(&self) -> Value {
        let mut object = self.variant.to_json();
        if let Ok(Value::Object(summary)) = serde_json::to_value(&self.summary) {
            object.extend(summary);
        }
        object.into()
    }
}

/// Why a run did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error("write a temporary file: {0}")]
    Write(#[from] std::io::Error),
    #[error("start a thread: {0}")]
    Thread(#[source] std::io::Error),
}

/// Many replays of the same work.
#[derive(Clone, Debug)]
pub struct Experiment<'a> {
    pub workload: &'a Workload,
    /// What every run begins with.
    pub scene: &'a Scene,
    pub machines: &'a [Machine],
    pub variants: &'a [Variant],
    pub rules: Rules,
    pub wanted: Wanted,
}

impl Experiment<'_> {
    /// Replays the work under each policy, as many at once as there are cores. `progress` is told how many jobs
    /// have finished since it was told last, over all runs.
    ///
    /// # Errors
    /// The first one that ended a run; the others are then given up.
    pub fn run(&self, progress: &(dyn Fn(u64) + Sync)) -> Result<Vec<Run>, RunError> {
        let cores = thread::available_parallelism().map_or(1, usize::from).min(self.variants.len());
        let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
        let done: Mutex<Vec<(usize, Run)>> = Mutex::new(Vec::new());
        let work = || -> Result<(), RunError> {
            while !failed.load(Ordering::Relaxed) {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(variant) = self.variants.get(at) else { break };
                let run = self.run_one(*variant, progress).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
                done.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push((at, run));
            }
            Ok(())
        };
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for core in 0..cores {
                let thread = thread::Builder::new().name(format!("lab-{core}"));
                threads.push(thread.spawn_scoped(scope, work).map_err(RunError::Thread)?);
            }
            threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
        })?;
        let mut runs = done.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
        runs.sort_unstable_by_key(|(at, _)| *at);
        Ok(runs.into_iter().map(|(_, run)| run).collect())
    }

    fn run_one(&self, variant: Variant, progress: &(dyn Fn(u64) + Sync)) -> Result<Run, RunError> {
        let sink = RefCell::new(Sink::new(self)?);
        let mut broken = None;
        let jobs = self.workload.jobs()?.map_while(|job| match job {
            Ok(job) => {
                sink.borrow_mut().on_job(&job);
                Some(job)
            }
            Err(error) => {
                broken = Some(error);
                None
            }
        });
        let mut finished = 0;
        let totals = replay_from(self.scene, jobs, self.machines, &self.options(variant), &mut |record| {
            sink.borrow_mut().on_record(record);
            finished += 1;
            if finished % PROGRESS_EVERY == 0 {
                progress(PROGRESS_EVERY);
            }
        });
        progress(finished % PROGRESS_EVERY);
        match broken {
            Some(error) => Err(error.into()),
            None => sink.into_inner().finish(variant, &totals?),
        }
    }

    fn options(&self, variant: Variant) -> Options {
        let Variant { queue, backfill, placement, estimates } = variant;
        let Rules { event_rule, failures, seed, spread_label } = self.rules.clone();
        Options { queue, backfill, placement, spread_label, event_rule, estimates, failures, seed }
    }
}

/// Takes in what one run yields.
#[derive(Debug)]
struct Sink {
    metrics: Metrics,
    plots: Option<Plots>,
    starts: Option<StartTable>,
    jobs: Option<JobTable>,
    fates: Option<Vec<Fate>>,
}

impl Sink {
    fn new(experiment: &Experiment<'_>) -> Result<Self, RunError> {
        let Experiment { workload, scene, machines, wanted, .. } = experiment;
        let begin = workload.survey().first_submission.max(scene.now);
        let mut sink = Self {
            metrics: Metrics::new(machines),
            plots: wanted.plots.map(|window| Plots::new(window, begin)),
            starts: if wanted.starts { Some(StartTable::new()?) } else { None },
            jobs: if wanted.jobs { Some(JobTable::new(machines)?) } else { None },
            fates: wanted.fates.then(Vec::new),
        };
        scene.running.iter().for_each(|underway| sink.on_job(&underway.job));
        Ok(sink)
    }

    fn on_job(&mut self, job: &Job) {
        if let Some(jobs) = &mut self.jobs {
            jobs.on_job(job);
        }
    }

    fn on_record(&mut self, record: &Record) {
        self.metrics.observe(record);
        if let Some(plots) = &mut self.plots {
            plots.observe(record);
        }
        if let Some(fates) = &mut self.fates {
            fates.push(Fate::of(record));
        }
        if let Some(starts) = &mut self.starts {
            starts.observe(record);
        }
        if let Some(jobs) = &mut self.jobs {
            jobs.observe(record);
        }
    }

    fn finish(self, variant: Variant, totals: &Totals) -> Result<Run, RunError> {
        Ok(Run {
            variant,
            summary: self.metrics.summary(totals),
            starts: self.starts.map(StartTable::finish).transpose()?,
            jobs: self.jobs.map(JobTable::finish).transpose()?,
            fates: self.fates,
            plots: self.plots,
        })
    }
}

#[cfg(test)]
mod tests;
