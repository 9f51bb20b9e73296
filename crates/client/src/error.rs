//! What can go wrong between a caller and the cluster.

use std::fmt;
use std::time::Duration;

use quorate_types::{Code, Problem};

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{server:?} is not the address of a server such as http://127.0.0.1:7070: {detail}")]
    InvalidServer { server: String, detail: String },
    #[error("the token holds characters that an HTTP header can't carry")]
    InvalidToken,
    #[error("the HTTP client could not be set up")]
    Setup(#[source] reqwest::Error),
    /// No replica answered. `perhaps_done`: one had taken the request.
    #[error("no replica answered for {:.1} s: {}", .waited.as_secs_f64(), list(.refusals))]
    Unreachable { waited: Duration, refusals: Vec<Refusal>, perhaps_done: bool },
    /// The cluster answered with an error.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The connection broke before the answer came, and repeating the request would not be safe.
    #[error("the connection to {server} broke before the answer came, so it is unknown whether it was done: {detail}")]
    OutcomeUnknown { server: String, detail: String },
    /// Something answered, but not as Quorate would.
    #[error("{server} does not answer as a Quorate replica: {detail}")]
    Protocol { server: String, detail: String },
    #[error("the request can't be written as JSON")]
    Encode(#[source] serde_json::Error),
}

/// Why one server could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub server: String,
    pub detail: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.server, self.detail)
    }
}

fn list(refusals: &[Refusal]) -> String {
    refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Error {
    /// The problem's code, if the cluster answered with one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Problem(problem) => Some(problem.code),
            Self::InvalidServer { .. }
            | Self::InvalidToken
            | Self::Setup(_)
            | Self::Unreachable { .. }
            | Self::OutcomeUnknown { .. }
            | Self::Protocol { .. }
            | Self::Encode(_) => None,
        }
    }

    pub fn is_not_found(&self) -> bool {
        self.code() == Some(Code::NotFound)
    }

    /// Whether there was no cluster to speak of: nothing answered, or nobody leads.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unreachable { .. }) || self.code() == Some(Code::NoLeader)
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Problem(Box::new(problem))
    }
}
