//! A replica that answers by script: one step a connection, in order; the last step repeats.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What the fake does with one request.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Status, extra headers, body.
    Answer(u16, &'static str, String),
    /// Takes the request and says nothing for ever, as a stopped process.
    Silent,
    /// Answers once it was asked whether it lives, and has said so.
    Slow(String),
    /// Reads the request and closes the connection without an answer.
    Hang,
    /// Begins a chunked answer with these bytes and breaks it off.
    Broken(&'static str, String),
}

pub(crate) struct Fake {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Fake {
    pub(crate) async fn start(steps: Vec<Step>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        let server = tokio::spawn(async move {
            let (mut at, mut silent) = (0, Vec::new());
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                let Some(request) = read_request(&mut socket).await else { continue };
                seen.lock().unwrap().push(request);
                let step = steps[at.min(steps.len() - 1)].clone();
                at += 1;
                match step {
                    Step::Silent => silent.push(socket),
                    Step::Slow(body) => {
                        let (mut probe, _) = listener.accept().await.unwrap();
                        let asked = read_request(&mut probe).await;
                        seen.lock().unwrap().extend(asked);
                        answer(&mut probe, ok("")).await;
                        answer(&mut socket, ok(&body)).await;
                    }
                    step => answer(&mut socket, step).await,
                }
            }
        });
        Self { url, requests, server }
    }

    /// The requests so far, head and body.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

/// An address where nothing listens.
pub(crate) async fn dead_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

pub(crate) fn problem(code: quorate_types::Code) -> Step {
    let problem = quorate_types::Problem::new(code, "scripted");
    let body = serde_json::to_string(&problem).unwrap();
    Step::Answer(code.status(), "content-type: application/problem+json\r\n", body)
}

pub(crate) fn ok(body: &str) -> Step {
    Step::Answer(200, "content-type: application/json\r\n", body.to_owned())
}

async fn read_request(socket: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        let mut piece = [0; 4096];
        match socket.read(&mut piece).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => bytes.extend_from_slice(&piece[..n]),
        }
    }
}

async fn answer(socket: &mut TcpStream, step: Step) {
    let text = match step {
        Step::Hang | Step::Silent | Step::Slow(_) => return,
        Step::Answer(status, headers, body) => {
            let length = body.len();
            format!("HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}")
        }
        Step::Broken(headers, body) => {
            let length = body.len();
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n{headers}\r\n{length:x}\r\n{body}\r\n")
        }
    };
    let _ = socket.write_all(text.as_bytes()).await;
    let _ = socket.shutdown().await;
}
