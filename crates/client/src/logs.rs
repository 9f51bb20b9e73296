//! A task's output, which goes on at another replica when the one it came from dies.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use quorate_types::limits::OUTPUT_TAIL_BYTES_DEFAULT;
use quorate_types::session::Stream;
use quorate_types::{AttemptNumber, JobId, Name, TaskIndex};
use reqwest::Response;

use crate::error::Error;
use crate::transport::{Client, Opened, Request, root_cause};

/// `cluster` when the worker is gone and only the tail is left that the cluster keeps.
const SOURCE_HEADER: &str = "quorate-log-source";
/// Where the first byte of an answer stands in the whole output of the attempt.
const OFFSET_HEADER: &str = "quorate-log-offset";
/// Which attempt's output it is.
const ATTEMPT_HEADER: &str = "quorate-attempt";
/// Before asking again for the output of an attempt that has not ended.
const PAUSE: Duration = Duration::from_millis(200);

/// One element of one task of a job.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TaskAddress {
    pub job: JobId,
    pub task: Name,
    pub index: TaskIndex,
}

impl TaskAddress {
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/v1/jobs/{}/tasks/{}/{}{rest}", self.job, self.task, self.index)
    }
}

/// Which output is wanted.
#[derive(Clone, Copy, Debug)]
pub struct LogFilter {
    pub stream: Stream,
    /// The newest attempt if none is named.
    pub attempt: Option<AttemptNumber>,
    /// Only so many bytes before the present end.
    pub tail: Option<u64>,
    /// Go on until the attempt ends.
    pub follow: bool,
}

/// A piece of output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogPiece {
    Bytes(Bytes),
    /// Here output is missing: so many bytes, or an unknown number (some may also come twice).
    Gap(Option<u64>),
}

/// The output of one attempt, from its beginning or tail to its present or real end.
#[derive(Debug)]
pub struct Logs {
    client: Client,
    address: TaskAddress,
    filter: LogFilter,
    open: Option<Opened>,
    /// The offset of the byte that comes next; `None` when a tail's beginning is unknown.
    position: Option<u64>,
    /// Bytes of the present answer that were delivered by an earlier one.
    skip: u64,
    ready: VecDeque<LogPiece>,
    ended: bool,
}

impl Client {
    /// Opens a task's output.
    ///
    /// # Errors
    /// `not_found` when there is no such task or attempt; otherwise when no replica could be asked.
    pub async fn logs(&self, address: TaskAddress, filter: LogFilter) -> Result<Logs, Error> {
        let client = self.clone();
        let mut logs =
            Logs { client, address, filter, open: None, position: None, skip: 0, ready: VecDeque::new(), ended: false };
        let opened = logs.client.open(&logs.request(filter.tail)).await?;
        let begins = begins_at(&opened.response);
        if filter.tail.is_none() && begins != Some(0) {
            logs.ready.push_back(LogPiece::Gap(begins));
        }
        // Where a tail begins that came without its offset is unknown.
        let named = opened.response.headers().contains_key(OFFSET_HEADER);
        logs.position = begins.filter(|_| named || filter.tail.is_none());
        logs.pin_attempt(opened.response.headers());
        logs.open = Some(opened);
        Ok(logs)
    }
}

impl Logs {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// When the task is gone, or no replica could be asked.
    pub async fn next(&mut self) -> Result<Option<LogPiece>, Error> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(Some(piece));
            }
            if self.ended {
                return Ok(None);
            }
            let Some(open) = &mut self.open else {
                self.reconnect().await?;
                continue;
            };
            match open.response.chunk().await {
                Ok(Some(bytes)) => self.take(bytes),
                Ok(None) => {
                    self.open = None;
                    self.ended = !(self.filter.follow && self.is_live().await?);
                }
                Err(error) => {
                    tracing::debug!(server = open.server, why = root_cause(&error), "a stream of output broke");
                    let at = open.at;
                    self.open = None;
                    self.client.leave(at);
                }
            }
        }
    }

    /// A replica that shuts down ends its streams too, so the end counts only when the attempt ended.
    async fn is_live(&self) -> Result<bool, Error> {
        let task = self.client.task(&self.address).await?;
        Ok(task.state.is_live() && self.filter.attempt.is_none_or(|attempt| attempt == task.attempt))
    }

    fn take(&mut self, mut bytes: Bytes) {
        let known = self.skip.min(bytes.len() as u64);
        self.skip -= known;
        // `known` is at most the length, which is a usize.
        let fresh = bytes.split_off(known as usize);
        if let Some(position) = &mut self.position {
            *position += fresh.len() as u64;
        }
        if !fresh.is_empty() {
            self.ready.push_back(LogPiece::Bytes(fresh));
        }
    }

    /// Asks again, for all of the output, and skips what was delivered.
    async fn reconnect(&mut self) -> Result<(), Error> {
        tokio::time::sleep(PAUSE).await;
        // Without a known position only what comes from now on is certainly new.
        let tail = if self.position.is_none() { Some(0) } else { None };
        let opened = self.client.open(&self.request(tail)).await?;
        self.skip = 0;
        match (self.position, begins_at(&opened.response)) {
            (Some(position), Some(begins)) if begins <= position => self.skip = position - begins,
            (position, begins) => {
                let missing = position.zip(begins).map(|(position, begins)| begins - position);
                self.ready.push_back(LogPiece::Gap(missing));
                self.position = begins;
            }
        }
        self.pin_attempt(opened.response.headers());
        self.open = Some(opened);
        Ok(())
    }

    /// Keeps to one attempt: its output must not be continued with that of the next.
    fn pin_attempt(&mut self, headers: &HeaderMap) {
        let named = headers.get(ATTEMPT_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
        self.filter.attempt = self.filter.attempt.or(named);
    }

    fn request(&self, tail: Option<u64>) -> Request {
        let stream = match self.filter.stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        Request::get(self.address.path("/logs"))
            .query("stream", Some(stream))
            .query("attempt", self.filter.attempt)
            .query("tail", tail)
            .query("follow", self.filter.follow.then_some("true"))
    }
}

/// Where an answer begins in the whole output, if that can be told.
fn begins_at(response: &Response) -> Option<u64> {
    if let Some(offset) = response.headers().get(OFFSET_HEADER) {
        return offset.to_str().ok()?.parse().ok();
    }
    let is_kept = response.headers().get(SOURCE_HEADER).is_some_and(|source| source == "cluster");
    // The cluster keeps an end without knowing what came before: a short one is all there was.
    let is_whole = response.content_length().is_some_and(|length| length < OUTPUT_TAIL_BYTES_DEFAULT as u64);
    (!is_kept || is_whole).then_some(0)
}
