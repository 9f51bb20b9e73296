//! One worker's connection, from its hello to its end.

use std::collections::HashMap;
use std::pin::{Pin, pin};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use futures_util::{Sink, Stream, StreamExt};
use quorate_consensus::host::hand_off;
use quorate_consensus::{ArchiveError, Handle, Version};
use quorate_state::command::{Command, Registration};
use quorate_state::outcome::Outcome;
use quorate_types::session::{FromWorker, Hello, ToWorker};
use quorate_types::validate::{check_host, check_labels, check_taints};
use quorate_types::{Epoch, LogIndex, Span};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::desk::{Desk, Fenced};
use super::inputs::{Cache, add_archived};
use super::output::ReadRequest;
use super::registry::{Registry, Seat};
use super::relay::Relay;
use super::reports::{Committed, check_extension, commit, is_within_bounds};
use super::wire::{self, WireError};
use crate::limits::{
    HEARTBEATS_PER_WORKER_MAX, HELLO_TIMEOUT, OUTPUT_READS_MAX, READ_WAIT, REPORT_FRAMES_MAX, SEND_TIMEOUT,
};

/// What sessions need of their replica.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) handle: Handle,
    pub(crate) registry: Arc<Registry>,
    pub(crate) relay: Relay,
    /// What archived jobs left; one session reads at a time.
    pub(crate) reading: Arc<Mutex<Cache>>,
    pub(crate) lease_ttl: Span,
    pub(crate) output_tail_bytes: u32,
    pub(crate) shutdown: CancellationToken,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("no hello came")]
    NoHello,
    #[error("the worker is silent")]
    Silent,
    #[error("a breach of the protocol: {0}")]
    Breach(&'static str),
    #[error("refused: {0}")]
    Refused(String),
    /// Asking again would not help.
    #[error("refused for good: {0}")]
    Unacceptable(String),
    #[error("the registration is over")]
    Fenced,
    #[error("the worker connected again")]
    Superseded,
    #[error("the worker said goodbye")]
    Goodbye,
    #[error("the replica shuts down")]
    Shutdown,
}

/// Serves one connection until it ends.
pub(crate) async fn serve<T: AsyncRead + AsyncWrite + Unpin>(host: Host, io: T) {
    let (mut sink, mut stream) = wire::frames(io);
    let end = match session(&host, &mut sink, &mut stream).await {
        Ok(never) => match never {},
        Err(end) => end,
    };
    let farewell = match &end {
        End::Fenced => Some(ToWorker::Fenced),
        End::Refused(detail) => Some(ToWorker::Refused { detail: detail.clone(), retry: true }),
        End::Unacceptable(detail) => Some(ToWorker::Refused { detail: detail.clone(), retry: false }),
        End::Shutdown => Some(ToWorker::Refused { detail: "the replica shuts down".into(), retry: true }),
        End::Wire(_) | End::NoHello | End::Silent | End::Breach(_) | End::Superseded | End::Goodbye => None,
    };
    if let Some(message) = farewell {
        // Best effort: a worker that does not hear it notices the closed connection.
        let _ = timeout(HELLO_TIMEOUT, send(&mut sink, [message])).await;
    }
    info!(replica = %host.handle.id(), %end, "worker session ended");
}

enum Never {}

/// What the worker is told, each made when the one before it has been sent.
type Messages = Box<dyn Iterator<Item = ToWorker> + Send>;

async fn session(
    host: &Host,
    sink: &mut (impl Sink<Bytes, Error = std::io::Error> + Unpin),
    stream: &mut (impl Stream<Item = std::io::Result<BytesMut>> + Unpin),
) -> Result<Never, End> {
    let hello = match timeout(HELLO_TIMEOUT, wire::receive(stream)).await {
        Ok(Ok(FromWorker::Hello(hello))) => hello,
        Ok(Ok(_)) | Err(_) => return Err(End::NoHello),
        Ok(Err(error)) => return Err(error.into()),
    };
    let worker = hello.name.clone();
    let (epoch, index) = admit(host, hello).await?;
    let (reads, mut asked) = mpsc::channel(OUTPUT_READS_MAX);
    // The seat comes before the version: what is applied after it waits in the inbox.
    let seat = host.registry.enter(worker.clone(), epoch, reads);
    let result = async {
        let version = host.handle.wait_applied(index, READ_WAIT).await.map_err(|e| End::Refused(e.to_string()))?;
        let lease_ttl = version.state.worker_of(epoch).ok_or(End::Fenced)?.lease_ttl;
        // The worker counts its hello as an acknowledged heartbeat: so it must be one.
        if !host.relay.heartbeat(worker.clone(), epoch).await {
            return Err(End::Refused("no leader with a quorum has noted the worker".into()));
        }
        let mut open = Open::new(host, &seat, lease_ttl);
        info!(replica = %host.handle.id(), %worker, %epoch, index = %version.index, "worker connected");
        send(sink, [open.welcome()]).await?;
        let whole = open.desk.whole(&version).map_err(|Fenced| End::Fenced)?;
        open.tell(sink, stream, whole).await?;
        open.attach(&version);
        loop {
            let messages = open.next(stream, &mut asked).await?;
            hand_off().await;
            open.tell(sink, stream, messages).await?;
        }
    }
    .await;
    host.registry.leave(&seat);
    result
}

