//! Whether and when a request is tried again. Decides only; the waiting is `transport`'s.

use std::time::{Duration, Instant};

use quorate_types::{Code, Problem};

use crate::error::{Error, Refusal};

/// The first pause after all servers failed; it doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// An election takes about a second; asking more seldom than this would prolong what clients see.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// The longest `Retry-After` that is obeyed between two tries of one call.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);

/// Whether a request may be sent again when its first fate is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Safety {
    /// Reads, and writes that do the same when they are done twice.
    Repeatable,
    Once,
}

/// How a try failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nothing was sent.
    NotConnected(String),
    /// It was sent and the answer did not come.
    Broken(String),
    /// The replica answered with a problem.
    Problem { problem: Problem, retry_after: Option<Duration> },
    /// Something answered that is no replica.
    Foreign(String),
}

/// What to do after a failed try.
#[derive(Debug)]
pub(crate) enum Next {
    /// Try again after the pause; `elsewhere` at the next server.
    Again {
        pause: Duration,
        elsewhere: bool,
    },
    GiveUp(Error),
}

/// How long a call may go on failing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) total: Duration,
    /// The same while no server could be connected to at all.
    pub(crate) unreachable: Duration,
}

/// The state of one call's retries.
#[derive(Debug)]
pub(crate) struct Retry {
    started: Instant,
    patience: Patience,
    safety: Safety,
    servers: usize,
    failed_this_round: usize,
    pause: Duration,
    retry_after: Option<Duration>,
    ever_connected: bool,
    uncertain: bool,
    refusals: Vec<Refusal>,
}

impl Retry {
    pub(crate) fn new(now: Instant, patience: Patience, safety: Safety, servers: usize) -> Self {
        Self {
            started: now,
            patience,
            safety,
            servers,
            failed_this_round: 0,
            pause: PAUSE_FIRST,
            retry_after: None,
            ever_connected: false,
            uncertain: false,
            refusals: Vec::new(),
        }
    }

    /// Whether an earlier try of this call may have been carried out.
    pub(crate) fn is_uncertain(&self) -> bool {
        self.uncertain
    }

    pub(crate) fn remaining(&self, now: Instant) -> Duration {
        self.patience.total.saturating_sub(now.duration_since(self.started))
    }

    pub(crate) fn on_failure(&mut self, now: Instant, server: String, failure: Failure) -> Next {
        match failure {
            Failure::NotConnected(detail) => self.elsewhere(now, Refusal { server, detail }, None),
            Failure::Broken(detail) => {
                self.ever_connected = true;
                self.uncertain = true;
                match self.safety {
                    Safety::Repeatable => self.elsewhere(now, Refusal { server, detail }, None),
                    Safety::Once => Next::GiveUp(Error::OutcomeUnknown { server, detail }),
                }
            }
            Failure::Problem { problem, retry_after } => self.on_problem(now, server, problem, retry_after),
            // Behind one address of several something else may listen, a proxy whose replica is down for one.
            Failure::Foreign(detail) if self.servers > 1 => self.elsewhere(now, Refusal { server, detail }, None),
            Failure::Foreign(detail) => Next::GiveUp(Error::Protocol { server, detail }),
        }
    }

    fn on_problem(&mut self, now: Instant, server: String, problem: Problem, retry_after: Option<Duration>) -> Next {
        self.ever_connected = true;
        let wait = retry_after.map(|wait| wait.min(RETRY_AFTER_MAX));
        let detail = problem.to_string();
        match problem.code {
            Code::NoLeader => self.elsewhere_or(now, Refusal { server, detail }, wait, problem),
            Code::OutcomeUnknown => {
                self.uncertain = true;
                match self.safety {
                    Safety::Repeatable => self.elsewhere_or(now, Refusal { server, detail }, wait, problem),
                    Safety::Once => Next::GiveUp(problem.into()),
                }
            }
            Code::Overloaded => {
                let pause = wait.unwrap_or(PAUSE_MAX);
                if self.remaining(now) < pause {
                    return Next::GiveUp(problem.into());
                }
                Next::Again { pause, elsewhere: false }
            }
            Code::InvalidJson
            | Code::InvalidJob
            | Code::IdempotencyConflict
            | Code::Unauthenticated
            | Code::Forbidden
            | Code::NotFound
            | Code::MethodNotAllowed
            | Code::Conflict
            | Code::Gone
            | Code::TooLarge
            | Code::Internal => Next::GiveUp(problem.into()),
        }
    }

