//! One request until it is answered: the async shell around [`Retry`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use quorate_types::{Code, LogIndex, Problem};
use reqwest::Response;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::retry::{Failure, Next, Patience, Retry, Safety};
use crate::servers::Servers;

/// The largest answer that is read whole: a page of a thousand tasks with full results.
const ANSWER_BYTES_MAX: usize = 256 << 20;
/// How much of an answer that is no problem is quoted.
const QUOTE_CHARS_MAX: usize = 200;
const INDEX_HEADER: &str = "quorate-index";

/// A replica that has not answered for so long, once a connection must stand, is asked whether it lives; and again
/// from time to time.
const PROBE_AFTER: Duration = Duration::from_millis(250);
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// It says so without looking at anything; but the way may be long, and full of what is being sent.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// How a [`Client`] behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long one call may go on failing before it gives up. An election and a restart fit in.
    pub patience: Duration,
    /// The same while not even a connection could be made to any server.
    pub unreachable_patience: Duration,
    pub connect_timeout: Duration,
    /// How long one try waits for its answer. Longer than a replica waits for an election (5 s).
    pub try_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let patience = Duration::from_secs(30);
        Self {
            patience,
            unreachable_patience: patience,
            connect_timeout: Duration::from_secs(1),
            try_timeout: Duration::from_secs(10),
        }
    }
}

/// A client of one cluster. Clones share connections and the mark at the replica that works.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    http: reqwest::Client,
    servers: Servers,
    options: Options,
}

/// A request before it is known which replica gets it.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    method: Method,
    path: String,
    query: Vec<(&'static str, String)>,
    headers: HeaderMap,
    body: Option<Bytes>,
    safety: Safety,
    /// How much longer than usual the replica may take: the wait of a long poll.
    wait: Duration,
}

impl Request {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path.into(), Safety::Repeatable)
    }

    /// A write that does the same when it is done twice.
    pub(crate) fn repeatable(method: Method, path: impl Into<String>) -> Self {
        Self::new(method, path.into(), Safety::Repeatable)
    }

    pub(crate) fn once(method: Method, path: impl Into<String>) -> Self {
        Self::new(method, path.into(), Safety::Once)
    }

    fn new(method: Method, path: String, safety: Safety) -> Self {
        let (query, headers) = (Vec::new(), HeaderMap::new());
        Self { method, path, query, headers, body: None, safety, wait: Duration::ZERO }
    }

    pub(crate) fn query(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.query.extend(value.map(|value| (name, value.to_string())));
        self
    }

    pub(crate) fn header(mut self, name: HeaderName, value: &str) -> Result<Self, Error> {
        let invalid = |_| Error::from(Problem::new(Code::InvalidJson, format!("{name} can't be {value:?}")));
        let value = HeaderValue::from_str(value).map_err(invalid)?;
        self.headers.insert(name, value);
        Ok(self)
    }

    pub(crate) fn body(mut self, content_type: &'static str, body: Bytes) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.body = Some(body);
        self
    }

    pub(crate) fn json(self, body: &impl serde::Serialize) -> Result<Self, Error> {
        let body = serde_json::to_vec(body).map_err(Error::Encode)?;
        Ok(self.body("application/json", body.into()))
    }

    pub(crate) fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) server: String,
    pub(crate) index: Option<LogIndex>,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let protocol = |e: serde_json::Error| Error::Protocol { server: self.server.clone(), detail: e.to_string() };
        serde_json::from_slice(&self.body).map_err(protocol)
    }
}

/// An answer whose body is still coming.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) server: String,
    pub(crate) at: usize,
    pub(crate) response: Response,
}

/// The log index in an answer's header.
pub(crate) fn index_of(headers: &HeaderMap) -> Option<LogIndex> {
    headers.get(INDEX_HEADER)?.to_str().ok()?.parse().ok()
}

impl Client {
    /// A client for the replicas at `servers`, with the default options.
    ///
    /// # Errors
    /// When an address or the token can't be used; nothing is connected to yet.
    pub fn new<S: AsRef<str>>(servers: &[S], token: Option<&str>) -> Result<Self, Error> {
        Self::with_options(servers, token, Options::default())
    }

