//! Where the results of the runs go.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use anyhow::Context as _;
use quorate_sim::lab::input::Survey;
use quorate_sim::lab::report::{self, Facts};
use quorate_sim::lab::{JOBS_HEADING, Machine, Run, STARTS_HEADING};
use quorate_types::{Span, Timestamp};

use crate::args::ResultArgs;
use crate::exit::Failure;
use crate::output;
use crate::output::table::{Column, Table};

/// What a report is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page<'a> {
    pub(super) title: &'a str,
    pub(super) words: &'a [String],
    pub(super) machines: &'a [Machine],
    pub(super) begin: Timestamp,
}

/// Writes the files that were asked for. `labels`: what stands for the numbers of jobs, from 1 on.
pub(super) fn write(
    args: &ResultArgs,
    mut runs: Vec<Run>,
    page: &Page<'_>,
    labels: Option<&[String]>,
) -> Result<Vec<Run>, Failure> {
    if let Some(path) = &args.starts {
        let starts = runs.first_mut().and_then(|run| run.starts.take());
        to_file(path, |out| {
            writeln!(out, "{STARTS_HEADING}")?;
            lines(starts).try_for_each(|line| writeln!(out, "{}", labelled(&line?, labels)))
        })?;
    }
    if let Some(path) = &args.csv {
        to_file(path, |out| write_jobs(out, &mut runs, labels))?;
    }
    if let Some(path) = &args.report {
        let Page { title, words, machines, begin } = *page;
        let words = [&[about_machines(machines)], words].concat();
        let facts = Facts { title, words: &words, machines, begin };
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
fn write_jobs(out: &mut dyn Write, runs: &mut [Run], labels: Option<&[String]>) -> io::Result<()> {
    writeln!(out, "queue,backfill,placement,estimates,{JOBS_HEADING}")?;
    for run in runs {
        let policy = run.variant.parts().map(|(_, name)| name).join(",");
        for line in lines(run.jobs.take()) {
            writeln!(out, "{policy},{}", labelled(&line?, labels))?;
        }
    }
    Ok(())
}

fn lines(file: Option<File>) -> impl Iterator<Item = io::Result<String>> {
    file.into_iter().flat_map(|file| BufReader::new(file).lines())
}

/// The line with the label of its job in the place of the number, with which it begins.
fn labelled(line: &str, labels: Option<&[String]>) -> String {
    let known = labels.zip(line.split_once(','));
    let known = known.and_then(|(labels, (id, rest))| {
        let label = labels.get(id.parse::<usize>().ok()?.checked_sub(1)?)?;
        Some(format!("{label},{rest}"))
    });
    known.unwrap_or_else(|| line.to_owned())
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
            (dropped.unsuited, "that require what no worker has"),
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
