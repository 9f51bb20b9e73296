//! The log store as openraft sees it.

use quorate_types::{Bug, is_planted};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use openraft::OptionalSend;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};

use super::cache::Cache;
use super::layout::{self, COMMITTED_KEY, PURGED_KEY, VOTE_KEY};
use super::reader::LogReader;
use super::watermark::Watermark;
use super::writer::{Write, Writer};
use crate::codec::{self, Kind};
use crate::disk::Disk;
use crate::options::Limits;
use crate::type_config::{Entry, LogId, TypeConfig, Vote};

/// What store, readers and the writer thread share.
#[derive(Debug)]
pub(crate) struct LogShared {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) cache: Cache,
    pub(super) vote: Option<Vote>,
    pub(super) purged: Option<LogId>,
    /// The first entry's index, unless the log is empty.
    pub(super) first: Option<u64>,
    /// The last entry, or the last purged one.
    pub(super) last: Option<LogId>,
    committed: Option<LogId>,
    /// All entries up to here are on disk, though perhaps not synced.
    pub(super) written: u64,
}

impl LogShared {
    /// Reads the positions; finds and removes what a power cut left of an unfinished write.
    pub(crate) fn open(disk: &dyn Disk, watermark: &Watermark, limits: &Limits) -> io::Result<Self> {
        let vote = layout::read_meta(disk, VOTE_KEY, Kind::Vote)?;
        let purged: Option<LogId> = layout::read_meta(disk, PURGED_KEY, Kind::Purged)?;
        let committed = layout::read_meta(disk, COMMITTED_KEY, Kind::Committed)?;
        let last = last_entry(disk, purged)?.or(purged);
        let first = match purged {
            Some(purged) => Some(purged.index + 1),
            None => layout::first_index(disk)?,
        };
        let last_index = last.map_or(0, |last| last.index);
        if !watermark.proven && last_index > 0 {
            let message = "the file watermark is missing or damaged: whether the log is whole can't be told";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        if watermark.index() > last_index {
            let (lost, message) = (watermark.index(), "the end of the log is gone");
            let message = format!("{message}: entries up to {lost} were written, the last one here is {last_index}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let cache = Cache::new(limits.cached_entries, limits.cached_bytes);
        let inner = Inner { cache, vote, purged, first, last, committed, written: last_index };
        Ok(Self { inner: Mutex::new(inner) })
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The writer thread put everything up to `index` on the disk.
    pub(super) fn written(&self, index: u64) {
        let mut inner = self.inner();
        inner.written = index;
        inner.cache.evict(index);
    }

    /// The writer thread is about to remove everything behind `last`.
    pub(super) fn truncated(&self, last: u64) {
        let mut inner = self.inner();
        inner.written = inner.written.min(last);
    }
}

/// The last entry behind the purged ones; those are absent, whatever of them is still on disk.
fn last_entry(disk: &dyn Disk, purged: Option<LogId>) -> io::Result<Option<LogId>> {
    let present = |index: &u64| purged.is_none_or(|purged| *index > purged.index);
    let Some(mut last) = layout::last_index(disk)?.filter(present) else { return Ok(None) };
    if layout::remove_unfinished(disk, last)? {
        tracing::info!(index = last, "dropped a log entry that had been written in part and not acknowledged");
        match layout::last_index(disk)?.filter(present) {
            Some(previous) => last = previous,
            None => return Ok(None),
        }
    }
    Ok(layout::read(disk, last..last + 1, 0)?.first().map(|entry| entry.log_id))
}

/// Of two positions the one further on in the log, whatever their terms: a snapshot's position may have a
/// lower term than a tail before it that nobody committed.
fn further(one: Option<LogId>, other: Option<LogId>) -> Option<LogId> {
    one.into_iter().chain(other).max_by_key(|id| id.index)
}

/// A cheap handle; clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct LogStore {
    pub(super) shared: Arc<LogShared>,
    pub(super) disk: Arc<dyn Disk>,
    writer: Writer,
    append_bytes_soft: usize,
}

impl LogStore {
    pub(crate) fn new(shared: Arc<LogShared>, disk: Arc<dyn Disk>, writer: Writer, limits: &Limits) -> Self {
        Self { shared, disk, writer, append_bytes_soft: limits.append_bytes_soft }
    }

    pub(crate) fn watermark_path(dir: &Path) -> std::path::PathBuf {
        dir.join("watermark")
    }
}

fn record<T: serde::Serialize>(kind: Kind, value: &T) -> io::Result<Vec<u8>> {
    codec::encode(kind, value).map_err(|e| e.at(format!("{kind:?}")))
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let inner = self.shared.inner();
        Ok(LogState { last_purged_log_id: inner.purged, last_log_id: inner.last })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader::new(self.shared.clone(), self.disk.clone(), self.append_bytes_soft)
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let record = record(Kind::Vote, vote)?;
        if !is_planted(Bug::VoteNotStored) {
            self.writer.durably(|done| Write::Meta { key: VOTE_KEY, record, done }).await?;
        }
        self.shared.inner().vote = Some(*vote);
        Ok(())
    }

    /// Not synced: the committed index is only a hint how far a restart may replay at once.
    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.shared.inner().committed = committed;
        match committed {
            Some(committed) => {
                let record = record(Kind::Committed, &committed)?;
                self.writer.queue(Write::MetaLater { key: COMMITTED_KEY, record }).await
            }
            None => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        let inner = self.shared.inner();
        // The hint is written after its entries, so it can't be ahead of them; if it is all the same, it is
        // worth nothing.
        Ok(inner.committed.filter(|committed| inner.last.is_some_and(|last| committed.index <= last.index)))
    }

    async fn append<I>(&mut self, entries: I, done: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        {
            let mut inner = self.shared.inner();
            for entry in &entries {
                inner.first.get_or_insert(entry.log_id.index);
                inner.last = Some(entry.log_id);
                inner.cache.push(entry.clone());
            }
            let written = inner.written;
            inner.cache.evict(written);
        }
        self.writer.queue(Write::Append { entries, done }).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        let first = last.map_or(0, |last| last.index + 1);
        {
            let mut inner = self.shared.inner();
            inner.cache.truncate_from(first);
            inner.written = inner.written.min(first.saturating_sub(1));
            let last = inner.last.filter(|present| present.index < first).or(last);
            inner.last = further(last, inner.purged);
            inner.first = inner.first.filter(|present| *present < first || inner.purged.is_some());
        }
        self.writer.durably(|done| Write::Truncate { first, done }).await
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        {
            let mut inner = self.shared.inner();
            inner.purged = further(inner.purged, Some(upto));
            inner.first = inner.first.max(Some(upto.index + 1));
            inner.last = further(inner.last, Some(upto));
            inner.cache.purge_upto(upto.index);
        }
        let purged = record(Kind::Purged, &upto)?;
        self.writer.durably(|done| Write::Purge { index: upto.index, purged, done }).await
    }
}
