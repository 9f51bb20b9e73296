//! sled 0.34, with what it takes to make it durable on Linux (its own flush is sync_file_range).

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::ops::{ControlFlow, Range};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use super::ahead::{self, Ahead};
use super::{Disk, Visit};

/// sled's own default of 512 KiB moves values from about 16 KB on into `blobs/`, which it never syncs.
/// Fixed when the database is created.
const SEGMENT_BYTES: usize = 4 << 20;

/// `blobs/` is looked at on every so many syncs; it is a check of our own making, not of data.
const SYNCS_PER_CHECK: u64 = 256;

/// How often, and in what steps, an opening waits for sled's lock.
const OPEN_RETRIES: u32 = 100;
const OPEN_PAUSE: Duration = Duration::from_millis(20);

/// One sled database in a folder of its own.
pub(crate) struct SledDisk {
    db: sled::Db,
    /// Our own handle of the database file: what is synced after each of sled's flushes.
    file: File,
    ahead: Ahead,
    folder: PathBuf,
    trees: RwLock<HashMap<String, Handle>>,
    syncs: AtomicU64,
}

/// A tree that is known.
#[derive(Clone)]
enum Handle {
    There(sled::Tree),
    /// It is being dropped.
    Leaving,
}

impl std::fmt::Debug for SledDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SledDisk").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl SledDisk {
    /// Opens or creates the database.
    pub(crate) fn open(folder: &Path, page_cache_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        remove_unfinished_snapshots(folder)?;
        let path = folder.join("db");
        let config = sled::Config::new()
            .path(folder)
            .segment_size(SEGMENT_BYTES)
            .cache_capacity(page_cache_bytes)
            .flush_every_ms(None)
            .print_profile_on_drop(false);
        // A damaged file makes sled panic in places; a clear message is owed all the same. (Where panics
        // abort, the words come from the panic's hook.)
        let opened =
            explaining_panics(folder, || panic::catch_unwind(AssertUnwindSafe(|| open_patiently(&config, &path))));
        let db = match opened {
            // A full or failing disk is no damage: the folder may be as good as before once that is mended.
            Ok(Err(sled::Error::Io(error))) => return Err(error),
            Ok(opened) => opened.map_err(|e| damaged(folder, &e.to_string()))?,
            Err(_) => return Err(damaged(folder, "its contents make no sense")),
        };
        let (file, ahead) = (File::open(&path)?, Ahead::start(&path, SEGMENT_BYTES as u64)?);
        let (folder_of, trees, syncs) = (folder.to_owned(), RwLock::default(), AtomicU64::new(0));
        let disk = Self { db, file, ahead, folder: folder_of, trees, syncs };
        disk.sync()?;
        sync_folder(folder)?;
        Ok(disk)
    }

    fn known(&self, name: &str) -> Option<Handle> {
        self.trees.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// A tree to write to; made if there is none.
    fn tree(&self, name: &str) -> io::Result<sled::Tree> {
        match self.known(name) {
            Some(Handle::There(tree)) => Ok(tree),
            Some(Handle::Leaving) => Err(io::Error::other(format!("the tree {name} is being dropped"))),
            None => self.open_tree(&mut self.trees.write().unwrap_or_else(PoisonError::into_inner), name),
        }
    }

    /// A tree to read. A reader that is late must not make a purged one again; so whoever opens a tree keeps the
    /// others out, and one that is being dropped is not there.
    fn existing_tree(&self, name: &str) -> io::Result<Option<sled::Tree>> {
        let mut trees = match self.known(name) {
            Some(Handle::There(tree)) => return Ok(Some(tree)),
            Some(Handle::Leaving) => return Ok(None),
            None => self.trees.write().unwrap_or_else(PoisonError::into_inner),
        };
        let leaving = matches!(trees.get(name), Some(Handle::Leaving));
        match !leaving && self.db.tree_names().iter().any(|present| present == name.as_bytes()) {
            true => self.open_tree(&mut trees, name).map(Some),
            false => Ok(None),
        }
    }

    fn open_tree(&self, trees: &mut HashMap<String, Handle>, name: &str) -> io::Result<sled::Tree> {
        let tree = self.db.open_tree(name).map_err(|e| self.error(e))?;
        trees.insert(name.to_owned(), Handle::There(tree.clone()));
        Ok(tree)
    }

    fn error(&self, error: sled::Error) -> io::Error {
        match error {
            sled::Error::Io(error) => error,
            error => damaged(&self.folder, &error.to_string()),
        }
    }

    fn check_no_blobs(&self) -> io::Result<()> {
        match fs::read_dir(self.folder.join("blobs")) {
            Ok(mut blobs) => match blobs.next() {
                None => Ok(()),
                Some(_) => Err(damaged(&self.folder, "blobs/ is not empty, and sled does not sync what is in there")),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// An earlier opening by this process may still be on its way out. (Another process is kept out by a lock
/// of our own.)
fn open_patiently(config: &sled::Config, path: &Path) -> sled::Result<sled::Db> {
    for _ in 0..OPEN_RETRIES {
        match try_open(config, path) {
            Err(sled::Error::Io(error)) if is_in_use(&error) => thread::sleep(OPEN_PAUSE),
            opened => return opened,
        }
    }
    try_open(config, path)
}

fn try_open(config: &sled::Config, path: &Path) -> sled::Result<sled::Db> {
    let settings = fs::read(path.with_file_name("conf")).unwrap_or_default();
    // Of one that is not ours, and will be refused, nothing is known.
    if settings.starts_with(format!("segment_size: {SEGMENT_BYTES}\n").as_bytes()) {
        ahead::trim(path, SEGMENT_BYTES as u64)?;
    }
    config.open()
}

/// As sled says it, and as locks do.
fn is_in_use(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Other | io::ErrorKind::WouldBlock)
}

fn damaged(folder: &Path, detail: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("database {}: {detail}", folder.display()))
}

/// Whatever panics while a folder is opened does so over its contents; sled's words alone help nobody.
fn explaining_panics<T>(folder: &Path, open: impl FnOnce() -> T) -> T {
    let previous = Arc::new(panic::take_hook());
    let (inner, folder) = (previous.clone(), folder.to_owned());
    panic::set_hook(Box::new(move |info| {
        inner(info);
        eprintln!(
            "the database {} is damaged. This replica can't be repaired: remove it (`quorate cluster remove ID`) and \
             add it, with an empty folder, under a new id",
            folder.display()
        );
    }));
    let opened = open();
    panic::set_hook(Box::new(move |info| previous(info)));
    opened
}

/// A kill during recovery leaves half a snapshot, over which sled would stumble.
fn remove_unfinished_snapshots(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Makes the creation, renaming or removal of files in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

impl Disk for SledDisk {
    fn insert(&self, tree: &str, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.tree(tree)?.insert(key, value).map_err(|e| self.error(e))?;
        Ok(())
    }

    fn remove(&self, tree: &str, key: &[u8]) -> io::Result<()> {
        if let Some(tree) = self.existing_tree(tree)? {
            tree.remove(key).map_err(|e| self.error(e))?;
        }
        Ok(())
    }

    fn get(&self, tree: &str, key: &[u8]) -> io::Result<Option<Vec<u8>>> {
        let Some(tree) = self.existing_tree(tree)? else { return Ok(None) };
        let value = tree.get(key).map_err(|e| self.error(e))?;
        Ok(value.map(|value| value.to_vec()))
    }

    fn scan(&self, tree: &str, range: Range<&[u8]>, visit: Visit<'_>) -> io::Result<()> {
        let Some(tree) = self.existing_tree(tree)? else { return Ok(()) };
        for item in tree.range(range) {
            let (key, value) = item.map_err(|e| self.error(e))?;
            if visit(&key, &value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn last_key(&self, tree: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(tree) = self.existing_tree(tree)? else { return Ok(None) };
        let last = tree.last().map_err(|e| self.error(e))?;
        Ok(last.map(|(key, _)| key.to_vec()))
    }

    fn trees(&self) -> io::Result<Vec<String>> {
        let names = self.db.tree_names().into_iter();
        Ok(names.filter_map(|name| String::from_utf8(name.to_vec()).ok()).collect())
    }

    fn drop_tree(&self, tree: &str) -> io::Result<()> {
        let trees = || self.trees.write().unwrap_or_else(PoisonError::into_inner);
        trees().insert(tree.to_owned(), Handle::Leaving);
        // This takes long: whoever uses other trees must not wait for it.
        self.db.drop_tree(tree).map_err(|e| self.error(e))?;
        trees().remove(tree);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.db.flush().map_err(|e| self.error(e))?;
        self.file.sync_data()?;
        self.ahead.look();
        if self.syncs.fetch_add(1, Ordering::Relaxed).is_multiple_of(SYNCS_PER_CHECK) {
            self.check_no_blobs()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_makes_no_trees() {
        let dir = tempfile::tempdir().unwrap();
        let disk = SledDisk::open(dir.path(), 8 << 20).unwrap();
        disk.insert("log.1", b"key", b"value").unwrap();
        assert_eq!(disk.get("log.1", b"key").unwrap().as_deref(), Some(&b"value"[..]));
        disk.drop_tree("log.1").unwrap();
        let before = disk.trees().unwrap();
        assert_eq!(disk.get("log.1", b"key").unwrap(), None);
        assert_eq!(disk.last_key("log.1").unwrap(), None);
        disk.remove("log.1", b"key").unwrap();
        disk.scan("log.1", crate::disk::ALL_KEYS, &mut |_, _| panic!("there is nothing")).unwrap();
        assert_eq!(disk.trees().unwrap(), before);
    }

    #[test]
    fn a_tree_that_is_being_dropped_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let disk = SledDisk::open(dir.path(), 8 << 20).unwrap();
        disk.insert("log.1", b"key", b"value").unwrap();
        disk.trees.write().unwrap().insert("log.1".into(), Handle::Leaving);
        assert_eq!(disk.get("log.1", b"key").unwrap(), None);
        assert_eq!(disk.last_key("log.1").unwrap(), None);
        disk.remove("log.1", b"key").unwrap();
        let refused = disk.insert("log.1", b"key", b"newer").unwrap_err().to_string();
        assert!(refused.contains("log.1 is being dropped"), "{refused}");
        disk.drop_tree("log.1").unwrap();
        disk.insert("log.1", b"other", b"value").unwrap();
        assert_eq!(disk.get("log.1", b"key").unwrap(), None, "it is a new tree");
        assert_eq!(disk.get("log.1", b"other").unwrap().as_deref(), Some(&b"value"[..]));
    }

    /// As it is after a kill: with zeros behind what was written, as many as there happen to be.
    #[test]
    fn a_copy_made_after_a_sync_has_all_that_was_synced() {
        let dir = tempfile::tempdir().unwrap();
        let disk = SledDisk::open(&dir.path().join("original"), 8 << 20).unwrap();
        let value = |key: u32| key.to_be_bytes().repeat(1_024);
        for round in 0..8_u32 {
            for key in round * 300..(round + 1) * 300 {
                disk.insert("log.1", &key.to_be_bytes(), &value(key)).unwrap();
            }
            disk.sync().unwrap();
            let copy = dir.path().join(format!("copy-{round}"));
            copy_folder(&dir.path().join("original"), &copy);
            let copy = SledDisk::open(&copy, 8 << 20).unwrap();
            for key in 0..(round + 1) * 300 {
                let found = copy.get("log.1", &key.to_be_bytes()).unwrap();
                assert!(found.as_deref() == Some(&value(key)[..]), "{key} in round {round}");
            }
        }
    }

    fn copy_folder(from: &Path, to: &Path) {
        fs::create_dir(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap).filter(|it| it.file_type().unwrap().is_file()) {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
