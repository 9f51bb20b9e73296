//! The connection to a replica: the upgrade, the hello, and the frames.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use quorate_types::limits::SESSION_FRAME_BYTES_MAX;
use quorate_types::session::{FromWorker, Hello, PATH, PROTOCOL, ToWorker};
use quorate_types::{Epoch, Span};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use crate::clock::Boottime;
use crate::host;

/// For reaching a server: one that is cut off must not use up the lease.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// For the answer to the upgrade, which needs no other replica.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(2);
/// For the welcome of a new registration: it is committed, maybe after an election.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(6);
/// For the welcome of a reconnect, which must leave time for other servers within the lease.
const RESUME_TIMEOUT: Duration = Duration::from_secs(2);
/// Messages from the replica that wait for the agent; beyond it the connection waits.
const INCOMING_MAX: usize = 256;
/// Messages to the replica. Heartbeats, a few batches of reports and answers to requests: a full queue
/// means that the connection is dead.
const OUTGOING_MAX: usize = 2048;
/// Messages encoded for one write.
const OUTGOING_AT_ONCE: usize = 64;
/// Of a refusal only so much is shown.
const REFUSAL_BYTES_MAX: usize = 4 << 10;

/// A connection on which the replica has welcomed us.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) server: String,
    pub(crate) incoming: mpsc::Receiver<ToWorker>,
    pub(crate) outgoing: mpsc::Sender<FromWorker>,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
}

impl Session {
    /// Says goodbye and waits until that and all before it is written.
    pub(crate) async fn close(mut self, patience: Duration) {
        let said = self.outgoing.send(FromWorker::Goodbye).await;
        if said.is_ok() {
            let _ = timeout(patience, &mut self.writer).await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.reader.abort();
        self.writer.abort();
    }
}

/// What the replica granted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Welcome {
    pub(crate) epoch: Epoch,
    pub(crate) lease_ttl: Span,
    pub(crate) heartbeat_every: Span,
    pub(crate) output_tail_bytes: u32,
    /// When the hello was sent.
    pub(crate) hello_sent: Boottime,
}

/// Why there is no session with a server.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    RefusedForNow(String),
    #[error("the registration is over")]
    Fenced,
    #[error("no answer in time")]
    Timeout(#[from] tokio::time::error::Elapsed),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("the server does not speak {PROTOCOL}: {0}")]
    Protocol(String),
}

/// `host:port` of `http://host:port/`.
pub(crate) fn host_of(server: &str) -> Option<&str> {
    let host = server.strip_prefix("http://")?.trim_end_matches('/');
    (!host.is_empty() && !host.contains('/')).then_some(host)
}

/// Connects to `server` and asks for a session.
pub(crate) async fn dial(
    server: &str,
    token: Option<&str>,
    hello: Arc<Hello>,
) -> Result<(Session, Welcome), DialError> {
    let host = host_of(server).ok_or_else(|| DialError::Protocol("not an http:// address".into()))?;
    let patience = if hello.resume.is_some() { RESUME_TIMEOUT } else { REGISTER_TIMEOUT };
    if let Some(connecting) = host::simulated(|simulation| simulation.connect(host)) {
        let connection = timeout(CONNECT_TIMEOUT, connecting).await??;
        return timeout(patience, greet(server, tokio::io::split(connection), &[], &hello)).await?;
    }
    let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(host)).await??;
    stream.set_nodelay(true)?;
    let (stream, early) = timeout(UPGRADE_TIMEOUT, upgrade(stream, host, token)).await??;
    timeout(patience, greet(server, stream.into_split(), &early, &hello)).await?
}

/// Turns the connection into one of our protocol; returns it and what already came on it.
async fn upgrade(stream: TcpStream, host: &str, token: Option<&str>) -> Result<(TcpStream, Bytes), DialError> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection.with_upgrades());
    let abort = connection.abort_handle();
    let mut request = Request::get(PATH)
        .header(header::HOST, host)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, PROTOCOL);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|e| DialError::Protocol(e.to_string()))?;
    let response = sender.send_request(request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let refusal = refusal(response).await;
        abort.abort();
        return Err(refusal);
    }
    let upgraded = hyper::upgrade::on(response).await?;
    let parts = upgraded.downcast::<TokioIo<TcpStream>>();
    let parts = parts.map_err(|_| DialError::Protocol("the connection is of another kind".into()))?;
    Ok((parts.io.into_inner(), parts.read_buf))
}

