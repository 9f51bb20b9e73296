//! Virtual time: from one event to the next, with the book of the placement.

mod breakdown;
mod cluster;
mod crowds;
mod live;

use std::iter::Peekable;

use quorate_placement::book::Bounds;
use quorate_types::policy::{Backfill, PlacementOrder, Policy, QueueOrder};
use quorate_types::validate::default_spread_label;
use quorate_types::words;
use quorate_types::{Name, Span, Timestamp};

use super::error::LabError;
use super::job::{Job, Machine, Record, Totals};
use super::scene::Scene;
use breakdown::Breakdowns;
use cluster::Cluster;

words!(
    /// What happens first of all that happens at one instant.
    #[derive(Default)]
    EventRule {
        /// All that ends, then all that is submitted, then one pass over the queue.
        #[default]
        Natural = "natural",
        /// As the simulator of the SC'15 authors (pyss) does: submissions before ends, a pass after every single
        /// one, and what was requested to end now counts as ended already.
        Pyss = "pyss",
    }
);

words!(
    /// What policies know of how long a job will run.
    #[derive(Default)]
    Estimates {
        /// The time that its user asked for.
        #[default]
        User = "user",
        /// The truth, as nobody knows it.
        Exact = "exact",
        /// The mean of the last two of the same owner and name, at most what the user asked for (Tsafrir et al. 2007).
        Learned = "learned",
    }
);

/// Failures of machines, exponentially distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failures {
    /// Mean time between failures of one machine.
    pub mtbf: Span,
    /// Mean time to repair.
    pub mttr: Span,
    pub seed: u64,
}

/// Under which policy, and by which rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub queue: QueueOrder,
    pub backfill: Backfill,
    pub placement: PlacementOrder,
    /// The label that the placement `spread` goes by, if it is not the usual one.
    pub spread_label: Option<Name>,
    pub event_rule: EventRule,
    pub estimates: Estimates,
    pub failures: Option<Failures>,
    /// Where random placement starts.
    pub seed: u64,
}

/// Replays `jobs`, which come in the order of their submission, on `machines`; `sink` sees each job as it finishes.
/// Memory grows with what is queued and running.
///
/// # Errors
/// See [`LabError`].
pub fn replay(
    jobs: impl Iterator<Item = Job>,
    machines: &[Machine],
    options: &Options,
    sink: &mut dyn FnMut(&Record),
) -> Result<Totals, LabError> {
    replay_from(&Scene::default(), jobs, machines, options, sink)
}

/// The same, on machines where something runs already.
///
/// # Errors
/// See [`LabError`].
pub fn replay_from(
    scene: &Scene,
    jobs: impl Iterator<Item = Job>,
    machines: &[Machine],
    options: &Options,
    sink: &mut dyn FnMut(&Record),
) -> Result<Totals, LabError> {
    let spread_label = options.spread_label.clone().unwrap_or_else(default_spread_label);
    let Options { queue, backfill, placement, .. } = *options;
    let policy = Policy { queue, backfill, placement, spread_label, ..Policy::default() };
    let mut arrivals = Arrivals { jobs: jobs.peekable(), newest: Timestamp(0) };
    // The time of a trace may begin anywhere: nothing fails before there is something to do.
    let begin = if scene.now > Timestamp(0) { scene.now } else { arrivals.next_at().unwrap_or_default() };
    let mut engine = Engine {
        arrivals,
        cluster: Cluster::new(machines, policy, options, scene),
        breakdowns: Breakdowns::new(machines.len(), options.failures, begin),
        begin,
        sink,
    };
    engine.cluster.advance(begin);
    scene.running.iter().try_for_each(|underway| engine.cluster.resume(underway))?;
    while let Some(now) = engine.next_instant()? {
        engine.cluster.advance(now);
        match options.event_rule {
            EventRule::Natural => engine.natural(now)?,
            EventRule::Pyss => engine.pyss(now)?,
        }
    }
    Ok(engine.cluster.totals())
}

struct Engine<'a, I: Iterator<Item = Job>> {
    arrivals: Arrivals<I>,
    cluster: Cluster,
    breakdowns: Breakdowns,
    begin: Timestamp,
    sink: &'a mut dyn FnMut(&Record),
}

struct Arrivals<I: Iterator<Item = Job>> {
    jobs: Peekable<I>,
    newest: Timestamp,
}

impl<I: Iterator<Item = Job>> Arrivals<I> {
    fn next_at(&mut self) -> Option<Timestamp> {
        self.jobs.peek().map(|job| job.submitted)
    }

    fn take(&mut self, now: Timestamp) -> Result<Option<Job>, LabError> {
        let Some(job) = self.jobs.next_if(|job| job.submitted <= now) else { return Ok(None) };
        if job.submitted < self.newest {
            return Err(LabError::Unordered { id: job.id });
        }
        self.newest = job.submitted;
        Ok(Some(job))
    }
}

impl<I: Iterator<Item = Job>> Engine<'_, I> {
    /// When something happens next; none when all is done.
    fn next_instant(&mut self) -> Result<Option<Timestamp>, LabError> {
        let work = [self.arrivals.next_at(), self.cluster.next_end(), self.cluster.wake_at()];
        let work = work.into_iter().flatten().min();
        if self.cluster.is_idle() && self.arrivals.next_at().is_none() {
            return Ok(None);
        }
        let next = [work, self.breakdowns.next_at()].into_iter().flatten().min();
        next.map(|at| Some(at.max(self.begin))).ok_or(LabError::Stuck { waiting: self.cluster.unfinished() })
    }

    /// All ends, then all submissions, then one pass.
    fn natural(&mut self, now: Timestamp) -> Result<(), LabError> {
        while self.cluster.finish_next(now, self.sink) {}
        self.break_and_repair(now)?;
        while let Some(job) = self.arrivals.take(now)? {
            self.cluster.submit(job)?;
        }
        self.cluster.muster();
        self.cluster.pass(now, Bounds::default());
        Ok(())
    }

    /// Each submission, then each end, with a pass after each; what was to end now is free already.
    fn pyss(&mut self, now: Timestamp) -> Result<(), LabError> {
        self.cluster.free_what_was_to_end(now);
        while let Some(job) = self.arrivals.take(now)? {
            self.cluster.submit(job)?;
            self.cluster.pass(now, Bounds::default());
        }
        self.cluster.muster();
        while self.cluster.finish_next(now, self.sink) {
            self.cluster.pass(now, Bounds::default());
        }
        self.break_and_repair(now)?;
        self.cluster.pass(now, Bounds::default());
        Ok(())
    }

    fn break_and_repair(&mut self, now: Timestamp) -> Result<(), LabError> {
        while let Some((machine, change)) = self.breakdowns.take(now) {
            match change {
                breakdown::Change::Fails => self.cluster.fail(machine, now)?,
                breakdown::Change::Repaired => self.cluster.repair(machine),
            }
        }
        Ok(())
    }
}
