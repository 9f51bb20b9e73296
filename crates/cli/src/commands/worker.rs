//! `quorate worker`.

use quorate_types::api::{Accepted, Page, WorkerView};
use quorate_types::{LogIndex, Name, Resources};

use super::{Context, all_pages};
use crate::args::{Format, WorkerCommand};
use crate::exit::Failure;
use crate::output::table::{Column, Table, details};
use crate::output::{self, json};

pub(super) async fn run(context: &Context, command: WorkerCommand) -> Result<(), Failure> {
    let client = &context.client;
    match command {
        WorkerCommand::List => list(context).await,
        WorkerCommand::Show { name } => show(context, &client.worker(&name).await?),
        WorkerCommand::Drain { name, deadline } => {
            let index = match deadline {
                Some(within) => client.drain_within(&name, within).await?,
                None => client.drain(&name).await?,
            };
            done(context, index, &name, "gets no new tasks")
        }
        WorkerCommand::Undrain { name } => done(context, client.undrain(&name).await?, &name, "gets tasks again"),
        WorkerCommand::Taint { name, taints } => {
            let what = if taints.is_empty() { "has only its own taints" } else { "is tainted" };
            done(context, client.taint(&name, taints).await?, &name, what)
        }
        WorkerCommand::Remove { name } => done(context, client.remove_worker(&name).await?, &name, "is forgotten"),
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let items = all_pages(async |cursor| context.client.workers(cursor).await).await?;
    match context.format {
        Format::Json => json::print(&Page { items, next_cursor: None }),
        Format::Table => table(&items),
    }
}

fn table(workers: &[WorkerView]) -> Result<(), Failure> {
    const COLUMNS: &[Column] = &[
        Column::Left("NAME"),
        Column::Left("STATE"),
        Column::Right("RUNNING"),
        Column::Right("CPU"),
        Column::Right("MEMORY"),
        Column::Left("OTHER"),
        Column::Left("LABELS"),
        Column::Left("TAINTS"),
        Column::Right("REPLICA"),
    ];
    let mut table = Table::new(COLUMNS);
    for worker in workers {
        let (used, capacity) = (&worker.used, &worker.capacity);
        table.row([
            worker.name.to_string(),
            worker.state.to_string(),
            worker.running.to_string(),
            format!("{}/{}", units(used.cpu_millis), units(capacity.cpu_millis)),
            format!("{}/{}", short_bytes(used.memory_bytes), short_bytes(capacity.memory_bytes)),
            others(used, capacity),
            labels(worker),
            taints(worker),
            worker.replica.to_string(),
        ]);
    }
    table.print()
}

fn show(context: &Context, worker: &WorkerView) -> Result<(), Failure> {
    if context.format == Format::Json {
        return json::print(worker);
    }
    let (used, capacity) = (&worker.used, &worker.capacity);
    output::raw(
        details(&[
            ("name", worker.name.to_string()),
            ("state", worker.state.to_string()),
            ("host", worker.host.clone()),
            ("epoch", worker.epoch.to_string()),
            ("running", worker.running.to_string()),
            ("cpu", format!("{} of {}", units(used.cpu_millis), units(capacity.cpu_millis))),
            ("memory", format!("{} of {}", short_bytes(used.memory_bytes), short_bytes(capacity.memory_bytes))),
            ("other", others(used, capacity)),
            ("labels", labels(worker)),
            ("taints", taints(worker)),
            ("replica", worker.replica.to_string()),
        ])
        .as_bytes(),
    )
}

fn done(context: &Context, index: LogIndex, name: &Name, what: &str) -> Result<(), Failure> {
    output::note(format!("worker {name} {what}"));
    match context.format {
        Format::Json => json::print(&Accepted { index }),
        Format::Table => Ok(()),
    }
}

fn labels(worker: &WorkerView) -> String {
    let pairs: Vec<String> = worker.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join(",")
}

fn taints(worker: &WorkerView) -> String {
    let all: Vec<String> = worker.taints.iter().map(ToString::to_string).collect();
    all.join(",")
}

fn others(used: &Resources, capacity: &Resources) -> String {
    let one = |kind: &Name| format!("{kind} {}/{}", units(used.other(kind)), units(capacity.other(kind)));
    let all: Vec<String> = capacity.other_millis.keys().map(one).collect();
    all.join(",")
}

/// Thousandths as a number without needless zeros.
pub(super) fn units(millis: u64) -> String {
    let text = format!("{}.{:03}", millis / 1000, millis % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Bytes with one decimal: `15.5GiB`.
fn short_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, unit)| bytes >= *unit) {
        Some((suffix, unit)) => format!("{:.1}{suffix}", bytes as f64 / *unit as f64),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        assert_eq!([units(0), units(500), units(2000), units(1250)], ["0", "0.5", "2", "1.25"]);
        assert_eq!([short_bytes(0), short_bytes(512 << 20), short_bytes(3 << 29)], ["0", "512.0MiB", "1.5GiB"]);
    }
}
