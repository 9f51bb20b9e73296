//! How a command ends: the exit code, and what is said about it.

use std::io::{self, ErrorKind};

use quorate_client::Error;
use quorate_types::Code;

use crate::output;

/// Exit codes that scripts may rely on.
pub(crate) const JOB_FAILED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
pub(crate) const UNREACHABLE: u8 = 3;
pub(crate) const NOT_FOUND: u8 = 4;
pub(crate) const REJECTED: u8 = 5;
/// What a shell reports for a command that Ctrl-C ended: 128 + SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a command did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Everything has been said; only the code is left to give.
    #[error("ended with code {0}")]
    Code(u8),
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Client(#[from] Error),
    /// Standard output is closed or full.
    #[error("standard output: {0}")]
    Stdout(#[source] io::Error),
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

impl Failure {
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Code(code) => *code,
            Self::Usage(_) => USAGE,
            Self::Client(error) => client_code(error),
            // Whoever reads our output has seen enough: `quorate job list | head` is no failure.
            Self::Stdout(error) if error.kind() == ErrorKind::BrokenPipe => 0,
            Self::Stdout(_) | Self::Other(_) => JOB_FAILED,
        }
    }

    /// Says what went wrong and what to do next, on standard error.
    pub(crate) fn explain(&self) {
        match self {
            Self::Code(_) => return,
            Self::Stdout(error) if error.kind() == ErrorKind::BrokenPipe => return,
            Self::Stdout(_) | Self::Usage(_) | Self::Client(_) | Self::Other(_) => {
                output::note(format!("error: {self}"))
            }
        }
        if let Self::Client(Error::Problem(problem)) = self {
            for complaint in problem.errors.iter().filter(|complaint| !problem.detail.ends_with(&complaint.detail)) {
                output::note(format!("  at {}: {}", complaint.pointer, complaint.detail));
            }
        }
        if let Some(hint) = self.hint() {
            output::note(format!("hint: {hint}"));
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Client(error) => client_hint(error),
            Self::Usage(_) => Some("`quorate help` and `--help` after any command say what is possible"),
            Self::Code(_) | Self::Stdout(_) | Self::Other(_) => None,
        }
    }
}

fn client_code(error: &Error) -> u8 {
    match error {
        Error::InvalidServer { .. } | Error::InvalidToken => USAGE,
        Error::Unreachable { .. } | Error::Protocol { .. } | Error::OutcomeUnknown { .. } | Error::Setup(_) => {
            UNREACHABLE
        }
        Error::Encode(_) => JOB_FAILED,
        Error::Problem(problem) => match problem.code {
            Code::NotFound => NOT_FOUND,
            Code::NoLeader | Code::OutcomeUnknown => UNREACHABLE,
            Code::InvalidJson
            | Code::InvalidJob
            | Code::IdempotencyConflict
            | Code::Unauthenticated
            | Code::Forbidden
            | Code::MethodNotAllowed
            | Code::Conflict
            | Code::Gone
            | Code::TooLarge
            | Code::Overloaded
            | Code::Internal => REJECTED,
        },
    }
}

fn client_hint(error: &Error) -> Option<&'static str> {
    match error {
        Error::Unreachable { perhaps_done: true, .. } => Some(
            "it was sent and not answered: if it was to change something, look whether that was done before you repeat \
             it; `quorate cluster status` shows which replicas are up",
        ),
        Error::Unreachable { .. } => {
            Some("`quorate dev` starts a cluster here; --server URL[,URL] or QUORATE_SERVER names another one")
        }
        Error::Protocol { .. } => Some("is --server the HTTP address of a replica, not its peer address?"),
        Error::OutcomeUnknown { .. } => Some("look whether it was done before you repeat it"),
        Error::InvalidServer { .. } | Error::InvalidToken | Error::Setup(_) | Error::Encode(_) => None,
        Error::Problem(problem) => match problem.code {
            Code::NoLeader => Some("`quorate cluster status` shows which replicas are up; a majority is needed"),
            Code::OutcomeUnknown => Some("repeat it with the same --idempotency-key"),
            Code::Unauthenticated | Code::Forbidden => {
                Some("give the cluster's token with --token, QUORATE_TOKEN or --token-file")
            }
            Code::IdempotencyConflict => {
                Some("use another --idempotency-key, or the very job that was submitted first")
            }
            Code::Overloaded => Some("the cluster asks for patience: try again in a few seconds"),
            Code::NotFound => Some("`quorate job list` and `quorate worker list` show what there is"),
            Code::Conflict => Some("`quorate job show ID` and `quorate cluster status` show the present state"),
            Code::Internal => Some("the replica's log says more"),
            Code::InvalidJson | Code::InvalidJob | Code::MethodNotAllowed | Code::Gone | Code::TooLarge => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use quorate_types::Problem;

    use super::*;

    #[test]
    fn codes_are_those_of_the_contract() {
        let problem = |code| Failure::from(Error::from(Problem::new(code, "x")));
        for (failure, code) in [
            (problem(Code::NotFound), 4),
            (problem(Code::InvalidJob), 5),
            (problem(Code::InvalidJson), 5),
            (problem(Code::Conflict), 5),
            (problem(Code::Unauthenticated), 5),
            (problem(Code::NoLeader), 3),
            (problem(Code::OutcomeUnknown), 3),
            (Failure::from(Error::InvalidToken), 2),
            (Failure::Usage("x".into()), 2),
            (Failure::Code(42), 42),
            (Failure::Stdout(io::Error::from(ErrorKind::BrokenPipe)), 0),
            (Failure::Stdout(io::Error::from(ErrorKind::StorageFull)), 1),
        ] {
            assert_eq!(failure.exit_code(), code, "{failure:?}");
        }
    }

    #[test]
    fn what_a_user_can_mend_comes_with_a_hint() {
        for code in [Code::Unauthenticated, Code::NoLeader, Code::NotFound, Code::Overloaded, Code::Conflict] {
            assert!(Failure::from(Error::from(Problem::new(code, "x"))).hint().is_some(), "{code}");
        }
    }
}
