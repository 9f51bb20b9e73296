//! `quorate job logs`, and output for `quorate run`.

use std::time::Duration;

use quorate_client::{Client, LogFilter, LogPiece, TaskAddress, TaskFilter};
use quorate_types::session::Stream;
use quorate_types::{JobId, Name, TaskIndex};

use super::Context;
use crate::args::{LogsArgs, StreamChoice, TaskArgs};
use crate::exit::Failure;
use crate::output;

/// Between two looks at a task that has not started.
const START_POLL: Duration = Duration::from_millis(300);

pub(super) async fn run(context: &Context, args: LogsArgs) -> Result<(), Failure> {
    let address = address(&context.client, &args.task).await?;
    if args.follow && args.attempt.is_none() {
        wait_for_start(&context.client, &address).await?;
    }
    let LogsArgs { attempt, tail, follow, .. } = args;
    let filter = |stream| LogFilter { stream, attempt, tail, follow };
    let print = |stream| print(&context.client, address.clone(), filter(stream));
    match args.stream {
        StreamChoice::Stdout => print(Stream::Stdout).await,
        StreamChoice::Stderr => print(Stream::Stderr).await,
        StreamChoice::Both => tokio::try_join!(print(Stream::Stdout), print(Stream::Stderr)).map(|_| ()),
    }
}

/// Output is followed from the first attempt on, however long that is away.
async fn wait_for_start(client: &Client, address: &TaskAddress) -> Result<(), Failure> {
    let mut told = false;
    loop {
        let task = client.task(address).await?;
        if task.attempt.0 > 0 || task.state.is_finished() {
            return Ok(());
        }
        if !told {
            output::note(format!("task {}/{} is {}: waiting for its start", task.task, task.index, task.state));
            told = true;
        }
        tokio::time::sleep(START_POLL).await;
    }
}

/// Copies output to where it belongs: the task's standard error to ours.
pub(super) async fn print(client: &Client, address: TaskAddress, filter: LogFilter) -> Result<(), Failure> {
    let mut logs = client.logs(address, filter).await?;
    while let Some(piece) = logs.next().await? {
        match (piece, filter.stream) {
            (LogPiece::Bytes(bytes), Stream::Stdout) => output::raw(&bytes)?,
            (LogPiece::Bytes(bytes), Stream::Stderr) => output::raw_error(&bytes),
            (LogPiece::Gap(Some(missing)), _) => {
                output::note(format!("[{missing} bytes of output are not kept any more]"))
            }
            (LogPiece::Gap(None), _) => output::note("[output may be missing here]"),
        }
    }
    Ok(())
}

/// The task that is meant.
pub(super) async fn address(client: &Client, args: &TaskArgs) -> Result<TaskAddress, Failure> {
    let (task, index) = match &args.task {
        Some(text) => {
            let (task, index) = parse_task(text).map_err(Failure::Usage)?;
            (task, index.or(args.index).unwrap_or_default())
        }
        None => only_task(client, args.id, args.index).await?,
    };
    Ok(TaskAddress { job: args.id, task, index })
}

/// The element that is meant, where there can be no doubt: the first one of many is not ended by default.
pub(super) async fn one_element(client: &Client, args: &TaskArgs) -> Result<TaskAddress, Failure> {
    let address = address(client, args).await?;
    let is_named = args.index.is_some() || args.task.as_ref().is_some_and(|text| text.contains('/'));
    if is_named {
        return Ok(address);
    }
    let TaskAddress { job, task, index } = &address;
    match client.task(&TaskAddress { index: TaskIndex(index.0 + 1), ..address.clone() }).await {
        Ok(_) => Err(Failure::Usage(format!(
            "task {task} of job {job} has several elements: name one, such as {task}/{index}"
        ))),
        Err(error) if error.is_not_found() => Ok(address),
        Err(error) => Err(error.into()),
    }
}

/// Reads `fetch` or `fetch/7`.
pub(super) fn parse_task(text: &str) -> Result<(Name, Option<TaskIndex>), String> {
    let (name, index) = match text.rsplit_once('/') {
        Some((name, index)) => {
            let index = index.parse().map_err(|_| format!("{text:?} is no task such as fetch or fetch/7"))?;
            (name, Some(index))
        }
        None => (text, None),
    };
    Ok((Name::new(name).map_err(|e| format!("{name:?}: a task's name {e}"))?, index))
}

/// The job's only task, or its only array if an index was given.
pub(super) async fn only_task(
    client: &Client,
    job: JobId,
    index: Option<TaskIndex>,
) -> Result<(Name, TaskIndex), Failure> {
    let page = client.tasks(job, &TaskFilter { limit: Some(2), ..TaskFilter::default() }).await?;
    match (page.items.as_slice(), index) {
        ([only], _) => Ok((only.task.clone(), index.unwrap_or(only.index))),
        ([first, second], Some(index)) if first.task == second.task => Ok((first.task.clone(), index)),
        ([], _) => Err(Failure::Usage(format!("job {job} has no task"))),
        ([first, ..], _) => Err(Failure::Usage(format!(
            "job {job} has several tasks: name one, such as {}/{}; `quorate job tasks {job}` lists them",
            first.task, first.index
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_may_carry_its_index() {
        let name = |text| Name::new(text).unwrap();
        assert_eq!(parse_task("fetch"), Ok((name("fetch"), None)));
        assert_eq!(parse_task("fetch/7"), Ok((name("fetch"), Some(TaskIndex(7)))));
        assert!(parse_task("fetch/x").is_err());
        assert!(parse_task("a b").is_err());
    }
}
