//! The format of a snapshot file: a row of blocks, each with its length and checksum. The first holds
//! the header, the last the trailer with the number of records; those in between hold records of the
//! state. Nothing is believed before its checksum is, and nothing at all before the trailer is.

use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use quorate_state::State;
use quorate_state::snapshot::Record;
use quorate_types::{Bug, is_planted};
use serde::{Deserialize, Serialize};

use crate::codec::{self, Kind};
use crate::disk::{Files, OpenFile};
use crate::options::Addresses;
use crate::type_config::{LogId, SnapshotMeta, StoredMembership};

/// A block of records is closed when it is this large.
const BLOCK_BYTES_SOFT: usize = 256 << 10;
/// So many bytes are synced at a time. On ext4 a sync of the log also waits for what was written to other new files
/// and not synced yet; it must not find a whole snapshot there.
const SYNC_BYTES: usize = 1 << 20;
/// A larger block is damage: the largest record is a job of 32 MiB, and no other comes near it.
const BLOCK_BYTES_MAX: u32 = 64 << 20;

const HEADER: u8 = 0;
const RECORDS: u8 = 1;
const TRAILER: u8 = 2;

/// What a snapshot is of. Our own type, so that openraft's may change.
#[derive(Serialize, Deserialize)]
struct Header {
    last: Option<(u64, u64)>,
    membership_at: Option<(u64, u64)>,
    membership: openraft::Membership<u64, Addresses>,
}

#[derive(Serialize, Deserialize)]
struct Trailer {
    records: u64,
}

fn pair(id: &LogId) -> (u64, u64) {
    (id.leader_id.term, id.index)
}

fn log_id((term, index): (u64, u64)) -> LogId {
    LogId::new_term_index(term, index)
}

impl Header {
    fn of(meta: &SnapshotMeta) -> Self {
        Self {
            last: meta.last_log_id.as_ref().map(pair),
            membership_at: meta.last_membership.log_id().as_ref().map(pair),
            membership: meta.last_membership.membership().clone(),
        }
    }

    fn into_meta(self) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: self.last.map(log_id),
            last_membership: StoredMembership::new(self.membership_at.map(log_id), self.membership),
        }
    }
}

/// Writes a whole snapshot and syncs the file. Blocks.
pub(crate) fn write(files: &dyn Files, path: &Path, meta: &SnapshotMeta, state: &State) -> io::Result<()> {
    let file = BufWriter::with_capacity(BLOCK_BYTES_SOFT, files.create(path)?);
    let mut writer = Writer { file, unsynced: 0 };
    writer.block(HEADER, &encode(Kind::SnapshotHeader, &Header::of(meta))?)?;
    let (mut records, mut block) = (0, Vec::with_capacity(BLOCK_BYTES_SOFT));
    for record in state.snapshot_records() {
        records += 1;
        block.extend_from_slice(&codec::to_bytes(&record).map_err(|e| e.at("snapshot record"))?);
        if block.len() >= BLOCK_BYTES_SOFT {
            writer.block(RECORDS, &block)?;
            block.clear();
        }
    }
    if !block.is_empty() {
        writer.block(RECORDS, &block)?;
    }
    writer.block(TRAILER, &encode(Kind::SnapshotTrailer, &Trailer { records })?)?;
    let file = writer.file.into_inner().map_err(io::IntoInnerError::into_error)?;
    if is_planted(Bug::SnapshotNotSynced) { Ok(()) } else { file.sync() }
}

fn encode<T: Serialize>(kind: Kind, value: &T) -> io::Result<Vec<u8>> {
    codec::encode(kind, value).map_err(|e| e.at(format!("{kind:?}")))
}

struct Writer {
    file: BufWriter<Box<dyn OpenFile>>,
    unsynced: usize,
}

impl Writer {
    fn block(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let len = u32::try_from(payload.len() + 1).ok().filter(|len| *len <= BLOCK_BYTES_MAX);
        let len = len.ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "a snapshot record is too large"))?;
        self.file.write_all(&len.to_le_bytes())?;
        self.file.write_all(&checksum(kind, payload).to_le_bytes())?;
        self.file.write_all(&[kind])?;
        self.file.write_all(payload)?;
        self.unsynced += payload.len();
        if self.unsynced >= SYNC_BYTES {
            self.unsynced = 0;
            self.file.flush()?;
            self.file.get_ref().sync()?;
        }
        Ok(())
    }
}

fn checksum(kind: u8, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(payload);
    hasher.finalize()
}

