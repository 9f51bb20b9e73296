//! Why a task is where it is, and what a submission would do. Any replica answers from its own version of the state.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use quorate_consensus::Version;
use quorate_placement::explain::{self, Voice};
use quorate_state::archive::JobRecord;
use quorate_state::command::{Command, Entry, Proposal};
use quorate_state::outcome::{Outcome, Rejection};
use quorate_types::explain::{DryRun, JobExplanation};
use quorate_types::{JobId, JobSpec, LogIndex, Name, TaskIndex, Timestamp};

use super::App;
use super::error::{ApiError, ApiResult};
use super::jobs::answer;
use super::query::{Query, job_id};
use super::read::View;
use super::tasks::{TaskPath, address};

/// Why one element is where it is.
pub(crate) async fn element(State(app): State<App>, Path(path): TaskPath, uri: Uri) -> ApiResult<Response> {
    let query = Query::of(&uri, &[])?;
    let (id, name, index) = address(&path)?;
    let view = app.view(&query).await?;
    let (version, now) = (view.version.clone(), app.handle.leader_time());
    let Some(job) = version.state.job(id).cloned() else {
        let record = app.archived_or_not_found(&view, id).await?;
        return app.explain_archived(&view, &record, &name, index, now).await;
    };
    if job.is_schedule() {
        return Err(Rejection::Schedule(id).into());
    }
    let no_such = Rejection::NoSuchTask { job: id, task: name.clone(), index };
    let Some(task) = job.place_of(&name, index) else { return Err(no_such.into()) };
    let explained = app.look(move || explain::element(&version.state, now, id, task, index)).await?;
    Ok(answer(&view, Json(explained.ok_or(no_such)?)))
}

/// Why a job is where it is.
pub(crate) async fn job(State(app): State<App>, Path(id): Path<String>, uri: Uri) -> ApiResult<Response> {
    let query = Query::of(&uri, &[])?;
    let id = job_id(&id)?;
    let view = app.view(&query).await?;
    let (version, now) = (view.version.clone(), app.handle.leader_time());
    if version.state.job(id).is_none() {
        let record = app.archived_or_not_found(&view, id).await?;
        return Ok(answer(&view, Json(explain::archived_job(&record))));
    }
    let explained = app.look(move || explain::job(&version.state, now, id, Voice::Real)).await?;
    Ok(answer(&view, Json(explained.ok_or(Rejection::NoSuchJob(id))?)))
}

/// What the submission of this job would do; nothing is changed.
pub(crate) async fn dry_run(app: &App, query: &Query, spec: JobSpec) -> ApiResult<Response> {
    let view = app.view(query).await?;
    let (version, now, spec) = (view.version.clone(), app.handle.leader_time(), Arc::new(spec));
    let submitted = spec.clone();
    let tried = app.look(move || submit_in_thought(&version, now, submitted)).await??;
    let explanation = match tried.explanation {
        Some(explanation) => explanation,
        // A job that was submitted before and has left memory since.
        None => explain::archived_job(&app.archived_or_not_found(&view, tried.job).await?),
    };
    let existing = (tried.voice == Voice::Real).then_some(tried.job);
    Ok(answer(&view, Json(DryRun { existing, spec, explanation })))
}

struct Tried {
    job: JobId,
    /// Real if the job was submitted before.
    voice: Voice,
    explanation: Option<JobExplanation>,
}

/// Applies the submission to a version of its own, which is dropped again: what will be refused is refused by the same
/// code.
fn submit_in_thought(version: &Version, now: Timestamp, spec: Arc<JobSpec>) -> ApiResult<Tried> {
    let mut state = version.state.clone();
    let proposals = vec![Proposal { origin: None, command: Command::Submit(spec) }];
    let outcome = state.apply(LogIndex(version.index.0 + 1), &Entry { time: now, proposals }).outcomes.pop();
    let (job, voice) = match outcome {
        Some(Outcome::Submitted { job, existing: true, .. }) => (job, Voice::Real),
        Some(Outcome::Submitted { job, existing: false, .. }) => (job, Voice::DryRun),
        Some(Outcome::Rejected(rejection)) => return Err(rejection.into()),
        other => return Err(ApiError::internal("try a submission", &format!("unexpected outcome {other:?}"))),
    };
    Ok(Tried { job, voice, explanation: explain::job(&state, now, job, voice) })
}

impl App {
    /// Looks at a version as a whole: not many at once, and not where others wait for it.
    async fn look<T: Send + 'static>(&self, look: impl FnOnce() -> T + Send + 'static) -> ApiResult<T> {
        let turn = self.room.explanations.clone().acquire_owned().await;
        let turn = turn.map_err(|error| ApiError::internal("wait for an explanation", &error))?;
        // The thread holds the turn: who asked may be gone before it is done.
        let seen = tokio::task::spawn_blocking(move || {
            let seen = look();
            drop(turn);
            seen
        });
        let seen = seen.await;
        seen.map_err(|error| ApiError::internal("explain", &error))
    }

    async fn explain_archived(
        &self,
        view: &View,
        record: &JobRecord,
        name: &Name,
        index: TaskIndex,
        now: Timestamp,
    ) -> ApiResult<Response> {
        let id: JobId = record.header.id;
        let no_such = Rejection::NoSuchTask { job: id, task: name.clone(), index };
        let Some((task, element)) = self.archived_place(record, name, index).await? else { return Err(no_such.into()) };
        let explained = explain::archived(now, record, task, index, element.as_ref());
        Ok(answer(view, Json(explained.ok_or(no_such)?)))
    }
}
