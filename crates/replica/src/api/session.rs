//! The workers' connection: an HTTP request that becomes a stream of frames.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use quorate_types::problem::Code;
use quorate_types::session::PROTOCOL;

use super::App;
use super::error::{ApiError, ApiResult};
use crate::sessions;

/// `Upgrade` alone asks for nothing: it counts only where `Connection` names it (RFC 9110, 7.8).
fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    let connection = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let names_it =
        connection.flat_map(|value| value.split(',')).any(|name| name.trim().eq_ignore_ascii_case("upgrade"));
    names_it && headers.get(header::UPGRADE).is_some_and(|value| value == PROTOCOL)
}

pub(crate) async fn upgrade(State(app): State<App>, mut request: Request) -> ApiResult<Response> {
    if !asks_for_upgrade(request.headers()) {
        let detail = format!("this route is for workers: Connection: Upgrade and Upgrade: {PROTOCOL}");
        return Err(ApiError::new(Code::InvalidJson, detail));
    }
    let Ok(place) = app.room.sessions.clone().try_acquire_owned() else {
        return Err(ApiError::new(Code::Overloaded, "too many workers are connected here"));
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => sessions::serve(app.sessions.clone(), TokioIo::new(upgraded)).await,
            Err(error) => tracing::debug!(%error, "a worker's connection was not upgraded"),
        }
        drop(place);
    });
    let headers = [(header::UPGRADE, PROTOCOL), (header::CONNECTION, "upgrade")];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}
