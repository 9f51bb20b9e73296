//! `quorate bench`.

use serde_json::Value;

use crate::args::{BenchArgs, Format};
use crate::bench::{self, Report};
use crate::exit::{Failure, INTERRUPTED};
use crate::output::table::details;
use crate::output::{self, json};
use crate::runtime::Interrupts;

pub(super) async fn run(args: BenchArgs, format: Format) -> Result<(), Failure> {
    if args.duration.as_duration().is_zero() {
        return Err(Failure::Usage("--duration must be longer than 0s".into()));
    }
    let mut interrupts = Interrupts::listen()?;
    if cfg!(debug_assertions) {
        output::note("this is a debug build: its figures say little");
    }
    let say = |line: &str| output::note(format!("{}: {line}", args.scenario.as_str()));
    let report = tokio::select! {
        report = bench::run(&args, &say) => report?,
        // Leaving drops the cluster, which ends its processes.
        () = interrupts.next() => return Err(Failure::Code(INTERRUPTED)),
    };
    match format {
        Format::Json => json::print_line(&report),
        Format::Table => output::raw(render(&report).as_bytes()),
    }
}

fn render(report: &Report) -> String {
    let ms = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value} ms"));
    let runs: Vec<String> = report.runs.iter().map(|run| figure(*run)).collect();
    let mut pairs = vec![
        ("scenario", report.scenario.to_owned()),
        ("median", format!("{} {}", figure(report.median), report.unit)),
        ("min", figure(report.min)),
        ("max", figure(report.max)),
        ("runs", runs.join(" ")),
        ("p50", ms(report.p50_ms)),
        ("p99", ms(report.p99_ms)),
    ];
    pairs.extend(report.detail.iter().map(|(name, value)| (name.as_str(), plain(value))));
    details(&pairs)
}

/// Large figures without decimals.
fn figure(number: f64) -> String {
    if number >= 1000.0 { format!("{number:.0}") } else { format!("{number}") }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