/// A worker that takes nothing would hold the session's task for ever.
async fn send(
    sink: &mut (impl Sink<Bytes, Error = std::io::Error> + Unpin),
    messages: impl IntoIterator<Item = ToWorker>,
) -> Result<(), End> {
    for message in messages {
        timeout(SEND_TIMEOUT, wire::feed(sink, &message)).await.map_err(|_| End::Silent)??;
    }
    timeout(SEND_TIMEOUT, wire::flush(sink)).await.map_err(|_| End::Silent)??;
    Ok(())
}

/// Registers a worker, or lets it go on with its registration. Gives the index at which that can be seen.
async fn admit(host: &Host, hello: Hello) -> Result<(Epoch, LogIndex), End> {
    let checked = check_labels(&hello.labels).and_then(|()| check_taints(&hello.taints));
    if let Err(detail) = checked.and_then(|()| check_host(&hello.host)) {
        return Err(End::Unacceptable(detail));
    }
    if let Some(resume) = hello.resume {
        return Ok((resume.epoch, resume.seen));
    }
    let registration = Registration {
        name: hello.name,
        labels: hello.labels,
        taints: hello.taints,
        host: hello.host,
        capacity: hello.capacity,
        instance: hello.instance,
        replaces: hello.replaces,
        replica: host.handle.id(),
        lease_ttl: host.lease_ttl,
    };
    let command = Command::Register(Box::new(registration));
    let committed = host.handle.propose(command).await.map_err(|e| End::Refused(e.to_string()))?;
    match committed.outcome {
        Outcome::Registered { epoch } => Ok((epoch, committed.index)),
        Outcome::Rejected(rejection) => Err(End::Refused(rejection.to_string())),
        other => Err(End::Refused(format!("unexpected outcome {other:?}"))),
    }
}

type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An admitted session.
struct Open<'a> {
    host: &'a Host,
    seat: &'a Arc<Seat>,
    desk: Desk,
    lease_ttl: Span,
    /// When the worker was last heard of.
    heard: Instant,
    reports: FuturesOrdered<Pending<Committed>>,
    /// Acknowledged or not, by sequence.
    heartbeats: FuturesUnordered<Pending<(u64, bool)>>,
    reading: HashMap<u64, tokio::sync::oneshot::Sender<Option<quorate_types::session::Piece>>>,
    next_read: u64,
}

impl<'a> Open<'a> {
    fn new(host: &'a Host, seat: &'a Arc<Seat>, lease_ttl: Span) -> Self {
        Self {
            host,
            seat,
            desk: Desk::new(seat.epoch),
            lease_ttl,
            heard: Instant::now(),
            reports: FuturesOrdered::new(),
            heartbeats: FuturesUnordered::new(),
            reading: HashMap::new(),
            next_read: 0,
        }
    }

    fn welcome(&self) -> ToWorker {
        ToWorker::Welcome {
            epoch: self.seat.epoch,
            lease_ttl: self.lease_ttl,
            heartbeat_every: Span((self.lease_ttl.0 / 5).clamp(100, 2_000)),
            output_tail_bytes: self.host.output_tail_bytes,
            replica: self.host.handle.id(),
        }
    }

    /// Lets the cluster know where the worker is connected now, if that has changed.
    fn attach(&self, version: &Version) {
        let (handle, replica) = (self.host.handle.clone(), self.host.handle.id());
        let (worker, epoch) = (self.seat.worker.clone(), self.seat.epoch);
        if version.state.worker_of(epoch).is_some_and(|known| known.replica != replica) {
            tokio::spawn(async move {
                if let Err(error) = handle.propose(Command::Attach { worker: worker.clone(), epoch, replica }).await {
                    warn!(%worker, %epoch, %error, "where the worker is connected is not committed");
                }
            });
        }
    }

    /// Sends what the desk decided, with what archived jobs left. Reading that may take a while, during which the
    /// worker is answered as ever.
    async fn tell(
        &mut self,
        sink: &mut (impl Sink<Bytes, Error = std::io::Error> + Unpin),
        stream: &mut (impl Stream<Item = std::io::Result<BytesMut>> + Unpin),
        messages: impl IntoIterator<Item = ToWorker>,
    ) -> Result<(), End> {
        let host = self.host;
        for mut message in messages {
            {
                let reading = pin!(add_archived(&host.handle, &host.reading, &mut message));
                self.serve_until(reading, sink, stream).await?;
            }
            timeout(SEND_TIMEOUT, wire::feed(sink, &message)).await.map_err(|_| End::Silent)??;
        }
        send(sink, []).await
    }

