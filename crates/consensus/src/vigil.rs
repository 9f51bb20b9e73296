//! Notices the death of the leader's process long before its silence says so.
//!
//! When a process dies, its host closes its connections and refuses new ones. A follower that sees both, one
//! after the other, gives up the leader's lease on its own vote and asks for an election at once. It asks
//! with pre-votes: replicas that have not seen the same still honour the lease and refuse, so one replica's
//! broken route deposes nobody.
//!
//! Nothing rests on the evidence being true (a firewall may refuse connections to a leader that is alive).
//! Raft's elections are safe at any time; reads are confirmed by a quorum; and a leader that was deposed
//! early acknowledges workers' heartbeats for at most as long as one that was deposed late, which the
//! workers' margin covers. A host that vanishes refuses nothing: that is left to the election timeout.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::TransferLeaderRequest;
use quorate_types::ReplicaId;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::leadership::Route;
use crate::transport::Local;
use crate::transport::dial::{Destination, dial};
use crate::transport::handshake::{HandshakeError, Purpose};
use crate::transport::wire::{self, Frames, Numbered, Request};
use crate::type_config::Raft;

/// After so long without a word, and once more until the answer: a connection that broke unnoticed is made anew.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Before the leader is dialled again: this short right after a connection ended, doubled each time.
const DIAL_PAUSE_MIN: Duration = Duration::from_millis(1);
const DIAL_PAUSE_MAX: Duration = Duration::from_millis(200);
/// The replicas ask one after the other, so that their votes do not split: a vote takes a sync and a round
/// trip.
const TURN: Duration = Duration::from_millis(30);
/// Between two pre-votes of one replica: the others may see the end a little later.
const ASK_PAUSE: Duration = Duration::from_millis(10);
/// Then the election timeout takes over.
const ASKS_MAX: usize = 20;

pub(crate) struct Vigil {
    pub(crate) local: Arc<Local>,
    pub(crate) raft: Raft,
    pub(crate) routes: watch::Receiver<Route>,
    /// Whether a connection to the leader stands.
    pub(crate) watching: Arc<AtomicBool>,
}

impl Vigil {
    pub(crate) async fn run(self) {
        let mut routes = self.routes.clone();
        loop {
            let leader = routes.borrow_and_update().leader.clone().filter(|(id, _)| *id != self.local.id);
            let dead = async {
                match leader {
                    Some((id, address)) => {
                        self.until_dead(Destination { id, address, purpose: Purpose::Vigil }).await;
                        id
                    }
                    None => std::future::pending().await,
                }
            };
            let dead = tokio::select! {
                biased;
                changed = routes.changed() => if changed.is_ok() { continue } else { return },
                dead = dead => dead,
            };
            tracing::warn!(replica = %self.local.id, leader = %dead, "the leader's process is gone");
            tokio::select! {
                biased;
                _ = routes.changed() => {}
                () = self.succeed(dead) => {}
            }
        }
    }

    /// Returns when a connection to the leader has ended and its host refuses another one.
    async fn until_dead(&self, leader: Destination) {
        let (mut ended, mut pause) = (false, DIAL_PAUSE_MAX);
        loop {
            match dial(self.local.clone(), leader.clone()).await {
                Ok(frames) => {
                    let begun = Instant::now();
                    let watching = Watching::begin(&self.watching);
                    hold(frames).await;
                    drop(watching);
                    ended = true;
                    if begun.elapsed() > DIAL_PAUSE_MAX {
                        pause = DIAL_PAUSE_MIN;
                    }
                }
                Err(HandshakeError::Io(error)) if ended && error.kind() == io::ErrorKind::ConnectionRefused => return,
                // A dying process may still take a connection, to break it at once.
                Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause = DIAL_PAUSE_MAX.min(pause * 2);
        }
    }

    /// Asks for votes until there is another vote or nobody gives any.
    async fn succeed(&self, dead: ReplicaId) {
        let (vote, turn) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            let mut voters = metrics.membership_config.voter_ids().filter(|id| *id != dead.0);
            (metrics.vote, voters.position(|id| id == self.local.id.0))
        };
        if !vote.committed || vote.leader_id.voted_for != dead.0 {
            return;
        }
        let turn = turn.and_then(|turn| u32::try_from(turn).ok()).map(|turn| Instant::now() + TURN * turn);
        // A handover to the dead: all that is left of it is that the lease on this replica's vote ends, for as long
        // as that vote stands.
        let handover = TransferLeaderRequest::new(vote, dead.0, None);
        if self.raft.handle_transfer_leader(handover).await.is_err() {
            return;
        }
        for _ in 0..ASKS_MAX {
            if self.raft.metrics().borrow_watched().vote != vote {
                return;
            }
            let asks = turn.is_some_and(|turn| turn <= Instant::now());
            if asks && self.raft.trigger().elect(true).await.is_err() {
                return;
            }
            tokio::time::sleep(ASK_PAUSE).await;
        }
    }
}

/// Says that a connection stands, for as long as it lives.
struct Watching<'a>(&'a AtomicBool);

impl<'a> Watching<'a> {
    fn begin(watching: &'a AtomicBool) -> Self {
        watching.store(true, Ordering::Relaxed);
        Self(watching)
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Returns when the connection has ended, or a ping has no answer.
async fn hold(mut frames: Frames) {
    let Ok(ping) = wire::encode(&Numbered { id: 0, message: Request::Ping }) else { return };
    let mut pinged = false;
    loop {
        match timeout(PING_INTERVAL, frames.next()).await {
            Ok(Some(Ok(_))) => pinged = false,
            Err(_) if !pinged && frames.send(ping.clone()).await.is_ok() => pinged = true,
            Ok(_) | Err(_) => return,
        }
    }
}
