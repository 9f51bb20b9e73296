//! A replica that does only what a test tells it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use quorate_types::job::{Backoff, Driver, TaskSpec};
use quorate_types::session::*;
use quorate_types::{AttemptNumber, Epoch, Fence, JobId, LogIndex, Name, ReplicaId, Resources, Span, TaskIndex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

/// Far beyond what anything here takes, so that a slow machine fails no test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Replica {
    pub(crate) url: String,
    sessions: mpsc::UnboundedReceiver<Session>,
    farewells: mpsc::UnboundedReceiver<String>,
}

pub(crate) struct Session {
    pub(crate) hello: Hello,
    /// Whether heartbeats are acknowledged as they come.
    pub(crate) acknowledges: Arc<AtomicBool>,
    to_worker: mpsc::UnboundedSender<ToWorker>,
    from_worker: mpsc::UnboundedReceiver<FromWorker>,
    reports: VecDeque<Report>,
    pub(crate) last_seq: u64,
}

impl Replica {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (session_sender, sessions) = mpsc::unbounded_channel();
        let (farewell_sender, farewells) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, session_sender.clone(), farewell_sender.clone()));
            }
        });
        Self { url, sessions, farewells }
    }

    /// The next session that a worker asks for; not welcomed yet.
    pub(crate) async fn session(&mut self) -> Session {
        timeout(PATIENCE, self.sessions.recv()).await.expect("no session").unwrap()
    }

    /// The next session, welcomed with `epoch` and a lease of `ttl_ms`.
    pub(crate) async fn welcomed(&mut self, epoch: u64, ttl_ms: u64) -> Session {
        let session = self.session().await;
        session.welcome(epoch, ttl_ms);
        session
    }

    /// Head and body of the next farewell.
    pub(crate) async fn farewell(&mut self) -> String {
        timeout(PATIENCE, self.farewells.recv()).await.expect("no farewell").unwrap()
    }
}

async fn serve(
    mut stream: TcpStream,
    sessions: mpsc::UnboundedSender<Session>,
    farewells: mpsc::UnboundedSender<String>,
) {
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        request.push(stream.read_u8().await.unwrap());
    }
    let mut head = String::from_utf8(request).unwrap();
    if head.starts_with("POST ") {
        let mut body = vec![0; 64];
        let n = stream.read(&mut body).await.unwrap();
        head.push_str(std::str::from_utf8(&body[..n]).unwrap());
        stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        farewells.send(head).unwrap();
        return;
    }
    assert!(head.starts_with("GET /v1/session HTTP/1.1\r\n"), "{head}");
    let lower = head.to_lowercase();
    assert!(
        lower.contains("upgrade: quorate-worker/6\r\n") && lower.contains("authorization: bearer secret\r\n"),
        "{head}"
    );
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: quorate-worker/6\r\n\r\n";
    stream.write_all(switch).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let codec = LengthDelimitedCodec::builder().max_frame_length(16 << 20).new_codec();
    converse(Framed::new(stream, codec), sessions).await;
}

async fn converse(mut frames: Framed<TcpStream, LengthDelimitedCodec>, sessions: mpsc::UnboundedSender<Session>) {
    let Some(Ok(first)) = frames.next().await else { return };
    let FromWorker::Hello(hello) = decode(&first) else { panic!("no hello") };
    let (to_worker, mut outgoing) = mpsc::unbounded_channel();
    let (incoming, from_worker) = mpsc::unbounded_channel();
    let acknowledges = Arc::new(AtomicBool::new(true));
    let session = Session {
        hello,
        acknowledges: Arc::clone(&acknowledges),
        to_worker,
        from_worker,
        reports: VecDeque::new(),
        last_seq: 0,
    };
    let _ = sessions.send(session);
    loop {
        tokio::select! {
            message = outgoing.recv() => match message {
                Some(message) => frames.send(encode(&message)).await.unwrap_or_default(),
                None => return,
            },
            frame = frames.next() => match frame {
                Some(Ok(frame)) => match decode(&frame) {
                    FromWorker::Heartbeat { seq } if acknowledges.load(Ordering::SeqCst) => {
                        frames.send(encode(&ToWorker::HeartbeatAck { seq })).await.unwrap_or_default();
                    }
                    message => { let _ = incoming.send(message); }
                },
                _ => return,
            },
        }
    }
}

fn decode(frame: &BytesMut) -> FromWorker {
    bincode::serde::decode_from_slice(frame, bincode::config::standard()).unwrap().0
}

fn encode(message: &ToWorker) -> Bytes {
    bincode::serde::encode_to_vec(message, bincode::config::standard()).unwrap().into()
}

impl Session {
    pub(crate) fn send(&self, message: ToWorker) {
        let _ = self.to_worker.send(message);
    }

