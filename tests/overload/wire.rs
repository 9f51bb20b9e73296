//! HTTP/1.1 with as little work as can be: clients and cluster share the machine.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// No answer may take longer, whatever goes on: proposals wait for five seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// A connection that stays open between requests.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer with a length.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> String {
        format!("{} {}", self.head, String::from_utf8_lossy(&self.body))
    }

    pub(crate) fn id(&self) -> Option<u64> {
        number_after(&self.body, b"\"id\":")
    }

    /// Whether this says in the agreed form that there is too much to do, or that nobody leads.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self.status, 429 | 503)
            && self.head.contains("\r\nretry-after: ")
            && self.head.contains("\r\ncontent-type: application/problem+json")
            && ["overloaded", "no_leader", "outcome_unknown"].contains(&self.code())
    }

    pub(crate) fn code(&self) -> &str {
        let text = std::str::from_utf8(&self.body).unwrap_or_default();
        text.split_once("\"code\":\"").and_then(|(_, rest)| rest.split('"').next()).unwrap_or_default()
    }
}

impl Wire {
    pub(crate) async fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new() })
    }

    /// Sends a whole request and reads its answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<Reply> {
        let (mut reading, mut writing) = self.stream.split();
        let answer = read(&mut reading, &mut self.buffer);
        let both = async {
            // What is refused early is answered before all of it was sent.
            tokio::pin!(answer);
            tokio::select! {
                biased;
                written = writing.write_all(request) => match written {
                    Ok(()) => answer.await,
                    Err(error) => answer.await.map_err(|_| error),
                },
                answer = &mut answer => answer,
            }
        };
        timeout(ANSWER_WITHIN, both).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    pub(crate) async fn answer(&mut self) -> io::Result<Reply> {
        read(&mut self.stream, &mut self.buffer).await
    }
}

async fn read(stream: &mut (impl AsyncReadExt + Unpin), buffer: &mut Vec<u8>) -> io::Result<Reply> {
    let mut searched = 0;
    let head = loop {
        if let Some(found) = find(&buffer[searched..], b"\r\n\r\n") {
            break searched + found + 4;
        }
        searched = buffer.len().saturating_sub(3);
        fill(stream, buffer).await?;
    };
    let length = number_after(&buffer[..head], b"content-length: ").unwrap_or(0) as usize;
    while buffer.len() < head + length {
        fill(stream, buffer).await?;
    }
    let rest = buffer.split_off(head + length);
    let mut whole = std::mem::replace(buffer, rest);
    let body = whole.split_off(head);
    let status = whole.get(9..12).and_then(|status| std::str::from_utf8(status).ok()?.parse().ok()).unwrap_or(0);
    Ok(Reply { status, head: String::from_utf8_lossy(&whole).into_owned(), body })
}

async fn fill(stream: &mut (impl AsyncReadExt + Unpin), buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.reserve(4096);
    match stream.read_buf(buffer).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn number_after(bytes: &[u8], name: &[u8]) -> Option<u64> {
    let digits = &bytes[find(bytes, name)? + name.len()..];
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

/// A request as bytes; `headers` are whole lines.
pub(crate) fn request(line: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{line} HTTP/1.1\r\nHost: q\r\nContent-Length: {}\r\n", body.len());
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    [head.as_bytes(), body].concat()
}

/// A submission of a job.
pub(crate) fn submission(job: &str) -> Vec<u8> {
    request("POST /v1/jobs", &["Content-Type: application/json"], job.as_bytes())
}

/// The head of an NDJSON submission without end.
pub(crate) const BULK: &[u8] =
    b"POST /v1/jobs HTTP/1.1\r\nHost: q\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A piece of a chunked body.
pub(crate) fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}
