//! Writes a snapshot from a copy of the state.

use std::io;
use std::sync::Arc;

use openraft::RaftSnapshotBuilder;
use openraft::alias::SnapshotOf;
use quorate_types::{Bug, is_planted};

use super::{SnapshotFile, Snapshots, file};
use crate::archive::Archive;
use crate::host;
use crate::options::Version;
use crate::type_config::{SnapshotMeta, TypeConfig};

pub(crate) struct Builder {
    pub(crate) meta: SnapshotMeta,
    pub(crate) version: Arc<Version>,
    pub(crate) archive: Archive,
    pub(crate) snapshots: Snapshots,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<TypeConfig, SnapshotFile>> {
        // The log before the snapshot may be purged: what it wrote to the archive must stay.
        self.archive.sync().await?;
        let (meta, version, snapshots) = (self.meta.clone(), self.version.clone(), self.snapshots.clone());
        let planted = is_planted(Bug::PurgeWithoutSnapshot);
        let write = move || {
            let path = snapshots.unfinished_path();
            file::write(&*snapshots.files, &path, &meta, &version.state)?;
            let adopted = snapshots.adopt(&path, &meta)?;
            if planted {
                snapshots.files.remove(&adopted.path)?;
            }
            Ok(adopted)
        };
        let snapshot = host::blocking(write).await?;
        tracing::info!(index = %self.version.index, "snapshot written");
        Ok(SnapshotOf::<TypeConfig, _> { meta: self.meta.clone(), snapshot })
    }
}
