//! What stands where.

use std::io::{self, Write};

use quorate_types::Timestamp;

use super::axis::{Scale, Unit, number, seconds};
use super::charts::{Axis, bars, colour, curves};
use super::gantt::{WAITS_S, draw};
use super::svg::escape;
use crate::lab::job::Machine;
use crate::lab::metrics::Summary;
use crate::lab::plots::Plots;
use crate::lab::runs::Run;

const STYLE: &str = include_str!("style.css");
/// A Gantt chart is large; who compares more policies looks at numbers.
const GANTTS_MAX: usize = 6;

/// What a page is about.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub title: &'a str,
    /// Sentences about the work, the machines and what was left out.
    pub words: &'a [String],
    pub machines: &'a [Machine],
    /// Where time begins on every axis.
    pub begin: Timestamp,
}

/// Writes the page about `runs`; plots are there if they were wanted of the runs.
///
/// # Errors
/// Those of `out`.
pub fn write(out: &mut dyn Write, facts: &Facts<'_>, runs: &[Run]) -> io::Result<()> {
    let title = escape(facts.title);
    writeln!(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>")?;
    writeln!(out, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")?;
    writeln!(
        out,
        "<meta name=\"color-scheme\" content=\"light dark\">\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>"
    )?;
    writeln!(out, "<h1>{title}</h1>")?;
    for words in facts.words {
        writeln!(out, "<p>{}</p>", escape(words))?;
    }
    let names = names(runs);
    write_table(out, runs, &names)?;
    write_bars(out, runs, &names)?;
    let plots: Vec<&Plots> = runs.iter().filter_map(|run| run.plots.as_ref()).collect();
    if !plots.is_empty() {
        write_curves(out, facts, &plots, &names)?;
        write_gantts(out, facts, &plots, &names)?;
    }
    writeln!(out, "</main>\n</body>\n</html>")
}

/// Each run by the parts of its policy in which it differs from another one; alone, by all of them.
pub(super) fn names(runs: &[Run]) -> Vec<String> {
    let parts: Vec<_> = runs.iter().map(|run| run.variant.parts()).collect();
    let differs = |at: usize| parts.iter().any(|part| part[at] != parts[0][at]);
    let shown: Vec<usize> = (0..4).filter(|at| parts.len() < 2 || differs(*at)).collect();
    let name = |part: &[(&str, &str); 4]| shown.iter().map(|at| part[*at].1).collect::<Vec<_>>().join(" · ");
    parts.iter().map(name).collect()
}

/// A column: its heading, and how a run's value is written.
type Column = (&'static str, fn(&Summary) -> String);

const COLUMNS: [Column; 9] = [
    ("jobs", |run| run.jobs.to_string()),
    ("makespan", |run| seconds(run.makespan_s)),
    ("mean wait", |run| seconds(run.mean_wait_s)),
    ("wait p95", |run| seconds(run.wait_p95_s)),
    ("max wait", |run| seconds(run.max_wait_s)),
    ("mean bounded slowdown", |run| number(run.mean_bounded_slowdown)),
    ("max bounded slowdown", |run| number(run.max_bounded_slowdown)),
    ("utilisation", |run| format!("{:.1}%", run.utilisation * 100.0)),
    ("interrupted", |run| run.interrupted.to_string()),
];

fn write_table(out: &mut dyn Write, runs: &[Run], names: &[String]) -> io::Result<()> {
    writeln!(out, "<h2>Policies</h2>\n<div class=\"wide\"><table>\n<thead><tr><th>policy</th>")?;
    for (heading, _) in COLUMNS {
        writeln!(out, "<th>{heading}</th>")?;
    }
    writeln!(out, "</tr></thead>\n<tbody>")?;
    for (at, (run, name)) in runs.iter().zip(names).enumerate() {
        write!(out, "<tr><th>{}{}</th>", swatch(at), escape(name))?;
        for (_, value) in COLUMNS {
            write!(out, "<td>{}</td>", value(&run.summary))?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody></table></div>")
}

fn swatch(at: usize) -> String {
    format!("<i class=\"swatch {}\"></i>", colour(at))
}

fn write_legend(out: &mut dyn Write, names: &[String]) -> io::Result<()> {
    writeln!(out, "<ul class=\"legend\">")?;
    for (at, name) in names.iter().enumerate() {
        writeln!(out, "<li>{}{}</li>", swatch(at), escape(name))?;
    }
    writeln!(out, "</ul>")
}

/// A heading, what is counted, and where it is found.
type Panel = (&'static str, Unit, fn(&Summary) -> f64);

fn write_bars(out: &mut dyn Write, runs: &[Run], names: &[String]) -> io::Result<()> {
    let panels: [Panel; 6] = [
        ("Mean wait", Unit::Seconds, |run| run.mean_wait_s),
        ("Longest wait", Unit::Seconds, |run| run.max_wait_s),
        ("Mean bounded slowdown", Unit::Number, |run| run.mean_bounded_slowdown),
        ("Largest bounded slowdown", Unit::Number, |run| run.max_bounded_slowdown),
        ("Mean completion time", Unit::Seconds, |run| run.atct_s),
        ("Utilisation", Unit::Share, |run| run.utilisation),
    ];
    writeln!(out, "<h2>Side by side</h2>")?;
    write_legend(out, names)?;
    writeln!(out, "<div class=\"panels\">")?;
    for (title, unit, value) in panels {
        let values: Vec<f64> = runs.iter().map(|run| value(&run.summary)).collect();
        writeln!(out, "<figure><figcaption>{title}</figcaption>{}</figure>", bars(title, unit, &values))?;
    }
    writeln!(out, "</div>")
}

fn write_curves(out: &mut dyn Write, facts: &Facts<'_>, plots: &[&Plots], names: &[String]) -> io::Result<()> {
    let millis: u64 = facts.machines.iter().map(|machine| machine.capacity.cpu_millis).sum();
    let cores = millis as f64 / 1000.0;
    let since = |time: Timestamp| time.since(facts.begin).0 as f64 / 1000.0;
    let series = |value: &dyn Fn(&Plots) -> Vec<(Timestamp, f64)>| -> Vec<Vec<(f64, f64)>> {
        let points = plots.iter().map(|plots| value(plots));
        points.map(|points| points.into_iter().map(|(time, value)| (since(time), value)).collect()).collect()
    };
    let share = |plots: &Plots| plots.cores.means().into_iter().map(|(time, used)| (time, used / cores)).collect();
    let (used, queued) = (series(&share), series(&|plots: &Plots| plots.queued.means()));
    let time = Axis { scale: linear(&used, |point| point.0), unit: Unit::Seconds, title: "time" };
    let all = Axis { scale: Scale::Linear { min: 0.0, max: 1.0 }, unit: Unit::Share, title: "cores used" };
    let waiting = Axis { scale: linear(&queued, |point| point.1), unit: Unit::Number, title: "jobs waiting" };
    section(out, "Utilisation over time", names, &curves("utilisation over time", time, all, &used, true))?;
    section(out, "Queue length over time", names, &curves("queue length", time, waiting, &queued, true))?;
    let waits: Vec<_> = plots.iter().map(|plots| plots.waits.curve()).collect();
    let slowdowns: Vec<_> = plots.iter().map(|plots| plots.slowdowns.curve()).collect();
    let jobs = Axis { title: "share of jobs with at most that", ..all };
    let wait = Axis { scale: log(&waits), unit: Unit::Seconds, title: "wait" };
    let slowdown = Axis { scale: log(&slowdowns), unit: Unit::Number, title: "bounded slowdown" };
    section(out, "How long jobs waited", names, &curves("distribution of waits", wait, jobs, &waits, true))?;
    section(out, "Bounded slowdowns", names, &curves("distribution of slowdowns", slowdown, jobs, &slowdowns, true))
}

fn section(out: &mut dyn Write, title: &str, names: &[String], drawing: &str) -> io::Result<()> {
    writeln!(out, "<h2>{title}</h2>")?;
    write_legend(out, names)?;
    writeln!(out, "<figure>{drawing}</figure>")
}

fn linear(runs: &[Vec<(f64, f64)>], of: fn(&(f64, f64)) -> f64) -> Scale {
    let max = runs.iter().flatten().map(of).fold(0.0, f64::max);
    Scale::Linear { min: 0.0, max: if max > 0.0 { max } else { 1.0 } }
}

/// From 1 on: what is less stands at the left edge.
fn log(runs: &[Vec<(f64, f64)>]) -> Scale {
    Scale::Log { min: 1.0, max: runs.iter().flatten().map(|(value, _)| *value).fold(10.0, f64::max) }
}

fn write_gantts(out: &mut dyn Write, facts: &Facts<'_>, plots: &[&Plots], names: &[String]) -> io::Result<()> {
    writeln!(out, "<h2>What ran where</h2>\n<ul class=\"legend\">")?;
    for (at, most) in WAITS_S.iter().enumerate() {
        let words = if *most == 0 { "no wait".to_owned() } else { format!("up to {}", seconds(*most as f64)) };
        writeln!(out, "<li><i class=\"swatch w{at}\"></i>{words}</li>")?;
    }
    writeln!(out, "<li><i class=\"swatch w{}\"></i>longer</li>\n</ul>", WAITS_S.len())?;
    for (plots, name) in plots.iter().zip(names).take(GANTTS_MAX) {
        let cut = if plots.gantt.is_cut { " (not all jobs are shown)" } else { "" };
        let drawing = draw(name, &plots.gantt, facts.machines, facts.begin);
        writeln!(out, "<figure class=\"wide\"><figcaption>{}{cut}</figcaption>{drawing}</figure>", escape(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::policy::Variant;
    use crate::lab::{Backfill, Estimates};

    fn run(variant: Variant) -> Run {
        Run { variant, summary: Summary::default(), starts: None, jobs: None, fates: None, plots: None }
    }

    #[test]
    fn runs_are_called_by_what_they_differ_in() {
        let easy = Variant { backfill: Backfill::Easy, ..Variant::default() };
        let exact = Variant { estimates: Estimates::Exact, ..easy };
        let runs = [run(Variant::default()), run(easy), run(exact)];
        assert_eq!(names(&runs), ["none · user", "easy · user", "easy · exact"]);
        assert_eq!(names(&runs[..1]), ["priority · none · best-fit · user"]);
    }

    #[test]
    fn the_page_needs_no_network_and_trusts_no_text() {
        let words = ["<script>alert(1)</script>".to_owned()];
        let facts = Facts { title: "a & b", words: &words, machines: &[], begin: Timestamp(0) };
        let mut page = Vec::new();
        write(&mut page, &facts, &[run(Variant::default())]).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains("<title>a &amp; b</title>") && page.ends_with("</html>\n"));
        for foreign in ["<script", "http://", "https://", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }
}
