//! NDJSON submissions: a job a line in, an answer a line out, in order, streamed both ways.
//!
//! Whoever streams can be slowed down, and need not be refused: while there is too much to do a line waits and
//! tries again, one of its stream at a time, and no more lines are read meanwhile. Otherwise a few streams could
//! keep the replica busy with nothing but refusals.

use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt, stream};
use quorate_types::api::Submitted;
use quorate_types::problem::Code;
use serde::Serialize;
use tokio::sync::{Mutex, OwnedSemaphorePermit};
use tokio::time::{Instant, sleep_until};

use super::error::{ApiError, ApiResult};
use super::{App, Room, body, jobs};
use crate::limits::{BODY_BYTES_MAX, BODY_TIMEOUT, BULK_IN_FLIGHT, BULK_PAUSE, BULK_WAIT};

/// The answer to one line.
#[derive(Serialize)]
#[serde(untagged)]
enum Line {
    Taken { id: quorate_types::JobId, index: quorate_types::LogIndex },
    Refused { error: quorate_types::Problem },
}

/// Whose turn it is among the lines of a stream, and when it may try: not right after a refusal.
type Turn = Mutex<Instant>;

/// Submits line by line; each line is a submission of its own, idempotent by its own key.
pub(crate) fn submit(app: App, content: Body) -> Response {
    let lines = stream::unfold(Lines::new(app.room.clone(), content), |mut lines| async move {
        let line = lines.next().await?;
        Some((line, lines))
    });
    let turn = Arc::new(Turn::new(Instant::now()));
    let answers = lines
        .map(move |line| {
            let (app, turn) = (app.clone(), turn.clone());
            async move { Ok::<Bytes, std::convert::Infallible>(answer(&app, &turn, line).await) }
        })
        .buffered(BULK_IN_FLIGHT);
    (StatusCode::OK, [(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(answers)).into_response()
}

async fn answer(app: &App, turn: &Turn, line: ApiResult<Bytes>) -> Bytes {
    let submitted = match line {
        Ok(line) => match body::reserve(&app.room, line.len()) {
            Ok(_room) => submit_line(app, turn, &line).await,
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    let line = match submitted {
        Ok((submitted, _)) => Line::Taken { id: submitted.id, index: submitted.index },
        Err(error) => Line::Refused { error: error.0 },
    };
    let mut bytes = serde_json::to_vec(&line).unwrap_or_else(|e| unreachable!("encoding into memory: {e}"));
    bytes.push(b'\n');
    bytes.into()
}

/// One line at a time makes sure of its place in the queue; the ones after it wait for that, and so they are
/// queued in their order. A line that comes when there is too much to do tries again in its turn.
async fn submit_line(app: &App, turn: &Turn, line: &[u8]) -> ApiResult<(Submitted, bool)> {
    let deadline = Instant::now() + BULK_WAIT;
    let mut not_before = turn.lock().await;
    loop {
        sleep_until(*not_before).await;
        let mut attempt = Box::pin(jobs::submit_one(app, line, None));
        let submitted = match attempt.as_mut().now_or_never() {
            Some(submitted) => submitted,
            None => {
                // It is queued: now the next line may try.
                drop(not_before);
                let submitted = attempt.await;
                if !is_too_much(&submitted) {
                    return submitted;
                }
                not_before = turn.lock().await;
                submitted
            }
        };
        if !is_too_much(&submitted) {
            return submitted;
        }
        *not_before = Instant::now() + BULK_PAUSE;
        if Instant::now() >= deadline {
            return submitted;
        }
    }
}

fn is_too_much(submitted: &ApiResult<(Submitted, bool)>) -> bool {
    submitted.as_ref().is_err_and(|error| error.0.code == Code::Overloaded)
}

/// Splits a body into lines; empty ones are passed over. After an error nothing more comes.
struct Lines {
    body: BodyDataStream,
    buffer: BytesMut,
    room: Room,
    /// The buffer's share of the room of all bodies.
    held: Option<OwnedSemaphorePermit>,
    /// So much of the buffer holds no line end.
    searched: usize,
    ended: bool,
}

impl Lines {
    fn new(room: Room, content: Body) -> Self {
        let body = content.into_data_stream();
        Self { body, buffer: BytesMut::new(), room, held: None, searched: 0, ended: false }
    }

    async fn next(&mut self) -> Option<ApiResult<Bytes>> {
        loop {
            if let Some(line) = self.take_line() {
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return Some(Ok(line));
            }
            if self.ended {
                return None;
            }
            if self.buffer.len() > BODY_BYTES_MAX {
                self.end();
                return Some(Err(body::too_large()));
            }
            if let Err(error) = self.fill().await {
                self.end();
                return Some(Err(error));
            }
        }
    }

    fn take_line(&mut self) -> Option<Bytes> {
        match self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
            Some(found) => {
                let line = self.buffer.split_to(self.searched + found + 1).freeze();
                self.searched = 0;
                Some(line)
            }
            None => {
                self.searched = self.buffer.len();
                let last = self.ended && !self.buffer.is_empty();
                last.then(|| {
                    self.searched = 0;
                    self.buffer.split().freeze()
                })
            }
        }
    }

    async fn fill(&mut self) -> ApiResult<()> {
        self.weigh()?;
        match tokio::time::timeout(BODY_TIMEOUT, self.body.next()).await {
            Ok(Some(Ok(bytes))) => self.buffer.extend_from_slice(&bytes),
            Ok(None) => self.ended = true,
            Ok(Some(Err(error))) => {
                return Err(ApiError::new(Code::InvalidJson, format!("the body broke off: {error}")));
            }
            Err(_) => return Err(ApiError::new(Code::InvalidJson, "the next line did not come in time")),
        }
        self.weigh()
    }

    /// Takes or gives back room, as the buffer is now.
    fn weigh(&mut self) -> ApiResult<()> {
        let mut held = match self.held.take() {
            Some(held) => held,
            None => body::reserve(&self.room, 0)?,
        };
        body::resize(&self.room, &mut held, self.buffer.capacity())?;
        self.held = Some(held);
        Ok(())
    }

    fn end(&mut self) {
        self.ended = true;
        self.buffer = BytesMut::new();
        self.held = None;
        self.searched = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(chunks: Vec<&'static str>) -> Vec<Result<String, Code>> {
        let chunks = stream::iter(chunks.into_iter().map(Ok::<_, std::convert::Infallible>));
        let mut lines = Lines::new(Room::new(None), Body::from_stream(chunks));
        let mut found = Vec::new();
        while let Some(line) = lines.next().await {
            found.push(line.map(|l| String::from_utf8(l.to_vec()).unwrap().trim().to_owned()).map_err(|e| e.0.code));
        }
        found
    }

    #[tokio::test]
    async fn lines_are_found_across_chunks() {
        let found = lines(vec!["{\"a\"", ":1}\n\n  \n{", "}\n{\"last\":", "1}"]).await;
        assert_eq!(found, [Ok("{\"a\":1}".into()), Ok("{}".into()), Ok("{\"last\":1}".into())]);
        assert!(lines(vec![""]).await.is_empty());
    }

    #[tokio::test]
    async fn a_line_without_end_is_too_large() {
        let chunk: &'static str = Box::leak("x".repeat(BODY_BYTES_MAX / 2 + 1).into_boxed_str());
        assert_eq!(lines(vec!["{}\n", chunk, chunk, chunk]).await, [Ok("{}".into()), Err(Code::TooLarge)]);
    }
}
