//! Where the log lies: entries in trees of 65,536 indexes each, so that purging drops whole trees, and
//! positions in the tree `meta`. An entry's key is its index, big-endian, and the number of the piece.

use std::io;
use std::ops::{ControlFlow, Range};

use openraft::EntryPayload;
use openraft::entry::RaftEntry;
use serde::{Deserialize, Serialize};

use crate::codec::{self, Kind};
use crate::disk::{self, Disk, META};
use crate::options::Addresses;
use crate::type_config::{Commands, Entry, LogId};

/// log2 of the indexes in one tree.
const TREE_BITS: u32 = 16;
const TREE_PREFIX: &str = "log.";

pub(crate) const VOTE_KEY: &[u8] = b"vote";
pub(crate) const COMMITTED_KEY: &[u8] = b"committed";
pub(crate) const PURGED_KEY: &[u8] = b"purged";

/// What an entry's record holds. Our own type, so that openraft's may change.
#[derive(Serialize, Deserialize)]
struct Record {
    term: u64,
    index: u64,
    payload: Payload,
}

#[derive(Serialize, Deserialize)]
enum Payload {
    Blank,
    Commands(Commands),
    Membership(openraft::Membership<u64, Addresses>),
}

/// The tree of an index.
pub(crate) fn tree_of(index: u64) -> String {
    tree_name(index >> TREE_BITS)
}

fn tree_name(number: u64) -> String {
    format!("{TREE_PREFIX}{number:012x}")
}

/// The numbers of the log's trees, ascending.
fn tree_numbers(disk: &dyn Disk) -> io::Result<Vec<u64>> {
    let names = disk.trees()?;
    let number = |name: &String| u64::from_str_radix(name.strip_prefix(TREE_PREFIX)?, 16).ok();
    let mut numbers: Vec<u64> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The trees in which every index is at most `index`.
pub(crate) fn trees_upto(disk: &dyn Disk, index: u64) -> io::Result<Vec<String>> {
    let end = index.saturating_add(1) >> TREE_BITS;
    Ok(tree_numbers(disk)?.into_iter().filter(|number| *number < end).map(tree_name).collect())
}

pub(crate) fn encode(entry: &Entry) -> io::Result<Vec<u8>> {
    let (term, index) = (entry.log_id.leader_id.term, entry.log_id.index);
    let payload = match &entry.payload {
        EntryPayload::Blank => Payload::Blank,
        EntryPayload::Normal(commands) => Payload::Commands(commands.clone()),
        EntryPayload::Membership(membership) => Payload::Membership(membership.clone()),
    };
    codec::encode(Kind::LogEntry, &Record { term, index, payload }).map_err(|e| e.at(format!("log entry {index}")))
}

pub(crate) fn decode(index: u64, record: &[u8]) -> io::Result<Entry> {
    let place = || format!("tree {}, log entry {index}", tree_of(index));
    let record: Record = codec::decode(Kind::LogEntry, record).map_err(|e| e.at(place()))?;
    if record.index != index {
        return Err(missing(index));
    }
    let payload = match record.payload {
        Payload::Blank => EntryPayload::Blank,
        Payload::Commands(commands) => EntryPayload::Normal(commands),
        Payload::Membership(membership) => EntryPayload::Membership(membership),
    };
    Ok(Entry::new(LogId::new_term_index(record.term, index), payload))
}

/// Writes an entry's pieces.
pub(crate) fn insert(disk: &dyn Disk, index: u64, record: &[u8]) -> io::Result<()> {
    let tree = tree_of(index);
    disk::pieces(&index.to_be_bytes(), record).try_for_each(|(key, piece)| disk.insert(&tree, &key, piece))
}

/// Removes the entries from `first` on, the last one first, so that a crash leaves no hole.
pub(crate) fn remove_from(disk: &dyn Disk, first: u64) -> io::Result<()> {
    for number in tree_numbers(disk)?.into_iter().rev() {
        if number < first >> TREE_BITS {
            break;
        }
        let tree = tree_name(number);
        let mut keys = Vec::new();
        disk.scan(&tree, &first.to_be_bytes()..disk::ALL_KEYS.end, &mut |key, _| {
            keys.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        keys.iter().rev().try_for_each(|key| disk.remove(&tree, key))?;
    }
    Ok(())
}

/// Reads entries of a range, in order and without a gap, until about `bytes_soft` are read.
pub(crate) fn read(disk: &dyn Disk, range: Range<u64>, bytes_soft: usize) -> io::Result<Vec<Entry>> {
    let (mut entries, mut bytes) = (Vec::new(), 0);
    for index in range {
        let Some(record) = disk::join_pieces(disk, &tree_of(index), &index.to_be_bytes())? else {
            return Err(missing(index));
        };
        bytes += record.len();
        entries.push(decode(index, &record)?);
        if bytes >= bytes_soft {
            break;
        }
    }
    Ok(entries)
}

fn missing(index: u64) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("tree {}: log entry {index} is missing", tree_of(index)))
}

/// The index of the first entry on disk.
pub(crate) fn first_index(disk: &dyn Disk) -> io::Result<Option<u64>> {
    for number in tree_numbers(disk)? {
        let mut first = None;
        disk.scan(&tree_name(number), disk::ALL_KEYS, &mut |key, _| {
            first = Some(index_of(key));
            ControlFlow::Break(())
        })?;
        if let Some(index) = first {
            return index.map(Some);
        }
    }
    Ok(None)
}

fn index_of(key: &[u8]) -> io::Result<u64> {
    let (index, _) = disk::split_piece_key(key)?;
    let index = index.try_into().map(u64::from_be_bytes);
    index.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "a log key has a wrong length"))
}

/// The index of the last entry on disk.
pub(crate) fn last_index(disk: &dyn Disk) -> io::Result<Option<u64>> {
    for number in tree_numbers(disk)?.into_iter().rev() {
        if let Some(key) = disk.last_key(&tree_name(number))? {
            return index_of(&key).map(Some);
        }
    }
    Ok(None)
}

/// Removes a last entry of which only the first pieces were written: the power went before it was
/// synced, so nobody was told of it. Returns whether there was one.
pub(crate) fn remove_unfinished(disk: &dyn Disk, last: u64) -> io::Result<bool> {
    let record = disk::join_pieces(disk, &tree_of(last), &last.to_be_bytes())?.unwrap_or_default();
    match codec::unwrap(Kind::LogEntry, &record) {
        Err(codec::CodecError::Incomplete { .. }) => remove_from(disk, last).map(|()| true),
        Err(error) => Err(error.at(format!("tree {}, log entry {last}", tree_of(last)))),
        Ok(_) => Ok(false),
    }
}

/// Reads a record of the tree `meta`.
pub(crate) fn read_meta<T: serde::de::DeserializeOwned>(
    disk: &dyn Disk,
    key: &[u8],
    kind: Kind,
) -> io::Result<Option<T>> {
    let place = || format!("tree {META}, key {}", String::from_utf8_lossy(key));
    let record = disk.get(META, key)?;
    record.map(|record| codec::decode(kind, &record).map_err(|e| e.at(place()))).transpose()
}
