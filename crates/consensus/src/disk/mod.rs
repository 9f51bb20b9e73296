//! The storage seam: named trees of ordered keys, and one call that makes everything durable. [`Files`] is
//! the one for what lies beside them.
//!
//! [`sled`] is what runs; [`memory`] forgets what was not synced, as a power cut does, and takes the
//! place of the disk in tests and in the simulation.
//!
//! Contract: all writes come from one thread, in order; only [`Disk::drop_tree`] may come from another one, at any
//! time, for a tree that nobody writes to any more. What was written before a [`Disk::sync`] that
//! returned `Ok` survives power loss; of what came after it, some prefix does. After an error nothing is
//! known, and nobody may write again.

mod ahead;
mod files;
mod memory;
mod sled;

use std::fmt;
use std::io;
use std::ops::{ControlFlow, Range};

pub use self::files::{Files, HostFiles, OpenFile};
pub use self::memory::MemoryDisk;
pub(crate) use self::sled::{SledDisk, sync_folder};

/// The tree of identity, vote and log positions.
pub(crate) const META: &str = "meta";
/// The tree of finished jobs.
pub(crate) const ARCHIVE: &str = "archive";

/// The largest value that is stored under one key. sled writes larger pages to files of their own that
/// it never syncs; values up to 30 KB were measured not to do that.
pub(crate) const VALUE_BYTES_MAX: usize = 16 << 10;

/// Sees a key and its value, and says whether to go on.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Ordered trees of small values.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    fn insert(&self, tree: &str, key: &[u8], value: &[u8]) -> io::Result<()>;
    fn remove(&self, tree: &str, key: &[u8]) -> io::Result<()>;
    fn get(&self, tree: &str, key: &[u8]) -> io::Result<Option<Vec<u8>>>;
    /// Visits the keys of a range in ascending order.
    fn scan(&self, tree: &str, range: Range<&[u8]>, visit: Visit<'_>) -> io::Result<()>;
    /// The largest key of a tree.
    fn last_key(&self, tree: &str) -> io::Result<Option<Vec<u8>>>;
    /// The names of the trees that exist.
    fn trees(&self) -> io::Result<Vec<String>>;
    /// Drops a tree with all that is in it; fine if there is none.
    fn drop_tree(&self, tree: &str) -> io::Result<()>;
    /// Returns when all earlier writes are on stable storage.
    fn sync(&self) -> io::Result<()>;
}

/// All keys there can be; ours are much shorter.
pub(crate) const ALL_KEYS: Range<&[u8]> = &[]..&[0xff; 64];

/// The keys that start with `prefix`, as the end of a range.
pub(crate) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    ALL_KEYS.end.to_vec()
}

/// A record cut into values that fit, each with its key: the record's key and the piece's number.
pub(crate) fn pieces<'a>(key: &'a [u8], record: &'a [u8]) -> impl Iterator<Item = (Vec<u8>, &'a [u8])> {
    record.chunks(VALUE_BYTES_MAX).zip(0_u16..).map(|(piece, number)| (piece_key(key, number), piece))
}

pub(crate) fn piece_key(key: &[u8], number: u16) -> Vec<u8> {
    let mut piece = Vec::with_capacity(key.len() + 2);
    piece.extend_from_slice(key);
    piece.extend_from_slice(&number.to_be_bytes());
    piece
}

/// Splits a piece's key into the record's key and the piece's number.
pub(crate) fn split_piece_key(key: &[u8]) -> io::Result<(&[u8], u16)> {
    match key.split_last_chunk() {
        Some((record, number)) => Ok((record, u16::from_be_bytes(*number))),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, format!("key {key:02x?} is too short"))),
    }
}

/// Puts the pieces of one record together again.
pub(crate) fn join_pieces(disk: &dyn Disk, tree: &str, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut record = None::<Vec<u8>>;
    let range = piece_key(key, 0)..[&piece_key(key, u16::MAX)[..], &[0]].concat();
    disk.scan(tree, &range.start..&range.end, &mut |piece, value| {
        // A longer key within the range belongs to another record.
        if piece.len() == key.len() + 2 {
            record.get_or_insert_default().extend_from_slice(value);
        }
        ControlFlow::Continue(())
    })?;
    Ok(record)
}
