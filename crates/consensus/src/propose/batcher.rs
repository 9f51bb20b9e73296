//! The leader's batcher: log entries of many commands, several entries in flight.
//!
//! Nothing lingers: a single proposal on an idle leader goes out at once. While as many entries as may
//! be are on their way to the disks, the next one fills.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::{BufMut, BytesMut};
use futures_util::future;
use openraft::errors::ClientWriteError;
use openraft::raft::ClientWriteResult;
use quorate_state::command::{Command, Entry, Proposal};
use quorate_state::outcome::Outcome;
use quorate_types::{LogIndex, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use super::backlog::{Backlog, is_new_job};
use super::{Encoded, EntryWriter};
use crate::codec;
use crate::host;
use crate::options::Version;
use crate::transport::wire::Answer;
use crate::type_config::{Callback, Commands, TypeConfig};

/// The way into the batcher.
#[derive(Clone, Debug)]
pub(crate) struct Batcher {
    queue: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    backlog: Backlog,
    admission: Admission,
}

/// Whether new jobs are taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admission {
    closed: Arc<AtomicBool>,
}

impl Admission {
    pub(crate) fn set(&self, open: bool) {
        self.closed.store(!open, Ordering::Relaxed);
    }

    pub(crate) fn refuses(&self, command: &Command) -> bool {
        is_new_job(command) && self.is_closed()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Queued {
    proposal: Proposal,
    bytes: bytes::Bytes,
    reply: oneshot::Sender<Answer>,
    since: Instant,
    _room: OwnedSemaphorePermit,
}

pub(crate) struct BatcherTask {
    queue: mpsc::Receiver<Queued>,
    backlog: Backlog,
    writer: EntryWriter,
    planner: Arc<OnceLock<Arc<dyn Planner>>>,
}

/// What the leader itself adds to entries. Called on raft's threads: it must be quick.
pub trait Planner: fmt::Debug + Send + Sync {
    /// What to add to an entry that is about to be logged, from the newest version.
    fn plan(&self, version: &Version, entry: &Entry) -> Vec<Command>;
    /// What came of it.
    fn done(&self, outcomes: &[Outcome]);
}

impl Batcher {
    pub(crate) fn new(writer: EntryWriter, planner: Arc<OnceLock<Arc<dyn Planner>>>) -> (Self, BatcherTask) {
        let limits = writer.limits;
        let (sender, queue) = mpsc::channel(limits.queued_proposals);
        let room = Arc::new(Semaphore::new(limits.queued_proposal_bytes));
        let backlog = Backlog::new(&limits, limits.entries_in_flight);
        let task = BatcherTask { queue, backlog: backlog.clone(), writer, planner };
        (Self { queue: sender, room, backlog, admission: Admission::default() }, task)
    }

    /// Queues a proposal, unless the queue is full, and waits for the answer.
    pub(crate) async fn submit(&self, encoded: Encoded) -> Answer {
        wait(self.enqueue(encoded)).await
    }

    /// The same for many, in order.
    pub(crate) async fn submit_all(&self, proposals: Vec<Proposal>) -> Vec<Answer> {
        let enqueue = |proposal| self.enqueue(Encoded::new(proposal).map_err(|_| Answer::Overloaded)?);
        let answers: Vec<_> = proposals.into_iter().map(enqueue).collect();
        future::join_all(answers.into_iter().map(wait)).await
    }

    pub(crate) fn admission(&self) -> &Admission {
        &self.admission
    }

    /// Whether a job would be refused now.
    pub(super) fn refuses_jobs(&self) -> bool {
        self.admission.is_closed() || self.backlog.refuses_jobs(&self.queue, &self.room)
    }

    fn enqueue(&self, encoded: Encoded) -> Result<oneshot::Receiver<Answer>, Answer> {
        if self.admission.refuses(&encoded.proposal.command)
            || self.backlog.refuses(&encoded.proposal.command, &self.queue, &self.room)
        {
            return Err(Answer::Overloaded);
        }
        let bytes = u32::try_from(encoded.bytes.len()).map_err(|_| Answer::Overloaded)?;
        let room = self.room.clone().try_acquire_many_owned(bytes).map_err(|_| Answer::Overloaded)?;
        let (reply, answer) = oneshot::channel();
        let Encoded { proposal, bytes } = encoded;
        let queued = Queued { proposal, bytes, reply, since: Instant::now(), _room: room };
        match self.queue.try_send(queued) {
            Ok(()) => Ok(answer),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Answer::Overloaded),
            // This replica is on its way out; another one will lead.
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Answer::NotLeader),
        }
    }
}

async fn wait(queued: Result<oneshot::Receiver<Answer>, Answer>) -> Answer {
    match queued {
        Ok(answer) => answer.await.unwrap_or(Answer::Unknown),
        Err(refused) => refused,
    }
}

