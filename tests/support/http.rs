//! Talking to a replica: typed only as far as a test needs it, so that it sees what a client sees.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::events::Event;
use super::{LOOK_EVERY, PATIENCE, wait_until};

/// One replica, as a client sees it.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) base: String,
    client: reqwest::Client,
}

/// An answer that was read to its end.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The index that the answer holds at.
    pub(crate) fn index(&self) -> u64 {
        self.header("quorate-index").parse().unwrap_or_else(|_| panic!("no Quorate-Index: {self:?}"))
    }

    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The answer, which must be a success.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert!(self.is_success(), "{} {}", self.status, self.text());
        self
    }

    /// The code of a problem, which this must be, complete and consistent.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        assert!(!self.is_success(), "a success instead of a problem: {} {}", self.status, self.text());
        assert_eq!(self.header("content-type"), "application/problem+json", "{} {}", self.status, self.text());
        let problem = self.json();
        assert_eq!(problem["status"], json!(self.status), "{problem}");
        for field in ["type", "title", "detail", "code"] {
            assert!(problem[field].as_str().is_some_and(|text| !text.is_empty()), "{field} in {problem}");
        }
        assert!(problem["retryable"].is_boolean(), "{problem}");
        if matches!(self.status, 429 | 503) {
            assert!(!self.header("retry-after").is_empty(), "no Retry-After: {self:?}");
        }
        problem["code"].as_str().unwrap().to_owned()
    }
}

/// A client that gives up soon on a replica that is dead or stopped.
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .tcp_nodelay(true)
        .connect_timeout(Duration::from_secs(2))
        .timeout(Duration::from_secs(60))
        .build()
        .unwrap()
}

impl Api {
    pub(crate) fn new(base: String, client: reqwest::Client) -> Self {
        Self { base, client }
    }

