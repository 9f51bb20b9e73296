//! The folder of snapshots: which one is the newest, and no more of them than needed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::file;
use crate::disk::Files;
use crate::type_config::SnapshotMeta;

/// The newest one, and the one before it for a transfer that is under way.
const KEPT: usize = 2;
const SUFFIX: &str = ".snap";
/// What is being written or received; removed at the next start if it was not finished.
const UNFINISHED: &str = ".tmp";

/// A snapshot's file, as openraft hands it around.
#[derive(Clone, Debug)]
pub(crate) struct SnapshotFile {
    pub(crate) path: Arc<Path>,
    /// Received and verified, but not yet one of this replica's own.
    pub(crate) received: bool,
}

type Newest = Option<(SnapshotMeta, Arc<Path>)>;

#[derive(Clone, Debug)]
pub(crate) struct Snapshots {
    pub(crate) files: Arc<dyn Files>,
    folder: Arc<Path>,
    newest: Arc<Mutex<Newest>>,
    /// Makes the names of unfinished files differ.
    unfinished: Arc<AtomicU64>,
    receiving: Arc<Semaphore>,
}

/// Newest last: files are ordered by what they are of.
fn order(path: &Path) -> Option<(u64, u64)> {
    let (index, term) = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.split_once('-')?;
    Some((index.parse().ok()?, term.parse().ok()?))
}

impl Snapshots {
    /// Opens the folder, creates it if need be, and looks at the newest snapshot.
    pub(crate) fn open(files: Arc<dyn Files>, folder: &Path) -> io::Result<Self> {
        files.create_folder(folder)?;
        for path in files.list(folder)? {
            if path.to_string_lossy().ends_with(UNFINISHED) {
                files.remove(&path)?;
            }
        }
        let newest = match list(&*files, folder)?.pop() {
            Some(path) => Some((file::read_meta(&*files, &path)?, Arc::from(path))),
            None => None,
        };
        Ok(Self {
            files,
            folder: Arc::from(folder),
            newest: Arc::new(Mutex::new(newest)),
            unfinished: Arc::default(),
            receiving: Arc::new(Semaphore::new(1)),
        })
    }

    /// The right to receive a snapshot, unless another one is coming in: the sweep after an installation
    /// would take away the archive's records that a newer snapshot has just brought.
    pub(crate) fn begin_receiving(&self) -> Option<SemaphorePermit<'_>> {
        self.receiving.try_acquire().ok()
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn current(&self) -> Option<(SnapshotMeta, SnapshotFile)> {
        let newest = self.newest().clone();
        newest.map(|(meta, path)| (meta, SnapshotFile { path, received: false }))
    }

    /// A name for a file that is not finished.
    pub(crate) fn unfinished_path(&self) -> PathBuf {
        let number = self.unfinished.fetch_add(1, Ordering::Relaxed);
        self.folder.join(format!("{number}{UNFINISHED}"))
    }

    /// Makes a snapshot this replica's own, if it is not yet. Blocks.
    pub(crate) fn take_in(&self, snapshot: SnapshotFile, meta: &SnapshotMeta) -> io::Result<SnapshotFile> {
        if snapshot.received {
            return self.adopt(&snapshot.path, meta);
        }
        if snapshot.path.parent() == Some(&*self.folder) {
            return Ok(snapshot);
        }
        // openraft's suite hands over another replica's file; nobody else does.
        let copy = self.unfinished_path();
        io::copy(&mut self.files.open(&snapshot.path)?, &mut self.files.create(&copy)?)?;
        self.adopt(&copy, meta)
    }

    /// Makes a finished and synced file a snapshot. Blocks.
    pub(crate) fn adopt(&self, finished: &Path, meta: &SnapshotMeta) -> io::Result<SnapshotFile> {
        let (index, term) = meta.last_log_id.map_or((0, 0), |last| (last.index, last.leader_id.term));
        let path: Arc<Path> = Arc::from(self.folder.join(format!("{index}-{term}{SUFFIX}")));
        self.files.rename(finished, &path)?;
        self.files.sync_folder(&self.folder)?;
        {
            let mut newest = self.newest();
            if newest.as_ref().is_none_or(|(present, _)| present.last_log_id <= meta.last_log_id) {
                *newest = Some((meta.clone(), path.clone()));
            }
        }
        self.remove_old();
        Ok(SnapshotFile { path, received: false })
    }

    /// Failing to remove an old file does no harm.
    fn remove_old(&self) {
        let mut files = list(&*self.files, &self.folder).unwrap_or_default();
        files.truncate(files.len().saturating_sub(KEPT));
        for path in files {
            if let Err(error) = self.files.remove(&path) {
                tracing::warn!(path = %path.display(), %error, "an old snapshot could not be removed");
            }
        }
    }
}

/// The snapshots of a folder, oldest first.
fn list(files: &dyn Files, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let all = files.list(folder)?.into_iter();
    let mut found: Vec<_> = all.filter_map(|path| Some((order(&path)?, path))).collect();
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}
