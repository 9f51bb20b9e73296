//! Reading a worker's spool through its session: one piece asked for, one answered.

use std::time::Duration;

use quorate_types::session::{AttemptKey, Piece, ReadOutput, Stream};
use tokio::sync::{mpsc, oneshot};

use crate::limits::OUTPUT_TIMEOUT;

/// One read on its way to the session's task.
#[derive(Debug)]
pub(crate) struct ReadRequest {
    pub(crate) key: AttemptKey,
    pub(crate) stream: Stream,
    pub(crate) read: ReadOutput,
    pub(crate) answer: oneshot::Sender<Option<Piece>>,
}

/// Why a piece could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OutputError {
    /// The session is over.
    #[error("the worker is not connected here")]
    NotHere,
    #[error("too many reads of this worker's output are under way")]
    Overloaded,
    #[error("the worker did not answer")]
    NoAnswer,
}

/// Reads one stream of one attempt, piece by piece.
#[derive(Clone, Debug)]
pub(crate) struct OutputReader {
    pub(crate) key: AttemptKey,
    pub(crate) stream: Stream,
    pub(crate) reads: mpsc::Sender<ReadRequest>,
}

impl OutputReader {
    /// A piece; `None` if the worker has nothing of this attempt any more.
    pub(crate) async fn read(&self, read: ReadOutput) -> Result<Option<Piece>, OutputError> {
        let (answer, answered) = oneshot::channel();
        let request = ReadRequest { key: self.key, stream: self.stream, read, answer };
        self.reads.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => OutputError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => OutputError::NotHere,
        })?;
        let patience: Duration = read.wait.as_duration() + OUTPUT_TIMEOUT;
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(_)) => Err(OutputError::NotHere),
            Err(_) => Err(OutputError::NoAnswer),
        }
    }
}
