//! What the scheduler goes by.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::Uri;
use axum::response::{IntoResponse, Response};
use quorate_state::command::Command;
use quorate_state::outcome::Outcome;
use quorate_types::job::Object;
use quorate_types::policy::PolicyRequest;
use quorate_types::problem::Code;

use super::error::{ApiError, ApiResult};
use super::jobs::answer;
use super::query::Query;
use super::write::at_index;
use super::{App, body};

pub(crate) async fn show(State(app): State<App>, uri: Uri) -> ApiResult<Response> {
    let view = app.view(&Query::of(&uri, &[])?).await?;
    Ok(answer(&view, Json(view.version.state.policy())))
}

/// What is left out stays as it is, whoever changes what at the same time.
pub(crate) async fn change(State(app): State<App>, content: Body) -> ApiResult<Response> {
    let received = body::read(&app.room, content).await?;
    let Object(request): Object<PolicyRequest> = body::parse(&received.bytes, Code::InvalidJson)?;
    let committed = app.commit(Command::ChangePolicy(request.resolved())).await?;
    match committed.outcome {
        Outcome::PolicyChanged(policy) => Ok(at_index(committed.index, Json(policy).into_response())),
        other => Err(ApiError::internal("change the policy", &format!("unexpected outcome {other:?}"))),
    }
}
