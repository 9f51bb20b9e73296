//! Reports of workers, on their way into the log: bounded, checked, and cut into commands.

use std::time::Duration;

use quorate_consensus::{Committed as Proposed, Handle, ProposeError};
use quorate_state::command::Command;
use quorate_state::outcome::Outcome;
use quorate_types::extension::{Addition, Extension};
use quorate_types::limits::{
    EXTENSION_BYTES_MAX, OUTPUT_TAIL_BYTES_MAX, PROGRESS_MESSAGE_BYTES_MAX, REASON_BYTES_MAX, RESULT_BYTES_MAX,
};
use quorate_types::session::{Happening, Report};
use quorate_types::status::Ending;
use quorate_types::{Epoch, LogIndex, Name};

use super::desk::Fenced;
use crate::limits::{READ_WAIT, REPORT_BYTES_PER_COMMAND};

/// Between tries of a proposal that must not be given up.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The reports of one frame are committed, or were found stale.
pub(super) struct Committed {
    pub(super) seq: u64,
    pub(super) outcome: Result<LogIndex, Fenced>,
}

/// Proposes reports until their outcome is known and applied here. A repetition is harmless: an attempt
/// ends once.
pub(super) async fn commit(handle: Handle, worker: Name, epoch: Epoch, seq: u64, reports: Vec<Report>) -> Committed {
    let mut newest = LogIndex(0);
    for reports in split(reports) {
        let command = Command::Report { worker: worker.clone(), epoch, reports };
        match commit_part(&handle, command).await {
            Ok(index) => newest = newest.max(index),
            Err(Fenced) => return Committed { seq, outcome: Err(Fenced) },
        }
    }
    while handle.wait_applied(newest, READ_WAIT).await.is_err() {
        tokio::time::sleep(RETRY_PAUSE).await;
    }
    Committed { seq, outcome: Ok(newest) }
}