    /// Takes what the worker says, and acknowledges its heartbeats.
    async fn serve_until(
        &mut self,
        mut reading: Pin<&mut impl Future<Output = Result<(), ArchiveError>>>,
        sink: &mut (impl Sink<Bytes, Error = std::io::Error> + Unpin),
        stream: &mut (impl Stream<Item = std::io::Result<BytesMut>> + Unpin),
    ) -> Result<(), End> {
        loop {
            let answers = tokio::select! {
                biased;
                read = &mut reading => {
                    return read.map_err(|error| End::Refused(format!("the archive can't be read: {error}")));
                }
                Some((seq, noted)) = self.heartbeats.next() => self.on_heartbeat(seq, noted),
                message = wire::receive(stream) => self.on_message(message?)?,
            };
            send(sink, answers).await?;
        }
    }

    fn on_heartbeat(&self, seq: u64, noted: bool) -> Messages {
        Box::new(noted.then_some(ToWorker::HeartbeatAck { seq }).into_iter())
    }

    /// Waits for the next thing to happen; gives what the worker is told of it.
    async fn next(
        &mut self,
        stream: &mut (impl Stream<Item = std::io::Result<BytesMut>> + Unpin),
        asked: &mut mpsc::Receiver<ReadRequest>,
    ) -> Result<Messages, End> {
        let silent_at = self.heard + self.lease_ttl.as_duration();
        tokio::select! {
            () = self.host.shutdown.cancelled() => Err(End::Shutdown),
            Some(committed) = self.reports.next() => self.on_committed(committed),
            Some((seq, noted)) = self.heartbeats.next() => Ok(self.on_heartbeat(seq, noted)),
            () = self.seat.wake.notified() => self.on_wake(),
            Some(request) = asked.recv() => Ok(Box::new(self.on_read(request).into_iter())),
            message = wire::receive(stream) => self.on_message(message?),
            // Its lease is over, if it is there at all.
            () = sleep_until(silent_at) => Err(End::Silent),
        }
    }

    fn on_message(&mut self, message: FromWorker) -> Result<Messages, End> {
        self.heard = Instant::now();
        match message {
            FromWorker::Hello(_) => return Err(End::Breach("a second hello")),
            FromWorker::Heartbeat { .. } if self.heartbeats.len() >= HEARTBEATS_PER_WORKER_MAX => {}
            FromWorker::Heartbeat { seq } => {
                let (relay, worker, epoch) = (self.host.relay.clone(), self.seat.worker.clone(), self.seat.epoch);
                self.heartbeats.push(Box::pin(async move { (seq, relay.heartbeat(worker, epoch).await) }));
            }
            FromWorker::Reports { .. } if self.reports.len() >= REPORT_FRAMES_MAX => {
                return Err(End::Breach("too many reports before their commit"));
            }
            FromWorker::Reports { reports, .. } if !reports.iter().all(is_within_bounds) => {
                return Err(End::Breach("a report beyond its bounds"));
            }
            FromWorker::Reports { seq, mut reports } => {
                reports.iter_mut().for_each(check_extension);
                let (handle, worker, epoch) = (self.host.handle.clone(), self.seat.worker.clone(), self.seat.epoch);
                self.reports.push_back(Box::pin(commit(handle, worker, epoch, seq, reports)));
            }
            FromWorker::Output(chunk) => {
                if let Some(answer) = self.reading.remove(&chunk.request) {
                    // The reader may have gone.
                    let _ = answer.send(chunk.piece);
                }
            }
            FromWorker::Goodbye => {
                self.say_goodbye();
                return Err(End::Goodbye);
            }
        }
        Ok(Box::new(std::iter::empty()))
    }

    /// The worker ended everything before it left.
    fn say_goodbye(&self) {
        let (handle, worker, epoch) = (self.host.handle.clone(), self.seat.worker.clone(), self.seat.epoch);
        tokio::spawn(async move {
            let ended = handle.propose(Command::End { worker: worker.clone(), epoch }).await;
            if let Err(error) = ended {
                warn!(%worker, %epoch, %error, "the worker's end is not committed; its lease will run out");
            }
        });
    }

    fn on_wake(&mut self) -> Result<Messages, End> {
        let inbox = self.seat.take();
        if inbox.superseded {
            return Err(End::Superseded);
        }
        let changes = self.desk.changes(&self.host.handle.version(), &inbox).map_err(|Fenced| End::Fenced)?;
        Ok(Box::new(changes))
    }

    /// The worker must not hear of an index before it has heard all that happened up to it.
    fn on_committed(&mut self, committed: Committed) -> Result<Messages, End> {
        let index = committed.outcome.map_err(|Fenced| End::Fenced)?;
        let committed = ToWorker::ReportsCommitted { seq: committed.seq, index };
        Ok(Box::new(self.on_wake()?.chain([committed])))
    }

    fn on_read(&mut self, request: ReadRequest) -> Option<ToWorker> {
        self.reading.retain(|_, answer| !answer.is_closed());
        if self.reading.len() >= OUTPUT_READS_MAX {
            return None;
        }
        self.next_read += 1;
        self.reading.insert(self.next_read, request.answer);
        let (key, stream, read) = (request.key, request.stream, request.read);
        Some(ToWorker::ReadOutput { request: self.next_read, key, stream, read })
    }
}
