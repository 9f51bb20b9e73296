//! One worker's connection, from its hello to its end.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesOrdered, FuturesUnordered};
use futures_util::{Sink, Stream, StreamExt};
use quorate_consensus::{Handle, ProposeError};
use quorate_state::command::{Command, Registration};
use quorate_state::outcome::{Outcome, Rejection};
use quorate_types::session::{FromWorker, Hello, Report, ToWorker};
use quorate_types::validate::check_labels;
use quorate_types::{Epoch, LogIndex, Name, Span};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::desk::{Desk, Fenced};
use super::output::ReadRequest;
use super::registry::{Registry, Seat};
use super::relay::Relay;
use super::wire::{self, WireError};
use crate::limits::{HELLO_TIMEOUT, OUTPUT_READS_MAX, READ_WAIT, REPORT_FRAMES_IN_FLIGHT};

/// Between tries of a proposal that must not be given up.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What sessions need of their replica.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) handle: Handle,
    pub(crate) registry: Arc<Registry>,
    pub(crate) relay: Relay,
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
        End::Wire(_) | End::NoHello | End::Superseded | End::Goodbye => None,
    };
    if let Some(message) = farewell {
        // Best effort: a worker that does not hear it notices the closed connection.
        let _ = timeout(HELLO_TIMEOUT, wire::send(&mut sink, &[message])).await;
    }
    info!(replica = %host.handle.id(), %end, "worker session ended");
}

enum Never {}

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
    let mut open = Open {
        host,
        seat: &seat,
        desk: Desk::new(epoch),
        reports: FuturesOrdered::new(),
        heartbeats: FuturesUnordered::new(),
        reading: HashMap::new(),
        next_read: 0,
    };
    let result = async {
        let version = host.handle.wait_applied(index, READ_WAIT).await.map_err(|e| End::Refused(e.to_string()))?;
        info!(replica = %host.handle.id(), %worker, %epoch, index = %version.index, "worker connected");
        wire::send(sink, &[open.welcome()]).await?;
        wire::send(sink, &open.desk.whole(&version).map_err(|Fenced| End::Fenced)?).await?;
        loop {
            let messages = open.next(stream, &mut asked).await?;
            wire::send(sink, &messages).await?;
        }
    }
    .await;
    host.registry.leave(&seat);
    result
}

/// Registers a worker, or lets it go on with its registration. Gives the index at which that holds.
async fn admit(host: &Host, hello: Hello) -> Result<(Epoch, LogIndex), End> {
    if let Err(detail) = check_labels(&hello.labels) {
        return Err(End::Unacceptable(detail));
    }
    let (command, seen) = match hello.resume {
        Some(resume) => {
            let replica = host.handle.id();
            (Command::Attach { worker: hello.name, epoch: resume.epoch, replica }, resume.seen)
        }
        None => {
            let registration = Registration {
                name: hello.name,
                labels: hello.labels,
                capacity: hello.capacity,
                instance: hello.instance,
                replaces: hello.replaces,
                replica: host.handle.id(),
            };
            (Command::Register(Box::new(registration)), LogIndex(0))
        }
    };
    let resumed = hello.resume.map(|resume| resume.epoch);
    let committed = host.handle.propose(command).await.map_err(|e| End::Refused(e.to_string()))?;
    let epoch = match (committed.outcome, resumed) {
        (Outcome::Registered { epoch }, _) => epoch,
        (Outcome::Done, Some(epoch)) => epoch,
        (Outcome::Rejected(Rejection::StaleEpoch | Rejection::NoSuchWorker(_)), _) => return Err(End::Fenced),
        (Outcome::Rejected(rejection), _) => return Err(End::Refused(rejection.to_string())),
        (other, _) => return Err(End::Refused(format!("unexpected outcome {other:?}"))),
    };
    Ok((epoch, committed.index.max(seen)))
}

/// The reports of one frame are committed, or were found stale.
struct Committed {
    seq: u64,
    outcome: Result<LogIndex, Fenced>,
}

type Pending<T> = std::pin::Pin<Box<dyn Future<Output = T> + Send>>;

/// An admitted session.
struct Open<'a> {
    host: &'a Host,
    seat: &'a Arc<Seat>,
    desk: Desk,
    reports: FuturesOrdered<Pending<Committed>>,
    /// Acknowledged or not, by sequence.
    heartbeats: FuturesUnordered<Pending<(u64, bool)>>,
    reading: HashMap<u64, tokio::sync::oneshot::Sender<Option<quorate_types::session::Piece>>>,
    next_read: u64,
}

