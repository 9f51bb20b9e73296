//! `quorate sim`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use quorate_sim::{Failure as Found, Kind, Options, Report, is_reproducible, run as simulate, shrink};
use serde_json::json;

use crate::args::{Format, SimArgs};
use crate::exit::{Failure, JOB_FAILED};
use crate::output::{self, json as lines};

pub(super) fn run(args: &SimArgs, format: Format) -> Result<(), Failure> {
    if !is_reproducible() {
        output::note("this build was made without --cfg tokio_unstable: a seed is not the same run again");
    }
    let (mut ran, mut inconclusive) = (0, 0);
    let mut seeds = Seeds::begin(args)?;
    while let Some((options, took, result)) = seeds.next() {
        ran += 1;
        match result {
            Ok(report) => say(&report, None, took, format)?,
            Err(failure) => {
                say(&failure.report, Some(&failure), took, format)?;
                match failure.kind {
                    // Other seeds may show more.
                    Kind::Inconclusive => {
                        inconclusive += 1;
                        output::note(failure.to_string());
                    }
                    Kind::Setup => return Err(Failure::Other(anyhow::anyhow!(failure.what))),
                    Kind::Violated | Kind::Stuck => {
                        seeds.finish()?;
                        tell(&options, *failure, args.shrink);
                        return Err(Failure::Code(JOB_FAILED));
                    }
                }
            }
        }
    }
    seeds.finish()?;
    if ran == 0 {
        return Err(Failure::Other(anyhow::anyhow!("no seed was run: --within leaves no time for one")));
    }
    output::note(format!("{ran} seeds broke no promise; {inconclusive} of them showed too little"));
    Ok(())
}

type Ran = (Options, Duration, Result<Report, Box<Found>>);

/// Seeds that are being run.
struct Seeds {
    results: mpsc::Receiver<Ran>,
    jobs: Vec<thread::JoinHandle<()>>,
}

impl Seeds {
    fn begin(args: &SimArgs) -> anyhow::Result<Self> {
        let last = if args.seeds == 0 { u64::MAX } else { args.seed.saturating_add(args.seeds - 1) };
        let until = args.within.map(|within| Instant::now() + within.as_duration());
        let next = Arc::new(AtomicU64::new(args.seed));
        let (told, results) = mpsc::sync_channel(0);
        let mut jobs = Vec::new();
        for job in 1..=args.jobs {
            let (args, next, told) = (args.clone(), next.clone(), told.clone());
            let run = move || {
                while until.is_none_or(|until| Instant::now() < until) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !(args.seed..=last).contains(&seed) || told.send(simulate_seed(&args, seed)).is_err() {
                        break;
                    }
                }
            };
            // A panic of a simulated process names its thread.
            jobs.push(thread::Builder::new().name(format!("sim-{job}")).spawn(run)?);
        }
        Ok(Self { results, jobs })
    }

    fn next(&mut self) -> Option<Ran> {
        self.results.recv().ok()
    }

    /// Begins no further ones, and waits for those that run.
    fn finish(self) -> anyhow::Result<()> {
        drop(self.results);
        for job in self.jobs {
            job.join().map_err(|_| anyhow::anyhow!("the simulation itself failed"))?;
        }
        Ok(())
    }
}

fn simulate_seed(args: &SimArgs, seed: u64) -> Ran {
    let options = Options {
        seed,
        trouble: Duration::from_secs_f64(args.minutes * 60.0),
        replicas: args.replicas,
        workers: args.workers,
        ..Options::default()
    };
    let started = Instant::now();
    let result = simulate(&options);
    (options, started.elapsed(), result)
}

fn say(report: &Report, failure: Option<&Found>, took: Duration, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json => lines::print_line(&json!({
            "seed": report.seed,
            "failure": failure.map(|failure| json!({"kind": format!("{:?}", failure.kind), "what": failure.what})),
            "trace": format!("{:016x}", report.trace),
            "simulated_seconds": report.simulated.as_secs_f64(),
            "took_seconds": took.as_secs_f64(),
            "faults": report.faults.iter().map(|(fault, n)| (fault.to_string(), *n)).collect::<std::collections::BTreeMap<_, _>>(),
            "elections": report.elections,
            "accepted": report.accepted,
            "reads": report.reads,
            "other_writes": report.other_writes,
            "refused": report.refused,
            "unanswered": report.unknown,
            "events": report.events,
            "processes": report.started,
            "messages": report.messages,
            "replicas": report.replicas,
            "membership_changes": report.changes,
            "damaged": report.noticed,
            "undecided": report.undecided,
        })),
        Format::Table => {
            let faults: Vec<String> = report.faults.iter().map(|(fault, n)| format!("{fault} {n}")).collect();
            let text = format!("{report}, {:.1} s\n  {}\n", took.as_secs_f64(), faults.join(", "));
            output::raw(text.as_bytes())
        }
    }
}

/// What led to the violation.
fn tell(options: &Options, found: Found, wanted_short: bool) {
    let found = if wanted_short { shrink(options, found) } else { found };
    for line in &found.story {
        output::note(line);
    }
    output::note(format!("{:?} by {found}", found.kind));
}
