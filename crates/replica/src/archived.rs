//! Finished jobs that left memory, as the archive has them.

use quorate_consensus::{ArchiveError, Handle};
use quorate_state::archive::{DecodeError, ElementBlock, JobRecord, Recalled, decode};
use quorate_state::outcome::ArchiveKey;
use quorate_types::JobId;
use serde::de::DeserializeOwned;

use crate::limits::RECALLED_BYTES_MAX;

/// Why a record can't be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error(transparent)]
    Read(#[from] ArchiveError),
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Why a job can't be had as a whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WholeError {
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("it has more than {RECALLED_BYTES_MAX} bytes")]
    TooLarge,
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

/// All that there is of a job, to run it again; none if it is not in the archive, or not as a whole.
pub(crate) async fn whole(handle: &Handle, id: JobId) -> Result<Option<Recalled>, WholeError> {
    let read = handle.read_archive(move |read| {
        let Some(job) = read(ArchiveKey::Job(id))? else { return Ok(Ok(None)) };
        let Some(mut room) = RECALLED_BYTES_MAX.checked_sub(job.len()) else { return Ok(Err(WholeError::TooLarge)) };
        let record: JobRecord = match decode(&job) {
            Ok(record) => record,
            Err(error) => return Ok(Err(RecordError::from(error).into())),
        };
        let mut blocks = Vec::new();
        for key in record.blocks() {
            // What is not there went with its job since that was read.
            let Some(block) = read(key)? else { return Ok(Ok(None)) };
            let Some(left) = room.checked_sub(block.len()) else { return Ok(Err(WholeError::TooLarge)) };
            room = left;
            blocks.push(block);
        }
        Ok(Ok(Some(Recalled { job, blocks })))
    });
    read.await.map_err(RecordError::from)?
}

async fn record<T: DeserializeOwned>(handle: &Handle, key: ArchiveKey) -> Result<Option<T>, RecordError> {
    let bytes = handle.archived(key).await?;
    Ok(bytes.map(|bytes| decode(&bytes)).transpose()?)
}
