//! Waiting for jobs, with their progress on standard error.

use std::time::{Duration, Instant};

use quorate_client::Client;
use quorate_types::api::JobView;
use quorate_types::status::JobState;
use quorate_types::{JobId, Span};

use super::Context;
use crate::args::Format;
use crate::exit::{Failure, JOB_FAILED};
use crate::output::progress::Progress;
use crate::output::{self, json, time};

/// How long one poll holds: a bar should move, a log file needs less.
const LIVE_POLL: Duration = Duration::from_millis(300);
const QUIET_POLL: Duration = Duration::from_secs(5);

pub(super) async fn run(context: &Context, ids: &[JobId], timeout: Option<Span>) -> Result<(), Failure> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout.as_duration());
    let mut failed = false;
    for id in ids {
        let job = wait_one(&context.client, *id, deadline).await?;
        failed |= job.state != JobState::Succeeded;
        report(context, &job)?;
    }
    if failed { Err(Failure::Code(JOB_FAILED)) } else { Ok(()) }
}

/// Waits for one job; the view is unfinished only when the deadline passed.
pub(super) async fn wait_one(client: &Client, id: JobId, deadline: Option<Instant>) -> Result<JobView, Failure> {
    let mut progress = Progress::new(format!("job {id}"));
    let hold = if progress.is_live() { LIVE_POLL } else { QUIET_POLL };
    loop {
        let left = deadline.map_or(hold, |at| at.saturating_duration_since(Instant::now()));
        let job = client.poll_job(id, left.min(hold)).await?;
        if job.state.is_finished() || left.is_zero() {
            progress.finish();
            return Ok(job);
        }
        progress.update(&job.tasks);
    }
}

fn report(context: &Context, job: &JobView) -> Result<(), Failure> {
    if context.format == Format::Json {
        return json::print_line(job);
    }
    let took = job
        .started_at
        .zip(job.finished_at)
        .map_or_else(String::new, |(started, finished)| format!(" in {}", time::span(finished.since(started))));
    output::data(format!("job {} {}{took}", job.id, job.state))?;
    match job.state {
        JobState::Succeeded | JobState::Cancelled => {}
        JobState::Failed => {
            output::note(format!("hint: `quorate job tasks {} --state failed` shows what failed", job.id))
        }
        JobState::Pending | JobState::Running | JobState::Paused => {
            output::note(format!("job {} has not finished yet", job.id))
        }
    }
    Ok(())
}
