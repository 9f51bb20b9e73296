//! The stream of events, which goes on at another replica when the one it came from dies.

use std::time::Duration;

use http::HeaderName;
use http::header::ACCEPT;
use quorate_types::event::{Cursor, EventType, EventView};
use quorate_types::{JobId, LogIndex};

use crate::error::Error;
use crate::lines::LineBuffer;
use crate::transport::{Client, Opened, Request, index_of, root_cause};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Replicas send signs of life about every 15 s. One that sends nothing for so long is stopped or cut off.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// Before connecting again when the last connection brought nothing.
const IDLE_PAUSE: Duration = Duration::from_millis(200);

/// Which events a stream brings.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// From this log index on; else from now on.
    pub from: Option<LogIndex>,
    pub job: Option<JobId>,
    /// Only events of this type.
    pub kind: Option<EventType>,
    /// End after what is there instead of waiting for more.
    pub until_now: bool,
}

/// Events in the order of the log, each once, without gaps.
#[derive(Debug)]
pub struct Events {
    client: Client,
    filter: EventFilter,
    open: Option<Opened>,
    buffer: LineBuffer,
    last: Option<Cursor>,
    /// Where the stream began, if the first answer said so and no event came yet.
    began_after: Option<LogIndex>,
    brought_something: bool,
    pause_first: bool,
    ended: bool,
}

impl Client {
    /// Opens a stream of events. The first connection is made before this returns, so events from
    /// now on are not missed.
    ///
    /// # Errors
    /// `gone` when the events from that index on are kept no more; otherwise when no replica could be asked.
    pub async fn events(&self, filter: EventFilter) -> Result<Events, Error> {
        let mut events = Events {
            client: self.clone(),
            filter,
            open: None,
            buffer: LineBuffer::default(),
            last: None,
            began_after: None,
            brought_something: false,
            pause_first: false,
            ended: false,
        };
        events.connect().await?;
        Ok(events)
    }
}

impl Events {
    /// The next event; `None` at the end, which only a stream with `until_now` has. Dropping the
    /// future loses nothing.
    ///
    /// # Errors
    /// `gone` when the stream broke for so long that what follows is kept no more; otherwise when
    /// no replica could be asked.
    pub async fn next(&mut self) -> Result<Option<EventView>, Error> {
        loop {
            while let Some(line) = self.buffer.next_line() {
                if let Some(event) = self.read(&line)? {
                    return Ok(Some(event));
                }
            }
            if self.ended {
                return Ok(None);
            }
            let Some(open) = &mut self.open else {
                self.connect().await?;
                continue;
            };
            match tokio::time::timeout(SILENCE_MAX, open.response.chunk()).await {
                Ok(Ok(Some(bytes))) => self.buffer.push(&bytes, &open.server)?,
                Ok(Ok(None)) if self.filter.until_now => self.end(),
                Ok(Ok(None)) => self.disconnect("the replica ended the stream"),
                Ok(Err(error)) => self.disconnect(&root_cause(&error)),
                Err(_) => self.disconnect("the replica sent no sign of life"),
            }
        }
    }

    /// The newest cursor that was seen.
    pub fn cursor(&self) -> Option<Cursor> {
        self.last
    }

    fn end(&mut self) {
        self.ended = true;
        self.open = None;
        if let Some(mut rest) = self.buffer.rest() {
            rest.push(b'\n');
            // The rest was within the bound, so it is again.
            let _ = self.buffer.push(&rest, "");
        }
    }

    fn disconnect(&mut self, why: &str) {
        if let Some(open) = self.open.take() {
            tracing::debug!(server = open.server, why, "an event stream broke");
            self.client.leave(open.at);
        }
        // A line that was cut off comes again, whole, from the next replica.
        self.buffer = LineBuffer::default();
        self.pause_first = !self.brought_something;
    }

    async fn connect(&mut self) -> Result<(), Error> {
        if self.pause_first {
            tokio::time::sleep(IDLE_PAUSE).await;
        }
        let opened = self.client.open(&self.request()?).await?;
        if self.last.is_none() && self.began_after.is_none() {
            self.began_after = index_of(opened.response.headers());
        }
        self.brought_something = false;
        self.open = Some(opened);
        Ok(())
    }

    fn request(&self) -> Result<Request, Error> {
        let from = match (self.last, self.filter.from, self.began_after) {
            (Some(last), _, _) => Some(last.index),
            (None, Some(from), _) => Some(from),
            (None, None, Some(began)) => Some(LogIndex(began.0 + 1)),
            (None, None, None) => None,
        };
        let request = Request::get("/v1/events")
            .query("from", from)
            .query("job", self.filter.job)
            .query("type", self.filter.kind)
            .query("until", self.filter.until_now.then_some("now"))
            .header(ACCEPT, "application/x-ndjson")?;
        match self.last {
            Some(last) => request.header(LAST_EVENT_ID, &last.to_string()),
            None => Ok(request),
        }
    }

    /// Reads a line; `None` for a comment, and for an event that was seen before the stream moved.
    fn read(&mut self, line: &[u8]) -> Result<Option<EventView>, Error> {
        if line.starts_with(b":") {
            return Ok(None);
        }
        let server = || self.open.as_ref().map_or_else(|| self.client.server(), |open| open.server.clone());
        let protocol = |detail: String| Error::Protocol { server: server(), detail };
        let event: EventView = serde_json::from_slice(line).map_err(|e| protocol(format!("an event: {e}")))?;
        let cursor: Cursor = event.cursor.parse().map_err(protocol)?;
        if self.last.is_some_and(|last| cursor <= last) {
            return Ok(None);
        }
        self.last = Some(cursor);
        self.brought_something = true;
        Ok(Some(event))
    }
}
