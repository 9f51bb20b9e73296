//! AppendEntries, pipelined: several requests are under way on one connection, and answers come in order.
//!
//! openraft opens a stream of requests, and drops it when a conflict, a timeout or a new leader makes it
//! pointless. The connection outlives the streams: each has a session number, and answers to an older
//! session are skipped.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, Stream, StreamExt, stream};
use openraft::errors::{NetworkError, RPCError, Unreachable};
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::dial::{Destination, dial};
use super::handshake::HandshakeError;
use super::wire::{self, Append, Appended, Frames};
use super::{Local, SILENCE_MAX, patience};
use crate::type_config::{Raft, TypeConfig};

type Rpc = RPCError<TypeConfig>;
type Dialing = oneshot::Receiver<Result<Frames, HandshakeError>>;

const DIAL_PAUSE_FIRST: Duration = Duration::from_millis(20);
const DIAL_PAUSE_LONGEST: Duration = Duration::from_millis(200);

/// The leader's end of an append or heartbeat connection.
#[derive(Debug)]
pub(super) struct Appender {
    local: Arc<Local>,
    to: Destination,
    connection: Option<Connection>,
    /// A dial under way. It goes on when openraft gives up the stream that wanted it.
    dialing: Option<Dialing>,
    /// Dials in a row that failed, and when the next one may be.
    failures: u32,
    next_dial: Option<Instant>,
    session: u64,
}

#[derive(Debug)]
struct Connection {
    frames: Frames,
    /// Since when the peer owes an answer, if it does.
    waiting_since: Option<Instant>,
    /// How long it may owe it: the largest frame under way decides.
    patience: Duration,
}

impl Appender {
    pub(super) fn new(local: Arc<Local>, to: Destination) -> Self {
        Self { local, to, connection: None, dialing: None, failures: 0, next_dial: None, session: 0 }
    }

    /// Makes sure that there is a connection that is worth using.
    async fn connect(&mut self) -> Result<(), HandshakeError> {
        if self.connection.as_ref().is_some_and(Connection::is_stuck) {
            self.connection = None;
        }
        if self.connection.is_some() {
            return Ok(());
        }
        // openraft's own backoff works within a stream of requests; without a connection there is none, and
        // it asks again at once.
        if let Some(next_dial) = self.next_dial {
            tokio::time::sleep_until(next_dial).await;
        }
        let (local, to) = (&self.local, &self.to);
        let dialing = self.dialing.get_or_insert_with(|| start_dialing(local.clone(), to.clone()));
        let dialed = dialing.await;
        self.dialing = None;
        let frames = dialed.unwrap_or(Err(HandshakeError::Timeout));
        self.failures = if frames.is_ok() { 0 } else { self.failures.saturating_add(1) };
        self.next_dial = frames.is_err().then(|| Instant::now() + pause(self.failures));
        let frames = frames?;
        self.connection = Some(Connection { frames, waiting_since: None, patience: SILENCE_MAX });
        Ok(())
    }

    /// Begins a session with a stream of requests.
    pub(super) async fn begin<S>(&mut self, requests: S) -> Result<Session<'_, S>, Rpc> {
        self.connect().await.map_err(|e| RPCError::Unreachable(Unreachable::new(&e)))?;
        self.session += 1;
        Ok(Session { appender: self, requests, unsent: true, under_way: 0, over: false })
    }
}

/// 20 ms, doubling to 200: a replica that comes back is found soon, and one that stays away costs nothing.
fn pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(4);
    (DIAL_PAUSE_FIRST * (1 << doublings)).min(DIAL_PAUSE_LONGEST)
}

fn start_dialing(local: Arc<Local>, to: Destination) -> Dialing {
    let (done, dialing) = oneshot::channel();
    tokio::spawn(async move {
        // Nobody may be waiting any more; then the connection is closed again.
        let _ = done.send(dial(local, to).await);
    });
    dialing
}

impl Connection {
    /// The peer has owed an answer for too long: it is dead, or the way to it is.
    fn is_stuck(&self) -> bool {
        self.waiting_since.is_some_and(|since| since.elapsed() > self.patience)
    }

    fn silence_ends(&self) -> Instant {
        self.waiting_since.unwrap_or_else(Instant::now) + self.patience
    }

    async fn send(&mut self, append: &Append) -> io::Result<()> {
        let frame = wire::encode(append)?;
        self.waiting_since.get_or_insert_with(Instant::now);
        self.patience = self.patience.max(patience(frame.len()));
        let sent = tokio::time::timeout(self.patience, self.frames.send(frame)).await;
        sent.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }
}

/// One stream of requests and its answers.
pub(super) struct Session<'a, S> {
    appender: &'a mut Appender,
    requests: S,
    /// There may be more requests.
    unsent: bool,
    /// Requests of this session that are not answered yet.
    under_way: usize,
    over: bool,
}