impl BatcherTask {
    pub(crate) async fn run(mut self) {
        loop {
            let Some(first) = self.queue.recv().await else { return };
            // Not before there is something to write: the leader's own writes need a place too.
            let Ok(place) = self.writer.places.clone().acquire_owned().await else { return };
            host::hand_off().await;
            self.backlog.note(first.since);
            // Whoever asked has stopped waiting.
            if first.reply.is_closed() {
                continue;
            }
            let batch = self.collect(first);
            self.write(batch, place).await;
        }
    }

    /// Takes what is queued, up to the bounds.
    fn collect(&mut self, first: Queued) -> Vec<Queued> {
        let mut bytes = first.bytes.len();
        let mut batch = vec![first];
        let limits = self.writer.limits;
        while batch.len() < limits.entry_commands_max && bytes < limits.entry_bytes_soft {
            match self.queue.try_recv() {
                Ok(next) if next.reply.is_closed() => {}
                Ok(next) => {
                    bytes += next.bytes.len();
                    batch.push(next);
                }
                Err(_) => break,
            }
        }
        batch
    }

    async fn write(&self, batch: Vec<Queued>, place: OwnedSemaphorePermit) {
        let Some(time) = self.writer.time().await else {
            return batch.into_iter().for_each(|queued| drop(queued.reply.send(Answer::NotLeader)));
        };
        let mut encoded: Vec<_> = batch.iter().map(|queued| queued.bytes.clone()).collect();
        let (proposals, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|q| (q.proposal, q.reply)).unzip();
        let mut entry = Entry { time, proposals };
        for added in self.plan(&entry) {
            // What can't be encoded is left to the leader's next round.
            let Ok(Encoded { proposal, bytes }) = Encoded::new(Proposal { origin: None, command: added }) else {
                break;
            };
            entry.proposals.push(proposal);
            encoded.push(bytes);
        }
        let Ok(bytes) = encode(time, encoded.iter().map(|one| &one[..])) else { return };
        let commands = Commands::new(entry, bytes.freeze());
        let planner = self.planner.get().cloned();
        let respond = Callback::new(move |result: ClientWriteResult<TypeConfig>| {
            drop(place);
            if let (Ok(response), Some(planner)) = (&result, planner)
                && let Some(added @ [_, ..]) = response.data.get(replies.len()..)
            {
                planner.done(added);
            }
            answer(result, replies);
        });
        // If raft has stopped, the callback is dropped, and with it the replies: their outcome is unknown.
        let _ = self.writer.raft.client_write_ff(commands, Some(respond)).await;
    }

    /// What the leader adds. Asked only while no other entry is under way: most likely the entry will then find what
    /// the newest version shows. Where it does not, apply notices.
    fn plan(&self, entry: &Entry) -> Vec<Command> {
        let alone = self.writer.places.available_permits() + 1 == self.writer.limits.entries_in_flight;
        match self.planner.get() {
            Some(planner) if alone => planner.plan(&self.writer.published.version(), entry),
            Some(_) | None => Vec::new(),
        }
    }
}

/// The encoding of an [`Entry`], put together from those of its proposals.
pub(super) fn encode<'a>(
    time: Timestamp,
    proposals: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
) -> Result<BytesMut, codec::CodecError> {
    let head = codec::to_bytes(&(time, proposals.len() as u64))?;
    let mut bytes = BytesMut::with_capacity(head.len() + proposals.clone().map(<[u8]>::len).sum::<usize>());
    bytes.put_slice(&head);
    proposals.for_each(|proposal| bytes.put_slice(proposal));
    Ok(bytes)
}

fn answer(result: ClientWriteResult<TypeConfig>, replies: Vec<oneshot::Sender<Answer>>) {
    // Whoever asked may have stopped waiting: a failed send is fine.
    match result {
        Ok(response) => {
            let index = LogIndex(response.log_id.index);
            for (reply, outcome) in replies.into_iter().zip(response.data) {
                let _ = reply.send(Answer::Committed { index, outcome });
            }
        }
        Err(error) => {
            let answer = refusal(&error);
            for reply in replies {
                let _ = reply.send(answer.clone());
            }
        }
    }
}

fn refusal(error: &ClientWriteError<TypeConfig>) -> Answer {
    match error {
        ClientWriteError::ForwardToLeader(_) => Answer::NotLeader,
        ClientWriteError::LogEntryDiscarded(_)
        | ClientWriteError::ChangeMembershipError(_)
        | ClientWriteError::PreconditionFailed(_) => Answer::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_encoded_as_its_parts_are() {
        let proposal = |term| Proposal { origin: None, command: Command::NameCluster { id: term } };
        let entry = Entry { time: Timestamp(1_700_000_000_000), proposals: (0..300).map(proposal).collect() };
        let parts: Vec<_> = entry.proposals.iter().map(|p| codec::to_bytes(p).unwrap()).collect();
        let bytes = encode(entry.time, parts.iter().map(|part| &part[..])).unwrap();
        assert_eq!(bytes[..], codec::to_bytes(&entry).unwrap());
        assert_eq!(codec::from_bytes::<Entry>(&bytes), Ok(entry));
    }
}
