//! Namespaces.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use quorate_state::command::Command;
use quorate_state::view;
use quorate_types::api::{NamespaceView, Page};
use quorate_types::job::Object;
use quorate_types::problem::{Code, Problem};
use quorate_types::{Name, NamespaceRules};

use super::error::{ApiError, ApiResult};
use super::jobs::answer;
use super::query::Query;
use super::{App, body};

/// By name; the cursor is the last name of the page before.
pub(crate) async fn list(State(app): State<App>, uri: Uri) -> ApiResult<Response> {
    let query = Query::of(&uri, &["limit", "cursor"])?;
    let (limit, after) = (query.limit()?, query.get::<Name>("cursor")?);
    let view = app.view(&query).await?;
    let state = &view.version.state;
    let mut names = state.namespaces(after.as_ref(), limit + 1);
    let more = names.len() > limit;
    names.truncate(limit);
    let next_cursor = names.last().filter(|_| more).map(Name::to_string);
    let items: Vec<NamespaceView> = names.iter().map(|name| view::namespace(state, name)).collect();
    Ok(answer(&view, Json(Page { items, next_cursor })))
}

pub(crate) async fn show(State(app): State<App>, Path(name): Path<String>, uri: Uri) -> ApiResult<Response> {
    let (query, name) = (Query::of(&uri, &[])?, namespace(&name)?);
    let view = app.view(&query).await?;
    let shown = view::namespace(&view.version.state, &name);
    Ok(answer(&view, Json(shown)))
}

/// The whole record: what is left out has its default.
pub(crate) async fn set(State(app): State<App>, Path(name): Path<String>, content: Body) -> ApiResult<Response> {
    let namespace = namespace(&name)?;
    let received = body::read(&app.room, content).await?;
    let Object(rules): Object<NamespaceRules> = body::parse(&received.bytes, Code::InvalidJson)?;
    let complaints = rules.complaints();
    if !complaints.is_empty() {
        return Err(ApiError(Problem::with_errors(Code::InvalidJson, complaints)));
    }
    app.write(Command::SetNamespace { namespace, rules: Box::new(rules) }).await
}

pub(crate) async fn reset(State(app): State<App>, Path(name): Path<String>) -> ApiResult<Response> {
    app.write(Command::ResetNamespace { namespace: namespace(&name)? }).await
}

fn namespace(text: &str) -> ApiResult<Name> {
    Name::new(text).map_err(|_| ApiError::not_found(format!("{text:?} is no name of a namespace")))
}
