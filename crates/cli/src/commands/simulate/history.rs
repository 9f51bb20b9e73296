//! The cluster's own history, as a trace: what ran, when it was submitted, and for how long it ran.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use quorate_client::JobFilter;
use quorate_sim::lab::Machine;
use quorate_types::api::{JobView, TaskView};
use quorate_types::status::WorkerState;
use quorate_types::{Apart, JobSpec, Name, Span, Timestamp};
use serde_json::{Map, Value, json};
use tempfile::NamedTempFile;

use super::machines::of_worker;
use crate::commands::Context;
use crate::exit::Failure;
use crate::output;

/// Jobs of one list.
pub(super) const PAGE: u32 = 1000;
/// Elements whose run times are read one by one; a larger history belongs into a file that is made elsewhere.
const ELEMENTS_MAX: u64 = 2_000_000;

pub(super) fn now() -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(Span::from(now).0)
}

/// Reads what was submitted within `last` and has run, and the workers that are there.
pub(super) async fn fetch(context: &Context, last: Span) -> Result<(Vec<Value>, Vec<Machine>), Failure> {
    let since = Timestamp(now().0.saturating_sub(last.0));
    let (mut lines, mut elements, mut unfinished) = (Vec::new(), 0, 0);
    let mut filter = JobFilter { limit: Some(PAGE), ..JobFilter::default() };
    'pages: loop {
        let page = context.client.jobs(&filter).await?;
        // Newest first.
        for job in page.items {
            if job.submitted_at < since || elements > ELEMENTS_MAX {
                break 'pages;
            }
            elements += job.tasks.total;
            let tasks = context.client.all_tasks(job.id).await?;
            match line(&context.client.job(job.id).await?, &tasks) {
                Some(line) => lines.push(line),
                None => unfinished += 1,
            }
        }
        match page.next_cursor {
            Some(cursor) => filter.cursor = Some(cursor),
            None => break,
        }
    }
    if elements > ELEMENTS_MAX {
        output::note(format!("only the newest {elements} tasks are replayed: --last is too long for more"));
    }
    if unfinished > 0 {
        output::note(format!("left out: {unfinished} jobs of which nothing has run to its end"));
    }
    lines.reverse();
    Ok((lines, workers(context).await?))
}

async fn workers(context: &Context) -> Result<Vec<Machine>, Failure> {
    let (mut machines, mut cursor) = (Vec::new(), None);
    loop {
        let page = context.client.workers(cursor.as_deref()).await?;
        let ready = page.items.iter().filter(|worker| worker.state == WorkerState::Ready);
        machines.extend(ready.map(of_worker));
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => return Ok(machines),
        }
    }
}

/// A job as a line of a trace, without the tasks of which no element ran to its end. `None` when none is left.
fn line(job: &JobView, tasks: &[TaskView]) -> Option<Value> {
    let spec = job.spec.as_deref()?;
    let ran: Vec<(&Name, Vec<Span>)> = spec.tasks.iter().map(|task| (&task.name, runs(&task.name, tasks))).collect();
    let has_run = |name: &Name| ran.iter().any(|(task, runs)| *task == name && !runs.is_empty());
    let lines: Vec<Value> = ran.iter().filter_map(|(name, runs)| task_line(spec, name, runs, &has_run)).collect();
    if lines.is_empty() {
        return None;
    }
    Some(json!({
        "submitted_at": job.submitted_at,
        "name": job.name,
        "namespace": job.namespace,
        "priority": job.priority,
        "labels": job.labels,
        "tasks": lines,
    }))
}

/// How long each element of the task ran at last.
fn runs(name: &Name, tasks: &[TaskView]) -> Vec<Span> {
    let elements = tasks.iter().filter(|task| task.task == *name && task.state.is_finished());
    let times = elements.filter_map(|task| Some(task.finished_at?.since(task.started_at?)));
    // What takes no time at all has run nevertheless.
    times.map(|run| Span(run.0.max(1))).collect()
}

fn task_line(spec: &JobSpec, name: &Name, runs: &[Span], has_run: &dyn Fn(&Name) -> bool) -> Option<Value> {
    let task = spec.tasks.iter().find(|task| task.name == *name).filter(|_| !runs.is_empty())?;
    let mut line = Map::new();
    line.insert("name".into(), json!(name));
    line.insert("count".into(), json!(runs.len()));
    line.insert("runs".into(), json!(runs));
    line.insert(
        "needs".into(),
        json!(task.needs.iter().filter(|need| need.task().is_some_and(has_run)).collect::<Vec<_>>()),
    );
    line.insert("resources".into(), json!(task.resources));
    let apart = task.anti_affinity.iter().filter(|apart| apart.task().is_none_or(has_run));
    for (field, value) in [
        ("requires", json!(task.requires)),
        ("prefers", json!(task.prefers)),
        ("tolerations", json!(task.tolerations)),
        ("spread", json!(task.spread)),
        ("anti_affinity", json!(apart.collect::<Vec<&Apart>>())),
    ] {
        line.insert(field.into(), value);
    }
    if let Some(gang) = &task.gang {
        line.insert("gang".into(), json!(gang));
    }
    if let Some(timeout) = task.timeout {
        line.insert("timeout".into(), json!(timeout));
    }
    if let Some(expected) = task.expected {
        line.insert("expected".into(), json!(expected));
    }
    Some(line.into())
}

/// Writes the lines to where they are wanted, or else to a file that vanishes with the first value.
pub(super) fn keep(lines: &[Value], save: Option<&Path>) -> Result<(Option<NamedTempFile>, PathBuf), Failure> {
    let temporary = match save {
        Some(_) => None,
        None => Some(NamedTempFile::with_suffix(".ndjson").context("make a temporary file")?),
    };
    let path = save.or(temporary.as_ref().map(NamedTempFile::path)).unwrap_or(Path::new("history.ndjson")).to_owned();
    let file =
        File::create(&path).map_err(|error| Failure::Usage(format!("can't write {}: {error}", path.display())))?;
    let mut out = BufWriter::new(file);
    let written = lines.iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush());
    written.with_context(|| format!("write {}", path.display()))?;
    Ok((temporary, path))
}
