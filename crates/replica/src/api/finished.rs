//! Finished jobs that left memory: read from the archive, and brought back to run again.

use axum::response::Response;
use quorate_state::archive::{ElementBlock, JobRecord, Recalled, block_of};
use quorate_state::command::{Again, Command};
use quorate_state::element::Element;
use quorate_state::outcome::{Outcome, Rejection};
use quorate_types::{Code, JobId, LogIndex, Name, TaskIndex};

use super::App;
use super::error::{ApiError, ApiResult};
use super::read::View;
use super::write::accepted;
use crate::archived::{self, WholeError};
use crate::limits::{READ_WAIT, RECALLS_OF_ONE_MAX};

/// What came of a retry.
enum Tried {
    Done(Response),
    /// Nothing, at this index: the job is in the archive, and not as it was thought to be.
    Archived(LogIndex),
}

impl App {
    /// Runs a finished job again, wherever it is.
    pub(crate) async fn retry(&self, job: JobId, again: Again) -> ApiResult<Response> {
        let command = match again.clone() {
            Again::Scope(scope) => Command::Retry { job, scope },
            Again::From(task) => Command::RetryFrom { job, task },
        };
        for _ in 0..RECALLS_OF_ONE_MAX {
            let index = match self.unless_archived(command.clone()).await? {
                Tried::Done(answer) => return Ok(answer),
                Tried::Archived(index) => index,
            };
            // What is there of it is on this replica too, once it is as far.
            self.handle.wait_applied(index, READ_WAIT).await?;
            let _place = self.room.recalls.acquire().await;
            // It may have come back, or have been dropped, since then.
            let Some(recalled) = self.recalled(job).await? else { continue };
            let recalled = Command::RetryArchived { job, again: again.clone(), recalled: Box::new(recalled) };
            if let Tried::Done(answer) = self.unless_archived(recalled).await? {
                return Ok(answer);
            }
        }
        let detail = format!("what this replica's archive has of job {job} is not what it left: try another replica");
        Err(ApiError::new(Code::Conflict, detail))
    }

    /// Proposes the retry of a job, which may be in the archive.
    async fn unless_archived(&self, retry: Command) -> ApiResult<Tried> {
        let committed = self.handle.propose(retry).await?;
        match committed.outcome {
            Outcome::Rejected(Rejection::Archived(_)) => Ok(Tried::Archived(committed.index)),
            Outcome::Rejected(other) => Err(other.into()),
            _ => Ok(Tried::Done(accepted(committed.index))),
        }
    }

    async fn recalled(&self, job: JobId) -> ApiResult<Option<Recalled>> {
        archived::whole(&self.handle, job).await.map_err(|error| match error {
            WholeError::Record(error) => error.into(),
            WholeError::TooLarge => {
                let detail =
                    format!("job {job} is in the archive, and too large to come back: {error}; submit it again");
                ApiError::new(Code::Conflict, detail)
            }
        })
    }

    pub(crate) async fn archived_job(&self, id: JobId) -> ApiResult<Option<JobRecord>> {
        Ok(archived::job(&self.handle, id).await?)
    }

    /// The job's record, if this version knows it.
    pub(crate) async fn archived_or_not_found(&self, view: &View, id: JobId) -> ApiResult<JobRecord> {
        if !view.version.state.is_archived(id) {
            return Err(Rejection::NoSuchJob(id).into());
        }
        self.archived_job(id).await?.ok_or_else(|| match self.handle.version().state.job(id) {
            Some(_) => {
                ApiError::new(Code::NoLeader, format!("job {id} came back from the archive meanwhile: ask again"))
            }
            None => Rejection::NoSuchJob(id).into(),
        })
    }

    /// The elements of one block of an archived task.
    pub(crate) async fn archived_block(&self, job: JobId, task: u32, block: u32) -> ApiResult<ElementBlock> {
        Ok(archived::block(&self.handle, job, task, block).await?.unwrap_or_default())
    }

    pub(crate) async fn archived_element(&self, job: JobId, task: u32, index: TaskIndex) -> ApiResult<Option<Element>> {
        let block = self.archived_block(job, task, block_of(index.0)).await?;
        Ok(block.into_iter().find(|(at, _)| *at == index.0).map(|(_, element)| element))
    }

    /// Where an element of the task called so is, with its record if it has one: of a service, in the version in which
    /// it ran last.
    pub(crate) async fn archived_place(
        &self,
        record: &JobRecord,
        name: &Name,
        index: TaskIndex,
    ) -> ApiResult<Option<(u32, Option<Element>)>> {
        let Some(first) = record.spec.position(name) else { return Ok(None) };
        let id = record.header.id;
        let Some(service) = &record.spec.service else {
            return Ok(Some((first, self.archived_element(id, first, index).await?)));
        };
        let mut found = (service.newest, None);
        for version in 0..record.tasks.len() as u32 {
            let element = self.archived_element(id, version, index).await?;
            let last = |element: &Option<Element>| Some(element.as_ref()?.current()?.fence);
            if element.is_some() && (found.1.is_none() || last(&element) > last(&found.1)) {
                found = (version, element);
            }
        }
        Ok(Some(found))
    }
}
