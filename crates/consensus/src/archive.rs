//! The archive: finished jobs on disk, part of the replicated state.
//!
//! apply only queues a write; until the writer thread has put it on disk, readers find it in an overlay.
//! A write is durable with the next sync; before a snapshot counts, everything queued is synced, and what
//! came after the snapshot is written again when the log is replayed. So all of it is idempotent.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::ops::{Bound, ControlFlow};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_state::State;
use quorate_state::outcome::{ArchiveKey, ArchiveOp};
use quorate_types::JobId;
use tokio::sync::Notify;

use crate::codec::{self, Kind};
use crate::disk::{self, ARCHIVE, Disk, META};
use crate::log::{Write, Writer};

/// Present while records of another replica's archive may be here that the state does not know.
const UNSWEPT_KEY: &[u8] = b"unswept";

/// A write that the writer thread does.
#[derive(Debug)]
pub(crate) enum ArchiveWrite {
    Op {
        number: u64,
        op: ArchiveOp,
    },
    /// Pieces as they lie on the leader's disk.
    Pieces(Vec<Piece>),
    /// From now on there may be records of jobs that the state does not know.
    Unswept,
    /// Drop the records of jobs that the state does not know.
    Sweep(Box<State>),
}

/// A piece of a record, with its key.
pub(crate) type Piece = (Vec<u8>, Vec<u8>);

#[derive(Clone, Debug)]
pub(crate) struct Archive {
    overlay: Arc<Overlay>,
    disk: Arc<dyn Disk>,
    writer: Writer,
    backlog_max: usize,
}

/// The writer thread's side.
#[derive(Debug)]
pub(crate) struct ArchiveWriter(Arc<Overlay>);

/// What is queued and not on disk yet.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    inner: Mutex<Pending>,
    shrunk: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    /// The number of the newest operation.
    last: u64,
    values: BTreeMap<Vec<u8>, (u64, Arc<[u8]>)>,
    /// Jobs whose records on disk are to go.
    dropped: HashMap<JobId, u64>,
    bytes: usize,
}

enum Found {
    Value(Arc<[u8]>),
    Dropped,
    LookOnDisk,
}

impl Overlay {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn writer(self: &Arc<Self>) -> ArchiveWriter {
        ArchiveWriter(self.clone())
    }
}

impl Pending {
    fn add(&mut self, op: &ArchiveOp) -> u64 {
        self.last += 1;
        match op {
            ArchiveOp::Put { key, value } => {
                self.bytes += value.len();
                if let Some((_, old)) = self.values.insert(key.to_bytes(), (self.last, value.clone())) {
                    self.bytes -= old.len();
                }
            }
            ArchiveOp::Drop(job) => {
                let keys: Vec<_> = self.of_job(*job).cloned().collect();
                for key in keys {
                    self.forget(&key);
                }
                self.dropped.insert(*job, self.last);
            }
        }
        self.last
    }

    fn of_job(&self, job: JobId) -> impl Iterator<Item = &Vec<u8>> {
        let prefix = ArchiveKey::prefix(job);
        let from = (Bound::Included(prefix.to_vec()), Bound::Unbounded);
        self.values.range(from).map(|(key, _)| key).take_while(move |key| key.starts_with(&prefix))
    }

    fn forget(&mut self, key: &[u8]) {
        if let Some((_, value)) = self.values.remove(key) {
            self.bytes -= value.len();
        }
    }

    /// The operation is on disk; a newer one on the same key stays.
    fn done(&mut self, number: u64, op: &ArchiveOp) {
        match op {
            ArchiveOp::Put { key, .. } => {
                let key = key.to_bytes();
                if self.values.get(&key).is_some_and(|(newest, _)| *newest == number) {
                    self.forget(&key);
                }
            }
            ArchiveOp::Drop(job) => {
                if self.dropped.get(job) == Some(&number) {
                    self.dropped.remove(job);
                }
            }
        }
    }

