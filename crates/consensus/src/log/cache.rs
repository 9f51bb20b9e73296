//! Recent entries in memory, for replication and apply; older ones are read from disk.

use std::collections::VecDeque;
use std::ops::Range;

use crate::type_config::Entry;

/// A gapless run of entries that ends with the last one of the log.
#[derive(Debug)]
pub(crate) struct Cache {
    entries: VecDeque<Entry>,
    bytes: usize,
    entries_max: usize,
    bytes_max: usize,
}

impl Cache {
    pub(crate) fn new(entries_max: usize, bytes_max: usize) -> Self {
        Self { entries: VecDeque::new(), bytes: 0, entries_max, bytes_max }
    }

    /// The first index that is here, if any is.
    pub(crate) fn first(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.log_id.index)
    }

    pub(crate) fn push(&mut self, entry: Entry) {
        self.bytes += size(&entry);
        self.entries.push_back(entry);
    }

    /// Drops the oldest entries beyond the bounds, but none that is not on disk yet.
    pub(crate) fn evict(&mut self, written: u64) {
        while self.entries.len() > self.entries_max || self.bytes > self.bytes_max {
            match self.entries.front() {
                Some(front) if front.log_id.index <= written => self.pop_front(),
                Some(_) | None => break,
            }
        }
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= size(&entry);
        }
    }

    /// Drops the entries from `first` on.
    pub(crate) fn truncate_from(&mut self, first: u64) {
        while self.entries.back().is_some_and(|entry| entry.log_id.index >= first) {
            if let Some(entry) = self.entries.pop_back() {
                self.bytes -= size(&entry);
            }
        }
    }

    /// Drops the entries up to `last`.
    pub(crate) fn purge_upto(&mut self, last: u64) {
        while self.entries.front().is_some_and(|entry| entry.log_id.index <= last) {
            self.pop_front();
        }
    }

    /// Entries of `range`, which must start within the cache, until about `bytes_soft` are taken.
    pub(crate) fn read(&self, range: Range<u64>, bytes_soft: usize) -> Vec<Entry> {
        let Some(first) = self.first() else { return Vec::new() };
        let skip = usize::try_from(range.start.saturating_sub(first)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let mut taken = Vec::new();
        for entry in self.entries.iter().skip(skip).take_while(|entry| entry.log_id.index < range.end) {
            taken.push(entry.clone());
            bytes += size(entry);
            if bytes >= bytes_soft {
                break;
            }
        }
        taken
    }
}

/// About what an entry weighs in memory, twice over: decoded and encoded.
fn size(entry: &Entry) -> usize {
    const OVERHEAD: usize = 128;
    match &entry.payload {
        openraft::EntryPayload::Normal(commands) => OVERHEAD + 2 * commands.bytes.len(),
        openraft::EntryPayload::Blank | openraft::EntryPayload::Membership(_) => OVERHEAD,
    }
}
