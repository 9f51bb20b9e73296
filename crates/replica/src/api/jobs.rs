//! Jobs: submit, list, show, and what users do to them.

use std::num::NonZero;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use quorate_consensus::ProposeError;
use quorate_state::command::{Again, Command, RetryScope};
use quorate_state::job::Header;
use quorate_state::outcome::Outcome;
use quorate_state::view::{self, Detail};
use quorate_types::api::{JobView, Page, PauseJob, RetryJob, Submitted};
use quorate_types::job::{JobRequest, Object};
use quorate_types::problem::{Code, FieldError, Problem};
use quorate_types::status::JobState;
use quorate_types::validate::check_idempotency_key;
use quorate_types::{JobId, JobName, JobSpec, LogIndex, Name};

use super::error::{ApiError, ApiResult};
use super::query::{Query, job_id};
use super::read::View;
use super::write::at_index;
use super::{App, body, bulk, explain, schedules};
use crate::limits::{BODY_BYTES_SMALL, SCAN_COST_ARCHIVED, SCAN_COST_MAX};

pub(crate) async fn submit(State(app): State<App>, uri: Uri, headers: HeaderMap, content: Body) -> ApiResult<Response> {
    let dry_run = DryRun::of(&uri)?;
    if body::is_ndjson(&headers, header::CONTENT_TYPE) {
        if matches!(dry_run, DryRun::Yes(_)) {
            return Err(ApiError::bad_parameter("dry_run", "is for a single job, not for lines of many"));
        }
        if headers.contains_key("idempotency-key") {
            let detail = "of many jobs each has its own: give each line an idempotency_key";
            return Err(ApiError::bad_parameter("Idempotency-Key", detail));
        }
        return Ok(bulk::submit(app, content));
    }
    // A refusal must cost next to nothing, or a flood of large jobs leaves no time for the others. The connection
    // ends with a body that stays unread, and its client must know.
    if app.handle.refuses_jobs() && !body::is_small(&content) {
        let refusal = ApiError::from(ProposeError::Overloaded);
        return Ok(([(header::CONNECTION, "close")], refusal).into_response());
    }
    let received = body::read(&app.room, content).await?;
    if app.handle.refuses_jobs() {
        return Err(ProposeError::Overloaded.into());
    }
    let key = headers.get("idempotency-key").map(header_key).transpose()?;
    if let DryRun::Yes(query) = dry_run {
        return explain::dry_run(&app, &query, read_spec_aside(received.bytes.clone(), key).await?).await;
    }
    let spec = read_spec_aside(received.bytes.clone(), key).await?;
    let (submitted, existing) = submit_spec(&app, spec).await?;
    let status = if existing { StatusCode::OK } else { StatusCode::CREATED };
    let location = [(header::LOCATION, format!("/v1/jobs/{}", submitted.id))];
    Ok(at_index(submitted.index, (status, location, Json(submitted)).into_response()))
}

/// Whether a submission is only to be tried.
#[derive(Debug)]
enum DryRun {
    No,
    /// It is a read then, with what every read takes.
    Yes(Query),
}

impl DryRun {
    fn of(uri: &Uri) -> ApiResult<Self> {
        let query = Query::of(uri, &["dry_run"])?;
        match query.text("dry_run") {
            Some("true") => Ok(Self::Yes(query)),
            Some("false") | None if !query.is_of_a_read() => Ok(Self::No),
            Some("false") | None => {
                Err(ApiError::bad_parameter("query", "a submission takes no parameter but dry_run"))
            }
            Some(_) => Err(ApiError::bad_parameter("dry_run", "must be true or false")),
        }
    }
}

fn header_key(value: &HeaderValue) -> ApiResult<String> {
    let text = value.to_str().map_err(|_| ApiError::bad_parameter("Idempotency-Key", "must be visible ASCII"))?;
    check_idempotency_key(text).map_err(|detail| ApiError::bad_parameter("Idempotency-Key", detail))?;
    Ok(text.to_owned())
}

/// Submits the job in `bytes`; says whether it existed already.
pub(crate) async fn submit_one(app: &App, bytes: &[u8], key: Option<String>) -> ApiResult<(Submitted, bool)> {
    submit_spec(app, read_spec(bytes, key)?).await
}

async fn submit_spec(app: &App, spec: JobSpec) -> ApiResult<(Submitted, bool)> {
    match app.commit(Command::Submit(Arc::new(spec))).await?.outcome {
        Outcome::Submitted { job, index, state, existing } => Ok((Submitted { id: job, index, state }, existing)),
        other => Err(ApiError::internal("submit a job", &format!("unexpected outcome {other:?}"))),
    }
}

