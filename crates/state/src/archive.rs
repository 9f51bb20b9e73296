//! Finished jobs that left memory. The state keeps a stub; the records are on disk, written by whoever
//! applies [`ArchiveOp`]s in order.

use std::sync::Arc;

use quorate_types::status::JobState;
use quorate_types::{JobId, JobSpec, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::element::Element;
use crate::job::{Header, Job, TaskHead};
use crate::limits::ELEMENTS_PER_BLOCK;
use crate::outcome::{Applied, ArchiveKey, ArchiveOp};
use crate::state::{Cluster, IdempotencyKey};

/// The first byte of every archived value. 2: jobs have conditions, times, keys and schedules.
const FORMAT: u8 = 2;

/// What decoding a value may claim, so that no room is made for whatever a length says. A value holds a job of
/// [`GROWN_SPEC_BYTES_MAX`](crate::limits::GROWN_SPEC_BYTES_MAX), or 256 elements with 64 KiB of result each; numbers
/// count with their full width.
const CLAIM_BYTES_MAX: usize = 256 << 20;

/// What the state remembers of an archived job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archived {
    pub finished_at: Timestamp,
    pub state: JobState,
    pub output_bytes: u64,
    pub(crate) key: Option<IdempotencyKey>,
}

/// An archived job without its elements: the value of [`ArchiveKey::Job`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRecord {
    pub header: Header,
    pub spec: Arc<JobSpec>,
    pub tasks: Vec<TaskHead>,
}

/// The elements with a record of one block: the value of [`ArchiveKey::Elements`].
pub type ElementBlock = Vec<(u32, Element)>;

/// An archived value that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("archived value has format {0:?}, this version reads {FORMAT}")]
    Format(Option<u8>),
    #[error("decode archived value: {0}")]
    Bincode(#[from] bincode::error::DecodeError),
}

/// Reads a [`JobRecord`] or an [`ElementBlock`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    match bytes.split_first() {
        Some((&FORMAT, payload)) => {
            let config = bincode::config::standard().with_limit::<CLAIM_BYTES_MAX>();
            Ok(bincode::serde::decode_from_slice(payload, config)?.0)
        }
        other => Err(DecodeError::Format(other.map(|(format, _)| *format))),
    }
}

fn encode<T: Serialize>(value: &T) -> Arc<[u8]> {
    let mut bytes = vec![FORMAT];
    bincode::serde::encode_into_std_write(value, &mut bytes, bincode::config::standard())
        .unwrap_or_else(|e| unreachable!("encoding into memory: {e}"));
    bytes.into()
}

/// The block that holds element `index`.
pub const fn block_of(index: u32) -> u32 {
    index / ELEMENTS_PER_BLOCK
}

/// Writes the job's records and takes up its stub.
pub(crate) fn put_job(job: &Job, cluster: &mut Cluster, out: &mut Applied) {
    let id = job.id();
    let tasks = job.tasks.values().map(|task| task.head).collect();
    let record = JobRecord { header: job.header.clone(), spec: job.spec.clone(), tasks };
    put(ArchiveKey::Job(id), encode(&record), cluster, out);
    for (at, task) in job.tasks.iter() {
        let mut block: Vec<(u32, &Element)> = Vec::new();
        for (index, element) in &task.elements {
            if block.first().is_some_and(|(first, _)| block_of(*first) != block_of(*index)) {
                put_block(id, at, &block, cluster, out);
                block.clear();
            }
            block.push((*index, element));
        }
        put_block(id, at, &block, cluster, out);
    }
}

fn put_block(job: JobId, task: u32, block: &[(u32, &Element)], cluster: &mut Cluster, out: &mut Applied) {
    if let Some((first, _)) = block.first() {
        let key = ArchiveKey::Elements { job, task, block: block_of(*first) };
        put(key, encode(&block), cluster, out);
    }
}

pub(crate) fn put(key: ArchiveKey, value: Arc<[u8]>, cluster: &mut Cluster, out: &mut Applied) {
    chain(cluster, &key.to_bytes());
    chain(cluster, &value);
    out.archive.push(ArchiveOp::Put { key, value });
}

/// Drops all records of the job.
pub(crate) fn drop_job(job: JobId, cluster: &mut Cluster, out: &mut Applied) {
    chain(cluster, &job.0.to_be_bytes());
    out.archive.push(ArchiveOp::Drop(job));
}

/// The digest covers the archive through this hash: equal histories of writes, equal archives.
fn chain(cluster: &mut Cluster, bytes: &[u8]) {
    let hash = &mut cluster.scalars.archive_hash;
    *hash = xxhash_rust::xxh3::xxh3_64_with_seed(bytes, *hash);
}
