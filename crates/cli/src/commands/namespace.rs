//! `quorate namespace`.

use quorate_types::api::{Accepted, NamespaceView, Page};
use quorate_types::resources::{format_bytes, in_units};
use quorate_types::{LogIndex, Name, Resources};

use super::{Context, all_pages};
use crate::args::{Format, NamespaceCommand};
use crate::exit::Failure;
use crate::output::table::{Column, Table, details};
use crate::output::{self, json};

pub(super) async fn run(context: &Context, command: NamespaceCommand) -> Result<(), Failure> {
    let client = &context.client;
    match command {
        NamespaceCommand::List => list(context).await,
        NamespaceCommand::Show { name } => show(context, &client.namespace(&name).await?),
        NamespaceCommand::Set { name, change } => {
            let rules = change.applied_to(client.namespace(&name).await?.rules);
            done(context, client.set_namespace(&name, &rules).await?, &name, "has new rules")
        }
        NamespaceCommand::Reset { name } => {
            done(context, client.reset_namespace(&name).await?, &name, "has the defaults again")
        }
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let items = all_pages(async |cursor| context.client.namespaces(cursor).await).await?;
    match context.format {
        Format::Json => json::print(&Page { items, next_cursor: None }),
        Format::Table => table(&items),
    }
}

fn table(namespaces: &[NamespaceView]) -> Result<(), Failure> {
    const COLUMNS: &[Column] = &[
        Column::Left("NAME"),
        Column::Right("WEIGHT"),
        Column::Right("LIVE"),
        Column::Right("UNFINISHED"),
        Column::Left("HELD"),
        Column::Left("QUOTA"),
        Column::Left("LIMIT"),
    ];
    let mut table = Table::new(COLUMNS);
    for NamespaceView { name, rules, held, live, unfinished, .. } in namespaces {
        table.row([
            name.to_string(),
            rules.weight.to_string(),
            live.to_string(),
            unfinished.to_string(),
            amounts(held),
            rules.quota.to_string(),
            rules.limit.to_string(),
        ]);
    }
    table.print()
}

fn show(context: &Context, namespace: &NamespaceView) -> Result<(), Failure> {
    if context.format == Format::Json {
        return json::print(namespace);
    }
    let NamespaceView { name, recorded, rules, held, live, unfinished, jobs } = namespace;
    output::raw(
        details(&[
            ("name", name.to_string()),
            ("recorded", if *recorded { "yes" } else { "no" }.to_owned()),
            ("weight", rules.weight.to_string()),
            ("quota", rules.quota.to_string()),
            ("limit", rules.limit.to_string()),
            ("reclaim", rules.reclaim.to_string()),
            ("max unfinished", rules.max_unfinished.map_or_else(|| "none".to_owned(), |most| most.to_string())),
            ("held", amounts(held)),
            ("live", live.to_string()),
            ("unfinished", unfinished.to_string()),
            ("jobs", jobs.to_string()),
        ])
        .as_bytes(),
    )
}

/// As quotas are written: `cpu=2,memory=1GiB`.
fn amounts(held: &Resources) -> String {
    let cpu = (held.cpu_millis > 0).then(|| format!("cpu={}", super::worker::units(held.cpu_millis)));
    let memory = (held.memory_bytes > 0).then(|| format!("memory={}", format_bytes(held.memory_bytes)));
    let others = held.other_millis.iter().map(|(kind, amount)| format!("{kind}={}", in_units(kind, *amount)));
    cpu.into_iter().chain(others).chain(memory).collect::<Vec<_>>().join(",")
}

fn done(context: &Context, index: LogIndex, name: &Name, what: &str) -> Result<(), Failure> {
    output::note(format!("namespace {name} {what}"));
    match context.format {
        Format::Json => json::print(&Accepted { index }),
        Format::Table => Ok(()),
    }
}