/// The same as [`read_spec`]. A large job takes long, and others go on meanwhile.
async fn read_spec_aside(bytes: Bytes, key: Option<String>) -> ApiResult<JobSpec> {
    if bytes.len() as u64 <= BODY_BYTES_SMALL {
        return read_spec(&bytes, key);
    }
    let reading = tokio::task::spawn_blocking(move || read_spec(&bytes, key));
    reading.await.map_err(|error| ApiError::internal("read a job", &error))?
}

/// The job in `bytes`, checked as far as it can be without the state.
fn read_spec(bytes: &[u8], key: Option<String>) -> ApiResult<JobSpec> {
    let Object(request): Object<JobRequest> = body::parse(bytes, Code::InvalidJob)?;
    let mut spec = request.validate().map_err(|errors| ApiError(Problem::with_errors(Code::InvalidJob, errors)))?;
    schedules::check(&spec)?;
    match (key, &spec.idempotency_key) {
        (Some(header), Some(inner)) if header != *inner => {
            let error = FieldError::new("/idempotency_key", "differs from the header Idempotency-Key");
            return Err(ApiError(Problem::with_errors(Code::InvalidJob, vec![error])));
        }
        (Some(header), _) => spec.idempotency_key = Some(header),
        (None, _) => {}
    }
    Ok(spec)
}

/// Which jobs a list shows.
struct Filter {
    state: Option<JobState>,
    namespace: Option<Name>,
    name: Option<JobName>,
    labels: Vec<(Name, Option<String>)>,
    schedule: Option<JobId>,
}

impl Filter {
    fn of(query: &Query) -> ApiResult<Self> {
        let label = |text: &str| {
            let (label, value) = text.split_once('=').map_or((text, None), |(label, value)| (label, Some(value)));
            let label = Name::new(label).map_err(|error| ApiError::bad_parameter("label", error))?;
            Ok((label, value.map(ToOwned::to_owned)))
        };
        Ok(Self {
            state: query.get("state")?,
            namespace: query.get("namespace")?,
            name: query.get("name")?,
            labels: query.all("label").map(label).collect::<ApiResult<_>>()?,
            schedule: query.get::<NonZero<u64>>("schedule")?.map(|id| JobId(id.get())),
        })
    }

    fn matches(&self, header: &Header, spec: &JobSpec) -> bool {
        self.state.is_none_or(|state| header.state == state)
            && self.namespace.as_ref().is_none_or(|namespace| spec.namespace == *namespace)
            && self.name.as_ref().is_none_or(|name| spec.name == *name)
            && self.schedule.is_none_or(|schedule| header.flow().run.is_some_and(|run| run.schedule == schedule))
            && self.labels.iter().all(|(label, value)| match (spec.labels.get(label), value) {
                (Some(found), Some(value)) => found == value,
                (found, None) => found.is_some(),
                (None, Some(_)) => false,
            })
    }
}

/// Newest first; the cursor is the number of the last job that was looked at.
pub(crate) async fn list(State(app): State<App>, uri: Uri) -> ApiResult<Response> {
    let query = Query::of(&uri, &["state", "namespace", "name", "label", "schedule", "limit", "cursor"])?;
    let (filter, limit) = (Filter::of(&query)?, query.limit()?);
    let below = query.get("cursor")?.unwrap_or(JobId(u64::MAX));
    let view = app.view(&query).await?;
    let page = page_of(&app, &view, &filter, limit, below).await?;
    Ok(answer(&view, Json(page)))
}

async fn page_of(app: &App, view: &View, filter: &Filter, limit: usize, below: JobId) -> ApiResult<Page<JobView>> {
    let state = &view.version.state;
    let mut in_memory = state.jobs_below(below).peekable();
    let mut archived = state.archived_below(below).peekable();
    let (mut items, mut scanned) = (Vec::new(), 0);
    loop {
        let next_archived = archived.peek().map(|(id, _)| *id);
        let next_live = in_memory.peek().map(|job| job.id());
        let Some(next) = next_archived.max(next_live) else { return Ok(Page { items, next_cursor: None }) };
        if items.len() >= limit || scanned >= SCAN_COST_MAX {
            return Ok(Page { items, next_cursor: Some((next.0 + 1).to_string()) });
        }
        if next_live == Some(next) {
            scanned += 1;
            if let Some(job) = in_memory.next().filter(|job| filter.matches(&job.header, &job.spec)) {
                items.push(view::living(job, Detail::Summary));
            }
            continue;
        }
        archived.next();
        scanned += SCAN_COST_ARCHIVED;
        if let Some(record) = app.archived_job(next).await?
            && filter.matches(&record.header, &record.spec)
        {
            items.push(view::job(&record.header, &record.spec, Detail::Summary));
        }
    }
}

