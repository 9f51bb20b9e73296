//! A link: requests to one peer, many at a time over one connection, answered in any order.
//!
//! The connection is made when it is needed and again after it broke. What matters to the callers is
//! whether a request that failed may have arrived: [`LinkError`] says so.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use quorate_types::ReplicaId;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::dial::{Destination, dial};
use super::handshake::Purpose;
use super::wire::{self, Frames, Numbered, Request, Response};
use super::{Local, SILENCE_MAX, patience};

/// Requests that wait for one link.
const QUEUE_MAX: usize = 1024;
/// After a failed dial, requests fail at once for a while: this long at first, doubled each time.
const BACKOFF_MIN: Duration = Duration::from_millis(20);
const BACKOFF_MAX: Duration = Duration::from_millis(200);
/// A link that is not used says so as often: the peer closes connections of which it hears nothing.
const IDLE_PING: Duration = Duration::from_secs(15);
/// How often a link that waits for answers looks whether its peer is alive.
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinkError {
    /// It was not sent.
    NotSent,
    /// It may have arrived.
    Lost,
    /// The queue is full; it was not sent.
    Full,
}

type Reply = oneshot::Sender<Result<Response, LinkError>>;

#[derive(Clone, Debug)]
pub(crate) struct Link(mpsc::Sender<(Request, Reply)>);

impl Link {
    /// Queues a request, and gives the answer to wait for, for as long as the peer shows signs of life. Requests
    /// go out in the order of these calls, whenever their answers are waited for.
    pub(crate) fn request(&self, request: Request) -> impl Future<Output = Result<Response, LinkError>> + Send + use<> {
        let (reply, answer) = oneshot::channel();
        let queued = self.0.try_send((request, reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LinkError::Full,
            mpsc::error::TrySendError::Closed(_) => LinkError::NotSent,
        });
        async move {
            queued?;
            answer.await.unwrap_or(Err(LinkError::Lost))
        }
    }
}

type Key = (ReplicaId, Purpose);

/// All links of a replica, by destination.
#[derive(Clone, Debug)]
pub(crate) struct Links {
    local: Arc<Local>,
    links: Arc<Mutex<BTreeMap<Key, (String, Link)>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Links {
    pub(crate) fn new(local: Arc<Local>, tasks: TaskTracker, stop: CancellationToken) -> Self {
        Self { local, links: Arc::default(), tasks, stop }
    }

    /// The link to a destination. One whose peer has moved is replaced.
    pub(crate) fn to(&self, to: &Destination) -> Link {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((address, link)) = links.get(&(to.id, to.purpose))
            && *address == to.address
        {
            return link.clone();
        }
        let (sender, queue) = mpsc::channel(QUEUE_MAX);
        let task = LinkTask { local: self.local.clone(), to: to.clone(), queue, failures: 0, retry_at: None };
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(task.run()));
        let link = Link(sender);
        links.insert((to.id, to.purpose), (to.address.clone(), link.clone()));
        link
    }
}

struct LinkTask {
    local: Arc<Local>,
    to: Destination,
    queue: mpsc::Receiver<(Request, Reply)>,
    failures: u32,
    retry_at: Option<Instant>,
}

/// A connection with requests under way.
struct Session {
    frames: Frames,
    waiting: BTreeMap<u64, Reply>,
    next_id: u64,
    heard: Instant,
    sent: Instant,
    /// How long the peer may be silent, and the request that is the reason if it is longer than usual.
    patience: (Duration, Option<u64>),
}

