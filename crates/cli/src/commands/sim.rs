//! `quorate sim`.

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
    let last = args.seed.saturating_add(args.seeds.saturating_sub(1));
    let last = if args.seeds == 0 { u64::MAX } else { last };
    for seed in args.seed..=last {
        let options = Options {
            seed,
            trouble: Duration::from_secs_f64(args.minutes * 60.0),
            replicas: args.replicas,
            workers: args.workers,
            ..Options::default()
        };
        let started = Instant::now();
        match simulate(&options) {
            Ok(report) => say(&report, None, started.elapsed(), format)?,
            Err(failure) => {
                say(&failure.report, Some(&failure), started.elapsed(), format)?;
                match failure.kind {
                    // The next seed may show more.
                    Kind::Inconclusive => output::note(failure.to_string()),
                    Kind::Setup => return Err(Failure::Other(anyhow::anyhow!(failure.what))),
                    Kind::Violated | Kind::Stuck => {
                        tell(&options, *failure, args.shrink);
                        return Err(Failure::Code(JOB_FAILED));
                    }
                }
            }
        }
    }
    Ok(())
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