    /// The same replica, with connections of its own.
    pub(crate) fn fresh(&self) -> Self {
        Self { base: self.base.clone(), client: client() }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Answer, reqwest::Error> {
        let mut request = self.client.request(method, format!("{}{path}", self.base)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let text = |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = response.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        Ok(Answer { status, headers, body: response.bytes().await?.to_vec() })
    }

    /// A response whose body is still to come.
    pub(crate) async fn stream(&self, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let mut request = self.client.get(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap_or_else(|e| panic!("GET {path}: {e}"))
    }

    pub(crate) async fn try_get(&self, path: &str) -> Option<Answer> {
        self.send(Method::GET, path, &[], Vec::new()).await.ok()
    }

    /// Reads; a broken connection or a cluster without a leader is asked again for a while.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.send(Method::GET, path, &[], Vec::new()).await {
                Ok(answer) if answer.status != 503 || Instant::now() > deadline => return answer,
                Err(error) if Instant::now() > deadline => panic!("GET {}{path}: {error:?}", self.base),
                Ok(_) | Err(_) => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    pub(crate) async fn read(&self, path: &str) -> Value {
        self.get(path).await.ok().json()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let sent = self.send(Method::POST, path, &[("content-type", "application/json")], body).await;
        sent.unwrap_or_else(|e| panic!("POST {}{path}: {e:?}", self.base))
    }

    /// Writes what may be written twice; a cluster without a leader is asked again for a while.
    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let sent = self.send(Method::PUT, path, &[], body.to_string().into_bytes()).await;
            match sent.unwrap_or_else(|e| panic!("PUT {}{path}: {e:?}", self.base)) {
                answer if answer.status != 503 || Instant::now() > deadline => return answer,
                _ => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        let sent = self.send(Method::DELETE, path, &[], Vec::new()).await;
        sent.unwrap_or_else(|e| panic!("DELETE {}{path}: {e:?}", self.base))
    }

    pub(crate) async fn try_submit(&self, job: &Value, key: Option<&str>) -> Result<Answer, reqwest::Error> {
        let mut headers = vec![("content-type", "application/json")];
        headers.extend(key.map(|key| ("idempotency-key", key)));
        self.send(Method::POST, "/v1/jobs", &headers, job.to_string().into_bytes()).await
    }

    /// Submits a job and returns its id.
    pub(crate) async fn submit(&self, job: &Value) -> u64 {
        let answer = self.post("/v1/jobs", job).await;
        assert_eq!(answer.status, 201, "{job}: {}", answer.text());
        id_of(&answer)
    }

    pub(crate) async fn job(&self, id: u64) -> Value {
        self.read(&format!("/v1/jobs/{id}")).await
    }

    /// Waits by long polls until the job has finished.
    pub(crate) async fn finished(&self, id: u64, patience: Duration) -> Value {
        let deadline = Instant::now() + patience;
        loop {
            let job = self.read(&format!("/v1/jobs/{id}?wait=2s&until=finished")).await;
            if !job["finished_at"].is_null() {
                return job;
            }
            if Instant::now() > deadline {
                let tasks = self.tasks(id).await;
                let unfinished: Vec<String> =
                    tasks.iter().filter(|task| task["finished_at"].is_null()).map(Value::to_string).collect();
                panic!("job {id} did not finish within {patience:?}: {job}\n{}", unfinished.join("\n"));
            }
        }
    }

    /// Waits until the job has finished, which must be in this state.
    pub(crate) async fn ends_as(&self, id: u64, state: &str) -> Value {
        let job = self.finished(id, PATIENCE).await;
        assert_eq!(job["state"], state, "{job}\n{:?}", self.tasks(id).await);
        job
    }

    /// All tasks of a job, page by page.
    pub(crate) async fn tasks(&self, id: u64) -> Vec<Value> {
        self.all(&format!("/v1/jobs/{id}/tasks?limit=1000")).await
    }

    /// All items of a list, page by page; `path` has a query already.
    pub(crate) async fn all(&self, path: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = self.read(&format!("{path}{cursor}")).await;
            items.extend(page["items"].as_array().unwrap_or_else(|| panic!("no list: {page}")).iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return items,
            }
        }
    }

    pub(crate) async fn task(&self, id: u64, task: &str, index: u64) -> Value {
        self.read(&format!("/v1/jobs/{id}/tasks/{task}/{index}")).await
    }

    /// Waits until a task is in a state and returns it.
    pub(crate) async fn task_is(&self, id: u64, task: &str, index: u64, state: &str) -> Value {
        wait_until(&format!("task {task}[{index}] of job {id} to be {state}"), PATIENCE, || async {
            Some(self.task(id, task, index).await).filter(|seen| seen["state"] == state)
        })
        .await
    }

    /// The events from `from` on until now, and the index that "now" was.
    pub(crate) async fn events(&self, from: u64) -> (Vec<Event>, u64) {
        let path = format!("/v1/events?from={from}&until=now");
        let answer = wait_until("the events", PATIENCE, || async {
            let accept = [("accept", "application/x-ndjson")];
            self.send(Method::GET, &path, &accept, Vec::new()).await.ok().filter(|answer| answer.status != 503)
        })
        .await
        .ok();
        let events = answer.text().lines().map(Event::parse).collect();
        (events, answer.index())
    }

    pub(crate) async fn worker_is(&self, name: &str, state: &str) -> Value {
        wait_until(&format!("worker {name} to be {state}"), PATIENCE, || async {
            let answer = self.get(&format!("/v1/workers/{name}")).await;
            (answer.status == 200).then(|| answer.json()).filter(|seen| seen["state"] == state)
        })
        .await
    }
}

pub(crate) fn id_of(answer: &Answer) -> u64 {
    answer.json()["id"].as_u64().unwrap_or_else(|| panic!("no id: {}", answer.text()))
}

/// Sends bytes as they are and reads the answer: for what no proper client would send.
pub(crate) async fn raw(address: &str, request: &[u8]) -> Option<Answer> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let (mut reader, mut writer) = stream.split();
    let write = async {
        // The replica may answer, and close, before it has read everything.
        let _ = writer.write_all(request).await;
        std::future::pending::<()>().await;
    };
    let mut bytes = Vec::new();
    let read = async { tokio::time::timeout(Duration::from_secs(20), reader.read_to_end(&mut bytes)).await };
    tokio::select! {
        () = write => {}
        _ = read => {}
    }
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let pairs = lines.filter_map(|line| line.split_once(':'));
    let headers = pairs.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
    Some(Answer { status, headers, body: bytes[end + 4..].to_vec() })
}
