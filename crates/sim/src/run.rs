//! One run: trouble for a while, then everything is healed and must come to an end.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::chance::Chance;
use crate::faults::{Fault, Faults};
use crate::history::Violation;
use crate::panics::Watch;
use crate::world::{Plan, World};

/// How long clients may take to end what they have begun after everything was healed, and jobs to finish.
const DRAIN_MAX: Duration = Duration::from_secs(240);
/// Paused jobs are resumed this often while the world drains.
const RESUME_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked whether the world has drained.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    /// How long faults are made, in simulated time.
    pub trouble: Duration,
    /// Two at least, or there is nobody to be cut off from. `None`: the seed chooses three or five.
    pub replicas: Option<u64>,
    pub workers: u64,
    pub clients: usize,
    /// The faults to choose from.
    pub faults: Vec<Fault>,
    /// Whether there are a service, a system job, a schedule, and jobs that wait for keys and times or take locks,
    /// besides what clients submit.
    pub services: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            trouble: Duration::from_secs(300),
            replicas: None,
            workers: 3,
            clients: 4,
            faults: Fault::ALL.to_vec(),
            services: true,
        }
    }
}

/// What happened in a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub seed: u64,
    /// In the beginning.
    pub replicas: u64,
    /// Stands for every line of the trace: equal for two runs of one seed.
    pub trace: u64,
    pub lines: u64,
    pub simulated: Duration,
    pub faults: BTreeMap<Fault, u64>,
    pub elections: u64,
    pub messages: u64,
    pub accepted: u64,
    pub reads: u64,
    pub other_writes: u64,
    /// Answers 429 and 503.
    pub refused: u64,
    /// Requests without an answer.
    pub unknown: u64,
    /// Events that were read and compared.
    pub events: u64,
    /// Processes that workers started.
    pub started: u64,
    /// Changes of the membership that were brought to their end.
    pub changes: u64,
    /// Replicas that noticed damage to their disk, and stopped.
    pub noticed: u64,
    /// Operations whose histories were looked at.
    pub operations: u64,
    /// Elements that were assigned while a policy was in force, by its name.
    pub assigned: BTreeMap<String, u64>,
    /// Jobs whose history was too entangled to say whether it is linearizable.
    pub undecided: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: u64 = self.faults.values().sum();
        write!(
            f,
            "seed {}: {} replicas, {:.0} s, {faults} faults, {} elections, {} changes of the membership, {} damaged, \
             {} accepted, {} reads, {} other writes, {} refused, {} unanswered, {} events, {} processes, {} messages, \
             trace {:016x}",
            self.seed,
            self.replicas,
            self.simulated.as_secs_f64(),
            self.elections,
            self.changes,
            self.noticed,
            self.accepted,
            self.reads,
            self.other_writes,
            self.refused,
            self.unknown,
            self.events,
            self.started,
            self.messages,
            self.trace,
        )
    }
}

/// Why a run is no success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A promise did not hold.
    Violated,
    /// What must end did not, long after everything was healed.
    Stuck,
    /// So little happened that it proves nothing.
    Inconclusive,
    /// The simulation itself could not be set up.
    Setup,
}

/// A run that is no success.
#[derive(Clone, Debug, thiserror::Error)]
#[error("seed {}: {what}", report.seed)]
pub struct Failure {
    pub kind: Kind,
    /// In words.
    pub what: String,
    pub report: Report,
    /// The last lines of the trace.
    pub story: Vec<String>,
}

/// Whether this build makes the same run of the same seed: only with `--cfg tokio_unstable`.
pub const fn is_reproducible() -> bool {
    cfg!(tokio_unstable)
}

