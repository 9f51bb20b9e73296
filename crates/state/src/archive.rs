//! Finished jobs that left memory. The state keeps a stub; the records are on disk, written by whoever
//! applies [`ArchiveOp`]s in order.

use std::sync::Arc;

use quorate_types::status::JobState;
use quorate_types::{JobId, JobSpec, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::element::Element;
use crate::growth::Extended;
use crate::job::{Header, Job, TaskHead};
use crate::limits::{
    ARCHIVED_BYTES_PER_COST, ARCHIVED_ELEMENT_COST, BYTES_PER_STEP, ELEMENTS_PER_BLOCK, ELEMENTS_PER_STEP,
};
use crate::outcome::{Applied, ArchiveKey, ArchiveOp};
use crate::state::{Cluster, IdempotencyKey};

/// The first byte of every archived value. 3: a job has what its attempts added apart from what was submitted.
const FORMAT: u8 = 3;

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
    /// How many there are in all of its tasks.
    pub elements: u64,
    pub(crate) key: Option<IdempotencyKey>,
}

/// An archived job without its elements: the value of [`ArchiveKey::Job`].
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(from = "Stored")]
pub struct JobRecord {
    pub header: Header,
    /// With all that the job has gained.
    pub spec: Arc<JobSpec>,
    pub tasks: Vec<TaskHead>,
}

/// A job record as it is stored: what was added stands there once.
#[derive(Serialize, Deserialize)]
struct Stored {
    header: Header,
    submitted: Arc<JobSpec>,
    extensions: Vec<Arc<Extended>>,
    tasks: Vec<TaskHead>,
}

impl From<Stored> for JobRecord {
    fn from(stored: Stored) -> Self {
        let Stored { header, submitted, extensions, tasks } = stored;
        let spec = if extensions.is_empty() { submitted } else { untried(&header, submitted, &extensions).spec };
        Self { header, spec, tasks }
    }
}

/// A job with all its tasks, of which none has been tried.
fn untried(header: &Header, submitted: Arc<JobSpec>, extensions: &[Arc<Extended>]) -> Job {
    let mut job = Job::new(header.id, submitted, header.spec_bytes, header.submitted, header.submitted_at);
    extensions.iter().for_each(|extended| job.gain(extended));
    job
}

impl JobRecord {
    /// The blocks that its elements are stored in.
    pub fn blocks(&self) -> impl Iterator<Item = ArchiveKey> + '_ {
        let job = self.header.id;
        (0..).zip(&self.tasks).flat_map(move |(task, head)| {
            (0..head.fresh.div_ceil(ELEMENTS_PER_BLOCK)).map(move |block| ArchiveKey::Elements { job, task, block })
        })
    }
}

/// All that the archive has of a job, in the values that it is stored in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recalled {
    /// The [`JobRecord`].
    pub job: Vec<u8>,
    /// The value of each of its [`blocks`](JobRecord::blocks).
    pub blocks: Vec<Vec<u8>>,
}

impl Recalled {
    pub fn bytes(&self) -> usize {
        self.job.len() + self.blocks.iter().map(Vec::len).sum::<usize>()
    }

    /// The job as it was when it left memory, if that is what these are the values of.
    pub(crate) fn job(&self) -> Option<Job> {
        let Stored { header, submitted, extensions, tasks } = decode(&self.job).ok()?;
        let mut job = untried(&header, submitted, &extensions);
        if job.tasks.len() as usize != tasks.len() {
            return None;
        }
        let mut values = self.blocks.iter();
        for (at, head) in (0..).zip(tasks) {
            let task = job.task_mut(at)?;
            task.head = head;
            for _ in 0..head.fresh.div_ceil(ELEMENTS_PER_BLOCK) {
                let block: ElementBlock = decode(values.next()?).ok()?;
                task.elements.extend(block.into_iter().map(|(at, element)| (at, Arc::new(element))));
            }
        }
        job.header = header;
        let is_whole = values.next().is_none() && job.header.state.is_finished() && job.check().is_ok();
        is_whole.then_some(job)
    }
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

/// How far a job has come on its way to the archive, which it takes in steps if it is large. Until it is there it is in
/// memory as a whole, and nothing of it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leaving {
    /// When the next step is.
    pub(crate) due: Timestamp,
    /// The first block that has not been written.
    pub(crate) next: Block,
}

/// A row of elements of one task that are one value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Block {
    pub(crate) task: u32,
    pub(crate) number: u32,
}

/// Writes elements from a block on, as many as one step may. Gives what that cost of an entry's time, and with which
/// block it goes on.
pub(crate) fn put_elements(job: &Job, from: Block, cluster: &mut Cluster, out: &mut Applied) -> (u64, Option<Block>) {
    let (mut written, mut bytes) = (0, 0);
    for (task, found) in job.tasks.iter().skip(from.task as usize) {
        let first = if task == from.task { from.number } else { 0 };
        let blocks = found.head.fresh.div_ceil(ELEMENTS_PER_BLOCK);
        for number in first..blocks {
            if written >= u64::from(ELEMENTS_PER_STEP) || bytes >= BYTES_PER_STEP {
                return (cost(written, bytes), Some(Block { task, number }));
            }
            let range = number * ELEMENTS_PER_BLOCK..(number + 1).saturating_mul(ELEMENTS_PER_BLOCK);
            let block: Vec<(u32, &Element)> =
                found.elements.range(range).map(|(index, element)| (*index, &**element)).collect();
            written += block.len() as u64;
            let value = encode(&block);
            bytes += value.len();
            put(ArchiveKey::Elements { job: job.id(), task, block: number }, value, cluster, out);
        }
    }
    (cost(written, bytes), None)
}

fn cost(elements: u64, bytes: usize) -> u64 {
    elements * ARCHIVED_ELEMENT_COST + bytes as u64 / ARCHIVED_BYTES_PER_COST
}

/// Writes the job itself: with that all of it is there.
pub(crate) fn put_job(job: &Job, cluster: &mut Cluster, out: &mut Applied) {
    let tasks = job.tasks.values().map(|task| task.head).collect();
    let extensions = job.plan.growth().into_iter().flat_map(|growth| growth.extensions().cloned()).collect();
    let stored = Stored { header: job.header.clone(), submitted: job.submitted_spec(), extensions, tasks };
    put(ArchiveKey::Job(job.id()), encode(&stored), cluster, out);
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
