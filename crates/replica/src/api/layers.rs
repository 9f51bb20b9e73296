//! What happens to every request: a span, a token check, a bound on how many, and marks on the answer.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use quorate_types::problem::Code;
use tracing::Instrument;

use super::error::{ApiError, ApiResult};
use super::{App, body};
use crate::telemetry;

/// How old a stale answer may be. Errors carry it too: a stale 404 says nothing without it.
const STALENESS: &str = "quorate-staleness-ms";
/// Paths that need no token: probes and the API's description tell nothing that is secret.
const OPEN: [&str; 3] = ["/livez", "/readyz", "/openapi.json"];

/// A request's way through: traced, counted, and its answer marked with who gave it.
pub(crate) async fn around(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = method_label(request.method());
    let span = tracing::debug_span!("request", replica = %app.handle.id(), %method, path = request.uri().path());
    let stale = request.uri().query().is_some_and(|query| query.contains("consistency=stale"));
    let response = admit(&app, request, next).instrument(span).await;
    let mut response = as_problem(body::weigh(app.room.answers.clone(), response).await);
    mark(&app, &mut response);
    if stale && !response.headers().contains_key(STALENESS) {
        let age = app.handle.staleness().await.map_or(u64::MAX, |age| age.as_millis() as u64);
        response.headers_mut().insert(STALENESS, HeaderValue::from(age));
    }
    telemetry::request_done(&route, method, response.status().as_u16(), started.elapsed());
    response
}

/// Clients may invent methods; metrics have a bounded number of labels.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        _ => "other",
    }
}

/// Every answer says who gave it, and of which version of the state.
pub(crate) fn mark(app: &App, response: &mut Response) {
    let headers = response.headers_mut();
    if !headers.contains_key("quorate-index") {
        headers.insert("quorate-index", HeaderValue::from(app.handle.version().index.0));
    }
    headers.insert("quorate-replica", HeaderValue::from(app.handle.id().0));
    if let Some(leader) = app.handle.leadership().borrow().leader {
        headers.insert("quorate-leader", HeaderValue::from(leader.0));
    }
}

/// Lets only so many requests work at once, and only those with the token.
async fn admit(app: &App, request: Request, next: Next) -> Response {
    let Ok(_permit) = app.room.requests.try_acquire() else {
        return ApiError::new(Code::Overloaded, "too many requests are under way here").into_response();
    };
    match authenticate(app, &request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// The framework's own refusals (a path that is no UTF-8, say) become problems too.
fn as_problem(response: Response) -> Response {
    let is_text =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/plain"));
    if response.status() == 400 && is_text {
        return ApiError::new(Code::InvalidJson, "the path or a header can't be read").into_response();
    }
    response
}

/// Writes take no parameters: a misspelt one must not be passed over. Submissions see for themselves.
pub(crate) async fn refuse_query_of_writes(request: Request, next: Next) -> Response {
    let writes = matches!(*request.method(), Method::POST | Method::PUT | Method::DELETE);
    let submits = *request.method() == Method::POST && request.uri().path() == "/v1/jobs";
    if writes && !submits && request.uri().query().is_some_and(|query| !query.is_empty()) {
        return ApiError::bad_parameter("query", "writes take no parameters").into_response();
    }
    next.run(request).await
}

/// Checks the bearer token.
fn authenticate(app: &App, request: &Request) -> ApiResult<()> {
    let Some(token) = &app.token else { return Ok(()) };
    if OPEN.contains(&request.uri().path()) {
        return Ok(());
    }
    let given = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let bearer = given.and_then(|value| value.split_at_checked(b"Bearer ".len()));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer ")).map(|(_, token)| token);
    match bearer {
        Some(bearer) if same(bearer, token.as_bytes()) => Ok(()),
        Some(_) => Err(ApiError::new(Code::Unauthenticated, "the token is not this cluster's")),
        None => Err(ApiError::new(Code::Unauthenticated, "send the header Authorization: Bearer TOKEN")),
    }
}

/// Compares in a time that does not tell where the difference is.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}
