//! The scheduler in numbers, as this replica measured them.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use quorate_types::Name;
use quorate_types::scheduling::Window;

use super::App;
use super::error::{ApiError, ApiResult};
use super::jobs::answer;
use super::query::Query;

/// All windows, or the one that is asked for; of everything, or of one namespace.
pub(crate) async fn show(State(app): State<App>, uri: Uri) -> ApiResult<Response> {
    let query = Query::of(&uri, &["window", "namespace"])?;
    let window: Option<Window> = query.get("window")?;
    let namespace: Option<Name> = query.get("namespace")?;
    // What was committed before the request came is measured when it is answered.
    let view = app.view(&query).await?;
    let windows = window.map_or_else(|| Window::ALL.to_vec(), |window| vec![window]);
    let report = app.scheduling.report(namespace, windows).await;
    Ok(answer(&view, Json(report.map_err(|error| ApiError::internal("measure the scheduler", &error))?)))
}
