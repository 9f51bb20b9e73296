//! Takes the heartbeats of this replica's workers to the leader, many with one call.
//!
//! A heartbeat is acknowledged only by a leader that holds its quorum's lease; see `leader::liveness`.

use std::sync::Arc;

use quorate_consensus::Handle;
use quorate_types::{Epoch, Name};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::calls::{Answer, Call, decode, encode};
use crate::leader::Leader;
use crate::limits::{HEARTBEAT_CALL_TIMEOUT, HEARTBEAT_CALLS_EVERY, HEARTBEATS_PER_CALL, HEARTBEATS_QUEUED};
use crate::telemetry;

/// A heartbeat and where its answer goes.
#[derive(Debug)]
struct Waiting {
    worker: Name,
    epoch: Epoch,
    noted: oneshot::Sender<bool>,
}

#[derive(Clone, Debug)]
pub(crate) struct Relay {
    queue: mpsc::Sender<Waiting>,
}

impl Relay {
    /// Starts the relay's task.
    pub(crate) fn start(handle: Handle, leader: Arc<Leader>, shutdown: CancellationToken) -> Self {
        let (queue, waiting) = mpsc::channel(HEARTBEATS_QUEUED);
        tokio::spawn(run(handle, leader, waiting, shutdown));
        Self { queue }
    }

    /// Whether the leader has noted this heartbeat; `false` also when it could not be asked.
    pub(crate) async fn heartbeat(&self, worker: Name, epoch: Epoch) -> bool {
        let (noted, answer) = oneshot::channel();
        // A full queue drops the heartbeat; the worker sends another one soon.
        if self.queue.try_send(Waiting { worker, epoch, noted }).is_err() {
            return false;
        }
        answer.await.unwrap_or(false)
    }
}

async fn run(handle: Handle, leader: Arc<Leader>, mut waiting: mpsc::Receiver<Waiting>, shutdown: CancellationToken) {
    let mut batch = Vec::new();
    let mut pace = interval(HEARTBEAT_CALLS_EVERY);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next = async {
            // One that comes alone goes at once; of a thousand workers' several gather for each call.
            pace.tick().await;
            waiting.recv_many(&mut batch, HEARTBEATS_PER_CALL).await
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            taken = next => if taken == 0 { return },
        }
        let heartbeats: Vec<(Name, Epoch)> = batch.iter().map(|one| (one.worker.clone(), one.epoch)).collect();
        let noted = ask(&handle, &leader, heartbeats).await;
        let acknowledged = noted.iter().filter(|noted| **noted).count();
        telemetry::heartbeats_relayed(acknowledged, batch.len() - acknowledged);
        for (one, noted) in batch.drain(..).zip(noted.into_iter().chain(std::iter::repeat(false))) {
            // The session may have ended meanwhile.
            let _ = one.noted.send(noted);
        }
    }
}

async fn ask(handle: &Handle, local: &Leader, heartbeats: Vec<(Name, Epoch)>) -> Vec<bool> {
    let leader = handle.leadership().borrow().leader;
    let Some(leader) = leader else { return Vec::new() };
    if leader == handle.id() {
        return local.on_heartbeats(&heartbeats);
    }
    let call = handle.call(leader, encode(&Call::Heartbeats(heartbeats)));
    let Ok(Ok(answer)) = tokio::time::timeout(HEARTBEAT_CALL_TIMEOUT, call).await else { return Vec::new() };
    match decode(&answer) {
        Ok(Answer::Heartbeats(noted)) => noted,
        Ok(Answer::Cluster(_) | Answer::Refused) | Err(_) => Vec::new(),
    }
}