async fn refusal(response: Response<Incoming>) -> DialError {
    let status = response.status();
    let body = Limited::new(response.into_body(), REFUSAL_BYTES_MAX).collect().await;
    let body = body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned()).unwrap_or_default();
    let detail = format!("{status} {body}");
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => DialError::Refused(detail),
        _ => DialError::RefusedForNow(detail),
    }
}

async fn greet<R, W>(
    server: &str,
    (read, mut write): (R, W),
    early: &[u8],
    hello: &Hello,
) -> Result<(Session, Welcome), DialError>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let mut frames = LengthDelimitedCodec::builder().max_frame_length(SESSION_FRAME_BYTES_MAX).new_read(read);
    frames.read_buffer_mut().extend_from_slice(early);
    let mut bytes = BytesMut::new();
    encode(&FromWorker::Hello(hello.clone()), &mut bytes)?;
    let hello_sent = Boottime::now();
    write.write_all(&bytes).await?;
    let welcome = match next(&mut frames).await? {
        Some(ToWorker::Welcome { epoch, lease_ttl, heartbeat_every, output_tail_bytes, .. }) => {
            Welcome { epoch, lease_ttl, heartbeat_every, output_tail_bytes, hello_sent }
        }
        Some(ToWorker::Refused { detail, retry: false }) => return Err(DialError::Refused(detail)),
        Some(ToWorker::Refused { detail, retry: true }) => return Err(DialError::RefusedForNow(detail)),
        Some(ToWorker::Fenced) => return Err(DialError::Fenced),
        Some(other) => return Err(DialError::Protocol(format!("unexpected {other:?}"))),
        None => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    };
    let (incoming_sender, incoming) = mpsc::channel(INCOMING_MAX);
    let (outgoing, outgoing_receiver) = mpsc::channel(OUTGOING_MAX);
    let reader = tokio::spawn(read_frames(frames, incoming_sender));
    let writer = tokio::spawn(write_frames(write, outgoing_receiver));
    Ok((Session { server: server.to_owned(), incoming, outgoing, reader, writer }, welcome))
}

/// Ends with the connection, and so do the incoming messages.
async fn read_frames<R>(mut frames: FramedRead<R, LengthDelimitedCodec>, incoming: mpsc::Sender<ToWorker>)
where
    R: AsyncRead + Unpin,
{
    loop {
        match next(&mut frames).await {
            Ok(Some(message)) => {
                if incoming.send(message).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(%error, "the session broke");
                return;
            }
        }
    }
}

async fn write_frames(mut stream: impl AsyncWrite + Unpin, mut outgoing: mpsc::Receiver<FromWorker>) {
    let (mut batch, mut bytes) = (Vec::new(), BytesMut::new());
    while outgoing.recv_many(&mut batch, OUTGOING_AT_ONCE).await > 0 {
        let leaving = batch.contains(&FromWorker::Goodbye);
        for message in batch.drain(..) {
            if let Err(error) = encode(&message, &mut bytes) {
                tracing::error!(%error, "could not encode a message to the replica");
                return;
            }
        }
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
        bytes.clear();
        if leaving {
            let _ = stream.shutdown().await;
            return;
        }
    }
}

/// A length within a frame can't be larger than the frame.
const DECODING: Configuration<LittleEndian, Varint, Limit<SESSION_FRAME_BYTES_MAX>> =
    bincode::config::standard().with_limit::<SESSION_FRAME_BYTES_MAX>();

async fn next<R, T>(frames: &mut FramedRead<R, LengthDelimitedCodec>) -> io::Result<Option<T>>
where
    R: AsyncRead + Unpin,
    T: DeserializeOwned,
{
    let Some(frame) = frames.next().await.transpose()? else { return Ok(None) };
    let decoded = bincode::serde::decode_from_slice(&frame, DECODING);
    decoded.map(|(message, _)| Some(message)).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}

fn encode<T: Serialize>(message: &T, bytes: &mut BytesMut) -> io::Result<()> {
    let start = bytes.len();
    bytes.put_u32(0);
    let mut writer = (&mut *bytes).writer();
    let written = bincode::serde::encode_into_std_write(message, &mut writer, bincode::config::standard());
    let len = written.map_err(io::Error::other)?;
    let prefix = u32::try_from(len).ok().filter(|_| len <= SESSION_FRAME_BYTES_MAX);
    let prefix = prefix.ok_or_else(|| io::Error::other("frame too long"))?;
    bytes[start..start + 4].copy_from_slice(&prefix.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod fuzz_tests;
