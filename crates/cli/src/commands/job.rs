//! `quorate job`: lists, details and changes of state.

use quorate_client::{Error, JobFilter, TaskFilter};
use quorate_types::api::{Accepted, JobView, PauseJob, RetryJob, ServiceView, TaskView};
use quorate_types::status::JobState;
use quorate_types::{JobId, LogIndex, Timestamp};

use super::{Context, explain, extend, logs, submit, wait};
use crate::args::{Format, JobCommand, ListArgs, TasksArgs};
use crate::exit::Failure;
use crate::output::table::{Column, Table, details, or_dash};
use crate::output::{self, json, time};

pub(super) async fn run(context: &Context, command: JobCommand) -> Result<(), Failure> {
    let client = &context.client;
    match command {
        JobCommand::Submit(args) => submit::run(context, args).await,
        JobCommand::List(args) => list(context, args).await,
        JobCommand::Show { id } => show(context, &client.job(id).await?),
        JobCommand::Tasks(args) => tasks(context, args).await,
        JobCommand::Logs(args) => logs::run(context, args).await,
        JobCommand::Explain(args) => explain::run(context, args).await,
        JobCommand::Wait { ids, timeout } => wait::run(context, &ids, timeout).await,
        JobCommand::Cancel { ids } => each(context, &ids, "is being cancelled", |id| client.cancel(id)).await,
        JobCommand::Reassign(args) => {
            let address = logs::one_element(client, &args).await?;
            let what = format!("has {}/{} placed again", address.task, address.index);
            done(context, client.reassign(&address).await?, address.job, &what)
        }
        JobCommand::Pause { id, freeze } => done(
            context,
            client.pause(id, PauseJob { freeze }).await?,
            id,
            if freeze { "is frozen" } else { "is paused" },
        ),
        JobCommand::Resume { id } => done(context, client.resume(id).await?, id, "goes on"),
        JobCommand::Retry { id, failed, from } => {
            done(context, client.retry(id, &RetryJob { failed, from }).await?, id, "runs again")
        }
        JobCommand::Extend { file } => extend::run(&file),
        JobCommand::Next { id, count } => {
            let next = client.next_ticks(id, count).await?;
            match context.format {
                Format::Json => json::print(&next.items),
                Format::Table => output::data(next.items.join("\n")),
            }
        }
        JobCommand::RunNow { id } => {
            let run = client.run_now(id).await?;
            match context.format {
                Format::Json => json::print(&run),
                Format::Table => output::data(run.id.to_string()),
            }
        }
        JobCommand::Change { id, file } => {
            let job = submit::read_json(&file)?;
            done(context, client.change_schedule(id, &job).await?, id, "is changed")
        }
        JobCommand::Forget { ids } => each(context, &ids, "is forgotten", |id| client.forget(id)).await,
    }
}

