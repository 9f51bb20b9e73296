//! The leader's way into the log: who writes an entry takes a place here and has the leader's time from here.

use std::sync::Arc;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::ClientWriteError;
use openraft::raft::ClientWriteResult;
use quorate_state::command::{Command, Entry, Proposal};
use quorate_state::outcome::Outcome;
use quorate_types::Timestamp;
use tokio::sync::{Semaphore, oneshot};

use super::batcher::encode;
use crate::clock::LeaderClock;
use crate::codec;
use crate::error::ProposeError;
use crate::leadership::Leadership;
use crate::machine::Published;
use crate::options::Limits;
use crate::type_config::{Callback, Commands, Raft, TypeConfig};

/// Who has one may write an entry, and keeps it until the entry was applied.
pub(crate) type Places = Arc<Semaphore>;

/// Writes entries as the leader. What is its own is fenced by its term.
#[derive(Clone, Debug)]
pub(crate) struct EntryWriter {
    pub(crate) raft: Raft,
    pub(crate) clock: Arc<LeaderClock>,
    pub(crate) published: Published,
    pub(crate) limits: Limits,
    pub(crate) places: Places,
}

impl EntryWriter {
    /// The leader's time, once its state is complete: what it is yet to apply may know a later one. None if
    /// this replica does not lead. Read before the entry has a place in the log; the state takes the largest
    /// it saw.
    pub(super) async fn time(&self) -> Option<Timestamp> {
        let mut metrics = self.raft.metrics();
        loop {
            {
                let metrics = metrics.borrow_and_update();
                let leadership = Leadership::of(&metrics);
                if leadership.local {
                    return Some(self.clock.now(leadership.term, self.published.version().state.now()));
                }
                if leadership.leader.is_none_or(|leader| leader.0 != metrics.id) {
                    return None;
                }
            }
            metrics.changed().await.ok()?;
        }
    }

    /// Writes commands as one entry, or as several if they are many, if this replica leads in `term`.
    pub(crate) async fn write(&self, term: u64, commands: Vec<Command>) -> Result<Vec<Outcome>, ProposeError> {
        let mut outcomes = Vec::with_capacity(commands.len());
        let mut commands = commands.into_iter().peekable();
        while commands.peek().is_some() {
            let (proposals, bytes) = self.take_entry(&mut commands)?;
            match self.write_entry(term, proposals, bytes).await {
                Ok(more) => outcomes.extend(more),
                // The earlier part stands in the log.
                Err(_) if !outcomes.is_empty() => return Err(ProposeError::OutcomeUnknown),
                Err(error) => return Err(error),
            }
        }
        Ok(outcomes)
    }

    fn take_entry(
        &self,
        commands: &mut impl Iterator<Item = Command>,
    ) -> Result<(Vec<Proposal>, Vec<Vec<u8>>), ProposeError> {
        let (mut proposals, mut encoded, mut bytes) = (Vec::new(), Vec::new(), 0);
        while proposals.len() < self.limits.entry_commands_max && bytes < self.limits.entry_bytes_soft {
            let Some(command) = commands.next() else { break };
            let proposal = Proposal { origin: None, command };
            let one = codec::to_bytes(&proposal).map_err(|_| ProposeError::TooLarge)?;
            if one.len() > self.limits.command_bytes_max {
                return Err(ProposeError::TooLarge);
            }
            bytes += one.len();
            encoded.push(one);
            proposals.push(proposal);
        }
        Ok((proposals, encoded))
    }

    async fn write_entry(
        &self,
        term: u64,
        proposals: Vec<Proposal>,
        encoded: Vec<Vec<u8>>,
    ) -> Result<Vec<Outcome>, ProposeError> {
        let place = self.places.clone().acquire_owned().await.map_err(|_| ProposeError::ShuttingDown)?;
        let time = self.time().await.ok_or(ProposeError::NotLeader)?;
        let bytes = encode(time, encoded.iter().map(|one| &one[..])).map_err(|_| ProposeError::TooLarge)?;
        let commands = Commands::new(Entry { time, proposals }, bytes.freeze());
        let (reply, result) = oneshot::channel();
        let respond = Callback::new(move |result: ClientWriteResult<TypeConfig>| {
            drop(place);
            drop(reply.send(result));
        });
        let written = self.raft.write(commands).with_leader(term).responder(respond).await;
        written.map_err(|_| ProposeError::ShuttingDown)?;
        match result.await {
            Ok(Ok(response)) => Ok(response.data),
            Ok(Err(ClientWriteError::ForwardToLeader(_))) => Err(ProposeError::NotLeader),
            Ok(Err(_)) | Err(_) => Err(ProposeError::OutcomeUnknown),
        }
    }
}
