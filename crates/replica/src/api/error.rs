//! Errors at the HTTP edge: everything becomes a problem with a stable code, and internals stay inside.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use quorate_consensus::{ArchiveError, CallError, MembershipError, ProposeError, ReadError};
use quorate_state::outcome::Rejection;
use quorate_types::problem::{Code, FieldError, Problem};

use crate::archived::RecordError;

/// What a handler gives instead of an answer.
#[derive(Debug)]
pub(crate) struct ApiError(pub(crate) Problem);

pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl ApiError {
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Problem::new(code, detail))
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Code::NotFound, detail)
    }

    /// A query parameter, header or path that can't be read.
    pub(crate) fn bad_parameter(name: &str, detail: impl std::fmt::Display) -> Self {
        let errors = vec![FieldError::new("", format!("{name}: {detail}"))];
        Self(Problem::with_errors(Code::InvalidJson, errors))
    }

    /// A field of the body that can't be.
    pub(crate) fn bad_field(pointer: &str, detail: impl Into<String>) -> Self {
        Self(Problem::with_errors(Code::InvalidJson, vec![FieldError::new(pointer, detail)]))
    }

    /// Something that only the log may know in detail.
    pub(crate) fn internal(context: &str, error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "{context}");
        Self::new(Code::Internal, "the replica could not do this; its log says why")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let wait = matches!(self.0.code, Code::Overloaded | Code::NoLeader | Code::OutcomeUnknown);
        let mut response = (status, Json(self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if wait {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<ProposeError> for ApiError {
    fn from(error: ProposeError) -> Self {
        let code = match error {
            ProposeError::NoLeader | ProposeError::NotLeader | ProposeError::ShuttingDown => Code::NoLeader,
            ProposeError::OutcomeUnknown => Code::OutcomeUnknown,
            ProposeError::Overloaded => Code::Overloaded,
            ProposeError::TooLarge => Code::TooLarge,
        };
        Self::new(code, error.to_string())
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        let code = match error {
            ReadError::NoLeader | ReadError::Lagging | ReadError::ShuttingDown => Code::NoLeader,
            ReadError::Overloaded => Code::Overloaded,
        };
        Self::new(code, error.to_string())
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        let code = match &rejection {
            Rejection::NoSuchJob(_)
            | Rejection::NoSuchTask { .. }
            | Rejection::NoSuchWorker(_)
            | Rejection::NoSuchResource(_) => Code::NotFound,
            Rejection::IdempotencyConflict(_) => Code::IdempotencyConflict,
            Rejection::QueueFull(_)
            | Rejection::MemoryFull(_)
            | Rejection::TooManyWorkers(_)
            | Rejection::KeyCrowded(..)
            | Rejection::JobCrowded(..)
            | Rejection::TooManyNamespaces(_)
            | Rejection::NamespaceFull(..)
            | Rejection::LockCrowded(..)
            | Rejection::TooManySystemJobs(_)
            | Rejection::TooManyLocks(_) => Code::Overloaded,
            Rejection::JobState { .. }
            | Rejection::Cancelling(_)
            | Rejection::NotRunning { .. }
            | Rejection::WorkerNameInUse(_)
            | Rejection::StaleEpoch
            | Rejection::WorkerAlive(_)
            | Rejection::OtherStorage(_)
            | Rejection::Archived(_)
            | Rejection::KeyTaken(_)
            | Rejection::NotASchedule(_)
            | Rejection::NotAService(_)
            | Rejection::Service(_)
            | Rejection::TooManyVersions { .. }
            | Rejection::NeedUnmet { .. }
            | Rejection::Extended { .. }
            | Rejection::Schedule(_)
            | Rejection::ResourceHeld { .. }
            | Rejection::TooManyResources(_)
            | Rejection::NotLive { .. }
            | Rejection::LockTaken { .. }
            | Rejection::LockNotHeld(_)
            | Rejection::NamespaceTooSmall { .. }
            | Rejection::TooManyLocksOfOne(_) => Code::Conflict,
            Rejection::NeedsUnknownJob { pointer, .. }
            | Rejection::NeedsEndless { pointer, .. }
            | Rejection::TimeOver { pointer }
            | Rejection::AsksForUnknown { pointer, .. }
            | Rejection::AsksForTooMuch { pointer, .. }
            | Rejection::Fixed { pointer } => {
                let error = FieldError::new(pointer.clone(), rejection.to_string());
                return Self(Problem::with_errors(Code::InvalidJob, vec![error]));
            }
        };
        let mut problem = Problem::new(code, rejection.to_string());
        problem.retryable |= matches!(rejection, Rejection::LockTaken { .. });
        Self(problem)
    }
}

impl From<MembershipError> for ApiError {
    fn from(error: MembershipError) -> Self {
        let code = match &error {
            MembershipError::NoLeader => Code::NoLeader,
            MembershipError::NotAMember(_) => Code::NotFound,
            MembershipError::Overloaded => Code::Overloaded,
            MembershipError::Unconfirmed => Code::OutcomeUnknown,
            _ => Code::Conflict,
        };
        let again = matches!(error, MembershipError::CatchingUp(_) | MembershipError::InProgress);
        let mut problem = Problem::new(code, error.to_string());
        problem.retryable |= again;
        Self(problem)
    }
}

impl From<ArchiveError> for ApiError {
    fn from(error: ArchiveError) -> Self {
        Self::internal("read the archive", &error)
    }
}

impl From<RecordError> for ApiError {
    fn from(error: RecordError) -> Self {
        Self::internal("read an archived record", &error)
    }
}

impl From<CallError> for ApiError {
    fn from(error: CallError) -> Self {
        Self::new(Code::NoLeader, error.to_string())
    }
}
