//! A simulated disk: what was not synced may be lost, calls may fail, and bits may change. `files` is what lies
//! beside its trees.

use std::collections::BTreeMap;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_consensus::disk::{Disk, Visit};

use crate::chance::Chance;
use crate::files::Folder;

/// The tree of finished jobs.
const ARCHIVE: &str = "archive";

type Trees = BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>;

/// A write that is not synced yet.
#[derive(Clone, Debug)]
enum Write {
    Insert { tree: String, key: Vec<u8>, value: Vec<u8> },
    Remove { tree: String, key: Vec<u8> },
    DropTree { tree: String },
}

impl Write {
    fn apply(self, trees: &mut Trees) {
        match self {
            Self::Insert { tree, key, value } => {
                trees.entry(tree).or_default().insert(key, value);
            }
            Self::Remove { tree, key } => {
                trees.get_mut(&tree).map(|tree| tree.remove(&key));
            }
            Self::DropTree { tree } => {
                trees.remove(&tree);
            }
        }
    }
}

/// What goes wrong with the next calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Trouble {
    #[default]
    None,
    /// Syncs fail, as when the device is gone.
    SyncFails,
    /// Writes fail: the disk is full.
    Full,
    /// The process is being killed: what it still tries on its way out does not happen.
    Frozen,
}

/// Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimDisk(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
pub(crate) struct Inner {
    /// What a reader sees.
    visible: Trees,
    /// What is left after a power cut.
    durable: Trees,
    unsynced: Vec<Write>,
    pub(crate) files: Folder,
    /// A bit has changed.
    damaged: bool,
    pub(crate) trouble: Trouble,
    /// Something was refused since the trouble began.
    refused: bool,
}

impl SimDisk {
    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_trouble(&self, trouble: Trouble) {
        let mut inner = self.inner();
        inner.trouble = trouble;
        inner.refused = false;
    }

    pub(crate) fn has_refused(&self) -> bool {
        self.inner().refused
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.inner().trouble == Trouble::None
    }

    /// The machine loses power: of what was not synced, only a first part is there afterwards. Returns how
    /// many writes were lost.
    pub(crate) fn power_cut(&self, chance: &mut Chance) -> usize {
        let mut inner = self.inner();
        let mut unsynced = std::mem::take(&mut inner.unsynced);
        let kept = chance.below(unsynced.len() + 1);
        let lost = unsynced.len() - kept;
        unsynced.truncate(kept);
        for write in unsynced {
            write.apply(&mut inner.durable);
        }
        inner.visible = inner.durable.clone();
        let lost = lost + inner.files.power_cut(chance);
        inner.trouble = Trouble::None;
        inner.refused = false;
        lost
    }

    /// The process is about to be killed.
    pub(crate) fn freeze(&self) {
        self.inner().trouble = Trouble::Frozen;
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.inner().damaged
    }

    /// The records of finished jobs, as they are on the disk.
    pub(crate) fn archive(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.inner().visible.get(ARCHIVE).cloned().unwrap_or_default()
    }

    /// Changes one bit of what is stored, after a power cut. Says where.
    pub(crate) fn flip_bit(&self, chance: &mut Chance) -> Option<String> {
        let mut inner = self.inner();
        let trees: Vec<String> =
            inner.durable.iter().filter(|(_, tree)| !tree.is_empty()).map(|(name, _)| name.clone()).collect();
        // One of the files, or of the trees. The archive is read seldom: it shall not be damaged as seldom.
        let archive = trees.iter().position(|name| name == ARCHIVE).filter(|_| chance.permille(300));
        let at = archive.unwrap_or_else(|| chance.below(trees.len() + 2));
        let flipped = match trees.get(at) {
            Some(name) => {
                let Inner { durable, visible, .. } = &mut *inner;
                let tree = durable.get_mut(name)?;
                let keys: Vec<Vec<u8>> = tree.keys().cloned().collect();
                let key = chance.pick(&keys)?;
                let value = tree.get_mut(key)?;
                let bit = chance.below(value.len() * 8);
                *value.get_mut(bit / 8)? ^= 1 << (bit % 8);
                visible.clone_from(durable);
                format!("bit {bit} of {name} {key:02x?}")
            }
            None => {
                let (path, bit) = inner.files.flip_bit(chance)?;
                format!("bit {bit} of {}", path.file_name().unwrap_or_default().display())
            }
        };
        inner.damaged = true;
        Some(flipped)
    }

    /// The process ends, the machine goes on: what was written stays.
    pub(crate) fn process_ends(&self) {
        self.set_trouble(Trouble::None);
    }

    fn write(&self, write: Write) -> io::Result<()> {
        let mut inner = self.inner();
        match inner.trouble {
            Trouble::Frozen => return Err(io::ErrorKind::BrokenPipe.into()),
            Trouble::Full => {
                inner.refused = true;
                return Err(io::ErrorKind::StorageFull.into());
            }
            Trouble::None | Trouble::SyncFails => {}
        }
        inner.unsynced.push(write.clone());
        write.apply(&mut inner.visible);
        Ok(())
    }
}

impl Disk for SimDisk {
    fn insert(&self, tree: &str, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.write(Write::Insert { tree: tree.to_owned(), key: key.to_vec(), value: value.to_vec() })
    }

    fn remove(&self, tree: &str, key: &[u8]) -> io::Result<()> {
        self.write(Write::Remove { tree: tree.to_owned(), key: key.to_vec() })
    }

    fn get(&self, tree: &str, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        Ok(self.inner().visible.get(tree).and_then(|tree| tree.get(key).cloned()))
    }

    fn scan(&self, tree: &str, range: Range<&[u8]>, visit: Visit<'_>) -> io::Result<()> {
        // The lock is not held while visiting: a visitor may read the disk.
        let found: Vec<_> = match self.inner().visible.get(tree) {
            Some(tree) => {
                let keys = tree.range(range.start.to_vec()..range.end.to_vec());
                keys.map(|(key, value)| (key.clone(), value.clone())).collect()
            }
            None => Vec::new(),
        };
        for (key, value) in found {
            if visit(&key, &value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn last_key(&self, tree: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.inner().visible.get(tree).and_then(|tree| tree.keys().next_back().cloned()))
    }

    fn trees(&self) -> io::Result<Vec<String>> {
        Ok(self.inner().visible.keys().cloned().collect())
    }

    fn drop_tree(&self, tree: &str) -> io::Result<()> {
        self.write(Write::DropTree { tree: tree.to_owned() })
    }

    fn sync(&self) -> io::Result<()> {
        let mut inner = self.inner();
        inner.refused |= inner.trouble != Trouble::None;
        match inner.trouble {
            Trouble::SyncFails => return Err(io::Error::other("input/output error")),
            Trouble::Full => return Err(io::ErrorKind::StorageFull.into()),
            Trouble::Frozen => return Err(io::ErrorKind::BrokenPipe.into()),
            Trouble::None => {}
        }
        for write in std::mem::take(&mut inner.unsynced) {
            write.apply(&mut inner.durable);
        }
        Ok(())
    }
}
