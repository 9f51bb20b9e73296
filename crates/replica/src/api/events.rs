//! `/v1/events`: what changed, in log order, without gaps, from any replica.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use quorate_types::event::{Cursor, EventType};
use quorate_types::problem::Code;
use quorate_types::{JobId, LogIndex};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::App;
use super::body::is_ndjson;
use super::error::{ApiError, ApiResult};
use super::query::Query;
use super::write::at_index;
use crate::events::{Gone, History, Seen};
use crate::limits::{EVENTS_KEEPALIVE, EVENTS_PER_READ};

pub(crate) async fn stream(State(app): State<App>, uri: Uri, headers: HeaderMap) -> ApiResult<Response> {
    let query = Query::of(&uri, &["from", "type", "job", "until"])?;
    let types = query.all("type").flat_map(|list| list.split(','));
    let kinds: Vec<EventType> =
        types.map(|t| t.parse().map_err(|e| ApiError::bad_parameter("type", e))).collect::<Result<_, _>>()?;
    let ends_now = match query.text("until") {
        None => false,
        Some("now") => true,
        Some(other) => return Err(ApiError::bad_parameter("until", format!("{other:?} is not now"))),
    };
    let view = app.view(&query).await?;
    let start = start_of(&query, &headers, view.version.index)?;
    let last = ends_now.then_some(view.version.index);
    // The first read says 410 while that can still be an answer.
    app.history.read(start, 1).map_err(gone)?;
    let lines = is_ndjson(&headers, header::ACCEPT);
    let reader = Reader {
        history: app.history.clone(),
        newest: app.history.newest(),
        shutdown: app.shutdown.clone(),
        next: start,
        last,
        filter: Filter { kinds, job: query.get("job")? },
        form: if lines { Form::Ndjson } else { Form::ServerSent },
        ready: VecDeque::new(),
    };
    let body = Body::from_stream(stream::unfold(reader, |mut reader| async move {
        let chunk = reader.chunk().await?;
        Some((chunk, reader))
    }));
    let kind = if lines { "application/x-ndjson" } else { "text/event-stream" };
    let mut response = ([(header::CONTENT_TYPE, kind)], body).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(at_index(view.version.index, response))
}

/// Where the stream starts: after the last event that was seen, at an index, or now.
fn start_of(query: &Query, headers: &HeaderMap, now: LogIndex) -> ApiResult<Cursor> {
    if let Some(value) = headers.get("last-event-id") {
        let text = value.to_str().map_err(|_| ApiError::bad_parameter("Last-Event-ID", "must be ASCII"))?;
        let seen: Cursor = text.parse().map_err(|e| ApiError::bad_parameter("Last-Event-ID", e))?;
        return Ok(Cursor { nth: seen.nth.saturating_add(1), ..seen });
    }
    let from = query.get::<LogIndex>("from")?.unwrap_or(LogIndex(now.0 + 1));
    Ok(Cursor { index: from, nth: 0 })
}

fn gone(gone: Gone) -> ApiError {
    let first = gone.floor.0 + 1;
    ApiError::new(
        Code::Gone,
        format!("events before index {first} are no longer known here; list, then go on from there"),
    )
}

struct Filter {
    kinds: Vec<EventType>,
    job: Option<JobId>,
}

impl Filter {
    fn matches(&self, seen: &Seen) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&seen.event.kind))
            && self.job.is_none_or(|job| seen.event.job == Some(job))
    }
}

/// The events up to the index that the answer named can't be told.
#[derive(Debug, thiserror::Error)]
#[error("the stream ends before the index that it was to reach")]
struct CutShort;

#[derive(Clone, Copy)]
enum Form {
    ServerSent,
    Ndjson,
}

/// One stream. It reads at its client's pace; if it falls behind what is remembered, it ends, and the
/// client's next try is answered 410.
struct Reader {
    history: Arc<History>,
    newest: watch::Receiver<LogIndex>,
    shutdown: CancellationToken,
    next: Cursor,
    /// Ends after the events of this index.
    last: Option<LogIndex>,
    filter: Filter,
    form: Form,
    ready: VecDeque<Bytes>,
}

impl Reader {
    /// The next piece of the body; `None` at the end.
    async fn chunk(&mut self) -> Option<Result<Bytes, CutShort>> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some(Ok(bytes));
            }
            let newest = *self.newest.borrow_and_update();
            let Ok(seen) = self.history.read(self.next, EVENTS_PER_READ) else { return self.cut_short() };
            if let Some(newest_seen) = seen.last() {
                self.next = Cursor { nth: newest_seen.cursor.nth + 1, ..newest_seen.cursor };
                self.format(&seen);
                continue;
            }
            if self.last.is_some_and(|last| last <= newest) {
                return None;
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return self.cut_short(),
                changed = self.newest.changed() => changed.ok()?,
                () = tokio::time::sleep(EVENTS_KEEPALIVE) => if let Form::ServerSent = self.form {
                    return Some(Ok(Bytes::from_static(b": keep-alive\n\n")));
                },
            }
        }
    }

    /// An end before the promised one breaks the body, so that nobody takes what came for everything. A stream
    /// without an end just stops.
    fn cut_short(&mut self) -> Option<Result<Bytes, CutShort>> {
        self.last.take().map(|_| Err(CutShort))
    }

    fn format(&mut self, seen: &[Seen]) {
        let mut text = String::new();
        let last = self.last.unwrap_or(LogIndex(u64::MAX));
        for seen in seen.iter().filter(|seen| seen.cursor.index <= last && self.filter.matches(seen)) {
            let view = seen.event.view(seen.cursor, seen.time);
            let json = serde_json::to_string(&view).unwrap_or_else(|e| unreachable!("encoding into memory: {e}"));
            match self.form {
                Form::ServerSent => {
                    text.push_str(&format!("id: {}\nevent: {}\ndata: {json}\n\n", view.cursor, view.kind));
                }
                Form::Ndjson => {
                    text.push_str(&json);
                    text.push('\n');
                }
            }
        }
        if !text.is_empty() {
            self.ready.push_back(text.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_types::Timestamp;
    use quorate_types::event::EventType;

    use super::*;

    fn reader(last: Option<LogIndex>) -> Reader {
        let history = Arc::new(History::new(10));
        history.push(LogIndex(1), Timestamp(1), vec![quorate_state::outcome::Event::new(EventType::JobRunning)]);
        let (newest, shutdown) = (history.newest(), CancellationToken::new());
        shutdown.cancel();
        let (filter, form) = (Filter { kinds: Vec::new(), job: None }, Form::Ndjson);
        Reader { history, newest, shutdown, next: Cursor::default(), last, filter, form, ready: VecDeque::new() }
    }

    async fn all(mut reader: Reader) -> Vec<bool> {
        let mut pieces = Vec::new();
        while let Some(piece) = reader.chunk().await {
            pieces.push(piece.is_ok());
        }
        pieces
    }

    #[tokio::test]
    async fn a_stream_that_does_not_reach_its_promised_end_is_broken() {
        assert_eq!(all(reader(Some(LogIndex(1)))).await, [true]);
        assert_eq!(all(reader(Some(LogIndex(2)))).await, [true, false]);
        assert_eq!(all(reader(None)).await, [true], "without an end there is none to miss");
    }
}
