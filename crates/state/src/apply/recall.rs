//! Jobs that come back from the archive, to run again.

use std::sync::Arc;

use quorate_types::{JobId, Timestamp};

use super::Result;
use crate::archive::Recalled;
use crate::command::Again;
use crate::job::Job;
use crate::limits::{RESULT_BYTES_MAX, SPEC_BYTES_MAX};
use crate::outcome::{Applied, Rejection};
use crate::state::State;

impl State {
    pub(super) fn retry_archived(
        &mut self,
        id: JobId,
        again: &Again,
        recalled: &Recalled,
        out: &mut Applied,
    ) -> Result {
        match again {
            Again::Scope(scope) => self.retry(id, *scope, Some(recalled), out),
            Again::From(task) => self.retry_from(id, task, Some(recalled), out),
        }
    }

    /// The job as it is in memory, or was there before it left.
    pub(super) fn recall(&self, id: JobId, recalled: Option<&Recalled>) -> std::result::Result<Arc<Job>, Rejection> {
        if let Some(job) = self.jobs.get(&id) {
            return Ok(job.clone());
        }
        let stub = self.archived(id).ok_or(Rejection::NoSuchJob(id))?;
        let job = recalled.and_then(Recalled::job).ok_or(Rejection::Archived(id))?;
        let header = &job.header;
        // It may have been read when an earlier end was the last one.
        let is_newest = (header.id, header.finished_at, header.state) == (id, Some(stub.finished_at), stub.state)
            && (header.output_bytes, header.counts.total) == (stub.output_bytes, stub.elements);
        if !is_newest {
            return Err(Rejection::Archived(id));
        }
        let totals = self.cluster.totals;
        if totals.spec_bytes + header.spec_bytes > SPEC_BYTES_MAX {
            return Err(Rejection::MemoryFull(totals.spec_bytes));
        }
        if totals.result_bytes + header.result_bytes > RESULT_BYTES_MAX {
            return Err(Rejection::MemoryFull(totals.result_bytes));
        }
        Ok(Arc::new(job))
    }

    /// The job is in memory from now on, and among those that have just finished there, wherever it was.
    pub(super) fn take_up_finished(&mut self, job: &Arc<Job>, finished_at: Timestamp) {
        let id = job.id();
        if self.unnote_archived(id).is_some() {
            self.cluster.note_submitted(job);
            self.jobs.insert(id, job.clone());
        } else if self.cluster.stop_leaving(id).is_none() {
            return;
        }
        self.cluster.note_finished(job, finished_at);
    }
}
