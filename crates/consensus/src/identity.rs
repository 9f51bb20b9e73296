//! Who a data folder is. Written once when the folder is made, except for the cluster's name, which
//! comes when the cluster has one.

use std::fs::{File, TryLockError};
use std::io::{self, Read};
use std::path::Path;

use quorate_types::ReplicaId;
use serde::{Deserialize, Serialize};

use crate::codec::{self, Kind};
use crate::disk::{Disk, META};
use crate::error::StartError;
use crate::host;
use crate::log::layout;
use crate::log::{Write, Writer};
use crate::storage::Folder;

const IDENTITY_KEY: &[u8] = b"identity";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) id: ReplicaId,
    /// A random number, by which the cluster knows this folder.
    pub(crate) storage: u64,
    /// 0 until the cluster has a name and this replica has heard of it.
    pub(crate) cluster: u64,
    /// The cluster adds this replica; it never founds one.
    pub(crate) joins: bool,
}

impl Identity {
    /// Reads the folder's identity, or gives an empty folder one.
    pub(crate) fn open(disk: &dyn Disk, folder: &Folder) -> Result<Self, StartError> {
        let failed = |error: io::Error| failed(folder, error);
        let (dir, wanted) = (folder.dir.clone(), folder.id);
        match layout::read_meta::<Self>(disk, IDENTITY_KEY, Kind::Identity).map_err(failed)? {
            Some(identity) if identity.id != wanted => {
                Err(StartError::OtherReplica { dir, found: identity.id, wanted })
            }
            Some(identity) => Ok(identity),
            None => {
                let storage = host::random().map_err(failed)?;
                let identity = Self { id: wanted, storage, cluster: 0, joins: folder.joins };
                let record = identity.encode().map_err(failed)?;
                disk.insert(META, IDENTITY_KEY, &record).map_err(failed)?;
                disk.sync().map_err(failed)?;
                Ok(identity)
            }
        }
    }

    fn encode(&self) -> io::Result<Vec<u8>> {
        codec::encode(Kind::Identity, self).map_err(|e| e.at("identity"))
    }

    /// Makes the identity durable.
    pub(crate) async fn save(&self, writer: &Writer) -> io::Result<()> {
        let record = self.encode()?;
        writer.durably(|done| Write::Meta { key: IDENTITY_KEY, record, done }).await
    }
}

/// An error on the way to an open folder: damage is told apart from, say, a full disk.
pub(crate) fn failed(folder: &Folder, error: io::Error) -> StartError {
    let dir = folder.dir.clone();
    match error.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            StartError::Damaged { dir, id: folder.id, detail: error.to_string() }
        }
        _ => StartError::Folder { dir, source: error },
    }
}

/// Keeps a second process out, for as long as the file is open.
pub(crate) fn lock(dir: &Path) -> Result<File, StartError> {
    let open = File::options().write(true).create(true).truncate(false).open(dir.join("lock"));
    let file = open.map_err(|source| StartError::Folder { dir: dir.to_owned(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::FolderInUse(dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(StartError::Folder { dir: dir.to_owned(), source }),
    }
}

/// A random number other than 0, from the kernel.
pub(crate) fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes).max(1))
}
