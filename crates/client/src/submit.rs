//! Submissions: one job, or many as lines.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Method};
use quorate_types::api::Submitted;
use quorate_types::{JobId, LogIndex, Problem};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use crate::error::Error;
use crate::key;
use crate::transport::{Client, Request};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Lines of one request: few enough that a lost answer repeats little.
const BATCH_LINES_MAX: usize = 1_000;
/// Bytes of one request, below any limit that a replica puts on a body.
const BATCH_BYTES_MAX: usize = 1 << 20;
/// Between two tries of lines that met no leader or an overload.
const LINE_PAUSE: Duration = Duration::from_millis(500);

/// What became of one line.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum LineOutcome {
    Accepted { id: JobId, index: LogIndex },
    Rejected { error: Box<Problem> },
}

/// The answer's line as it is on the wire.
#[derive(Deserialize)]
struct RawOutcome {
    id: Option<JobId>,
    index: Option<LogIndex>,
    error: Option<Box<Problem>>,
}

/// The one field of a job that decides whether a key must be made.
#[derive(Deserialize)]
struct KeyOnly {
    idempotency_key: Option<String>,
}

impl Client {
    /// Submits a job. Without `key`, and unless the job holds one, a key is made, so that the
    /// submission can be repeated through another replica without becoming two jobs.
    ///
    /// # Errors
    /// [`Error::Problem`] when the job is rejected; otherwise when no replica could be asked.
    pub async fn submit<T: Serialize + ?Sized>(&self, job: &T, key: Option<&str>) -> Result<Submitted, Error> {
        let body = serde_json::to_vec(job).map_err(Error::Encode)?;
        self.submit_bytes(body.into(), key).await
    }

    /// Submits a job that is JSON already; it goes out as it is.
    ///
    /// # Errors
    /// As [`Client::submit`].
    pub async fn submit_bytes(&self, job: Bytes, key: Option<&str>) -> Result<Submitted, Error> {
        let mut request = Request::repeatable(Method::POST, "/v1/jobs");
        match key {
            Some(key) => request = request.header(IDEMPOTENCY_KEY, key)?,
            None if has_key(&job) => {}
            None => request = request.header(IDEMPOTENCY_KEY, &key::generate())?,
        }
        self.call(&request.body("application/json", job)).await?.json()
    }

    /// Submits many jobs, one a line; the outcomes come in the order of the lines. Lines without an
    /// idempotency key get one, and those that met no leader are sent again.
    ///
    /// # Errors
    /// When no replica could be asked; what is wrong with a line is in its outcome.
    pub async fn submit_lines(&self, lines: &[Bytes]) -> Result<Vec<LineOutcome>, Error> {
        let keyed: Vec<Bytes> = lines.iter().map(with_key).collect();
        let mut outcomes = Vec::with_capacity(lines.len());
        let mut rest = keyed.as_slice();
        while !rest.is_empty() {
            let (batch, later) = rest.split_at(batch_len(rest));
            outcomes.extend(self.submit_batch(batch).await?);
            rest = later;
        }
        Ok(outcomes)
    }

    async fn submit_batch(&self, lines: &[Bytes]) -> Result<Vec<LineOutcome>, Error> {
        let deadline = Instant::now() + self.patience();
        let mut outcomes = self.post_lines(lines).await?;
        loop {
            let again: Vec<usize> = (0..lines.len()).filter(|at| is_worth_repeating(&outcomes[*at])).collect();
            if again.is_empty() || Instant::now() >= deadline {
                return Ok(outcomes);
            }
            tokio::time::sleep(LINE_PAUSE).await;
            let repeated: Vec<Bytes> = again.iter().map(|at| lines[*at].clone()).collect();
            for (at, outcome) in again.into_iter().zip(self.post_lines(&repeated).await?) {
                outcomes[at] = outcome;
            }
        }
    }

    async fn post_lines(&self, lines: &[Bytes]) -> Result<Vec<LineOutcome>, Error> {
        let mut body = lines.join(&b'\n');
        body.push(b'\n');
        let request = Request::repeatable(Method::POST, "/v1/jobs").body("application/x-ndjson", body.into());
        let answer = self.call(&request).await?;
        let protocol = |detail: String| Error::Protocol { server: answer.server.clone(), detail };
        let text = answer.body.split(|b| *b == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
        let outcomes: Vec<LineOutcome> =
            text.map(|line| read_outcome(line).map_err(protocol)).collect::<Result<_, _>>()?;
        if outcomes.len() != lines.len() {
            return Err(protocol(format!("{} lines were answered with {}", lines.len(), outcomes.len())));
        }
        Ok(outcomes)
    }
}

fn read_outcome(line: &[u8]) -> Result<LineOutcome, String> {
    let raw: RawOutcome = serde_json::from_slice(line).map_err(|e| e.to_string())?;
    match raw {
        RawOutcome { error: Some(error), .. } => Ok(LineOutcome::Rejected { error }),
        RawOutcome { id: Some(id), index: Some(index), .. } => Ok(LineOutcome::Accepted { id, index }),
        RawOutcome { .. } => Err("a line of the answer has neither id nor error".into()),
    }
}

fn is_worth_repeating(outcome: &LineOutcome) -> bool {
    match outcome {
        LineOutcome::Accepted { .. } => false,
        LineOutcome::Rejected { error } => error.retryable,
    }
}

fn batch_len(lines: &[Bytes]) -> usize {
    let mut bytes = 0;
    let fits = |line: &&Bytes| {
        bytes += line.len() + 1;
        bytes <= BATCH_BYTES_MAX
    };
    lines.iter().take(BATCH_LINES_MAX).take_while(fits).count().max(1)
}

fn has_key(job: &[u8]) -> bool {
    serde_json::from_slice::<KeyOnly>(job).is_ok_and(|job| job.idempotency_key.is_some())
}

/// The line with a key of its own. What is no JSON object stays as it is, for the replica to refuse.
fn with_key(line: &Bytes) -> Bytes {
    if has_key(line) {
        return line.clone();
    }
    let Ok(Value::Object(mut job)) = serde_json::from_slice(line) else { return line.clone() };
    job.insert("idempotency_key".into(), Value::String(key::generate()));
    serde_json::to_vec(&job).map_or_else(|_| line.clone(), Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_gets_a_key_unless_it_has_one() {
        let own = Bytes::from_static(br#"{"command":["true"],"idempotency_key":"mine"}"#);
        assert_eq!(with_key(&own), own);
        let broken = Bytes::from_static(b"{nonsense");
        assert_eq!(with_key(&broken), broken);
        assert!(has_key(&with_key(&Bytes::from_static(br#"{"command":["true"]}"#))));
    }

    #[test]
    fn batches_are_bounded_in_lines_and_bytes() {
        let small = vec![Bytes::from_static(b"{}"); BATCH_LINES_MAX + 1];
        assert_eq!(batch_len(&small), BATCH_LINES_MAX);
        let large = vec![Bytes::from(vec![b'x'; BATCH_BYTES_MAX / 2]); 3];
        assert_eq!(batch_len(&large), 1);
        assert_eq!(batch_len(&[Bytes::from(vec![b'x'; BATCH_BYTES_MAX * 2])]), 1);
    }
}
