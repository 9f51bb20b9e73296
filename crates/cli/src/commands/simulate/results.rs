//! Where the results of the runs go.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::Context as _;
use quorate_sim::lab::input::{Survey, Workload};
use quorate_sim::lab::report::{self, Facts};
use quorate_sim::lab::{JOBS_HEADING, Machine, Run, STARTS_HEADING};
use quorate_types::Span;

use crate::args::ResultArgs;
use crate::exit::Failure;
use crate::output;
use crate::output::table::{Column, Table};

/// Writes the files that were asked for.
pub(super) fn write(
    args: &ResultArgs,
    mut runs: Vec<Run>,
    title: &str,
    work: &Workload,
    machines: &[Machine],
) -> Result<Vec<Run>, Failure> {
    if let Some(path) = &args.starts {
        let starts = runs.first_mut().and_then(|run| run.starts.take());
        to_file(path, |out| {
            writeln!(out, "{STARTS_HEADING}")?;
            starts.map_or(Ok(0), |mut starts| io::copy(&mut starts, out)).map(drop)
        })?;
    }
    if let Some(path) = &args.csv {
        to_file(path, |out| write_jobs(out, &mut runs))?;
    }
    if let Some(path) = &args.report {
        let words = [vec![about_machines(machines)], words_about(work.survey())].concat();
        let facts = Facts { title, words: &words, machines, begin: work.survey().first_submission };
        to_file(path, |out| report::write(out, &facts, &runs))?;
    }
    Ok(runs)
}

fn to_file(path: &Path, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) -> Result<(), Failure> {
    let create = || File::create(path).map(BufWriter::new);
    let mut out = create().map_err(|error| Failure::Usage(format!("can't write {}: {error}", path.display())))?;
    let written = write(&mut out).and_then(|()| out.flush());
    Ok(written.with_context(|| format!("write {}", path.display()))?)
}

/// The jobs of all runs, each line with the policy of its run.
fn write_jobs(out: &mut dyn Write, runs: &mut [Run]) -> io::Result<()> {
    writeln!(out, "queue,backfill,placement,estimates,{JOBS_HEADING}")?;
    for run in runs {
        let policy = run.variant.parts().map(|(_, name)| name).join(",");
        for line in run.jobs.take().into_iter().flat_map(|file| BufReader::new(file).lines()) {
            writeln!(out, "{policy},{}", line?)?;
        }
    }
    Ok(())
}

fn about_machines(machines: &[Machine]) -> String {
    let millis: u64 = machines.iter().map(|machine| machine.capacity.cpu_millis).sum();
    let word = if machines.len() == 1 { "worker" } else { "workers" };
    format!("{} {word} with {} cores", machines.len(), millis as f64 / 1000.0)
}

/// How much work there is, and what was left out or assumed.
pub(super) fn words_about(survey: &Survey) -> Vec<String> {
    let mut words = vec![format!("{} jobs", survey.jobs)];
    let dropped = survey.dropped;
    if dropped.total() > 0 {
        let reasons = [
            (dropped.no_run_time, "without run time"),
            (dropped.no_processors, "without processors"),
            (dropped.no_requested_time, "without requested time"),
            (dropped.too_large, "larger than any worker"),
        ];
        let reasons = reasons.iter().filter(|(n, _)| *n > 0).map(|(n, why)| format!("{n} {why}"));
        words.push(format!("left out: {}", reasons.collect::<Vec<_>>().join(", ")));
    }
    if survey.requests_are_run_times {
        words.push("no job says what its user asked for, so run times stand for that".into());
    }
    words
}

const COLUMNS: &[Column] = &[
    Column::Left("QUEUE"),
    Column::Left("BACKFILL"),
    Column::Left("PLACEMENT"),
    Column::Left("ESTIMATES"),
    Column::Right("JOBS"),
    Column::Right("MAKESPAN"),
    Column::Right("MEAN WAIT"),
    Column::Right("WAIT P95"),
    Column::Right("MAX WAIT"),
    Column::Right("MEAN SLOWDOWN"),
    Column::Right("MAX SLOWDOWN"),
    Column::Right("UTILISATION"),
    Column::Right("BALANCE"),
    Column::Right("INTERRUPTED"),
];

pub(super) fn table(runs: &[Run]) -> Table {
    let mut table = Table::new(COLUMNS);
    for run in runs {
        let summary = &run.summary;
        let time = |seconds: f64| output::time::span(Span((seconds * 1000.0).round() as u64));
        let policy = run.variant.parts().map(|(_, name)| name);
        table.row(policy.into_iter().map(str::to_owned).chain([
            summary.jobs.to_string(),
            time(summary.makespan_s),
            time(summary.mean_wait_s),
            time(summary.wait_p95_s),
            time(summary.max_wait_s),
            format!("{:.2}", summary.mean_bounded_slowdown),
            format!("{:.2}", summary.max_bounded_slowdown),
            format!("{:.1}%", summary.utilisation * 100.0),
            format!("{:.4}", summary.load_balance_degree),
            summary.interrupted.to_string(),
        ]));
    }
    table
}