impl LinkTask {
    async fn run(mut self) {
        while let Some((request, reply)) = self.queue.recv().await {
            if reply.is_closed() {
                continue;
            }
            if self.retry_at.is_some_and(|at| Instant::now() < at) {
                let _ = reply.send(Err(LinkError::NotSent));
                continue;
            }
            match dial(self.local.clone(), self.to.clone()).await {
                Ok(frames) => {
                    (self.failures, self.retry_at) = (0, None);
                    let (waiting, now) = (BTreeMap::new(), Instant::now());
                    let patience = (SILENCE_MAX, None);
                    let mut session = Session { frames, waiting, next_id: 0, heard: now, sent: now, patience };
                    session.run(&mut self.queue, request, reply).await;
                    session.fail();
                }
                Err(error) => {
                    self.back_off(&error);
                    let _ = reply.send(Err(LinkError::NotSent));
                }
            }
        }
    }

    fn back_off(&mut self, error: &dyn std::error::Error) {
        if self.failures == 0 {
            tracing::info!(peer = %self.to.id, purpose = ?self.to.purpose, %error, "the peer can't be reached");
        }
        let wait = BACKOFF_MAX.min(BACKOFF_MIN * 2_u32.saturating_pow(self.failures.min(8)));
        self.failures += 1;
        self.retry_at = Some(Instant::now() + wait);
    }
}

impl Session {
    /// Serves the queue until the connection breaks or the queue is closed.
    async fn run(&mut self, queue: &mut mpsc::Receiver<(Request, Reply)>, first: Request, reply: Reply) {
        if !reply.is_closed() && self.send(first, Some(reply)).await.is_break() {
            return;
        }
        let mut check = interval(CHECK_INTERVAL);
        loop {
            let next = tokio::select! {
                frame = self.frames.next() => self.on_frame(frame),
                request = queue.recv() => match request {
                    // Nobody waits for it any more: it must not arrive late.
                    Some((_, reply)) if reply.is_closed() => continue,
                    Some((request, reply)) => self.send(request, Some(reply)).await,
                    None => ControlFlow::Break(()),
                },
                _ = check.tick() => self.on_check().await,
            };
            if next.is_break() {
                return;
            }
        }
    }

    async fn send(&mut self, message: Request, reply: Option<Reply>) -> ControlFlow<()> {
        let id = self.next_id;
        self.next_id += 1;
        self.sent = Instant::now();
        if self.waiting.is_empty() {
            self.heard = self.sent;
        }
        if let Some(reply) = reply {
            self.waiting.insert(id, reply);
        }
        let Ok(frame) = wire::encode(&Numbered { id, message }) else { return ControlFlow::Break(()) };
        if patience(frame.len()) > self.patience.0 {
            self.patience = (patience(frame.len()), Some(id));
        }
        match tokio::time::timeout(self.patience.0, self.frames.send(frame)).await {
            Ok(Ok(())) => ControlFlow::Continue(()),
            Ok(Err(_)) | Err(_) => ControlFlow::Break(()),
        }
    }

    fn on_frame(&mut self, frame: Option<Result<bytes::BytesMut, std::io::Error>>) -> ControlFlow<()> {
        let Some(Ok(frame)) = frame else { return ControlFlow::Break(()) };
        let Ok(response) = wire::decode::<Numbered<Response>>(&frame) else { return ControlFlow::Break(()) };
        self.heard = Instant::now();
        if self.patience.1 == Some(response.id) {
            self.patience = (SILENCE_MAX, None);
        }
        if let Some(reply) = self.waiting.remove(&response.id) {
            // Whoever asked may have stopped waiting.
            let _ = reply.send(Ok(response.message));
        }
        ControlFlow::Continue(())
    }

    async fn on_check(&mut self) -> ControlFlow<()> {
        if self.waiting.is_empty() && self.sent.elapsed() < IDLE_PING {
            return ControlFlow::Continue(());
        }
        if !self.waiting.is_empty() && self.heard.elapsed() > self.patience.0 {
            return ControlFlow::Break(());
        }
        self.send(Request::Ping, None).await
    }

    fn fail(&mut self) {
        for reply in std::mem::take(&mut self.waiting).into_values() {
            let _ = reply.send(Err(LinkError::Lost));
        }
    }
}
