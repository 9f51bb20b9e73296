//! Tasks of a job, element by element.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::response::Response;
use quorate_state::archive::{ElementBlock, block_of};
use quorate_state::command::Command;
use quorate_state::job::{Job, TaskHead};
use quorate_state::limits::ELEMENTS_PER_BLOCK;
use quorate_state::outcome::Rejection;
use quorate_state::view;
use quorate_types::api::{Page, TaskView};
use quorate_types::status::TaskState;
use quorate_types::{JobId, JobSpec, Name, TaskIndex};

use super::error::{ApiError, ApiResult};
use super::jobs::answer;
use super::query::{Query, job_id};
use super::{App, body};
use crate::limits::{ELEMENTS_LOOKED_AT_MAX, PAGE_BYTES_MAX};

/// A place in a job's elements: by task, then by index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    task: u32,
    index: u32,
}

impl std::str::FromStr for Place {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once('.').and_then(|(task, index)| Some((task.parse().ok()?, index.parse().ok()?)));
        parts.map(|(task, index)| Self { task, index }).ok_or("is not a cursor of this list")
    }
}

/// A page that fills, and where the next one begins.
struct Filling {
    items: Vec<TaskView>,
    limit: usize,
    /// How many more elements may be looked at.
    looks: usize,
    /// What the texts of the items come to.
    bytes: usize,
    next: Option<Place>,
}

impl Filling {
    /// Whether there is room; else notes where to go on.
    fn has_room(&mut self, at: Place) -> bool {
        self.looks = self.looks.saturating_sub(1);
        if self.items.len() >= self.limit || self.looks == 0 || self.bytes >= PAGE_BYTES_MAX {
            self.next = Some(at);
        }
        self.next.is_none()
    }

    fn push(&mut self, item: TaskView) {
        self.bytes += weight(&item);
        self.items.push(item);
    }

    fn page(self) -> Page<TaskView> {
        let next_cursor = self.next.map(|place| format!("{}.{}", place.task, place.index));
        Page { items: self.items, next_cursor }
    }
}

pub(crate) async fn list(State(app): State<App>, Path(id): Path<String>, uri: Uri) -> ApiResult<Response> {
    let query = Query::of(&uri, &["state", "limit", "cursor"])?;
    let (id, wanted) = (job_id(&id)?, query.get::<TaskState>("state")?);
    let from: Place = query.get("cursor")?.unwrap_or_default();
    let mut filling =
        Filling { items: Vec::new(), limit: query.limit()?, looks: ELEMENTS_LOOKED_AT_MAX, bytes: 0, next: None };
    let view = app.view(&query).await?;
    match view.version.state.job(id) {
        Some(job) => fill_from_memory(&mut filling, job, from, wanted),
        None => {
            let record = app.archived_or_not_found(&view, id).await?;
            fill_from_archive(&app, &mut filling, id, &record.spec, &record.tasks, from, wanted).await?;
        }
    }
    Ok(answer(&view, Json(filling.page())))
}

/// Its long texts.
fn weight(item: &TaskView) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    text(&item.result) + text(&item.reason)
}

fn fill_from_memory(filling: &mut Filling, job: &Job, from: Place, wanted: Option<TaskState>) {
    for (at, task, spec) in job.tasks().skip(from.task as usize) {
        let first = if at == from.task { from.index } else { 0 };
        let fresh_is_wanted = wanted.is_none_or(|state| state == task.head.fresh_state());
        let end = if fresh_is_wanted { task.head.count } else { task.head.fresh };
        for index in first..end {
            let index = TaskIndex(index);
            if !filling.has_room(Place { task: at, index: index.0 }) {
                return;
            }
            if wanted.is_some_and(|state| task.state_of(index) != Some(state)) {
                continue;
            }
            if job.is_hidden(at, index) {
                continue;
            }
            let shown = view::element_of(job, at, index);
            filling.push(shown.unwrap_or_else(|| view::untouched(&spec.name, index, &task.head)));
        }
    }
}