/// Does it to all, also after one was refused; the first refusal is that of the whole.
async fn each<F>(context: &Context, ids: &[JobId], what: &str, act: impl Fn(JobId) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<LogIndex, Error>>,
{
    let mut first = None;
    for id in ids {
        match act(*id).await {
            Ok(index) => done(context, index, *id, what)?,
            Err(error @ Error::Problem(_)) if first.is_none() => first = Some(error),
            Err(error @ Error::Problem(_)) => output::note(format!("job {id}: {error}")),
            Err(error) => return Err(error.into()),
        }
    }
    first.map_or(Ok(()), |error| Err(error.into()))
}

async fn list(context: &Context, args: ListArgs) -> Result<(), Failure> {
    let ListArgs { state, namespace, name, schedule, label, limit, cursor } = args;
    let filter = JobFilter { state, namespace, name, label, schedule, limit: Some(limit), cursor };
    let page = context.client.jobs(&filter).await?;
    if context.format == Format::Json {
        return json::print(&page);
    }
    job_table(&page.items, Timestamp::from_wall_clock()).print()?;
    note_more(page.next_cursor.as_deref());
    Ok(())
}

fn note_more(cursor: Option<&str>) {
    if let Some(cursor) = cursor {
        output::note(format!("there is more: --cursor {cursor} goes on, --limit shows more at once"));
    }
}

fn job_table(jobs: &[JobView], now: Timestamp) -> Table {
    const COLUMNS: &[Column] = &[
        Column::Right("ID"),
        Column::Left("NAME"),
        Column::Left("NAMESPACE"),
        Column::Left("STATE"),
        Column::Right("PRIORITY"),
        Column::Right("TASKS"),
        Column::Left("SUBMITTED"),
        Column::Right("TOOK"),
    ];
    let mut table = Table::new(COLUMNS);
    for job in jobs {
        table.row([
            job.id.to_string(),
            job.name.to_string(),
            job.namespace.to_string(),
            job.state.to_string(),
            job.priority.to_string(),
            format!("{}/{}", job.tasks.finished(), job.tasks.total),
            time::ago(job.submitted_at, now),
            time::took(job.started_at, job.finished_at, now),
        ]);
    }
    table
}

fn show(context: &Context, job: &JobView) -> Result<(), Failure> {
    if context.format == Format::Json {
        return json::print(job);
    }
    let now = Timestamp::from_wall_clock();
    let at = |time: Option<Timestamp>| time.map_or_else(|| "-".to_owned(), |t| format!("{t} ({})", time::ago(t, now)));
    let labels: Vec<String> = job.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let mut lines = vec![
        ("id", job.id.to_string()),
        ("name", job.name.to_string()),
        ("namespace", job.namespace.to_string()),
        ("state", job.state.to_string()),
        ("priority", job.priority.to_string()),
        ("labels", labels.join(",")),
        ("submitted", at(Some(job.submitted_at))),
        ("started", at(job.started_at)),
        ("finished", at(job.finished_at)),
        ("took", time::took(job.started_at, job.finished_at, now)),
        ("tasks", counts(job)),
    ];
    lines.extend(job.service.as_ref().map(|service| ("service", standing(service))));
    output::raw(details(&lines).as_bytes())?;
    if job.state == JobState::Failed {
        output::note(format!("hint: `quorate job tasks {} --state failed` shows what failed", job.id));
    }
    Ok(())
}

/// How a service stands.
fn standing(service: &ServiceView) -> String {
    let ServiceView { version, wanted, available, updated, rollout, stalled_by, .. } = service;
    let why = stalled_by.as_ref().map_or_else(String::new, |why| format!(": {why}"));
    format!("version {version}, {available} of {wanted} available, {updated} updated, rollout {rollout}{why}")
}

fn counts(job: &JobView) -> String {
    let c = &job.tasks;
    let parts = [
        (c.waiting, "waiting"),
        (c.pending, "pending"),
        (c.assigned, "assigned"),
        (c.running, "running"),
        (c.stopping, "stopping"),
        (c.succeeded, "succeeded"),
        (c.failed, "failed"),
        (c.cancelled, "cancelled"),
    ];
    let words: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    format!("{}: {}", c.total, words.join(", "))
}

async fn tasks(context: &Context, args: TasksArgs) -> Result<(), Failure> {
    let filter = TaskFilter { state: args.state, limit: Some(args.limit), cursor: args.cursor };
    let page = context.client.tasks(args.id, &filter).await?;
    if context.format == Format::Json {
        return json::print(&page);
    }
    task_table(&page.items, Timestamp::from_wall_clock()).print()?;
    note_more(page.next_cursor.as_deref());
    Ok(())
}

fn task_table(tasks: &[TaskView], now: Timestamp) -> Table {
    const COLUMNS: &[Column] = &[
        Column::Left("TASK"),
        Column::Right("INDEX"),
        Column::Left("STATE"),
        Column::Right("ATTEMPT"),
        Column::Left("WORKER"),
        Column::Right("EXIT"),
        Column::Left("STARTED"),
        Column::Right("TOOK"),
        Column::Left("NOTE"),
    ];
    let mut table = Table::new(COLUMNS);
    for task in tasks {
        table.row([
            task.task.to_string(),
            task.index.to_string(),
            task.state.to_string(),
            task.attempt.to_string(),
            or_dash(task.worker.as_ref()),
            or_dash(task.exit_code),
            task.started_at.map_or_else(|| "-".to_owned(), |at| time::ago(at, now)),
            time::took(task.started_at, task.finished_at, now),
            remark(task),
        ]);
    }
    table
}

/// The most telling thing about a task: why it ended as it did, or how far it is.
fn remark(task: &TaskView) -> String {
    match (&task.reason, &task.progress) {
        (Some(reason), _) => reason.clone(),
        (None, Some(progress)) if !task.state.is_finished() => {
            format!("{:.0} % {}", progress.fraction * 100.0, progress.message).trim_end().to_owned()
        }
        (None, Some(_) | None) => String::new(),
    }
}

fn done(context: &Context, index: LogIndex, id: JobId, what: &str) -> Result<(), Failure> {
    output::note(format!("job {id} {what}"));
    match context.format {
        Format::Json => json::print(&Accepted { index }),
        Format::Table => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_one_row() {
        let job: JobView = serde_json::from_str(
            r#"{"id":7,"name":"night run","namespace":"default","state":"running","priority":50,"labels":{},
            "submitted_at":"2026-01-01T00:00:00.000Z","started_at":"2026-01-01T00:00:01.000Z","finished_at":null,"index":9,
            "tasks":{"total":4,"waiting":1,"pending":0,"assigned":0,"running":1,"stopping":0,"succeeded":2,"failed":0,"cancelled":0}}"#,
        )
        .unwrap();
        let now = "2026-01-01T00:01:01.000Z".parse().unwrap();
        let text = job_table(std::slice::from_ref(&job), now).render();
        let row: Vec<&str> =
            text.lines().nth(1).unwrap().split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(row, ["7", "night run", "default", "running", "50", "2/4", "1m ago", "1m 00s"]);
        assert_eq!(counts(&job), "4: 1 waiting, 1 running, 2 succeeded");
    }
}
