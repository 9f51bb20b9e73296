//! `quorate lock`: inside a task.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Instant;

use anyhow::Context as _;
use quorate_client::Client;
use quorate_types::api::Page;
use quorate_types::gate::{CheckLock, Claimant, LockAnswer, LockView};
use quorate_types::limits::LOCK_WAIT_MS_MAX;
use quorate_types::{Name, Span};

use super::{Context, all_pages};
use crate::args::{Format, LockCommand};
use crate::exit::{Failure, JOB_FAILED, REJECTED};
use crate::output::table::{Column, Table};
use crate::output::{self, json};

pub(super) async fn run(context: &Context, command: LockCommand) -> Result<(), Failure> {
    let client = &context.client;
    match command {
        LockCommand::Acquire { name, task, wait } => {
            let lock = acquire(client, &name, &task.into(), wait).await?;
            match context.format {
                Format::Json => json::print(&lock),
                Format::Table => output::data(lock.token.to_string()),
            }
        }
        LockCommand::Release { name, task } => Ok(client.release_lock(&name, &task.into()).await?),
        LockCommand::Run { name, task, wait, command } => {
            let by = Claimant::from(task);
            let lock = acquire(client, &name, &by, wait).await?;
            let status = execute(&command, &lock).await;
            if let Err(error) = client.release_lock(&name, &by).await {
                output::note(format!("lock {name} was not given back: {error}"));
            }
            match code(status?) {
                0 => Ok(()),
                code => Err(Failure::Code(code)),
            }
        }
        LockCommand::List { namespace } => list(context, namespace.as_ref()).await,
        LockCommand::Show { name, namespace } => show(context, &client.lock(&name, namespace.as_ref()).await?),
        LockCommand::Check { name, token, namespace } => {
            show(context, &client.check_lock(&name, &CheckLock { token, namespace }).await?)
        }
    }
}

/// Takes the lock, or leaves the line when the time is over.
async fn acquire(client: &Client, name: &Name, by: &Claimant, wait: Option<Span>) -> Result<LockView, Failure> {
    let deadline = wait.map(|wait| Instant::now() + wait.as_duration());
    let mut left = wait;
    loop {
        // The answer comes after half of it: as long as it asks again, it stays in line.
        let stays = left.map_or(LOCK_WAIT_MS_MAX, |left| left.0.saturating_mul(2).min(LOCK_WAIT_MS_MAX));
        let place = match client.acquire_lock(name, by, Span(stays)).await? {
            LockAnswer::Held(lock) => return Ok(lock),
            LockAnswer::Waits(place) => place,
        };
        left = deadline.map(|at| Span(at.saturating_duration_since(Instant::now()).as_millis() as u64));
        if left == Some(Span(0)) {
            client.release_lock(name, by).await?;
            output::note(format!("lock {name} did not come free in time; place in line: {}", place.place));
            return Err(Failure::Code(REJECTED));
        }
    }
}

async fn execute(command: &[String], lock: &LockView) -> Result<ExitStatus, Failure> {
    let [program, args @ ..] = command else { return Err(Failure::Usage("name a command".into())) };
    let mut child = tokio::process::Command::new(program);
    child.args(args).env("QUORATE_LOCK_TOKEN", lock.token.to_string());
    let status = child.status().await.with_context(|| format!("run {program}"));
    Ok(status?)
}

/// As a shell has it: 128 and the signal, where one ended it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(JOB_FAILED)
}

async fn list(context: &Context, namespace: Option<&Name>) -> Result<(), Failure> {
    let items = all_pages(async |cursor| context.client.locks(namespace, cursor).await).await?;
    match context.format {
        Format::Json => json::print(&Page { items, next_cursor: None }),
        Format::Table => table(&items),
    }
}

fn show(context: &Context, lock: &LockView) -> Result<(), Failure> {
    match context.format {
        Format::Json => json::print(lock),
        Format::Table => table(std::slice::from_ref(lock)),
    }
}

fn table(locks: &[LockView]) -> Result<(), Failure> {
    const COLUMNS: &[Column] = &[
        Column::Left("NAMESPACE"),
        Column::Left("NAME"),
        Column::Right("TOKEN"),
        Column::Left("HOLDER"),
        Column::Right("FENCE"),
        Column::Left("SINCE"),
        Column::Right("WAITING"),
    ];
    let mut table = Table::new(COLUMNS);
    for LockView { name, namespace, token, holder, since, waiting } in locks {
        let who = format!("job {} {}[{}]", holder.element.job, holder.element.task, holder.element.index);
        table.row([
            namespace.to_string(),
            name.to_string(),
            token.to_string(),
            who,
            holder.fence.to_string(),
            since.to_string(),
            waiting.to_string(),
        ]);
    }
    table.print()
}
