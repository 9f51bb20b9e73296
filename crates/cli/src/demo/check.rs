//! Whether every task was executed exactly once: as the cluster tells it and as the tasks' own file does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use quorate_client::Client;
use quorate_types::JobId;
use quorate_types::api::TaskView;
use quorate_types::job::JobSpec;
use quorate_types::status::{AttemptState, TaskState};

/// How much was checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Checked {
    pub(crate) results: usize,
    pub(crate) executions: usize,
}

/// An element of a task as the journal names it.
type Element = (String, u32);

pub(super) async fn executions(client: &Client, job: JobId, journal: &Path) -> anyhow::Result<Checked> {
    let tasks = client.all_tasks(job).await.context("read the tasks")?;
    let view = client.job(job).await.context("read the job")?;
    let spec = view.spec.context("the job's answer has no specification")?;
    let expected = usize::try_from(spec.elements())?;
    ensure!(tasks.len() == expected, "{} tasks are listed, {expected} were submitted", tasks.len());
    for task in &tasks {
        check_result(task)?;
    }
    let text = std::fs::read_to_string(journal).with_context(|| format!("read {}", journal.display()))?;
    let executions = check_journal(&text, &spec)?;
    ensure!(executions == expected, "{executions} executions are in the file, {expected} were expected");
    Ok(Checked { results: tasks.len(), executions })
}

fn check_result(task: &TaskView) -> anyhow::Result<()> {
    let name = format!("task {}/{}", task.task, task.index);
    ensure!(task.state == TaskState::Succeeded, "{name} is {}", task.state);
    ensure!(task.exit_code == Some(0), "{name} has exit code {:?}", task.exit_code);
    match task.attempts.as_slice() {
        [only] if only.state == AttemptState::Succeeded => Ok(()),
        attempts => {
            let story: Vec<String> =
                attempts.iter().map(|a| format!("{} {} on {}", a.number, a.state, a.worker)).collect();
            bail!("{name} has not exactly one attempt that succeeded, but: {}", story.join(", "))
        }
    }
}

/// Reads `start TASK INDEX ATTEMPT` and `end …` lines: each element once, after what it needs.
fn check_journal(text: &str, spec: &JobSpec) -> anyhow::Result<usize> {
    let needs: BTreeMap<&str, Vec<&str>> = spec
        .tasks
        .iter()
        .map(|task| {
            (task.name.as_str(), task.needs.iter().filter_map(|need| need.task()).map(|name| name.as_str()).collect())
        })
        .collect();
    let counts: BTreeMap<&str, usize> =
        spec.tasks.iter().map(|task| (task.name.as_str(), task.count as usize)).collect();
    let (mut started, mut ended) = (BTreeSet::<Element>::new(), BTreeSet::<Element>::new());
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let &[what, task, index, _attempt] = words.as_slice() else { bail!("the file holds the line {line:?}") };
        let element = (task.to_owned(), index.parse()?);
        match what {
            "start" => {
                for need in needs.get(task).with_context(|| format!("{task} is no task of the job"))? {
                    let done = ended.iter().filter(|(name, _)| name == need).count();
                    ensure!(Some(&done) == counts.get(need), "{task} started before {need} had ended");
                }
                ensure!(started.insert(element), "{task}/{index} was executed twice");
            }
            "end" => {
                ensure!(started.contains(&element) && ended.insert(element), "{task}/{index} ended twice or unstarted")
            }
            _ => bail!("the file holds the line {line:?}"),
        }
    }
    ensure!(started == ended, "an execution was interrupted: {:?}", started.difference(&ended).collect::<Vec<_>>());
    Ok(ended.len())
}

#[cfg(test)]
mod tests {
    use quorate_types::job::JobRequest;

    use super::*;

    fn spec() -> JobSpec {
        let json = r#"{"tasks":[{"name":"a","command":["x"],"count":2},{"name":"b","command":["x"],"needs":["a"]}]}"#;
        serde_json::from_str::<JobRequest>(json).unwrap().validate().unwrap()
    }

    #[test]
    fn once_each_and_in_order_is_right() {
        let text = "start a 0 1\nstart a 1 1\nend a 1 1\nend a 0 1\nstart b 0 1\nend b 0 1\n";
        assert_eq!(check_journal(text, &spec()).unwrap(), 3);
    }

    #[test]
    fn anything_else_is_found() {
        for (text, reason) in [
            ("start a 0 1\nend a 0 1\nstart a 0 2\n", "twice"),
            ("start a 0 1\n", "interrupted"),
            ("start a 0 1\nend a 0 1\nstart b 0 1\n", "before"),
            ("end a 0 1\n", "unstarted"),
            ("garbage\n", "line"),
        ] {
            let error = check_journal(text, &spec()).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
