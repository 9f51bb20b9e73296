//! Probes and metrics.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use quorate_consensus::Role;
use quorate_types::problem::Code;

use super::App;
use super::error::{ApiError, ApiResult};
use crate::scheduling::entitlements;
use crate::telemetry;

/// The process runs and answers.
pub(crate) async fn live() -> &'static str {
    "ok\n"
}

/// Writes and linearizable reads have a chance here: this replica leads, or a connection to the leader stands. A vote
/// for a leader outlives it, so that to know one is not enough.
pub(crate) async fn ready(State(app): State<App>) -> ApiResult<&'static str> {
    let status = app.handle.status();
    match status.leader {
        Some(_) if status.role == Role::Leader || status.watches_leader => Ok("ok\n"),
        Some(leader) => {
            let what = format!("this replica can't reach the last leader that it knows, replica {leader}");
            Err(ApiError::new(Code::NoLeader, what))
        }
        None => Err(ApiError::new(Code::NoLeader, "this replica knows no leader")),
    }
}

pub(crate) async fn metrics(State(app): State<App>) -> ApiResult<Response> {
    let Some(recorder) = &app.metrics else {
        return Err(ApiError::not_found("another replica in this process keeps the metrics"));
    };
    let version = app.handle.version();
    let connections = app.room.open_connections();
    telemetry::observe(&version.state, &app.handle.status(), connections, app.history.len());
    let mut text = recorder.render();
    let scheduling = app.scheduling.prometheus().await;
    text.push_str(&entitlements(&version.state));
    text.push_str(&scheduling.map_err(|error| ApiError::internal("measure the scheduler", &error))?);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}