    pub(crate) fn welcome(&self, epoch: u64, ttl_ms: u64) {
        self.send(ToWorker::Welcome {
            epoch: Epoch(epoch),
            lease_ttl: Span(ttl_ms),
            heartbeat_every: Span((ttl_ms / 5).min(500)),
            output_tail_bytes: 1024,
            replica: ReplicaId(1),
        });
    }

    pub(crate) fn assign(&self, index: u64, work: Work) {
        let all = work.start.iter().map(|order| order.key).chain(work.stop.iter().copied()).collect();
        self.send(ToWorker::Assigned { index: LogIndex(index), all, work });
    }

    pub(crate) fn change(&self, index: u64, work: Work) {
        self.send(ToWorker::Changed { index: LogIndex(index), work });
    }

    /// Starts one shell command as job `n`.
    pub(crate) fn run(&self, index: u64, n: u64, script: &str) {
        self.change(index, shell(n, script));
    }

    pub(crate) fn commit(&self, index: u64) {
        self.send(ToWorker::ReportsCommitted { seq: self.last_seq, index: LogIndex(index) });
    }

    /// The next message; `None` when the worker has closed the connection.
    pub(crate) async fn receive(&mut self) -> Option<FromWorker> {
        timeout(PATIENCE, self.from_worker.recv()).await.expect("no message from the worker")
    }

    pub(crate) async fn report(&mut self) -> Report {
        loop {
            if let Some(report) = self.reports.pop_front() {
                return report;
            }
            match self.receive().await.expect("the worker closed the connection") {
                FromWorker::Reports { seq, reports } => {
                    self.last_seq = seq;
                    self.reports.extend(reports);
                }
                FromWorker::Heartbeat { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    pub(crate) async fn started(&mut self, n: u64) {
        assert_eq!(self.report().await, Report { key: key(n), what: Happening::Started });
    }

    /// The end of job `n`; starts and progress before it are skipped.
    pub(crate) async fn finished(&mut self, n: u64) -> Finished {
        loop {
            match self.report().await {
                Report { key: of, what: Happening::Finished(finished) } => {
                    assert_eq!(of, key(n));
                    return *finished;
                }
                Report { what: Happening::Started | Happening::Progress { .. } | Happening::Healthy, .. } => {}
            }
        }
    }

    pub(crate) async fn output(&mut self, n: u64, from: From, wait_ms: u64) -> Option<Piece> {
        let read = ReadOutput { from, max_bytes: 1 << 20, wait: Span(wait_ms) };
        self.send(ToWorker::ReadOutput { request: n, key: key(n), stream: Stream::Stdout, read });
        loop {
            match self.receive().await.expect("the worker closed the connection") {
                FromWorker::Output(chunk) => {
                    assert_eq!(chunk.request, n);
                    return chunk.piece;
                }
                FromWorker::Reports { seq, reports } => {
                    self.last_seq = seq;
                    self.reports.extend(reports);
                }
                FromWorker::Heartbeat { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }
}

pub(crate) fn key(n: u64) -> AttemptKey {
    AttemptKey { job: JobId(n), task: 0, index: TaskIndex(0), attempt: AttemptNumber(1), fence: Fence(n) }
}

pub(crate) fn spec(command: &[&str]) -> TaskSpec {
    TaskSpec {
        name: Name::new("main").unwrap(),
        driver: Driver::Process,
        command: command.iter().map(|argument| (*argument).to_owned()).collect(),
        env: [("X".to_owned(), "y".to_owned()), ("QUORATE_FENCE".to_owned(), "forged".to_owned())].into(),
        working_dir: None,
        stdin: None,
        count: 1,
        max_parallel: None,
        needs: vec![],
        resources: Resources::new(1000, 0),
        retries: 0,
        retry_on: vec![],
        no_retry_on: vec![],
        losses: 5,
        backoff: Backoff::default(),
        timeout: None,
        grace: Span(300),
        expected: None,
        requires: [].into(),
        prefers: [].into(),
        tolerations: [].into(),
        spread: [].into(),
        anti_affinity: [].into(),
        gang: None,
        key: None,
        cluster_resources: Default::default(),
        rate: None,
        movable: false,
    }
}

pub(crate) fn work(keys: impl IntoIterator<Item = u64>, spec: TaskSpec) -> Work {
    let definition = Definition {
        job: JobId(1),
        namespace: Name::new("default").unwrap(),
        spec: Arc::new(spec),
        inputs: None,
        gang: None,
        health: None,
    };
    let start = keys.into_iter().map(|n| Order { key: key(n), definition: 0, behind: None, inputs: None }).collect();
    Work { definitions: vec![definition], start, ..Work::default() }
}

pub(crate) fn shell(n: u64, script: &str) -> Work {
    work([n], spec(&["sh", "-c", script]))
}

pub(crate) fn stop(n: u64) -> Work {
    Work { stop: vec![key(n)], ..Work::default() }
}
