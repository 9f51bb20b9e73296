//! Carries proposals from this replica to the leader, many in a frame.
//!
//! A leader that is gone without a word keeps nothing occupied: once the route leads elsewhere, what was on
//! its way there is given up, and what was queued for it is not sent.

use std::sync::Arc;

use bytes::Bytes;
use quorate_state::command::Proposal;
use quorate_types::ReplicaId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::Encoded;
use super::backlog::Backlog;
use crate::host;
use crate::leadership::Route;
use crate::options::Limits;
use crate::transport::dial::Destination;
use crate::transport::handshake::Purpose;
use crate::transport::link::{LinkError, Links};
use crate::transport::wire::{Answer, Request, Response};

/// The way into the forwarder.
#[derive(Clone, Debug)]
pub(crate) struct Forwarder {
    queue: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    backlog: Backlog,
}

#[derive(Debug)]
struct Queued {
    leader: ReplicaId,
    address: String,
    proposal: Proposal,
    bytes: Bytes,
    reply: oneshot::Sender<Answer>,
    since: Instant,
    _room: OwnedSemaphorePermit,
}

pub(crate) struct ForwarderTask {
    queue: mpsc::Receiver<Queued>,
    backlog: Backlog,
    links: Links,
    routes: watch::Receiver<Route>,
    limits: Limits,
    in_flight: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Forwarder {
    pub(crate) fn new(
        links: Links,
        routes: watch::Receiver<Route>,
        limits: Limits,
        tasks: TaskTracker,
    ) -> (Self, ForwarderTask) {
        let (sender, queue) = mpsc::channel(limits.queued_proposals);
        let room = Arc::new(Semaphore::new(limits.queued_proposal_bytes));
        let in_flight = Arc::new(Semaphore::new(limits.forwards_in_flight));
        let backlog = Backlog::new(&limits, limits.forwards_in_flight);
        let task = ForwarderTask { queue, backlog: backlog.clone(), links, routes, limits, in_flight, tasks };
        (Self { queue: sender, room, backlog }, task)
    }

    /// Whether a job would be refused now, as far as this replica knows.
    pub(super) fn refuses_jobs(&self) -> bool {
        self.backlog.refuses_jobs(&self.queue, &self.room)
    }

    pub(super) async fn submit(&self, leader: ReplicaId, address: String, encoded: Encoded) -> Answer {
        if self.backlog.refuses(&encoded.proposal.command, &self.queue, &self.room) {
            return Answer::Overloaded;
        }
        let Ok(bytes) = u32::try_from(encoded.bytes.len()) else { return Answer::Overloaded };
        let Ok(room) = self.room.clone().try_acquire_many_owned(bytes) else { return Answer::Overloaded };
        let (reply, answer) = oneshot::channel();
        let Encoded { proposal, bytes } = encoded;
        let queued = Queued { leader, address, proposal, bytes, reply, since: Instant::now(), _room: room };
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
            host::hand_off().await;
            // Whoever asked has stopped waiting.
            if first.reply.is_closed() {
                continue;
            }
            let (leader, address, since) = (first.leader, first.address.clone(), first.since);
            let (batch, other) = self.collect(first);
            held_back = other;
            let route = Route { leader: Some((leader, address.clone())) };
            if *self.routes.borrow() != route {
                answer_all(batch.into_iter().map(|queued| queued.reply), &Answer::NotLeader);
                continue;
            }
            // Not before: what waited for a leader that is gone says nothing about this one.
            self.backlog.note(since);
            let link = self.links.to(&Destination { id: leader, address, purpose: Purpose::Propose });
            let (mut routes, backlog) = (self.routes.clone(), self.backlog.clone());
            let (proposals, replies): (Vec<_>, Vec<_>) = batch.into_iter().map(|q| (q.proposal, q.reply)).unzip();
            // On its way before the next batch: what one client sends in a row arrives in a row.
            let response = link.request(Request::Propose(proposals));
            self.tasks.spawn(async move {
                let rerouted = async move { drop(routes.wait_for(|now| *now != route).await) };
                let response = tokio::select! {
                    response = response => response,
                    () = rerouted => Err(LinkError::Lost),
                };
                answer_batch(response, replies, &backlog);
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
                Ok(next) if next.reply.is_closed() => {}
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

fn answer_batch(response: Result<Response, LinkError>, replies: Vec<oneshot::Sender<Answer>>, backlog: &Backlog) {
    let one_for_all = match response {
        Ok(Response::Propose(answers)) if answers.len() == replies.len() => {
            if answers.iter().any(|answer| matches!(answer, Answer::Overloaded)) {
                backlog.note_refusal();
            }
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
    answer_all(replies, &one_for_all);
}

fn answer_all(replies: impl IntoIterator<Item = oneshot::Sender<Answer>>, answer: &Answer) {
    for reply in replies {
        let _ = reply.send(answer.clone());
    }
}