    fn elsewhere_or(&mut self, now: Instant, refusal: Refusal, wait: Option<Duration>, problem: Problem) -> Next {
        match self.elsewhere(now, refusal, wait) {
            Next::GiveUp(_) => Next::GiveUp(problem.into()),
            again @ Next::Again { .. } => again,
        }
    }

    /// Goes through the other servers at once, and waits when all of them have failed.
    fn elsewhere(&mut self, now: Instant, refusal: Refusal, wait: Option<Duration>) -> Next {
        self.note(refusal);
        self.failed_this_round += 1;
        self.retry_after = self.retry_after.max(wait);
        if self.failed_this_round < self.servers && !self.remaining(now).is_zero() {
            return Next::Again { pause: Duration::ZERO, elsewhere: true };
        }
        let pause = self.retry_after.take().unwrap_or(self.pause);
        let waited = now.duration_since(self.started);
        let limit = if self.ever_connected { self.patience.total } else { self.patience.unreachable };
        if waited + pause > limit {
            let (refusals, perhaps_done) = (std::mem::take(&mut self.refusals), self.uncertain);
            return Next::GiveUp(Error::Unreachable { waited, refusals, perhaps_done });
        }
        self.failed_this_round = 0;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Next::Again { pause, elsewhere: true }
    }

    /// Keeps the newest refusal of each server.
    fn note(&mut self, refusal: Refusal) {
        match self.refusals.iter_mut().find(|known| known.server == refusal.server) {
            Some(known) => *known = refusal,
            None => self.refusals.push(refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { total: Duration::from_secs(30), unreachable: Duration::from_secs(3) };

    fn problem(code: Code) -> Failure {
        Failure::Problem { problem: Problem::new(code, "x"), retry_after: Some(Duration::from_secs(2)) }
    }

    fn fail(retry: &mut Retry, now: Instant, failure: Failure) -> Result<(Duration, bool), Error> {
        match retry.on_failure(now, "s".into(), failure) {
            Next::Again { pause, elsewhere } => Ok((pause, elsewhere)),
            Next::GiveUp(error) => Err(error),
        }
    }

    #[test]
    fn other_servers_are_tried_at_once_and_then_after_a_growing_pause() {
        let now = Instant::now();
        let mut retry = Retry::new(now, PATIENCE, Safety::Once, 2);
        let down = || Failure::NotConnected("refused".into());
        assert_eq!(fail(&mut retry, now, down()).unwrap(), (Duration::ZERO, true));
        assert_eq!(fail(&mut retry, now, down()).unwrap(), (PAUSE_FIRST, true));
        assert_eq!(fail(&mut retry, now, down()).unwrap(), (Duration::ZERO, true));
        assert_eq!(fail(&mut retry, now, down()).unwrap(), (PAUSE_FIRST * 2, true));
        let late = now + PATIENCE.unreachable;
        fail(&mut retry, late, down()).unwrap();
        assert!(matches!(fail(&mut retry, late, down()), Err(Error::Unreachable { .. })));
    }

    #[test]
    fn without_a_leader_retry_after_counts_once_all_have_said_so() {
        let now = Instant::now();
        let mut retry = Retry::new(now, PATIENCE, Safety::Once, 2);
        assert_eq!(fail(&mut retry, now, problem(Code::NoLeader)).unwrap(), (Duration::ZERO, true));
        assert_eq!(fail(&mut retry, now, problem(Code::NoLeader)).unwrap(), (Duration::from_secs(2), true));
        assert!(!retry.is_uncertain());
        let late = now + PATIENCE.total;
        assert_eq!(fail(&mut retry, late, problem(Code::NoLeader)).unwrap_err().code(), Some(Code::NoLeader));
    }

    #[test]
    fn an_unknown_outcome_is_repeated_only_where_that_is_safe() {
        let now = Instant::now();
        for failure in [|| problem(Code::OutcomeUnknown), || Failure::Broken("reset".into())] {
            assert!(fail(&mut Retry::new(now, PATIENCE, Safety::Once, 2), now, failure()).is_err());
            let mut retry = Retry::new(now, PATIENCE, Safety::Repeatable, 2);
            assert!(fail(&mut retry, now, failure()).is_ok());
            assert!(retry.is_uncertain());
        }
    }

    #[test]
    fn a_rejection_is_final_and_overload_waits_at_the_same_server() {
        let now = Instant::now();
        let mut retry = Retry::new(now, PATIENCE, Safety::Repeatable, 3);
        assert_eq!(fail(&mut retry, now, problem(Code::Overloaded)).unwrap(), (Duration::from_secs(2), false));
        assert!(fail(&mut retry, now, problem(Code::InvalidJob)).is_err());
        assert!(fail(&mut retry, now, problem(Code::NotFound)).is_err());
    }
}
