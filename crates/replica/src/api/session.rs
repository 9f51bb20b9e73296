//! The workers' connection: an HTTP request that becomes a stream of frames.

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use quorate_types::problem::Code;
use quorate_types::session::PROTOCOL;

use super::App;
use super::error::{ApiError, ApiResult};
use crate::sessions;

pub(crate) async fn upgrade(State(app): State<App>, mut request: Request) -> ApiResult<Response> {
    let asked = request.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok());
    if asked != Some(PROTOCOL) {
        return Err(ApiError::new(Code::InvalidJson, format!("this route is for workers: Upgrade: {PROTOCOL}")));
    }
    let Ok(place) = app.room.sessions.clone().try_acquire_owned() else {
        return Err(ApiError::new(Code::Overloaded, "too many workers are connected here"));
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => sessions::serve(app.sessions, TokioIo::new(upgraded)).await,
            Err(error) => tracing::debug!(%error, "a worker's connection was not upgraded"),
        }
        drop(place);
    });
    let headers = [(header::UPGRADE, PROTOCOL), (header::CONNECTION, "upgrade")];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}
