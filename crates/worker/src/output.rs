//! Answers to requests for output. They run beside the session and never hold it up.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::Duration;

use quorate_types::limits::OUTPUT_CHUNK_BYTES_MAX;
use quorate_types::session::{AttemptKey, From, FromWorker, OutputChunk, Piece, ReadOutput, Stream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, timeout};

use crate::spool::{Entry, Spool, open_plain};

/// Reads at once: each may occupy a thread while the disk is slow.
const READS_AT_ONCE: usize = 64;
/// Requests that wait at once, for output or for their turn. Beyond it the answer is "nothing yet".
const REQUESTS_MAX: usize = 1024;
/// How often a file is looked at that is to grow: a person who follows it sees no delay.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The longest wait for output, whatever a request says.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// One request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) request: u64,
    pub(crate) key: AttemptKey,
    pub(crate) stream: Stream,
    pub(crate) read: ReadOutput,
}

/// Serves the requests of all sessions.
#[derive(Debug)]
pub(crate) struct Outputs {
    spool: Arc<Spool>,
    reads: Arc<Semaphore>,
    requests: Arc<Semaphore>,
}

impl Outputs {
    pub(crate) fn new(spool: Arc<Spool>) -> Self {
        let (reads, requests) = (Semaphore::new(READS_AT_ONCE), Semaphore::new(REQUESTS_MAX));
        Self { spool, reads: Arc::new(reads), requests: Arc::new(requests) }
    }

    /// Answers through `outgoing`, now or when there is something.
    pub(crate) fn answer(&self, request: Request, outgoing: mpsc::Sender<FromWorker>) {
        let entry = self.spool.entry(&request.key);
        let reads = Arc::clone(&self.reads);
        let turn = Arc::clone(&self.requests).try_acquire_owned();
        tokio::spawn(async move {
            let piece = match (entry, &turn) {
                (None, _) => None,
                (Some(_), Err(_)) => Some(nothing_yet(request.read.from)),
                (Some(entry), Ok(_)) => wait_for_piece(&entry, request, &reads).await,
            };
            let chunk = OutputChunk { request: request.request, piece };
            // A session that is gone takes its requests with it.
            let _ = outgoing.send(FromWorker::Output(chunk)).await;
        });
    }
}

fn nothing_yet(from: From) -> Piece {
    let offset = match from {
        From::Offset(offset) => offset,
        From::Tail(_) => 0,
    };
    Piece { offset, bytes: Vec::new(), end: false }
}

async fn wait_for_piece(entry: &Arc<Entry>, request: Request, reads: &Semaphore) -> Option<Piece> {
    let until = Instant::now() + request.read.wait.as_duration().min(WAIT_MAX);
    loop {
        // Registered before the look, so that an end in between is not missed.
        let ending = entry.ending.notified();
        let piece = {
            let _turn = reads.acquire().await.ok()?;
            let entry = Arc::clone(entry);
            tokio::task::spawn_blocking(move || read(&entry, request)).await.ok()?.ok()?
        };
        let now = Instant::now();
        if piece.end || !piece.bytes.is_empty() || now >= until {
            return Some(piece);
        }
        let _ = timeout(LOOK_EVERY.min(until - now), ending).await;
    }
}

fn read(entry: &Entry, request: Request) -> io::Result<Piece> {
    // Asked before the file is: what was written by then is there.
    let ended = entry.has_ended();
    let path = entry.output(request.stream);
    let mut file = match open_plain(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound && (!ended || entry.left_nothing()) => {
            return Ok(Piece { end: ended, ..nothing_yet(request.read.from) });
        }
        Err(error) => return Err(error),
    };
    let len = file.metadata()?.len();
    let offset = match request.read.from {
        From::Offset(offset) => offset,
        From::Tail(bytes) => len.saturating_sub(bytes),
    };
    let max = u64::from(request.read.max_bytes).min(OUTPUT_CHUNK_BYTES_MAX as u64);
    let mut bytes = Vec::new();
    if offset < len {
        file.seek(SeekFrom::Start(offset))?;
        file.take(max).read_to_end(&mut bytes)?;
    }
    if entry.left_nothing() {
        // Then the file may be another attempt's by now, and what was read its.
        return Ok(Piece { end: true, ..nothing_yet(request.read.from) });
    }
    let end = ended && offset + bytes.len() as u64 >= len;
    Ok(Piece { offset, bytes, end })
}

#[cfg(test)]
mod tests {
    use quorate_types::Name;
    use quorate_types::job::Driver;

    use super::*;
    use crate::options::Limits;
    use crate::table::tests::{definition, key};

    /// A reader had the file of an attempt that left nothing open, or opened it late: what is in it by then is the
    /// next attempt's.
    #[test]
    fn of_a_folder_that_was_passed_on_nothing_is_told() {
        let data = tempfile::tempdir().unwrap();
        let spool = Spool::open(data.path(), Name::new("w").unwrap(), &[], &Limits::default()).unwrap();
        spool.pass_on_folders(true);
        spool.prepare(key(1), &definition(Driver::Process, None), &[]).unwrap();
        let (entry, stdout) = (spool.entry(&key(1)).unwrap(), spool.path(&key(1)).join("stdout"));
        std::fs::write(&stdout, "").unwrap();
        spool.collect(key(1));
        std::fs::write(&stdout, "another's").unwrap();
        let all = ReadOutput { from: From::Offset(0), max_bytes: 100, wait: quorate_types::Span(0) };
        let request = Request { request: 1, key: key(1), stream: Stream::Stdout, read: all };
        assert_eq!(read(&entry, request).unwrap(), Piece { offset: 0, bytes: vec![], end: true });
    }
}
