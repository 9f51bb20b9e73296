//! `quorate cron`: computed here, without a cluster.

use quorate_cron::{Cron, Dst, Zone};
use quorate_types::Timestamp;

use crate::args::{CronCommand, DstChoice, Format, NextArgs};
use crate::exit::Failure;
use crate::output;

pub(super) fn run(command: &CronCommand, format: Format) -> Result<(), Failure> {
    match command {
        CronCommand::Next(args) => {
            let times = next(args)?;
            match format {
                Format::Json => output::json::print(&times),
                Format::Table => output::data(times.join("\n")),
            }
        }
    }
}

fn next(args: &NextArgs) -> Result<Vec<String>, Failure> {
    let usage = |what: &str, error: &dyn std::fmt::Display| Failure::Usage(format!("{what}: {error}"));
    let cron = Cron::parse(&args.expression)
        .map_err(|error| usage(&format!("cron expression {:?}", args.expression), &error))?;
    let zone = Zone::parse(&args.time_zone).map_err(|error| usage("--time-zone", &error))?;
    let from = match &args.from {
        Some(text) => zone.read(text).map_err(|error| usage("--from", &error))?,
        None => Timestamp::from_wall_clock(),
    };
    let ticks = cron.ticks(&zone, dst(args.dst), from).take(args.count as usize);
    let times: Vec<String> = ticks.map(|tick| zone.show(tick)).collect();
    if times.is_empty() {
        let from = zone.show(from);
        return Err(Failure::Usage(format!("{cron} has no time after {from} until the end of the year 9999")));
    }
    Ok(times)
}

const fn dst(choice: DstChoice) -> Dst {
    match choice {
        DstChoice::Once => Dst::Once,
        DstChoice::Skip => Dst::Skip,
        DstChoice::Both => Dst::Both,
    }
}
