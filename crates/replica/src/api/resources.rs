//! Counted resources of the cluster.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use quorate_state::command::Command;
use quorate_types::Name;
use quorate_types::api::Page;
use quorate_types::gate::SetResource;
use quorate_types::job::Object;
use quorate_types::limits::CLUSTER_RESOURCE_TOTAL_MAX;
use quorate_types::problem::Code;

use super::error::{ApiError, ApiResult};
use super::jobs::answer;
use super::query::Query;
use super::{App, body};
use crate::limits::HOLDERS_MAX;

/// By name; the cursor is the last name of the page before.
pub(crate) async fn list(State(app): State<App>, uri: Uri) -> ApiResult<Response> {
    let query = Query::of(&uri, &["limit", "cursor"])?;
    let (limit, after) = (query.limit()?, query.get::<Name>("cursor")?);
    let view = app.view(&query).await?;
    // A list says how many there are; who holds them is to be seen one by one.
    let mut items: Vec<_> = view.version.state.resources(after.as_ref(), 0).take(limit + 1).collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| more).map(|resource| resource.name.to_string());
    Ok(answer(&view, Json(Page { items, next_cursor })))
}

pub(crate) async fn show(State(app): State<App>, Path(name): Path<String>, uri: Uri) -> ApiResult<Response> {
    let query = Query::of(&uri, &[])?;
    let name = existing(&name)?;
    let view = app.view(&query).await?;
    let resource = view.version.state.resource(&name, HOLDERS_MAX).ok_or_else(|| no_such(&name))?;
    Ok(answer(&view, Json(resource)))
}

pub(crate) async fn set(State(app): State<App>, Path(name): Path<String>, content: Body) -> ApiResult<Response> {
    let name = Name::new(&name).map_err(|error| ApiError::bad_parameter("name", error))?;
    let Object(SetResource { total }): Object<SetResource> =
        body::parse(&body::read(&app.room, content).await?.bytes, Code::InvalidJson)?;
    if total > CLUSTER_RESOURCE_TOTAL_MAX {
        return Err(ApiError::bad_field("/total", format!("must be at most {CLUSTER_RESOURCE_TOTAL_MAX}")));
    }
    app.write(Command::SetResource { name, total }).await
}

pub(crate) async fn remove(State(app): State<App>, Path(name): Path<String>) -> ApiResult<Response> {
    app.write(Command::RemoveResource { name: existing(&name)? }).await
}

fn existing(text: &str) -> ApiResult<Name> {
    Name::new(text).map_err(|_| no_such(text))
}

fn no_such(name: &str) -> ApiError {
    ApiError::not_found(format!("there is no resource {name:?}"))
}
