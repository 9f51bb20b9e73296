//! Carries proposals from this replica to the leader, many in a frame.

use std::sync::Arc;

use bytes::Bytes;
use quorate_state::command::Proposal;
use quorate_types::ReplicaId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::task::TaskTracker;

use super::Encoded;
use crate::options::Limits;
use crate::transport::dial::Destination;
use crate::transport::handshake::Purpose;
use crate::transport::link::{Link, LinkError, Links};
use crate::transport::wire::{Answer, Request, Response};

/// The way into the forwarder.
#[derive(Clone, Debug)]
pub(crate) struct Forwarder {
    queue: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
}

#[derive(Debug)]
struct Queued {
    leader: ReplicaId,
    address: String,
    proposal: Proposal,
    bytes: Bytes,
    reply: oneshot::Sender<Answer>,
    _room: OwnedSemaphorePermit,
}

pub(crate) struct ForwarderTask {
    queue: mpsc::Receiver<Queued>,
    links: Links,
    limits: Limits,
    in_flight: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Forwarder {
    pub(crate) fn new(links: Links, limits: Limits, tasks: TaskTracker) -> (Self, ForwarderTask) {
        let (sender, queue) = mpsc::channel(limits.queued_proposals);
        let room = Arc::new(Semaphore::new(limits.queued_proposal_bytes));
        let in_flight = Arc::new(Semaphore::new(limits.entries_in_flight));
        (Self { queue: sender, room }, ForwarderTask { queue, links, limits, in_flight, tasks })
    }

    pub(super) async fn submit(&self, leader: ReplicaId, address: String, encoded: Encoded) -> Answer {
        let Ok(bytes) = u32::try_from(encoded.bytes.len()) else { return Answer::Overloaded };
        let Ok(room) = self.room.clone().try_acquire_many_owned(bytes) else { return Answer::Overloaded };
        let (reply, answer) = oneshot::channel();
        let Encoded { proposal, bytes } = encoded;
        let queued = Queued { leader, address, proposal, bytes, reply, _room: room };
        match self.queue.try_send(queued) {
            Ok(()) => answer.await.unwrap_or(Answer::Unknown),
            Err(mpsc::error::TrySendError::Full(_)) => Answer::Overloaded,
            Err(mpsc::error::TrySendError::Closed(_)) => Answer::NotLeader,
        }
    }
}

impl ForwarderTask {
    pub(crate) async fn run(mut self) {
        let mut held_back = None;
        loop {
            let Ok(place) = self.in_flight.clone().acquire_owned().await else { return };
            let first = match held_back.take() {
                Some(first) => first,
                None => match self.queue.recv().await {
                    Some(first) => first,
                    None => return,
                },
            };
            let to = Destination { id: first.leader, address: first.address.clone(), purpose: Purpose::Propose };
            let link = self.links.to(&to);
            let (batch, other) = self.collect(first);
            held_back = other;
            self.tasks.spawn(async move {
                send(link, batch).await;
                drop(place);
            });
        }
    }

    /// Takes what is queued for the same leader, up to the bounds, and what ended the row.
    fn collect(&mut self, first: Queued) -> (Vec<Queued>, Option<Queued>) {
        let mut bytes = first.bytes.len();
        let mut batch = vec![first];
        while batch.len() < self.limits.entry_commands_max && bytes < self.limits.entry_bytes_soft {
            match self.queue.try_recv() {
                Ok(next) if next.leader == batch[0].leader && next.address == batch[0].address => {
                    bytes += next.bytes.len();
                    batch.push(next);
                }
                Ok(other) => return (batch, Some(other)),
                Err(_) => break,
            }
        }
        (batch, None)
    }
}

async fn send(link: Link, batch: Vec<Queued>) {
    let (proposals, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|q| (q.proposal, q.reply)).unzip();
    let one_for_all = match link.request(Request::Propose(proposals)).await {
        Ok(Response::Propose(answers)) if answers.len() == replies.len() => {
            for (reply, answer) in replies.into_iter().zip(answers) {
                // Whoever asked may have stopped waiting.
                let _ = reply.send(answer);
            }
            return;
        }
        // It was not even queued there.
        Ok(Response::Unable) | Err(LinkError::NotSent) => Answer::NotLeader,
        Err(LinkError::Full) => Answer::Overloaded,
        Ok(_) | Err(LinkError::Lost) => Answer::Unknown,
    };
    for reply in replies {
        let _ = reply.send(one_for_all.clone());
    }
}