/// Simulates.
///
/// # Errors
/// If a promise did not hold, if something did not end, or if so little happened that it proves nothing.
pub fn run(options: &Options) -> Result<Report, Box<Failure>> {
    let Options { seed, workers, clients, services, .. } = *options;
    let replicas = options.replicas.unwrap_or_else(|| replicas_of(seed));
    let _watch = Watch::begin();
    let world = World::new(Plan { seed, replicas, workers, clients, services });
    let mut world = world.map_err(|error| {
        let what = format!("the simulation could not be set up: {error}");
        Box::new(Failure { kind: Kind::Setup, what, report: Report { seed, ..Report::default() }, story: Vec::new() })
    })?;
    let mut faults = Faults::new(Chance::new(seed, 2), options.faults.clone());
    let violated = |what| (Kind::Violated, what);
    let ended = trouble(&mut world, &mut faults, options.trouble).map_err(violated);
    let ended = ended.and_then(|()| drain(&mut world, &mut faults));
    let mut report = Report { seed, replicas, ..report_of(&world, &faults) };
    let ended = ended.and_then(|()| world.history.jobs.check().map_err(violated));
    let ended = ended.map(|undecided| report.undecided = undecided);
    let ended = ended.and_then(|()| is_telling(&report, options).map_err(|what| (Kind::Inconclusive, what)));
    match ended {
        Ok(()) => Ok(report),
        Err((kind, what)) => Err(Box::new(Failure { kind, what, report, story: world.into_story() })),
    }
}

fn trouble(world: &mut World, faults: &mut Faults, lasts: Duration) -> Result<(), Violation> {
    while world.now < lasts {
        faults.on_time(world);
        world.step()?;
    }
    Ok(())
}

fn drain(world: &mut World, faults: &mut Faults) -> Result<(), (Kind, Violation)> {
    faults.heal_all(world);
    world.busy = false;
    let healed = world.now;
    let (mut resume_at, mut look_at) = (healed, healed);
    let mut why_not = Violation::new();
    while world.now < healed + DRAIN_MAX {
        faults.on_time(world);
        world.step().map_err(|what| (Kind::Violated, what))?;
        if world.now >= resume_at {
            resume_at += RESUME_EVERY;
            world.resume_jobs();
        }
        if world.now >= look_at {
            look_at += LOOK_EVERY;
            match world.drained() {
                Ok(None) => return Ok(()),
                Ok(Some(reason)) => why_not = reason,
                Err(what) => return Err((Kind::Violated, what)),
            }
        }
    }
    Err((Kind::Stuck, format!("{DRAIN_MAX:?} after everything was healed: {why_not}")))
}

/// One seed in eight has five replicas, and two of them to lose.
fn replicas_of(seed: u64) -> u64 {
    if Chance::new(seed, 3).permille(125) { 5 } else { 3 }
}

fn report_of(world: &World, faults: &Faults) -> Report {
    let counts = world.counts;
    Report {
        trace: world.digest(),
        lines: world.trace.lines(),
        simulated: world.now,
        faults: faults.counts.clone(),
        elections: world.elections() as u64,
        messages: world.network.delivered(),
        accepted: counts.accepted,
        reads: counts.reads,
        other_writes: counts.other_writes,
        refused: counts.refused,
        unknown: counts.unknown,
        events: counts.events,
        started: world.physical.started,
        changes: counts.changes,
        noticed: counts.noticed,
        operations: world.history.jobs.operations(),
        assigned: world.assigned(),
        ..Report::default()
    }
}

/// A run in which next to nothing happened holds every promise, and shows nothing.
fn is_telling(report: &Report, options: &Options) -> Result<(), Violation> {
    let seconds = options.trouble.as_secs();
    let faults: u64 = report.faults.values().sum();
    let table = [
        ("faults", faults, if options.faults.is_empty() { 0 } else { seconds / 20 }),
        ("accepted jobs", report.accepted, seconds / 4),
        ("reads", report.reads, seconds / 4),
        ("processes", report.started, seconds / 4),
        ("operations in histories", report.operations, seconds / 2),
        ("events", report.events, seconds),
        ("elections", report.elections, 1),
    ];
    match table.iter().find(|(_, happened, wanted)| happened < wanted) {
        Some((what, happened, wanted)) => Err(format!("the run shows nothing: {happened} {what} of {wanted} at least")),
        None => Ok(()),
    }
}