async fn commit_part(handle: &Handle, command: Command) -> Result<LogIndex, Fenced> {
    loop {
        match handle.propose(command.clone()).await {
            Ok(Proposed { outcome: Outcome::Rejected(_), .. }) => return Err(Fenced),
            Ok(committed) => return Ok(committed.index),
            // The session ends soon, one way or the other; the worker reports again to the next replica.
            Err(ProposeError::ShuttingDown | ProposeError::TooLarge) => std::future::pending().await,
            Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}

/// What a report may carry; a worker of this version keeps to it.
pub(super) fn is_within_bounds(report: &Report) -> bool {
    match &report.what {
        Happening::Started | Happening::Healthy => true,
        Happening::Progress { message, .. } => message.len() <= PROGRESS_MESSAGE_BYTES_MAX,
        Happening::Finished(finished) => {
            finished.result.as_ref().is_none_or(|result| result.len() <= RESULT_BYTES_MAX)
                && finished.stdout_tail.len() <= OUTPUT_TAIL_BYTES_MAX
                && finished.stderr_tail.len() <= OUTPUT_TAIL_BYTES_MAX
                && finished.ending.weight() <= REASON_BYTES_MAX
                && finished.extension.as_ref().is_none_or(|addition| is_unchecked(addition))
        }
    }
}

/// A worker passes on what a task wrote, and reads no more of it than shows that it is too much.
fn is_unchecked(addition: &Addition) -> bool {
    matches!(addition, Addition::Text(text) if text.len() <= EXTENSION_BYTES_MAX + 1)
}

/// Makes of what a task wrote what may go into the log; a success with what is no extension is none.
pub(super) fn check_extension(report: &mut Report) {
    let Happening::Finished(finished) = &mut report.what else { return };
    let Some(Addition::Text(text)) = finished.extension.as_deref() else { return };
    match Extension::read(text) {
        Ok(extension) if extension.tasks.is_empty() => finished.extension = None,
        Ok(extension) => finished.extension = Some(Box::new(Addition::Checked(extension))),
        Err(complaints) => {
            finished.extension = None;
            if finished.ending.is_success() {
                finished.ending = Ending::not_extended(&complaints);
            }
        }
    }
}

fn weight(report: &Report) -> usize {
    const REST: usize = 64;
    match &report.what {
        Happening::Started | Happening::Healthy => REST,
        Happening::Progress { message, .. } => message.len() + REST,
        Happening::Finished(finished) => {
            let texts = finished.result.as_ref().map_or(0, String::len) + finished.ending.weight();
            let addition = finished.extension.as_ref().map_or(0, |addition| addition.weight());
            texts + addition + finished.stdout_tail.len() + finished.stderr_tail.len() + REST
        }
    }
}

/// Cuts a frame of reports into commands that fit into the log.
pub(super) fn split(reports: Vec<Report>) -> Vec<Vec<Report>> {
    let (mut parts, mut bytes) = (vec![Vec::new()], 0);
    for report in reports {
        bytes += weight(&report);
        if bytes > REPORT_BYTES_PER_COMMAND && parts.last().is_some_and(|part| !part.is_empty()) {
            parts.push(Vec::new());
            bytes = weight(&report);
        }
        parts.last_mut().unwrap_or_else(|| unreachable!("there is a part from the start")).push(report);
    }
    parts
}

#[cfg(test)]
mod tests {
    use quorate_types::session::{AttemptKey, Finished};
    use quorate_types::{AttemptNumber, Fence, JobId, Span, TaskIndex};

    use super::*;

    fn report(tail: usize) -> Report {
        let key =
            AttemptKey { job: JobId(1), task: 0, index: TaskIndex(0), attempt: AttemptNumber(1), fence: Fence(1) };
        let finished = Finished {
            ending: Ending::Exited(0),
            ran: Span(0),
            result: None,
            extension: None,
            stdout_tail: vec![0; tail],
            stderr_tail: vec![],
        };
        Report { key, what: Happening::Finished(Box::new(finished)) }
    }

    #[test]
    fn large_frames_of_reports_become_several_commands() {
        let parts = split((0..10).map(|_| report(700_000)).collect());
        assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2, 2, 2]);
        assert_eq!(split((0..4096).map(|_| report(0)).collect()).len(), 1);
        assert!(is_within_bounds(&report(OUTPUT_TAIL_BYTES_MAX)));
        assert!(!is_within_bounds(&report(OUTPUT_TAIL_BYTES_MAX + 1)));
    }

    fn with_extension(ending: Ending, extension: Addition) -> Report {
        let mut report = report(0);
        let Happening::Finished(finished) = &mut report.what else { unreachable!() };
        (finished.ending, finished.extension) = (ending, Some(Box::new(extension)));
        report
    }

    #[test]
    fn what_a_task_wrote_is_checked_before_it_is_logged() {
        let checked = |ending: Ending, text: &str| {
            let mut report = with_extension(ending, Addition::Text(text.into()));
            assert!(is_within_bounds(&report));
            check_extension(&mut report);
            let Happening::Finished(finished) = report.what else { unreachable!() };
            (finished.ending, finished.extension.map(|addition| *addition))
        };
        let text = r#"{"name":"a","command":["x"]}"#;
        let extension = Addition::Checked(Extension::read(text).unwrap());
        assert_eq!(checked(Ending::Exited(0), text), (Ending::Exited(0), Some(extension.clone())));
        assert_eq!(checked(Ending::Exited(0), "\n"), (Ending::Exited(0), None));
        let (ending, nothing) = checked(Ending::Exited(0), r#"{"name":"a"}"#);
        assert!(ending.to_string().contains("/0/command") && nothing.is_none(), "{ending}");
        assert_eq!(checked(Ending::Exited(3), "{"), (Ending::Exited(3), None));
        let (ending, _) = checked(Ending::Exited(0), &" ".repeat(EXTENSION_BYTES_MAX + 1));
        assert!(ending.to_string().contains("more than 1048576 bytes"), "{ending}");
        assert!(!is_within_bounds(&with_extension(Ending::Exited(0), extension)), "that is for replicas to say");
        let long = Addition::Text(" ".repeat(EXTENSION_BYTES_MAX + 2));
        assert!(!is_within_bounds(&with_extension(Ending::Exited(0), long)));
    }
}
