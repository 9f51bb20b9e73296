//! `quorate bench`.

use serde_json::Value;

use crate::args::{BenchArgs, ClientArgs, Format};
use crate::bench::{self, Report, Server};
use crate::exit::{Failure, INTERRUPTED};
use crate::output::table::details;
use crate::output::{self, json};
use crate::runtime::Interrupts;

pub(super) async fn run(args: BenchArgs, client: ClientArgs) -> Result<(), Failure> {
    let server = server(&args, &client)?;
    if args.duration.as_duration().is_zero() {
        return Err(Failure::Usage("--duration must be longer than 0s".into()));
    }
    let mut interrupts = Interrupts::listen()?;
    if cfg!(debug_assertions) {
        output::note("this is a debug build: its figures say little");
    }
    let say = |line: &str| output::note(format!("{}: {line}", args.scenario.as_str()));
    let report = tokio::select! {
        report = bench::run(&args, server, &say) => report?,
        // Leaving drops the cluster, which ends its processes.
        () = interrupts.next() => return Err(Failure::Code(INTERRUPTED)),
    };
    match client.output {
        Format::Json => json::print_line(&report),
        Format::Table => output::raw(render(&report).as_bytes()),
    }
}

/// The cluster that is to be measured, if it is not to be one of our own.
fn server(args: &BenchArgs, client: &ClientArgs) -> Result<Option<Server>, Failure> {
    if !client.is_server_named {
        return Ok(None);
    }
    if !args.scenario.can_use_any_cluster() {
        let name = args.scenario.as_str();
        return Err(Failure::Usage(format!("--server: {name} measures a cluster of its own only")));
    }
    Ok(Some(Server { urls: client.server.clone(), token: super::token(client)? }))
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
    let tables = |name: &str| name == bench::POLICIES;
    let plain_ones = report.detail.iter().filter(|(name, _)| !tables(name));
    pairs.extend(plain_ones.map(|(name, value)| (name.as_str(), plain(value))));
    let mut text = details(&pairs);
    for (_, value) in report.detail.iter().filter(|(name, _)| tables(name)) {
        text.push('\n');
        text.push_str(&bench::policies_table(value));
    }
    text
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
