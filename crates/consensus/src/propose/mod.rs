//! Proposals: from any replica into the leader's log, and the outcome back.
//!
//! `batcher` makes entries of many commands on the leader, `entries` writes them, and those that are the leader's own;
//! `forward` carries commands there from other replicas; `origin` numbers them, so that one that is sent again is
//! applied once.

mod backlog;
mod batcher;
mod entries;
mod forward;
mod origin;

use std::time::Duration;

use bytes::Bytes;
use quorate_state::command::{Command, Proposal};
use quorate_state::outcome::Outcome;
use quorate_types::{LogIndex, ReplicaId};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

pub(crate) use self::batcher::Batcher;
pub use self::batcher::Planner;
pub(crate) use self::entries::EntryWriter;
pub(crate) use self::forward::Forwarder;
pub(crate) use self::origin::Origins;
use crate::codec;
use crate::error::ProposeError;
use crate::leadership::Route;
use crate::transport::allowance;
use crate::transport::wire::Answer;

/// A proposal that was committed and applied by the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The entry that answered; its replica may still have to apply it.
    pub index: LogIndex,
    pub outcome: Outcome,
}

/// Between attempts, unless the leader changes before.
const PAUSE: Duration = Duration::from_millis(25);

/// Proposes until there is an outcome, or the time is up.
#[derive(Debug)]
pub(crate) struct Proposer {
    pub(crate) id: ReplicaId,
    pub(crate) batcher: Batcher,
    pub(crate) forwarder: Forwarder,
    pub(crate) origins: Origins,
    pub(crate) routes: watch::Receiver<Route>,
    pub(crate) wait: Duration,
    pub(crate) command_bytes_max: usize,
    pub(crate) stop: CancellationToken,
}

/// A proposal and its encoding, from which it is made again for another attempt.
pub(crate) struct Encoded {
    pub(crate) proposal: Proposal,
    pub(crate) bytes: Bytes,
}

impl Encoded {
    pub(crate) fn new(proposal: Proposal) -> Result<Self, codec::CodecError> {
        let bytes = codec::to_bytes(&proposal)?.into();
        Ok(Self { proposal, bytes })
    }

    fn again(bytes: &Bytes) -> Result<Self, codec::CodecError> {
        Ok(Self { proposal: codec::from_bytes(bytes)?, bytes: bytes.clone() })
    }
}

impl Proposer {
    pub(crate) async fn propose(&self, command: Command) -> Result<Committed, ProposeError> {
        if self.batcher.admission().refuses(&command) {
            return Err(ProposeError::Overloaded);
        }
        let origin = self.origins.begin();
        let proposal = Proposal { origin: Some(origin.origin()), command };
        let first = Encoded::new(proposal).map_err(|_| ProposeError::TooLarge)?;
        if first.bytes.len() > self.command_bytes_max {
            return Err(ProposeError::TooLarge);
        }
        self.repeat(first).await
    }

    /// Whether a job would be refused now, as far as this replica knows.
    pub(crate) fn refuses_jobs(&self) -> bool {
        let closed = self.batcher.admission().is_closed();
        closed
            || match &self.routes.borrow().leader {
                Some((leader, _)) if *leader == self.id => self.batcher.refuses_jobs(),
                Some(_) => self.forwarder.refuses_jobs(),
                None => false,
            }
    }

    async fn repeat(&self, first: Encoded) -> Result<Committed, ProposeError> {
        let bytes = first.bytes.clone();
        let (mut next, mut routes) = (Some(first), self.routes.clone());
        let (deadline, mut perhaps_written) = (Instant::now() + self.wait + allowance(bytes.len()), false);
        loop {
            let route = routes.borrow_and_update().clone();
            let mut changed = routes.clone();
            let encoded = match next.take() {
                Some(first) => first,
                None => Encoded::again(&bytes).map_err(|_| ProposeError::TooLarge)?,
            };
            // A leader that went silent is not waited for once somebody else leads; what it has of the
            // proposal is made harmless by the proposal's origin.
            let answer = tokio::select! {
                biased;
                answer = timeout_at(deadline, self.attempt(&route, encoded)) => answer.unwrap_or(Answer::Unknown),
                Ok(()) = changed.changed() => Answer::Unknown,
            };
            match answer {
                Answer::Committed { index, outcome } => return Ok(Committed { index, outcome }),
                Answer::Overloaded if !perhaps_written => return Err(ProposeError::Overloaded),
                Answer::Overloaded | Answer::NotLeader => {}
                Answer::Unknown => perhaps_written = true,
            }
            if Instant::now() >= deadline || self.stop.is_cancelled() {
                return Err(self.given_up(perhaps_written));
            }
            tokio::select! {
                Ok(()) = routes.changed() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    fn given_up(&self, perhaps_written: bool) -> ProposeError {
        match (perhaps_written, self.stop.is_cancelled()) {
            (true, _) => ProposeError::OutcomeUnknown,
            (false, true) => ProposeError::ShuttingDown,
            (false, false) => ProposeError::NoLeader,
        }
    }

    async fn attempt(&self, route: &Route, encoded: Encoded) -> Answer {
        match &route.leader {
            Some((leader, _)) if *leader == self.id => self.batcher.submit(encoded).await,
            Some((leader, address)) => self.forwarder.submit(*leader, address.clone(), encoded).await,
            None => Answer::NotLeader,
        }
    }
}
