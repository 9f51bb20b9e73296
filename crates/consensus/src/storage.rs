//! Opens a data folder.
//!
//! `lock` keeps a second process out; `db/` is the database of log, positions and archive; `watermark` guards
//! the log's end; `snapshots/` holds the state.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

use quorate_types::ReplicaId;

use crate::disk::{self, Disk, Files, HostFiles, SledDisk};
use crate::error::StartError;
use crate::identity::{self, Identity};
use crate::log::{LogShared, LogStore, Watermark};
use crate::options::Limits;
use crate::snapshot::Snapshots;

/// Which folder, and for whom.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    pub(crate) dir: PathBuf,
    pub(crate) id: ReplicaId,
    /// An empty folder becomes a replica that waits to be added.
    pub(crate) joins: bool,
    pub(crate) limits: Limits,
}

pub(crate) struct Storage {
    pub(crate) lock: File,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) watermark: Watermark,
    pub(crate) identity: Identity,
    pub(crate) log: LogShared,
    pub(crate) snapshots: Snapshots,
}

impl Folder {
    /// Opens everything in the folder. Blocks.
    pub(crate) fn open(&self) -> Result<Storage, StartError> {
        let lock = self.create()?;
        let database = SledDisk::open(&self.dir.join("db"), self.limits.page_cache_bytes);
        let disk: Arc<dyn Disk> = Arc::new(database.map_err(|e| identity::failed(self, e))?);
        self.open_on(disk, Arc::new(HostFiles), lock)
    }

    /// The same on another kind of disk; only the lock is in the folder.
    pub(crate) fn open_disk(&self, disk: Arc<dyn Disk>, files: Arc<dyn Files>) -> Result<Storage, StartError> {
        let lock = self.create()?;
        self.open_on(disk, files, lock)
    }

    fn create(&self) -> Result<File, StartError> {
        fs::create_dir_all(&self.dir).map_err(|e| identity::failed(self, e))?;
        let lock = identity::lock(&self.dir)?;
        disk::sync_folder(&self.dir).map_err(|e| identity::failed(self, e))?;
        if let Some(parent) = self.dir.parent().filter(|parent| parent.is_dir()) {
            disk::sync_folder(parent).map_err(|e| identity::failed(self, e))?;
        }
        Ok(lock)
    }

    fn open_on(&self, disk: Arc<dyn Disk>, files: Arc<dyn Files>, lock: File) -> Result<Storage, StartError> {
        let failed = |error| identity::failed(self, error);
        let watermark = Watermark::open(&*files, &LogStore::watermark_path(&self.dir)).map_err(failed)?;
        let identity = Identity::open(&*disk, self)?;
        let log = LogShared::open(&*disk, &watermark, &self.limits).map_err(failed)?;
        let snapshots = Snapshots::open(files, &self.dir.join("snapshots")).map_err(failed)?;
        snapshots.files.sync_folder(&self.dir).map_err(failed)?;
        Ok(Storage { lock, disk, watermark, identity, log, snapshots })
    }
}
