//! Workers.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use quorate_state::command::Command;
use quorate_state::view;
use quorate_types::api::{DrainWorker, Page, WorkerEnded, WorkerTaints, WorkerView};
use quorate_types::job::Object;
use quorate_types::limits::SPAN_MS_MAX;
use quorate_types::problem::Code;
use quorate_types::validate::check_taints;
use quorate_types::{Epoch, Name};

use super::error::{ApiError, ApiResult};
use super::jobs::answer;
use super::query::Query;
use super::{App, body};

/// By name; the cursor is the last name of the page before.
pub(crate) async fn list(State(app): State<App>, uri: Uri) -> ApiResult<Response> {
    let query = Query::of(&uri, &["limit", "cursor"])?;
    let (limit, after) = (query.limit()?, query.get::<Name>("cursor")?);
    let view = app.view(&query).await?;
    let workers = view.version.state.workers().filter(|worker| after.as_ref().is_none_or(|after| worker.name > *after));
    let mut items: Vec<WorkerView> = workers.take(limit + 1).map(|worker| view::worker(worker)).collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| more).map(|worker| worker.name.to_string());
    Ok(answer(&view, Json(Page { items, next_cursor })))
}

pub(crate) async fn show(State(app): State<App>, Path(name): Path<String>, uri: Uri) -> ApiResult<Response> {
    let query = Query::of(&uri, &[])?;
    let view = app.view(&query).await?;
    let worker = view.version.state.worker(&name).ok_or_else(|| no_such(&name))?;
    let shown = view::worker(worker);
    Ok(answer(&view, Json(shown)))
}

fn no_such(name: &str) -> ApiError {
    ApiError::not_found(format!("there is no worker {name:?}"))
}

fn worker_name(text: &str) -> ApiResult<Name> {
    Name::new(text).map_err(|_| no_such(text))
}

pub(crate) async fn drain(State(app): State<App>, Path(name): Path<String>, content: Body) -> ApiResult<Response> {
    let worker = worker_name(&name)?;
    let DrainWorker { deadline } = body::optional(&app.room, content).await?;
    match deadline {
        Some(within) if within.0 > SPAN_MS_MAX => {
            Err(ApiError::bad_field("/deadline", "must be shorter than ten years"))
        }
        Some(within) => app.write(Command::DrainBy { worker, within }).await,
        None => app.write(Command::Drain { worker }).await,
    }
}

pub(crate) async fn undrain(State(app): State<App>, Path(name): Path<String>, content: Body) -> ApiResult<Response> {
    body::nothing(&app.room, content).await?;
    app.write(Command::Undrain { worker: worker_name(&name)? }).await
}

pub(crate) async fn taint(State(app): State<App>, Path(name): Path<String>, content: Body) -> ApiResult<Response> {
    let worker = worker_name(&name)?;
    let Object(WorkerTaints { taints }): Object<WorkerTaints> =
        body::parse(&body::read(&app.room, content).await?.bytes, Code::InvalidJson)?;
    check_taints(&taints).map_err(|detail| ApiError::bad_field("/taints", detail))?;
    app.write(Command::Taint { worker, taints }).await
}

pub(crate) async fn remove(State(app): State<App>, Path(name): Path<String>) -> ApiResult<Response> {
    app.write(Command::Remove { worker: worker_name(&name)? }).await
}

/// A watchdog's word that its agent died and that nothing of this registration runs any more.
pub(crate) async fn ended(State(app): State<App>, Path(name): Path<String>, content: Body) -> ApiResult<Response> {
    let worker = worker_name(&name)?;
    let Object(ended): Object<WorkerEnded> =
        body::parse(&body::read(&app.room, content).await?.bytes, Code::InvalidJson)?;
    let epoch: Epoch = ended.epoch;
    app.write(Command::End { worker, epoch }).await
}
