//! Writes: a command in, its outcome out.

use axum::Json;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use quorate_consensus::Committed;
use quorate_state::command::Command;
use quorate_state::outcome::Outcome;
use quorate_types::LogIndex;
use quorate_types::api::Accepted;

use super::App;
use super::error::ApiResult;

impl App {
    /// Proposes a command; a rejection becomes an error.
    pub(crate) async fn commit(&self, command: Command) -> ApiResult<Committed> {
        let committed = self.handle.propose(command).await?;
        match committed.outcome {
            Outcome::Rejected(rejection) => Err(rejection.into()),
            _ => Ok(committed),
        }
    }

    /// Proposes a command whose outcome is just that it was done.
    pub(crate) async fn write(&self, command: Command) -> ApiResult<Response> {
        let committed = self.commit(command).await?;
        Ok(accepted(committed.index))
    }
}

/// The answer to a command that was done.
pub(super) fn accepted(index: LogIndex) -> Response {
    at_index(index, (StatusCode::OK, Json(Accepted { index })).into_response())
}

/// Marks an answer with the index that it holds at.
pub(crate) fn at_index(index: LogIndex, mut response: Response) -> Response {
    response.headers_mut().insert("quorate-index", HeaderValue::from(index.0));
    response
}
