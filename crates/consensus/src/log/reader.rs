//! Reading the log: recent entries from memory, older ones from disk on a blocking thread.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use openraft::{OptionalSend, RaftLogReader};

use super::layout;
use super::store::LogShared;
use crate::disk::Disk;
use crate::host;
use crate::type_config::{Entry, TypeConfig, Vote};

/// How many bytes of entries apply holds in memory at once.
const STREAM_BYTES: usize = 4 << 20;

#[derive(Clone, Debug)]
pub(crate) struct LogReader {
    shared: Arc<LogShared>,
    disk: Arc<dyn Disk>,
    append_bytes_soft: usize,
}

/// Where the next entries of a range are.
enum Source {
    Memory(Vec<Entry>),
    Disk(Range<u64>),
    Nowhere,
}

impl LogReader {
    pub(super) fn new(shared: Arc<LogShared>, disk: Arc<dyn Disk>, append_bytes_soft: usize) -> Self {
        Self { shared, disk, append_bytes_soft }
    }

    /// Refuses a range that begins with entries that are purged: a reader that were given later ones instead
    /// would take them for the first.
    fn check_present(&self, start: u64) -> io::Result<()> {
        match self.shared.inner().purged {
            Some(purged) if start <= purged.index => {
                let message = format!("log entries from {start} on are wanted, and purged up to {}", purged.index);
                Err(io::Error::new(io::ErrorKind::NotFound, message))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Some of the range's entries, beginning with its first; none if it has none.
    async fn some(&self, range: Range<u64>, bytes_soft: usize) -> io::Result<Vec<Entry>> {
        match self.locate(range, bytes_soft) {
            Source::Memory(entries) => Ok(entries),
            Source::Nowhere => Ok(Vec::new()),
            Source::Disk(range) => {
                let disk = self.disk.clone();
                host::blocking(move || layout::read(&*disk, range, bytes_soft)).await
            }
        }
    }

    fn locate(&self, range: Range<u64>, bytes_soft: usize) -> Source {
        let inner = self.shared.inner();
        let end = inner.last.map_or(0, |last| last.index + 1).min(range.end);
        let start = inner.first.unwrap_or(end).max(range.start);
        if start >= end {
            return Source::Nowhere;
        }
        match inner.cache.first() {
            Some(first) if start >= first => Source::Memory(inner.cache.read(start..end, bytes_soft)),
            Some(first) => Source::Disk(start..end.min(first)),
            None => Source::Disk(start..end),
        }
    }

    /// The entries of a range, a few at a time.
    fn stream(&self, range: Range<u64>) -> impl Stream<Item = io::Result<Entry>> + Send + use<> {
        let reader = self.clone();
        let lots = stream::try_unfold(range, move |range| {
            let reader = reader.clone();
            async move {
                let entries = reader.some(range.clone(), STREAM_BYTES).await?;
                let next = entries.last().map(|last| last.log_id.index + 1..range.end);
                Ok::<_, io::Error>(next.map(|next| (entries, next)))
            }
        });
        lots.map_ok(|entries| stream::iter(entries.into_iter().map(Ok))).try_flatten()
    }
}

fn to_range(bounds: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match bounds.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(start) => start.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match bounds.end_bound() {
        Bound::Included(end) => end.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let range = to_range(&range);
        match self.check_present(range.start) {
            Err(error) if !range.is_empty() => stream::iter([Err(error)]).boxed(),
            Ok(()) | Err(_) => self.stream(range).boxed(),
        }
    }

    /// Lenient at the front: openraft's suite asks for everything from 0 on, also of a purged log.
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        self.stream(to_range(&range)).try_collect().await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.shared.inner().vote)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        if start < end {
            self.check_present(start)?;
        }
        self.some(start..end, self.append_bytes_soft).await
    }
}