impl Open<'_> {
    fn welcome(&self) -> ToWorker {
        let lease_ttl = self.host.lease_ttl;
        ToWorker::Welcome {
            epoch: self.seat.epoch,
            lease_ttl,
            heartbeat_every: Span((lease_ttl.0 / 8).clamp(100, 1_000)),
            output_tail_bytes: self.host.output_tail_bytes,
            replica: self.host.handle.id(),
        }
    }

    /// Waits for the next thing to happen; gives what the worker is told of it.
    async fn next(
        &mut self,
        stream: &mut (impl Stream<Item = std::io::Result<BytesMut>> + Unpin),
        asked: &mut mpsc::Receiver<ReadRequest>,
    ) -> Result<Vec<ToWorker>, End> {
        let may_report = self.reports.len() < REPORT_FRAMES_IN_FLIGHT;
        tokio::select! {
            () = self.host.shutdown.cancelled() => Err(End::Shutdown),
            Some(committed) = self.reports.next() => self.on_committed(committed).await,
            Some((seq, noted)) = self.heartbeats.next() => {
                Ok(if noted { vec![ToWorker::HeartbeatAck { seq }] } else { Vec::new() })
            }
            () = self.seat.wake.notified() => self.on_wake(),
            Some(request) = asked.recv() => Ok(self.on_read(request)),
            // When too many reports wait, the worker is not listened to: it waits as well.
            message = wire::receive(stream), if may_report => self.on_message(message?),
        }
    }

    fn on_message(&mut self, message: FromWorker) -> Result<Vec<ToWorker>, End> {
        match message {
            FromWorker::Hello(_) => return Err(End::Refused("a second hello".into())),
            FromWorker::Heartbeat { seq } => {
                let (relay, worker, epoch) = (self.host.relay.clone(), self.seat.worker.clone(), self.seat.epoch);
                self.heartbeats.push(Box::pin(async move { (seq, relay.heartbeat(worker, epoch).await) }));
            }
            FromWorker::Reports { seq, reports } => {
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
        Ok(Vec::new())
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

    fn on_wake(&mut self) -> Result<Vec<ToWorker>, End> {
        let inbox = self.seat.take();
        if inbox.superseded {
            return Err(End::Superseded);
        }
        self.desk.changes(&self.host.handle.version(), &inbox).map_err(|Fenced| End::Fenced)
    }

    /// The worker must not hear of an index before it has heard all that happened up to it.
    async fn on_committed(&mut self, committed: Committed) -> Result<Vec<ToWorker>, End> {
        let index = committed.outcome.map_err(|Fenced| End::Fenced)?;
        let applied = self.host.handle.wait_applied(index, READ_WAIT).await;
        applied.map_err(|error| End::Refused(error.to_string()))?;
        let mut messages = self.on_wake()?;
        messages.push(ToWorker::ReportsCommitted { seq: committed.seq, index });
        Ok(messages)
    }

    fn on_read(&mut self, request: ReadRequest) -> Vec<ToWorker> {
        self.reading.retain(|_, answer| !answer.is_closed());
        if self.reading.len() >= OUTPUT_READS_MAX {
            return Vec::new();
        }
        self.next_read += 1;
        self.reading.insert(self.next_read, request.answer);
        let (key, stream, read) = (request.key, request.stream, request.read);
        vec![ToWorker::ReadOutput { request: self.next_read, key, stream, read }]
    }
}

/// Proposes reports until their outcome is known. A repetition is harmless: an attempt ends once.
async fn commit(handle: Handle, worker: Name, epoch: Epoch, seq: u64, reports: Vec<Report>) -> Committed {
    let command = Command::Report { worker, epoch, reports };
    loop {
        match handle.propose(command.clone()).await {
            Ok(committed) => {
                let stale = matches!(committed.outcome, Outcome::Rejected(_));
                return Committed { seq, outcome: if stale { Err(Fenced) } else { Ok(committed.index) } };
            }
            Err(ProposeError::ShuttingDown | ProposeError::TooLarge) => std::future::pending().await,
            Err(_) => tokio::time::sleep(RETRY_PAUSE).await,
        }
    }
}
