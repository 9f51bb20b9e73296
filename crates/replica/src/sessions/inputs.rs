//! What archived jobs left, for the tasks that need them.
//!
//! The desk decides from the state alone, which has no more of such a job than that it is archived. Here its results
//! are read and put into the message. A message has at most one definition that waits for any, so that it grows by
//! [`INPUTS_BYTES_MAX`] at the most.

use std::collections::{BTreeMap, VecDeque};

use quorate_consensus::{ArchiveError, Handle};
use quorate_state::archive::JobRecord;
use quorate_state::job::TaskHead;
use quorate_state::limits::ELEMENTS_PER_BLOCK;
use quorate_types::inputs::{INPUT_BYTES, Input, Inputs, JobInput, Why};
use quorate_types::limits::INPUTS_BYTES_MAX;
use quorate_types::session::ToWorker;
use quorate_types::{JobId, TaskIndex, Timestamp};
use tokio::sync::Mutex;
use tracing::warn;

use crate::archived::{self, RecordError};
use crate::limits::{ARCHIVE_CACHE_BYTES_MAX, ARCHIVE_READS_MAX};

/// Adds to a message what is in the archive. An error means that this replica can't read it: another one can.
pub(super) async fn add_archived(
    handle: &Handle,
    reading: &Mutex<Cache>,
    message: &mut ToWorker,
) -> Result<(), ArchiveError> {
    let (ToWorker::Assigned { work, .. } | ToWorker::Changed { work, .. }) = message else { return Ok(()) };
    let all = work.definitions.iter_mut().filter_map(|definition| definition.inputs.as_mut());
    for inputs in all.filter(|inputs| waits(inputs)) {
        // Records are decoded one after the other: a large one takes many times its bytes.
        let mut cache = reading.lock().await;
        let bytes = INPUTS_BYTES_MAX.saturating_sub(inputs.weight() - inputs.own_weight());
        let mut reader = Reader { handle, cache: &mut cache, bytes, reads: ARCHIVE_READS_MAX };
        for mut left in std::mem::take(&mut inputs.left_out) {
            match left.job.filter(|_| left.why == Why::Archived) {
                Some(job) => match reader.job(job).await? {
                    Ok(found) => drop(inputs.jobs.insert(job, found)),
                    Err(why) => {
                        left.why = why;
                        inputs.left_out.push(left);
                    }
                },
                None => inputs.left_out.push(left),
            }
        }
    }
    Ok(())
}

/// Whether [`add_archived`] has something to add.
pub(super) fn waits(inputs: &Inputs) -> bool {
    inputs.left_out.iter().any(|left| left.why == Why::Archived)
}

/// A job as it was at one of its ends: between that and the next one it does not change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ended {
    job: JobId,
    at: Timestamp,
}

/// What was read last: the workers of an array all ask for the same.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    /// The newest last.
    jobs: VecDeque<(Ended, JobInput)>,
    bytes: usize,
}

impl Cache {
    fn get(&self, job: Ended) -> Option<JobInput> {
        self.jobs.iter().find(|(ended, _)| *ended == job).map(|(_, input)| input.clone())
    }

    fn put(&mut self, job: Ended, input: &JobInput) {
        self.bytes += input.weight();
        self.jobs.push_back((job, input.clone()));
        while self.bytes > ARCHIVE_CACHE_BYTES_MAX || self.jobs.len() > ARCHIVE_READS_MAX {
            self.bytes -= self.jobs.pop_front().map_or(0, |(_, oldest)| oldest.weight());
        }
    }
}

/// Reads what jobs left while there is room for it.
struct Reader<'a> {
    handle: &'a Handle,
    cache: &'a mut Cache,
    bytes: usize,
    /// Records that may still be read: the worker waits for its work meanwhile.
    reads: usize,
}

impl Reader<'_> {
    /// All that the job left, or why that is left out.
    async fn job(&mut self, id: JobId) -> Result<Result<JobInput, Why>, ArchiveError> {
        let version = self.handle.version();
        let newest = version.state.archived(id).map(|stub| Ended { job: id, at: stub.finished_at });
        if let Some(input) = newest.and_then(|ended| self.cache.get(ended)) {
            let left = self.bytes.checked_sub(input.weight());
            self.bytes = left.unwrap_or(self.bytes);
            return Ok(left.map(|_| input).ok_or(Why::TooLarge));
        }
        let before = self.bytes;
        let found = match self.read(id).await {
            Ok((ended, input)) => {
                self.cache.put(ended, &input);
                return Ok(Ok(input));
            }
            Err(Missing::Left(why)) => Ok(Err(why)),
            Err(Missing::Failed(RecordError::Read(error))) => Err(error),
            Err(Missing::Failed(error @ RecordError::Decode(_))) => {
                warn!(job = %id, %error, "what an archived job left can't be read");
                Ok(Err(Why::Archived))
            }
        };
        self.bytes = before;
        found
    }

    async fn read(&mut self, id: JobId) -> Result<(Ended, JobInput), Missing> {
        self.count_read()?;
        let JobRecord { header, spec, tasks: heads } =
            archived::job(self.handle, id).await?.ok_or(Missing::Left(Why::Forgotten))?;
        let mut tasks = BTreeMap::new();
        for ((at, task), head) in (0..).zip(&spec.tasks).zip(&heads) {
            let count = head.count as usize;
            // What can't fit is not read.
            if count * INPUT_BYTES > self.bytes {
                return Err(Missing::Left(Why::TooLarge));
            }
            tasks.insert(task.name.clone(), self.task(id, at, head).await?);
        }
        let ended = Ended { job: id, at: header.finished_at.unwrap_or_default() };
        Ok((ended, JobInput { state: header.state, tasks }))
    }

    /// All elements of a task.
    async fn task(&mut self, job: JobId, task: u32, head: &TaskHead) -> Result<Vec<Input>, Missing> {
        let mut inputs = Vec::new();
        for number in 0..head.fresh.div_ceil(ELEMENTS_PER_BLOCK) {
            self.count_read()?;
            // A block that is not there went with its job since that was read.
            let block = archived::block(self.handle, job, task, number).await?;
            for (at, element) in block.ok_or(Missing::Left(Why::Forgotten))? {
                inputs.push(self.take(Input { index: TaskIndex(at), state: element.state, result: element.result })?);
            }
        }
        for at in head.fresh..head.count {
            inputs.push(self.take(Input { index: TaskIndex(at), state: head.fresh_state(), result: None })?);
        }
        Ok(inputs)
    }

    fn take(&mut self, input: Input) -> Result<Input, Missing> {
        self.bytes = self.bytes.checked_sub(input.weight()).ok_or(Missing::Left(Why::TooLarge))?;
        Ok(input)
    }

    fn count_read(&mut self) -> Result<(), Missing> {
        self.reads = self.reads.checked_sub(1).ok_or(Missing::Left(Why::TooLarge))?;
        Ok(())
    }
}

/// Why there is nothing of a job.
enum Missing {
    Left(Why),
    Failed(RecordError),
}

impl From<RecordError> for Missing {
    fn from(error: RecordError) -> Self {
        Self::Failed(error)
    }
}