    fn find(&self, key: ArchiveKey) -> Found {
        match self.values.get(&key.to_bytes()) {
            Some((_, value)) => Found::Value(value.clone()),
            None if self.dropped.contains_key(&key.job()) => Found::Dropped,
            None => Found::LookOnDisk,
        }
    }
}

impl Archive {
    pub(crate) fn new(overlay: Arc<Overlay>, disk: Arc<dyn Disk>, writer: Writer, backlog_max: usize) -> Self {
        Self { overlay, disk, writer, backlog_max }
    }

    /// Queues operations; waits only while too many bytes are queued already.
    pub(crate) async fn apply(&self, ops: Vec<ArchiveOp>) -> io::Result<()> {
        for op in ops {
            self.wait_for_room().await;
            let number = self.overlay.pending().add(&op);
            self.writer.queue(Write::Archive(ArchiveWrite::Op { number, op })).await?;
        }
        Ok(())
    }

    async fn wait_for_room(&self) {
        loop {
            let shrunk = self.overlay.shrunk.notified();
            if self.overlay.pending().bytes < self.backlog_max {
                return;
            }
            shrunk.await;
        }
    }

    /// Returns when everything queued so far is durable.
    pub(crate) async fn sync(&self) -> io::Result<()> {
        self.writer.sync().await
    }

    /// Queues a write that did not come from the log.
    pub(crate) async fn queue(&self, write: ArchiveWrite) -> io::Result<()> {
        self.writer.queue(Write::Archive(write)).await
    }

    /// Reads a value. Blocks on the disk.
    pub(crate) fn read(&self, key: ArchiveKey) -> io::Result<Option<Vec<u8>>> {
        match self.overlay.pending().find(key) {
            Found::Value(value) => return Ok(Some(value.to_vec())),
            Found::Dropped => return Ok(None),
            Found::LookOnDisk => {}
        }
        let Some(record) = disk::join_pieces(&*self.disk, ARCHIVE, &key.to_bytes())? else { return Ok(None) };
        let value = codec::unwrap(Kind::Archived, &record).map_err(|e| e.at(format!("tree {ARCHIVE}, {key:?}")))?;
        Ok(Some(value.to_vec()))
    }

