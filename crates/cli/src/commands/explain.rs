//! `quorate job explain`, and what a dry run says.

use quorate_client::{TaskAddress, TaskFilter};
use quorate_types::JobId;
use quorate_types::explain::{DryRun, Explanation, Group, GroupStart, JobExplanation};

use super::{Context, logs};
use crate::args::{ExplainArgs, Format};
use crate::exit::Failure;
use crate::output::table::one_line;
use crate::output::{self, json};

pub(super) async fn run(context: &Context, args: ExplainArgs) -> Result<(), Failure> {
    match (&args.task, args.index) {
        (Some(text), _) => {
            let (task, index) = logs::parse_task(text).map_err(Failure::Usage)?;
            let index = index.or(args.index).unwrap_or_default();
            element(context, &TaskAddress { job: args.id, task, index }).await
        }
        (None, Some(_)) => {
            let (task, index) = logs::only_task(&context.client, args.id, args.index).await?;
            element(context, &TaskAddress { job: args.id, task, index }).await
        }
        (None, None) => job(context, args.id).await,
    }
}

async fn element(context: &Context, address: &TaskAddress) -> Result<(), Failure> {
    let explanation = context.client.explain(address).await?;
    match context.format {
        Format::Json => json::print(&explanation),
        Format::Table => output::raw(text(&explanation).as_bytes()),
    }
}

async fn job(context: &Context, id: JobId) -> Result<(), Failure> {
    let explained = context.client.explain_job(id).await?;
    if explained.groups.is_empty() && explained.state.is_finished() {
        // Of a job that has left memory only single tasks are known.
        let page = context.client.tasks(id, &TaskFilter { limit: Some(2), ..TaskFilter::default() }).await?;
        if let [only] = page.items.as_slice() {
            let address = TaskAddress { job: id, task: only.task.clone(), index: only.index };
            return element(context, &address).await;
        }
    }
    match context.format {
        Format::Json => json::print(&explained),
        Format::Table => output::raw(job_text(&explained).as_bytes()),
    }
}

/// Prints what a submission would do.
pub(super) fn tried(context: &Context, tried: &DryRun) -> Result<(), Failure> {
    if context.format == Format::Json {
        return json::print(tried);
    }
    let mut said = match tried.existing {
        Some(job) => format!("This was submitted before, as job {job}; nothing would be submitted.\n"),
        None => "The job is valid. Nothing was submitted.\n".to_owned(),
    };
    said.push_str(&job_text(&tried.explanation));
    output::raw(said.as_bytes())
}

/// A sentence a line, and what would unblock it below.
fn text(explanation: &Explanation) -> String {
    let mut said: String = explanation.sentences.iter().map(|sentence| format!("{}\n", one_line(sentence))).collect();
    match explanation.unblock.as_slice() {
        [] => {}
        [only] => said.push_str(&format!("It goes on when {}.\n", one_line(only))),
        several if explanation.waits_for.is_empty() => {
            said.push_str("It goes on when one of these comes about:\n");
            several.iter().for_each(|way| said.push_str(&format!("  - {}\n", one_line(way))));
        }
        several => {
            said.push_str("It goes on when all of these have come about:\n");
            several.iter().for_each(|way| said.push_str(&format!("  - {}\n", one_line(way))));
        }
    }
    said
}

/// A job of one element has no more to say than that.
fn job_text(explained: &JobExplanation) -> String {
    if let [Group { elements: 1, explanation, .. }] = explained.groups.as_slice()
        && explained.groups_more == 0
    {
        return text(explanation);
    }
    let mut said: String = explained.sentences.iter().map(|sentence| format!("{}\n", one_line(sentence))).collect();
    for group in &explained.groups {
        said.push('\n');
        said.push_str(&group_text(group));
    }
    if explained.groups_more > 0 {
        said.push_str(&format!("\n{} more groups of tasks are not shown; name a task.\n", explained.groups_more));
    }
    said
}

/// What one of the elements has to say stands for all of them.
fn group_text(group: &Group) -> String {
    let Group { task, state, elements, starts, explanation } = group;
    if *elements == 1 {
        return text(explanation);
    }
    let mut said = format!("{elements} elements of task {task}: {state}.\n");
    for GroupStart { worker, elements } in starts {
        said.push_str(&format!("The next round starts {elements} of them on {worker}.\n"));
    }
    said.push_str("One of them:\n");
    text(explanation).lines().for_each(|line| said.push_str(&format!("  {line}\n")));
    said
}
