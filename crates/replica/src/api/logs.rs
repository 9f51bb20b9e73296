//! A task's output: from its worker's spool while that is there, else the tail that the cluster keeps.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use quorate_state::element::Attempt;
use quorate_state::outcome::{ArchiveKey, Rejection};
use quorate_types::limits::OUTPUT_CHUNK_BYTES_MAX;
use quorate_types::problem::Code;
use quorate_types::session::{AttemptKey, From, ReadOutput, Stream};
use quorate_types::{AttemptNumber, ReplicaId, Span};

use super::App;
use super::error::{ApiError, ApiResult};
use super::query::Query;
use super::tasks::{TaskPath, address};
use crate::sessions::{OutputError, OutputReader};

/// Set on a request that another replica passed on, so that it is not passed on again.
const FORWARDED: &str = "quorate-forwarded";
/// How long a worker waits for more output before it answers with nothing.
const FOLLOW_WAIT: Span = Span::from_secs(2);

/// What was asked for.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    stream: Stream,
    attempt: Option<AttemptNumber>,
    /// Only so many bytes before the end.
    tail: Option<u64>,
    follow: bool,
}

impl Wanted {
    fn of(query: &Query) -> ApiResult<Self> {
        let stream = match query.text("stream") {
            None | Some("stdout") => Stream::Stdout,
            Some("stderr") => Stream::Stderr,
            Some(other) => return Err(ApiError::bad_parameter("stream", format!("{other:?} is not stdout or stderr"))),
        };
        let follow = query.get::<bool>("follow")?.unwrap_or(false);
        Ok(Self { stream, attempt: query.get("attempt")?, tail: query.get("tail")?, follow })
    }
}

pub(crate) async fn read(
    State(app): State<App>,
    Path(path): TaskPath,
    uri: Uri,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let query = Query::of(&uri, &["stream", "attempt", "tail", "follow"])?;
    let wanted = Wanted::of(&query)?;
    let (job, task, index) = address(&path)?;
    let view = app.view(&query).await?;
    let no_such = || ApiError::from(Rejection::NoSuchTask { job, task: task.clone(), index });
    let attempts: Vec<(u32, Attempt)> = match view.version.state.job(job) {
        Some(found) => {
            let at = found.place_of(&task, index).ok_or_else(no_such)?;
            found.task(at).filter(|task| index.0 < task.head.count).ok_or_else(no_such)?;
            found.attempts_of(at, index).into_iter().map(|(at, attempt)| (at, attempt.clone())).collect()
        }
        None => {
            let record = app.archived_or_not_found(&view, job).await?;
            let (at, element) = app.archived_place(&record, &task, index).await?.ok_or_else(no_such)?;
            element.into_iter().flat_map(|element| element.attempts).map(|attempt| (at, attempt)).collect()
        }
    };
    let (at, attempt) = attempt_of(&attempts, wanted.attempt)?;
    let key = AttemptKey { job, task: at, index, attempt: attempt.number, fence: attempt.fence };
    let worker = view.version.state.worker_of(attempt.epoch);
    let Some(worker) = worker else { return app.kept(key, attempt, wanted).await };
    if let Some(seat) = app.registry.get(attempt.epoch) {
        let reader = OutputReader { key, stream: wanted.stream, reads: seat.reads.clone() };
        return app.stream_from_worker(reader, attempt, wanted).await;
    }
    if !headers.contains_key(FORWARDED) && worker.replica != app.handle.id() {
        return app.pass_to_replica(worker.replica, &uri, key, attempt, wanted).await;
    }
    app.kept(key, attempt, wanted).await
}

/// The attempt that is meant: the one asked for, or the newest.
fn attempt_of(attempts: &[(u32, Attempt)], number: Option<AttemptNumber>) -> ApiResult<(u32, &Attempt)> {
    let found = match number {
        Some(number) => attempts.iter().find(|(_, attempt)| attempt.number == number),
        None => attempts.last(),
    };
    found
        .map(|(version, attempt)| (*version, attempt))
        .ok_or_else(|| ApiError::not_found("the task has no such attempt, so it has no output"))
}