    /// Pieces of the archive from `from` on, up to about `bytes_soft`, as they lie on disk; for another
    /// replica. Blocks on the disk.
    pub(crate) fn pieces(&self, from: &[u8], bytes_soft: usize) -> io::Result<Vec<Piece>> {
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        self.disk.scan(ARCHIVE, from..disk::ALL_KEYS.end, &mut |key, value| {
            bytes += key.len() + value.len();
            pieces.push((key.to_vec(), value.to_vec()));
            if bytes < bytes_soft { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        Ok(pieces)
    }

    /// Looks at the records that these pieces make: damage must not be handed on. One that is just being written
    /// or dropped looks like it; so what is suspect is read again once everything queued is on disk.
    pub(crate) async fn check(&self, pieces: &[Piece]) -> io::Result<()> {
        let suspects: Vec<Vec<u8>> =
            records(pieces)?.into_iter().filter(|(_, sound)| !sound).map(|(key, _)| key).collect();
        if suspects.is_empty() {
            return Ok(());
        }
        self.sync().await?;
        for key in suspects {
            if let Some(record) = disk::join_pieces(&*self.disk, ARCHIVE, &key)? {
                codec::unwrap(Kind::Archived, &record).map_err(|e| e.at(format!("tree {ARCHIVE}, key {key:02x?}")))?;
            }
        }
        Ok(())
    }

    /// Whether another replica's records came in and were not swept yet.
    pub(crate) fn is_unswept(&self) -> io::Result<bool> {
        Ok(self.disk.get(META, UNSWEPT_KEY)?.is_some())
    }
}

impl ArchiveWriter {
    /// Puts a write on disk, without syncing; returns about how many bytes it was.
    pub(crate) fn write(&self, disk: &dyn Disk, write: ArchiveWrite) -> io::Result<usize> {
        match write {
            ArchiveWrite::Op { number, op } => self.write_op(disk, number, &op),
            ArchiveWrite::Pieces(pieces) => {
                // Each time: another transfer's sweep may have removed it since the transfer began.
                disk.insert(META, UNSWEPT_KEY, &[1])?;
                pieces.iter().try_for_each(|(key, piece)| disk.insert(ARCHIVE, key, piece))?;
                Ok(pieces.iter().map(|(key, piece)| key.len() + piece.len()).sum())
            }
            ArchiveWrite::Unswept => disk.insert(META, UNSWEPT_KEY, &[1]).map(|()| 0),
            ArchiveWrite::Sweep(state) => sweep(disk, &state).map(|()| 0),
        }
    }

    fn write_op(&self, disk: &dyn Disk, number: u64, op: &ArchiveOp) -> io::Result<usize> {
        let bytes = match op {
            ArchiveOp::Put { key, value } => put(disk, *key, value)?,
            ArchiveOp::Drop(job) => drop_job(disk, *job).map(|()| 0)?,
        };
        self.0.pending().done(number, op);
        self.0.shrunk.notify_waiters();
        Ok(bytes)
    }
}

/// The keys of the records that these pieces make, and whether each is sound.
fn records(pieces: &[Piece]) -> io::Result<Vec<(Vec<u8>, bool)>> {
    let (mut records, mut rest) = (Vec::new(), pieces);
    while let Some((first, _)) = rest.first() {
        let (key, _) = disk::split_piece_key(first)?;
        let of_record = |(piece, _): &Piece| disk::split_piece_key(piece).is_ok_and(|(other, _)| other == key);
        let (record, others) = rest.split_at(rest.iter().take_while(|piece| of_record(piece)).count());
        let bytes: Vec<u8> = record.iter().flat_map(|(_, bytes)| bytes).copied().collect();
        records.push((key.to_vec(), codec::unwrap(Kind::Archived, &bytes).is_ok()));
        rest = others;
    }
    Ok(records)
}

/// Where the last record of these pieces begins; it may go on after them.
pub(crate) fn last_record(pieces: &[Piece]) -> usize {
    let begins = |(key, _): &Piece| disk::split_piece_key(key).is_ok_and(|(_, number)| number == 0);
    pieces.iter().rposition(begins).unwrap_or(0)
}

fn put(disk: &dyn Disk, key: ArchiveKey, value: &[u8]) -> io::Result<usize> {
    let record = codec::wrap(Kind::Archived, value);
    disk::pieces(&key.to_bytes(), &record).try_for_each(|(key, piece)| disk.insert(ARCHIVE, &key, piece))?;
    Ok(record.len())
}

fn drop_job(disk: &dyn Disk, job: JobId) -> io::Result<()> {
    let prefix = ArchiveKey::prefix(job);
    let mut keys = Vec::new();
    disk.scan(ARCHIVE, &prefix[..]..&disk::prefix_end(&prefix), &mut |key, _| {
        keys.push(key.to_vec());
        ControlFlow::Continue(())
    })?;
    keys.iter().try_for_each(|key| disk.remove(ARCHIVE, key))
}

/// Drops what the state does not know, one look-up for each job.
fn sweep(disk: &dyn Disk, state: &State) -> io::Result<()> {
    let mut from = JobId(0);
    while let Some(job) = next_job(disk, from)? {
        if !state.knows_job(job) {
            drop_job(disk, job)?;
        }
        from = JobId(job.0.saturating_add(1));
    }
    disk.remove(META, UNSWEPT_KEY)
}

fn next_job(disk: &dyn Disk, from: JobId) -> io::Result<Option<JobId>> {
    let mut found = None;
    disk.scan(ARCHIVE, &ArchiveKey::prefix(from)[..]..disk::ALL_KEYS.end, &mut |key, _| {
        found = key.first_chunk().map(|job| JobId(u64::from_be_bytes(*job)));
        ControlFlow::Break(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests;