    /// A client with other bounds.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_options<S: AsRef<str>>(servers: &[S], token: Option<&str>, options: Options) -> Result<Self, Error> {
        let servers = Servers::parse(servers)?;
        let mut headers = HeaderMap::new();
        if let Some(token) = token {
            let mut bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| Error::InvalidToken)?;
            bearer.set_sensitive(true);
            headers.insert(AUTHORIZATION, bearer);
        }
        // TLS belongs here: roots and client identity are the builder's, `Servers` then lets https through.
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(options.connect_timeout)
            .tcp_nodelay(true)
            .tcp_keepalive(Duration::from_secs(5))
            .no_proxy()
            .build()
            .map_err(Error::Setup)?;
        Ok(Self { inner: Arc::new(Inner { http, servers, options }) })
    }

    /// The address that worked last.
    pub fn server(&self) -> String {
        self.inner.servers.display(self.inner.servers.current())
    }

    /// The bounds that the client keeps.
    pub fn options(&self) -> &Options {
        &self.inner.options
    }

    /// Whether the replica whose turn it is says that it is ready; one try, no retry.
    pub async fn is_ready(&self) -> bool {
        let request = Request::get("/readyz");
        let timeout = self.inner.options.connect_timeout;
        self.attempt(self.inner.servers.current(), &request, timeout).await.is_ok()
    }

    pub(crate) async fn call(&self, request: &Request) -> Result<Answer, Error> {
        self.call_noting_doubt(request).await.0
    }

    /// Calls, and says whether an earlier try of the call may have been carried out, in which case
    /// a conflict may come from the call's own success.
    pub(crate) async fn call_noting_doubt(&self, request: &Request) -> (Result<Answer, Error>, bool) {
        let mut retry = self.start(request.safety);
        let answer = loop {
            let opened = match self.open_with(request, &mut retry).await {
                Ok(opened) => opened,
                Err(error) => break Err(error),
            };
            let (server, at) = (opened.server.clone(), opened.at);
            let limit = self.try_timeout(request, &retry);
            let failure = match tokio::time::timeout(limit, read_whole(opened)).await {
                Ok(Ok(answer)) => break Ok(answer),
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Broken("the answer stopped half-way".into()),
            };
            if let Err(error) = self.after_failure(&mut retry, at, server, failure).await {
                break Err(error);
            }
        };
        (answer, retry.is_uncertain())
    }

    /// Sends until a success begins to come in; its body is left to the caller.
    pub(crate) async fn open(&self, request: &Request) -> Result<Opened, Error> {
        self.open_with(request, &mut self.start(request.safety)).await
    }

    /// Moves on from a server whose stream broke.
    pub(crate) fn leave(&self, at: usize) {
        self.inner.servers.leave(at);
    }

    fn start(&self, safety: Safety) -> Retry {
        let options = &self.inner.options;
        let patience = Patience { total: options.patience, unreachable: options.unreachable_patience };
        Retry::new(Instant::now(), patience, safety, self.inner.servers.len())
    }

    async fn open_with(&self, request: &Request, retry: &mut Retry) -> Result<Opened, Error> {
        loop {
            let at = self.inner.servers.current();
            let server = self.inner.servers.display(at);
            let failure = match self.attempt_watching(at, request, self.try_timeout(request, retry)).await {
                Ok(response) => return Ok(Opened { server, at, response }),
                Err(failure) => failure,
            };
            self.after_failure(retry, at, server, failure).await?;
        }
    }

    async fn after_failure(&self, retry: &mut Retry, at: usize, server: String, failure: Failure) -> Result<(), Error> {
        tracing::debug!(server, ?failure, "a try failed");
        match retry.on_failure(Instant::now(), server, failure) {
            Next::GiveUp(error) => Err(error),
            Next::Again { pause, elsewhere } => {
                if elsewhere {
                    self.inner.servers.leave(at);
                }
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                Ok(())
            }
        }
    }

    /// A try may not outlast the call's patience, but each has the time to make a connection.
    fn try_timeout(&self, request: &Request, retry: &Retry) -> Duration {
        let options = &self.inner.options;
        request.wait + options.try_timeout.min(retry.remaining(Instant::now())).max(options.connect_timeout)
    }

    /// A try that ends early if the replica turns out to be stopped or cut off, and another one may be asked instead.
    async fn attempt_watching(&self, at: usize, request: &Request, timeout: Duration) -> Result<Response, Failure> {
        let attempt = self.attempt(at, request, timeout);
        if request.safety == Safety::Once || self.inner.servers.len() == 1 {
            return attempt.await;
        }
        tokio::select! {
            response = attempt => response,
            () = self.silence_of(at) => Err(Failure::Broken("it does not even say that it lives".into())),
        }
    }

    /// Returns when a replica does not say that it lives. One that is merely slow does: asking another one would
    /// only be more work for a cluster that has much already.
    async fn silence_of(&self, at: usize) {
        let mut url = self.inner.servers.url(at).clone();
        url.set_path(&format!("{}/livez", url.path().trim_end_matches('/')));
        let mut pause = self.inner.options.connect_timeout + PROBE_AFTER;
        loop {
            tokio::time::sleep(pause).await;
            let probe = self.inner.http.get(url.clone()).send();
            if tokio::time::timeout(PROBE_TIMEOUT, probe).await.is_err() {
                return;
            }
            pause = PROBE_EVERY;
        }
    }

    async fn attempt(&self, at: usize, request: &Request, timeout: Duration) -> Result<Response, Failure> {
        let mut url = self.inner.servers.url(at).clone();
        url.set_path(&format!("{}{}", url.path().trim_end_matches('/'), request.path));
        let mut builder = self.inner.http.request(request.method.clone(), url).headers(request.headers.clone());
        if !request.query.is_empty() {
            builder = builder.query(&request.query);
        }
        if let Some(body) = &request.body {
            builder = builder.body(body.clone());
        }
        let response = match tokio::time::timeout(timeout, builder.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) if error.is_connect() => return Err(Failure::NotConnected(root_cause(&error))),
            Ok(Err(error)) => return Err(Failure::Broken(root_cause(&error))),
            Err(_) => return Err(Failure::Broken(format!("no answer within {:.1} s", timeout.as_secs_f64()))),
        };
        if response.status().is_success() { Ok(response) } else { Err(read_problem(response, timeout).await) }
    }
}