pub(crate) async fn show(State(app): State<App>, Path(id): Path<String>, uri: Uri) -> ApiResult<Response> {
    let query = Query::of(&uri, &["wait", "until"])?;
    let (id, wait) = (job_id(&id)?, query.wait()?);
    let until = query.get::<Until>("until")?.unwrap_or(Until::Finished);
    let view = app.view(&query).await?;
    let view = app.wait_for_job(view, id, until, wait).await;
    let shown = match view.version.state.job(id) {
        Some(job) => view::living(job, Detail::Full),
        None => {
            let record = app.archived_or_not_found(&view, id).await?;
            view::job(&record.header, &record.spec, Detail::Full)
        }
    };
    Ok(answer(&view, Json(shown)))
}

/// What a long poll waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    Finished,
    Started,
}

impl std::str::FromStr for Until {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "finished" => Ok(Self::Finished),
            "started" => Ok(Self::Started),
            _ => Err("must be finished or started"),
        }
    }
}

impl App {
    /// Waits until the job has come that far, or is gone, or the time is over.
    async fn wait_for_job(&self, view: View, id: JobId, until: Until, wait: std::time::Duration) -> View {
        let reached = |version: &quorate_consensus::Version| {
            version.state.job(id).is_none_or(|job| match until {
                Until::Finished => job.header.state.is_finished(),
                Until::Started => job.header.started_at.is_some() || job.header.state.is_finished(),
            })
        };
        if wait.is_zero() || reached(&view.version) {
            return view;
        }
        let waiter = self.waiters.enter(id);
        let reaching = async {
            loop {
                let changed = waiter.changed.notified();
                let version = self.handle.version();
                if reached(&version) {
                    return version;
                }
                changed.await;
            }
        };
        let version = tokio::select! {
            version = reaching => version,
            // The time is over: the newest version that is at hand.
            () = tokio::time::sleep(wait) => self.handle.version(),
            () = self.shutdown.cancelled() => return view,
        };
        let staleness_ms = match view.staleness_ms {
            Some(_) => Some(self.staleness_ms().await),
            None => None,
        };
        View { version, staleness_ms }
    }
}

pub(crate) async fn cancel(State(app): State<App>, Path(id): Path<String>, content: Body) -> ApiResult<Response> {
    body::nothing(&app.room, content).await?;
    app.write(Command::Cancel { job: job_id(&id)? }).await
}

pub(crate) async fn pause(State(app): State<App>, Path(id): Path<String>, content: Body) -> ApiResult<Response> {
    let (job, PauseJob { freeze }) = (job_id(&id)?, body::optional(&app.room, content).await?);
    app.write(if freeze { Command::Freeze { job } } else { Command::Pause { job } }).await
}

pub(crate) async fn resume(State(app): State<App>, Path(id): Path<String>, content: Body) -> ApiResult<Response> {
    body::nothing(&app.room, content).await?;
    app.write(Command::Resume { job: job_id(&id)? }).await
}

pub(crate) async fn retry(State(app): State<App>, Path(id): Path<String>, content: Body) -> ApiResult<Response> {
    let job = job_id(&id)?;
    let request: RetryJob = body::optional(&app.room, content).await?;
    match request {
        RetryJob { failed: true, from: Some(_) } => {
            let error = FieldError::new("/from", "give either failed or from, not both");
            Err(ApiError(Problem::with_errors(Code::InvalidJson, vec![error])))
        }
        RetryJob { failed: false, from: Some(task) } => app.retry(job, Again::From(task)).await,
        RetryJob { failed: true, from: None } => app.retry(job, Again::Scope(RetryScope::NotSucceeded)).await,
        RetryJob { failed: false, from: None } => app.retry(job, Again::Scope(RetryScope::All)).await,
    }
}

pub(crate) async fn forget(State(app): State<App>, Path(id): Path<String>) -> ApiResult<Response> {
    app.write(Command::Forget { job: job_id(&id)? }).await
}

/// An answer to a read, marked with its version.
pub(crate) fn answer(view: &View, content: impl IntoResponse) -> Response {
    let index: LogIndex = view.version.index;
    let mut response = at_index(index, content.into_response());
    if let Some(staleness) = view.staleness_ms {
        response.headers_mut().insert("quorate-staleness-ms", HeaderValue::from(staleness));
    }
    response
}
