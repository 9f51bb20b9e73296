//! `quorate resource`.

use quorate_types::api::{Accepted, Page};
use quorate_types::gate::ResourceView;
use quorate_types::{LogIndex, Name};

use super::{Context, all_pages};
use crate::args::{Format, ResourceCommand};
use crate::exit::Failure;
use crate::output::table::{Column, Table, details};
use crate::output::{self, json};

pub(super) async fn run(context: &Context, command: ResourceCommand) -> Result<(), Failure> {
    let client = &context.client;
    match command {
        ResourceCommand::List => list(context).await,
        ResourceCommand::Show { name } => show(context, &client.resource(&name).await?),
        ResourceCommand::Set { name, total } => {
            let index = client.set_resource(&name, total).await?;
            done(context, index, &name, &format!("has a total of {total}"))
        }
        ResourceCommand::Remove { name } => done(context, client.remove_resource(&name).await?, &name, "is removed"),
    }
}

async fn list(context: &Context) -> Result<(), Failure> {
    let items = all_pages(async |cursor| context.client.resources(cursor).await).await?;
    if context.format == Format::Json {
        return json::print(&Page { items, next_cursor: None });
    }
    const COLUMNS: &[Column] =
        &[Column::Left("NAME"), Column::Right("TOTAL"), Column::Right("HELD"), Column::Right("WAITING")];
    let mut table = Table::new(COLUMNS);
    for ResourceView { name, total, held, waiting, .. } in items {
        table.row([name.to_string(), total.to_string(), held.to_string(), waiting.to_string()]);
    }
    table.print()
}

fn show(context: &Context, resource: &ResourceView) -> Result<(), Failure> {
    if context.format == Format::Json {
        return json::print(resource);
    }
    let holder = |it: &quorate_types::gate::ResourceHolder| {
        format!("job {} {}[{}] ({})", it.element.job, it.element.task, it.element.index, it.amount)
    };
    let holders: Vec<String> = resource.holders.iter().map(holder).collect();
    output::raw(
        details(&[
            ("name", resource.name.to_string()),
            ("total", resource.total.to_string()),
            ("held", resource.held.to_string()),
            ("waiting", resource.waiting.to_string()),
            ("holders", holders.join(", ")),
        ])
        .as_bytes(),
    )
}

fn done(context: &Context, index: LogIndex, name: &Name, what: &str) -> Result<(), Failure> {
    output::note(format!("resource {name} {what}"));
    match context.format {
        Format::Json => json::print(&Accepted { index }),
        Format::Table => Ok(()),
    }
}