/// Reads what a snapshot is of. Blocks.
pub(crate) fn read_meta(files: &dyn Files, path: &Path) -> io::Result<SnapshotMeta> {
    Reader::open(files, path)?.header()
}

/// Reads a whole snapshot. Blocks.
pub(crate) fn read(files: &dyn Files, path: &Path) -> io::Result<(SnapshotMeta, State)> {
    let mut reader = Reader::open(files, path)?;
    let meta = reader.header()?;
    let state = State::from_records(std::iter::from_fn(|| reader.next_record()));
    // A read error ends the records early, and is then the reason for whatever else went wrong.
    if let Some(error) = reader.failed.take() {
        return Err(error);
    }
    let state = state.map_err(|e| reader.damaged(format_args!("the records do not fit together: {e}")))?;
    let index = meta.last_log_id.map_or(0, |last| last.index);
    if index != state.index().0 {
        return Err(reader.damaged(format_args!("the header is of index {index}, the state of {}", state.index())));
    }
    Ok((meta, state))
}

struct Reader {
    file: BufReader<Box<dyn OpenFile>>,
    path: PathBuf,
    block: Vec<u8>,
    /// How much of `block` was taken.
    used: usize,
    records: u64,
    done: bool,
    failed: Option<io::Error>,
}

impl Reader {
    fn open(files: &dyn Files, path: &Path) -> io::Result<Self> {
        let file = files.open(path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        Ok(Self {
            file: BufReader::with_capacity(BLOCK_BYTES_SOFT, file),
            path: path.to_owned(),
            block: Vec::new(),
            used: 0,
            records: 0,
            done: false,
            failed: None,
        })
    }

    fn damaged(&self, detail: impl std::fmt::Display) -> io::Error {
        io::Error::new(ErrorKind::InvalidData, format!("snapshot {}: {detail}", self.path.display()))
    }

    /// Reads the next block into `self.block`; returns its kind.
    fn next_block(&mut self) -> io::Result<u8> {
        let mut head = [0; 9];
        self.file.read_exact(&mut head).map_err(|e| self.damaged(format_args!("cut off: {e}")))?;
        let [l0, l1, l2, l3, c0, c1, c2, c3, kind] = head;
        let (len, crc) = (u32::from_le_bytes([l0, l1, l2, l3]), u32::from_le_bytes([c0, c1, c2, c3]));
        if len == 0 || len > BLOCK_BYTES_MAX {
            return Err(self.damaged("a block has an impossible length"));
        }
        self.block.resize(len as usize - 1, 0);
        self.used = 0;
        let read = self.file.read_exact(&mut self.block);
        read.map_err(|e| self.damaged(format_args!("cut off: {e}")))?;
        if checksum(kind, &self.block) != crc && !is_planted(Bug::ChecksumIgnored) {
            return Err(self.damaged("a block's checksum does not match"));
        }
        Ok(kind)
    }

    fn header(&mut self) -> io::Result<SnapshotMeta> {
        let kind = self.next_block()?;
        if kind != HEADER {
            return Err(self.damaged("the header is missing"));
        }
        let header: Header = codec::decode(Kind::SnapshotHeader, &self.block).map_err(|e| self.damaged(e))?;
        self.used = self.block.len();
        Ok(header.into_meta())
    }

    /// The next record; none at the end and after an error, which is then in `failed`.
    fn next_record(&mut self) -> Option<Record> {
        if self.done {
            return None;
        }
        match self.try_next() {
            Ok(Some(record)) => return Some(record),
            Ok(None) => {}
            Err(error) => self.failed = Some(error),
        }
        self.done = true;
        None
    }

    fn try_next(&mut self) -> io::Result<Option<Record>> {
        if self.used == self.block.len() {
            match self.next_block()? {
                RECORDS => {}
                TRAILER => return self.end().map(|()| None),
                _ => return Err(self.damaged("a block of an unknown kind")),
            }
        }
        let (record, used) = codec::take_from(&self.block[self.used..]).map_err(|e| self.damaged(e))?;
        self.used += used;
        self.records += 1;
        Ok(Some(record))
    }

    fn end(&mut self) -> io::Result<()> {
        let trailer: Trailer = codec::decode(Kind::SnapshotTrailer, &self.block).map_err(|e| self.damaged(e))?;
        if trailer.records != self.records {
            return Err(self.damaged(format_args!("{} of {} records", self.records, trailer.records)));
        }
        match self.file.read(&mut [0])? {
            0 => Ok(()),
            _ => Err(self.damaged("something follows the end")),
        }
    }
}

#[cfg(test)]
pub(crate) mod fuzz_tests;
