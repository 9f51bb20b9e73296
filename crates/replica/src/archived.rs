//! Finished jobs that left memory, as the archive has them.

use quorate_consensus::{ArchiveError, Handle};
use quorate_state::archive::{DecodeError, ElementBlock, JobRecord, decode};
use quorate_state::outcome::ArchiveKey;
use quorate_types::JobId;
use serde::de::DeserializeOwned;

/// Why a record can't be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error(transparent)]
    Read(#[from] ArchiveError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

pub(crate) async fn job(handle: &Handle, id: JobId) -> Result<Option<JobRecord>, RecordError> {
    record(handle, ArchiveKey::Job(id)).await
}

/// The elements of one block of a task, if any of it has a record.
pub(crate) async fn block(
    handle: &Handle,
    job: JobId,
    task: u32,
    block: u32,
) -> Result<Option<ElementBlock>, RecordError> {
    record(handle, ArchiveKey::Elements { job, task, block }).await
}

async fn record<T: DeserializeOwned>(handle: &Handle, key: ArchiveKey) -> Result<Option<T>, RecordError> {
    let bytes = handle.archived(key).await?;
    Ok(bytes.map(|bytes| decode(&bytes)).transpose()?)
}
