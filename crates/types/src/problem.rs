//! Errors of the HTTP API: RFC 9457 problems with a stable code.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::FIELD_ERROR_BYTES_MAX;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $status:literal, $retryable:literal, $title:literal;)+) => {
        /// What went wrong, for programs. A code never changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $variant),+
        }

        impl Code {
            pub const ALL: &[Self] = &[$(Self::$variant),+];
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
            /// The HTTP status that goes with the code.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status),+ }
            }
            /// Whether the same request may succeed later.
            pub const fn is_retryable(self) -> bool {
                match self { $(Self::$variant => $retryable),+ }
            }
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title),+ }
            }
        }
    };
}

codes! {
    InvalidJson = "invalid_json", 400, false, "The request is malformed";
    InvalidJob = "invalid_job", 422, false, "The job is not valid";
    IdempotencyConflict = "idempotency_conflict", 422, false, "The idempotency key belongs to another job";
    Unauthenticated = "unauthenticated", 401, false, "A token is needed";
    Forbidden = "forbidden", 403, false, "Not allowed";
    NotFound = "not_found", 404, false, "Not found";
    MethodNotAllowed = "method_not_allowed", 405, false, "The method is not allowed here";
    Conflict = "conflict", 409, false, "Not possible in the present state";
    Gone = "gone", 410, false, "No longer available";
    TooLarge = "too_large", 413, false, "The request is too large";
    Overloaded = "overloaded", 429, true, "Too much at once";
    Internal = "internal", 500, true, "Internal error";
    /// Nothing was written.
    NoLeader = "no_leader", 503, true, "No leader";
    /// It may have been written; repeat it with the same idempotency key.
    OutcomeUnknown = "outcome_unknown", 503, true, "The outcome is unknown";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn cut(mut text: String) -> String {
    if text.len() > FIELD_ERROR_BYTES_MAX {
        text.truncate(text.floor_char_boundary(FIELD_ERROR_BYTES_MAX));
        text.push('…');
    }
    text
}

/// What is wrong with one place of a request; `pointer` is a JSON pointer (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    pub pointer: String,
    pub detail: String,
}

impl FieldError {
    /// What of it comes from the request may be long: pointer and detail are cut at [`FIELD_ERROR_BYTES_MAX`].
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: cut(pointer.into()), detail: cut(detail.into()) }
    }
}

/// The body of an error answer, `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{title}: {detail}")]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    pub code: Code,
    pub retryable: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:quorate:problem:{code}"),
            title: code.title().to_owned(),
            status: code.status(),
            detail: detail.into(),
            code,
            retryable: code.is_retryable(),
            errors: Vec::new(),
        }
    }

    /// A problem with places; its detail is the first of them.
    pub fn with_errors(code: Code, errors: Vec<FieldError>) -> Self {
        let detail = match errors.first() {
            Some(first) if first.pointer.is_empty() => first.detail.clone(),
            Some(first) => format!("{}: {}", first.pointer, first.detail),
            None => code.title().to_owned(),
        };
        Self { errors, ..Self::new(code, detail) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repeated_of_a_request_is_cut() {
        let long = "ä".repeat(FIELD_ERROR_BYTES_MAX);
        let problem = Problem::with_errors(Code::InvalidJob, vec![FieldError::new(format!("/{long}"), long)]);
        let error = &problem.errors[0];
        assert!(error.pointer.len() <= FIELD_ERROR_BYTES_MAX + 3 && error.pointer.ends_with('…'), "{}", error.pointer);
        assert!(error.detail.len() <= FIELD_ERROR_BYTES_MAX + 3, "{}", error.detail);
        assert!(problem.detail.len() <= 2 * FIELD_ERROR_BYTES_MAX + 8, "{}", problem.detail);
    }
}