async fn fill_from_archive(
    app: &App,
    filling: &mut Filling,
    job: JobId,
    spec: &JobSpec,
    heads: &[TaskHead],
    from: Place,
    wanted: Option<TaskState>,
) -> ApiResult<()> {
    for ((at, task), head) in (0u32..).zip(&spec.tasks).zip(heads).skip(from.task as usize) {
        let mut index = if at == from.task { from.index } else { 0 };
        while index < head.count {
            let block = block_of(index);
            let end = (block + 1).saturating_mul(ELEMENTS_PER_BLOCK).min(head.count);
            let elements = if index < head.fresh { app.archived_block(job, at, block).await? } else { Vec::new() };
            for index in index..end {
                if !filling.has_room(Place { task: at, index }) {
                    return Ok(());
                }
                let shown = archived_view(&task.name, index, &elements, head);
                // Of a service, elements that ran in other versions.
                if spec.service.is_some() && heads.len() > 1 && shown.attempts.is_empty() {
                    continue;
                }
                if wanted.is_some_and(|state| shown.state != state) {
                    continue;
                }
                filling.push(shown);
            }
            index = end;
        }
    }
    Ok(())
}

fn archived_view(name: &Name, index: u32, block: &ElementBlock, head: &TaskHead) -> TaskView {
    match block.binary_search_by_key(&index, |(at, _)| *at) {
        Ok(found) => view::element(name, TaskIndex(index), &block[found].1),
        Err(_) => view::untouched(name, TaskIndex(index), head),
    }
}

/// `{id}/tasks/{task}/{index}` of a path.
pub(crate) type TaskPath = Path<(String, String, String)>;

/// A task's address from its path. What is no name or number names nothing.
pub(crate) fn address((id, task, index): &(String, String, String)) -> ApiResult<(JobId, Name, TaskIndex)> {
    let nothing = || ApiError::not_found(format!("there is no task {task}[{index}] in job {id}"));
    Ok((job_id(id)?, Name::new(task).map_err(|_| nothing())?, index.parse().map_err(|_| nothing())?))
}

pub(crate) async fn show(State(app): State<App>, Path(path): TaskPath, uri: Uri) -> ApiResult<Response> {
    let query = Query::of(&uri, &[])?;
    let (id, task, index) = address(&path)?;
    let view = app.view(&query).await?;
    let no_such = || ApiError::from(Rejection::NoSuchTask { job: id, task: task.clone(), index });
    let shown = match view.version.state.job(id) {
        Some(job) => {
            let at = job.place_of(&task, index).ok_or_else(no_such)?;
            view::element_of(job, at, index).ok_or_else(no_such)?
        }
        None => {
            let record = app.archived_or_not_found(&view, id).await?;
            let (at, element) = app.archived_place(&record, &task, index).await?.ok_or_else(no_such)?;
            let head = record.tasks.get(at as usize).filter(|head| index.0 < head.count).ok_or_else(no_such)?;
            match element {
                Some(element) => view::element(&task, index, &element),
                None => view::untouched(&task, index, head),
            }
        }
    };
    Ok(answer(&view, Json(shown)))
}

pub(crate) async fn reassign(State(app): State<App>, Path(path): TaskPath, content: Body) -> ApiResult<Response> {
    body::nothing(&app.room, content).await?;
    let (job, task, index) = address(&path)?;
    app.write(Command::Reassign { job, task, index }).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_of_long_results_is_short() {
        let item = || TaskView {
            task: Name::new("main").unwrap(),
            index: TaskIndex(0),
            state: TaskState::Succeeded,
            attempt: quorate_types::AttemptNumber(1),
            worker: None,
            exit_code: Some(0),
            reason: None,
            result: Some("x".repeat(64 << 10)),
            progress: None,
            started_at: None,
            finished_at: None,
            attempts: Vec::new(),
        };
        let mut filling = Filling { items: Vec::new(), limit: 1_000, looks: 10_000, bytes: 0, next: None };
        while filling.has_room(Place { task: 0, index: filling.items.len() as u32 }) {
            filling.push(item());
        }
        let page = filling.page();
        assert_eq!((page.items.len(), page.next_cursor.as_deref()), (16, Some("0.16")));
    }
}
