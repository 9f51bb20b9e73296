//! Locks of running tasks.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use quorate_consensus::Version;
use quorate_state::command::Command;
use quorate_state::job::ElementKey;
use quorate_state::locks::LockKey;
use quorate_state::outcome::{Outcome, Rejection};
use quorate_types::api::Page;
use quorate_types::gate::{AcquireLock, CheckLock, Claimant, LockPlace, LockView};
use quorate_types::job::Object;
use quorate_types::limits::LOCK_WAIT_MS_MAX;
use quorate_types::problem::{Code, Problem};
use quorate_types::validate::default_namespace;
use quorate_types::{Name, Span};

use super::error::{ApiError, ApiResult};
use super::jobs::answer;
use super::query::Query;
use super::write::at_index;
use super::{App, body};
use crate::limits::READ_WAIT;

/// What a lock is to somebody who asked for it.
enum Standing {
    Holds(LockView),
    Waits(LockPlace),
}

/// By namespace and name; the cursor is the last of the page before.
pub(crate) async fn list(State(app): State<App>, uri: Uri) -> ApiResult<Response> {
    let query = Query::of(&uri, &["namespace", "limit", "cursor"])?;
    let (limit, namespace) = (query.limit()?, query.get::<Name>("namespace")?);
    let after = query.text("cursor").map(cursor).transpose()?;
    let view = app.view(&query).await?;
    let locks = view.version.state.locks(namespace.as_ref(), after.as_ref());
    let mut items: Vec<LockView> = locks.take(limit + 1).collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| more).map(|lock| format!("{}/{}", lock.namespace, lock.name));
    Ok(answer(&view, Json(Page { items, next_cursor })))
}

fn cursor(text: &str) -> ApiResult<LockKey> {
    let key = text.split_once('/').and_then(|(namespace, name)| {
        Some(LockKey { namespace: Name::new(namespace).ok()?, name: Name::new(name).ok()? })
    });
    key.ok_or_else(|| ApiError::bad_parameter("cursor", "must be namespace/name"))
}

pub(crate) async fn show(State(app): State<App>, Path(name): Path<String>, uri: Uri) -> ApiResult<Response> {
    let query = Query::of(&uri, &["namespace"])?;
    let namespace = query.get::<Name>("namespace")?.unwrap_or_else(default_namespace);
    let key = LockKey { namespace, name: Name::new(&name).map_err(|_| nobody_holds(&name))? };
    let view = app.view(&query).await?;
    let lock = view.version.state.lock(&key).ok_or_else(|| nobody_holds(&name))?;
    Ok(answer(&view, Json(lock)))
}

fn nobody_holds(name: &str) -> ApiError {
    ApiError::not_found(format!("nobody holds a lock {name:?}"))
}

/// Answers when the attempt holds the lock. If somebody else does, it waits in line; half of the time that it may stay
/// there is for asking again.
pub(crate) async fn acquire(State(app): State<App>, Path(name): Path<String>, content: Body) -> ApiResult<Response> {
    let lock = lock_name(&name)?;
    let Object(request): Object<AcquireLock> =
        body::parse(&body::read(&app.room, content).await?.bytes, Code::InvalidJson)?;
    let wait = request.wait.unwrap_or(Span(0));
    if wait.0 > LOCK_WAIT_MS_MAX {
        return Err(ApiError::bad_field("/wait", format!("must be at most {}; ask again", Span(LOCK_WAIT_MS_MAX))));
    }
    let by = request.claimant();
    let committed = app.commit(Command::AcquireLock { lock: lock.clone(), by: by.clone(), wait }).await?;
    let index = committed.index;
    app.handle.wait_applied(index, READ_WAIT).await?;
    let standing = match committed.outcome {
        Outcome::LockHeld { .. } => standing(&app.handle.version(), &lock, &by)?,
        Outcome::LockWaits { .. } => app.wait_for_lock(&lock, &by, Span(wait.0 / 2)).await?,
        other => return Err(ApiError::internal("acquire a lock", &format!("unexpected outcome {other:?}"))),
    };
    Ok(match standing {
        Standing::Holds(view) => at_index(index, Json(view).into_response()),
        Standing::Waits(place) => at_index(index, (StatusCode::ACCEPTED, Json(place)).into_response()),
    })
}

impl App {
    async fn wait_for_lock(&self, lock: &Name, by: &Claimant, wait: Span) -> ApiResult<Standing> {
        let waiter = self.waiters.enter(by.job);
        let holding = async {
            loop {
                let changed = waiter.changed.notified();
                match standing(&self.handle.version(), lock, by) {
                    Ok(Standing::Waits(_)) => changed.await,
                    over => return over,
                }
            }
        };
        tokio::select! {
            over = holding => over,
            () = tokio::time::sleep(wait.as_duration()) => standing(&self.handle.version(), lock, by),
            () = self.shutdown.cancelled() => standing(&self.handle.version(), lock, by),
        }
    }
}

/// Whether the attempt holds the lock or waits for it; neither if it has ended meanwhile.
fn standing(version: &Version, lock: &Name, by: &Claimant) -> ApiResult<Standing> {
    let Claimant { job: id, task, index, fence } = by.clone();
    let gone = || ApiError::from(Rejection::NotLive { job: id, task: task.clone(), index, fence });
    let state = &version.state;
    let job = state.job(id).ok_or_else(gone)?;
    let key = LockKey { namespace: job.spec.namespace.clone(), name: lock.clone() };
    if let Some(view) = state.lock(&key).filter(|held| held.holder.fence == fence && held.holder.element.is(by)) {
        return Ok(Standing::Holds(view));
    }
    let at = ElementKey { job: id, task: job.place_of(&task, index).ok_or_else(gone)?, index };
    let place = state.lock_waits(&at).into_iter().map(|(place, _)| place).find(|place| place.name == *lock);
    place.map(Standing::Waits).ok_or_else(gone)
}

pub(crate) async fn release(State(app): State<App>, Path(name): Path<String>, content: Body) -> ApiResult<Response> {
    let lock = lock_name(&name)?;
    let Object(by): Object<Claimant> = body::parse(&body::read(&app.room, content).await?.bytes, Code::InvalidJson)?;
    app.write(Command::ReleaseLock { lock, by }).await
}

/// For what a lock protects: whether this is the token of the one who holds it.
pub(crate) async fn check(State(app): State<App>, Path(name): Path<String>, content: Body) -> ApiResult<Response> {
    let Object(CheckLock { token, namespace }): Object<CheckLock> =
        body::parse(&body::read(&app.room, content).await?.bytes, Code::InvalidJson)?;
    let key = LockKey { namespace: namespace.unwrap_or_else(default_namespace), name: lock_name(&name)? };
    let view = app.view(&Query::none()).await?;
    match view.version.state.lock(&key) {
        Some(lock) if lock.token == token => Ok(answer(&view, Json(lock))),
        Some(lock) => Err(conflict(format!("the holder of lock {name} has token {}, not {token}", lock.token))),
        None => Err(conflict(format!("nobody holds lock {name}"))),
    }
}

fn conflict(detail: String) -> ApiError {
    ApiError(Problem::new(Code::Conflict, detail))
}

fn lock_name(text: &str) -> ApiResult<Name> {
    Name::new(text).map_err(|error| ApiError::bad_parameter("name", error))
}