enum Step {
    Request(Option<AppendEntriesRequest<TypeConfig>>),
    Frame(Option<Result<bytes::BytesMut, io::Error>>),
    Silence,
}

impl<S> Session<'_, S>
where
    S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
{
    /// The next answer; none at the end.
    pub(super) async fn next(&mut self) -> Option<Result<StreamAppendResult<TypeConfig>, Rpc>> {
        if self.over {
            return None;
        }
        match self.drive().await {
            Ok(Some(result)) => {
                self.over = result.is_err();
                Some(Ok(result))
            }
            Ok(None) => {
                self.over = true;
                None
            }
            Err(error) => {
                self.over = true;
                self.appender.connection = None;
                Some(Err(RPCError::Network(NetworkError::new(&error))))
            }
        }
    }

    /// Sends and receives until an answer of this session is there.
    async fn drive(&mut self) -> io::Result<Option<StreamAppendResult<TypeConfig>>> {
        let session = self.appender.session;
        let pipeline = self.appender.local.limits.append_pipeline;
        let Some(connection) = &mut self.appender.connection else { return Err(io::ErrorKind::NotConnected.into()) };
        while self.unsent || self.under_way > 0 {
            let may_send = self.unsent && self.under_way < pipeline;
            let silence_ends = connection.silence_ends();
            let step = tokio::select! {
                biased;
                // Also while nothing is under way: so a peer that went away is noticed at once.
                frame = connection.frames.next() => Step::Frame(frame),
                request = self.requests.next(), if may_send => Step::Request(request),
                () = tokio::time::sleep_until(silence_ends), if self.under_way > 0 => Step::Silence,
            };
            match step {
                Step::Request(None) => self.unsent = false,
                Step::Request(Some(request)) => {
                    self.under_way += 1;
                    let append = Append { session, request };
                    connection.send(&append).await?;
                }
                Step::Frame(Some(frame)) => {
                    let answer: Appended = wire::decode(&frame?)?;
                    connection.waiting_since = Some(Instant::now());
                    if answer.session == session {
                        self.under_way = self.under_way.saturating_sub(1);
                        // After an error the peer answers no more of this session.
                        if self.under_way == 0 || answer.result.is_err() {
                            (connection.waiting_since, connection.patience) = (None, SILENCE_MAX);
                        }
                        return Ok(Some(answer.result));
                    }
                }
                Step::Frame(None) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Step::Silence => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        Ok(None)
    }
}

/// How long the follower's end waits for the next frame: an idle leader's connections stay open, and
/// one that is gone without a word is cleared away.
const IDLE_MAX: Duration = Duration::from_secs(60);

type Answers = stream::BoxStream<'static, StreamAppendResult<TypeConfig>>;

/// The follower's end: feeds each session into raft, in order, and writes the answers.
pub(super) async fn serve(raft: Raft, frames: Frames, pipeline: usize) -> io::Result<()> {
    let (mut sink, mut source) = frames.split();
    let (sessions, mut answers) = mpsc::channel::<(u64, Answers)>(pipeline);
    let read = async move {
        let mut current = None::<(u64, mpsc::Sender<AppendEntriesRequest<TypeConfig>>)>;
        while let Ok(Some(frame)) = tokio::time::timeout(IDLE_MAX, source.next()).await {
            let Append { session, request } = wire::decode(&frame?)?;
            let requests = match &current {
                Some((number, requests)) if *number == session => requests,
                Some(_) | None => {
                    let (requests, stream) = new_session(&raft, pipeline);
                    if sessions.send((session, stream)).await.is_err() {
                        break;
                    }
                    &current.insert((session, requests)).1
                }
            };
            // A session that ended with an error takes no more requests; its leader knows.
            let _ = requests.send(request).await;
        }
        Ok::<_, io::Error>(())
    };
    let write = async move {
        while let Some((session, mut stream)) = answers.recv().await {
            while let Some(result) = stream.next().await {
                sink.send(wire::encode(&Appended { session, result })?).await?;
            }
        }
        Ok::<_, io::Error>(())
    };
    tokio::try_join!(read, write).map(|_| ())
}

fn new_session(raft: &Raft, pipeline: usize) -> (mpsc::Sender<AppendEntriesRequest<TypeConfig>>, Answers) {
    let (sender, mut receiver) = mpsc::channel(pipeline);
    let requests = stream::poll_fn(move |cx| receiver.poll_recv(cx));
    // An error means that raft has stopped: the stream ends, and soon the connection.
    let answers = raft.stream_append(requests).take_while(|result| std::future::ready(result.is_ok()));
    (sender, answers.filter_map(|result| std::future::ready(result.ok())).boxed())
}