async fn read_whole(opened: Opened) -> Result<Answer, Failure> {
    let Opened { server, mut response, .. } = opened;
    let index = index_of(response.headers());
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|e| Failure::Broken(root_cause(&e)))? {
        body.extend_from_slice(&piece);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(Failure::Foreign(format!("the answer is longer than {ANSWER_BYTES_MAX} bytes")));
        }
    }
    Ok(Answer { server, index, body: body.into() })
}

async fn read_problem(response: Response, timeout: Duration) -> Failure {
    let status = response.status();
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    let retry_after = seconds.map(Duration::from_secs);
    let body = match tokio::time::timeout(timeout, response.bytes()).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return Failure::Broken(root_cause(&error)),
        Err(_) => return Failure::Broken("the answer stopped half-way".into()),
    };
    match parse_problem(status, &body) {
        Some(problem) => Failure::Problem { problem, retry_after },
        None => Failure::Foreign(format!("HTTP status {status}: {}", quote(&body))),
    }
}

/// Reads a problem; one with a code that this build does not know gets the code of its status.
fn parse_problem(status: StatusCode, body: &[u8]) -> Option<Problem> {
    if let Ok(problem) = serde_json::from_slice(body) {
        return Some(problem);
    }
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let named = value.get("code")?.as_str()?;
    let detail = value.get("detail").and_then(|d| d.as_str()).unwrap_or(named);
    let known = Code::ALL.iter().copied().find(|code| code.status() == status.as_u16());
    Some(Problem { status: status.as_u16(), ..Problem::new(known.unwrap_or(Code::Internal), detail) })
}

fn quote(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().take(QUOTE_CHARS_MAX).collect()
}

/// The innermost cause: "connection refused" says more than "error sending request".
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_of_a_newer_replica_keep_their_words() {
        let body = br#"{"code":"quota_exceeded","detail":"team a has 5 jobs"}"#;
        let problem = parse_problem(StatusCode::TOO_MANY_REQUESTS, body).unwrap();
        assert_eq!((problem.code, problem.detail.as_str()), (Code::Overloaded, "team a has 5 jobs"));
        assert!(parse_problem(StatusCode::BAD_GATEWAY, b"<html>").is_none());
    }
}
