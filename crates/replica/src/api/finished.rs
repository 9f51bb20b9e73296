//! Finished jobs that left memory, read from the archive.

use quorate_state::archive::{ElementBlock, JobRecord, block_of};
use quorate_state::element::Element;
use quorate_state::outcome::Rejection;
use quorate_types::{JobId, Name, TaskIndex};

use super::App;
use super::error::ApiResult;
use super::read::View;
use crate::archived;

impl App {
    pub(crate) async fn archived_job(&self, id: JobId) -> ApiResult<Option<JobRecord>> {
        Ok(archived::job(&self.handle, id).await?)
    }

    /// The job's record, if this version knows it.
    pub(crate) async fn archived_or_not_found(&self, view: &View, id: JobId) -> ApiResult<JobRecord> {
        let record = if view.version.state.is_archived(id) { self.archived_job(id).await? } else { None };
        record.ok_or_else(|| Rejection::NoSuchJob(id).into())
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
