//! Schedules: their next ticks, runs besides them, and changes.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use quorate_cron::{Calendar, Zone};
use quorate_state::command::Command;
use quorate_state::outcome::{Outcome, Rejection};
use quorate_types::JobSpec;
use quorate_types::api::{NextTicks, Submitted};
use quorate_types::job::{JobRequest, Object};
use quorate_types::problem::{Code, FieldError, Problem};

use super::error::{ApiError, ApiResult};
use super::jobs::answer;
use super::query::{Query, job_id};
use super::write::at_index;
use super::{App, body};
use crate::calendar;
use crate::limits::{PAGE_MAX, TICKS_DEFAULT};

/// Whether the schedule of a job to be submitted can be followed.
pub(super) fn check(spec: &JobSpec) -> ApiResult<()> {
    calendar::check(spec).map_err(|error| ApiError(Problem::with_errors(Code::InvalidJob, vec![error])))
}

/// The next ticks that have not come, without jitter.
pub(crate) async fn next(State(app): State<App>, Path(id): Path<String>, uri: Uri) -> ApiResult<Response> {
    let query = Query::of(&uri, &["count"])?;
    let id = job_id(&id)?;
    let count = match query.get::<usize>("count")?.unwrap_or(TICKS_DEFAULT) {
        count @ 1..=PAGE_MAX => count,
        count => return Err(ApiError::bad_parameter("count", format!("{count} is not from 1 to {PAGE_MAX}"))),
    };
    let view = app.view(&query).await?;
    let job = view.version.state.job(id).ok_or(Rejection::NoSuchJob(id))?;
    let schedule = job.spec.schedule.as_ref().ok_or(Rejection::NotASchedule(id))?;
    let calendar = calendar::of(schedule, job.header.submitted_at).map_err(|error| unreadable(&error))?;
    let zone = match &calendar {
        Calendar::Cron { zone, .. } => zone,
        Calendar::Every(_) => &Zone::UTC,
    };
    let mut items = Vec::new();
    let decided = job.header.flow().ledger.as_ref().map_or(job.header.submitted_at, |ledger| ledger.decided);
    let mut after = decided.max(view.version.state.now());
    while items.len() < count
        && !job.header.state.is_finished()
        && let Some(tick) = calendar.after(after)
    {
        items.push(zone.show(tick));
        after = tick;
    }
    Ok(answer(&view, Json(NextTicks { items })))
}

/// Another replica took a calendar that this one can't read.
fn unreadable(error: &FieldError) -> ApiError {
    ApiError::internal("read a calendar", &error.detail)
}

pub(crate) async fn run_now(State(app): State<App>, Path(id): Path<String>, content: Body) -> ApiResult<Response> {
    body::nothing(&app.room, content).await?;
    match app.commit(Command::RunNow { schedule: job_id(&id)? }).await?.outcome {
        Outcome::Submitted { job, index, state, .. } => {
            let location = [(header::LOCATION, format!("/v1/jobs/{job}"))];
            let content = Json(Submitted { id: job, index, state });
            Ok(at_index(index, (StatusCode::CREATED, location, content).into_response()))
        }
        other => Err(ApiError::internal("run a schedule", &format!("unexpected outcome {other:?}"))),
    }
}

pub(crate) async fn change(State(app): State<App>, Path(id): Path<String>, content: Body) -> ApiResult<Response> {
    let id = job_id(&id)?;
    let received = body::read(&app.room, content).await?;
    let Object(request): Object<JobRequest> = body::parse(&received.bytes, Code::InvalidJob)?;
    let invalid = |errors| ApiError(Problem::with_errors(Code::InvalidJob, errors));
    let spec = request.validate().map_err(invalid)?;
    check(&spec)?;
    if spec.schedule.is_none() && spec.service.is_none() {
        let version = app.handle.version();
        // Most likely its kind was forgotten.
        if version.state.job(id).is_some_and(|job| job.is_service()) {
            let detail = "can't be changed: this is a service or system job, and stays one";
            return Err(invalid(vec![FieldError::new("/kind", detail)]));
        }
        let detail = "only a schedule can be changed, into another one, and a service or system job";
        return Err(invalid(vec![FieldError::new("/schedule", detail)]));
    }
    let spec = Arc::new(spec);
    app.write(match spec.service {
        Some(_) => Command::ChangeService { service: id, spec },
        None => Command::ChangeSchedule { schedule: id, spec },
    })
    .await
}