impl App {
    /// The tail that the cluster keeps of an attempt that has ended.
    async fn kept(&self, key: AttemptKey, attempt: &Attempt, wanted: Wanted) -> ApiResult<Response> {
        if attempt.state.is_live() {
            let detail = "the attempt's worker is not connected now; try again, or wait for its end";
            return Err(ApiError::new(Code::NoLeader, detail));
        }
        let (job, task, index) = (key.job, key.task, key.index);
        let key = ArchiveKey::Output { job, task, index, attempt: key.attempt, stream: wanted.stream };
        let kept = self.handle.archived(key).await?.unwrap_or_default();
        let skip = wanted.tail.map_or(0, |tail| (kept.len() as u64).saturating_sub(tail)) as usize;
        let source = [("quorate-log-source", "cluster"), (header::CONTENT_TYPE.as_str(), TEXT)];
        let attempt = [("quorate-attempt", attempt.number.to_string())];
        Ok((source, attempt, Bytes::from(kept).slice(skip..)).into_response())
    }

    /// Streams from a worker that is connected here.
    async fn stream_from_worker(&self, reader: OutputReader, attempt: &Attempt, wanted: Wanted) -> ApiResult<Response> {
        let from = wanted.tail.map_or(From::Offset(0), From::Tail);
        let first = match reader.read(read_at(from, Span(0))).await {
            Ok(Some(piece)) => piece,
            Ok(None) | Err(OutputError::NotHere) => return self.kept(reader.key, attempt, wanted).await,
            Err(OutputError::Overloaded) => {
                return Err(ApiError::new(Code::Overloaded, OutputError::Overloaded.to_string()));
            }
            Err(OutputError::NoAnswer) => return Err(ApiError::new(Code::NoLeader, OutputError::NoAnswer.to_string())),
        };
        let offset = [("quorate-log-offset", first.offset.to_string())];
        let number = [("quorate-attempt", attempt.number.to_string())];
        let source = [("quorate-log-source", "worker"), (header::CONTENT_TYPE.as_str(), TEXT)];
        let tailing = Tailing { next: first.offset, first: Some(first), reader, follow: wanted.follow, done: false };
        let shutdown = self.shutdown.clone();
        let body = stream::unfold(tailing, move |mut tailing| {
            let shutdown = shutdown.clone();
            async move {
                tokio::select! {
                    () = shutdown.cancelled() => None,
                    chunk = tailing.chunk() => chunk.map(|chunk| (chunk, tailing)),
                }
            }
        });
        Ok((source, offset, number, Body::from_stream(body)).into_response())
    }

    /// Passes the request on to the replica that the worker is connected to.
    async fn pass_to_replica(
        &self,
        replica: ReplicaId,
        uri: &Uri,
        key: AttemptKey,
        attempt: &Attempt,
        wanted: Wanted,
    ) -> ApiResult<Response> {
        let version = self.handle.version();
        let Some(http) = version.state.http_of(replica) else { return self.kept(key, attempt, wanted).await };
        let mut request = self.peers.get(format!("http://{http}{uri}")).header(FORWARDED, "1");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        match request.send().await {
            Ok(answer) => {
                let mut response = axum::http::Response::builder().status(answer.status());
                for (name, value) in answer.headers() {
                    if name == header::CONTENT_TYPE || name.as_str().starts_with("quorate-") {
                        response = response.header(name, value);
                    }
                }
                let response = response.body(Body::from_stream(answer.bytes_stream()));
                response.map_err(|error| ApiError::internal("pass an answer on", &error))
            }
            Err(_) => self.kept(key, attempt, wanted).await,
        }
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

fn read_at(from: From, wait: Span) -> ReadOutput {
    ReadOutput { from, max_bytes: OUTPUT_CHUNK_BYTES_MAX as u32, wait }
}

/// A stream of output, read piece by piece at the client's pace.
struct Tailing {
    reader: OutputReader,
    first: Option<quorate_types::session::Piece>,
    next: u64,
    follow: bool,
    done: bool,
}

impl Tailing {
    /// The next bytes; `None` at the end; an error breaks the connection, so that a cut is not taken for an end.
    async fn chunk(&mut self) -> Option<Result<Bytes, Arc<OutputError>>> {
        while !self.done {
            let piece = match self.first.take() {
                Some(first) => first,
                None => {
                    let wait = if self.follow { FOLLOW_WAIT } else { Span(0) };
                    match self.reader.read(read_at(From::Offset(self.next), wait)).await {
                        Ok(Some(piece)) => piece,
                        Ok(None) => return None,
                        Err(error) => {
                            self.done = true;
                            return Some(Err(Arc::new(error)));
                        }
                    }
                }
            };
            self.next = piece.offset + piece.bytes.len() as u64;
            // Without follow the present end is the end.
            self.done = piece.end || (!self.follow && piece.bytes.is_empty());
            if !piece.bytes.is_empty() {
                return Some(Ok(piece.bytes.into()));
            }
        }
        None
    }
}
