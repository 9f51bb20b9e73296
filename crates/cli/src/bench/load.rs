//! A lean HTTP client for load: requests written ready-made to a kept connection, answers read as far as
//! they are needed. On a machine that the cluster shares, a full client would measure itself.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Answers to submissions are small; a larger one is no answer to us.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// One connection that is kept alive.
#[derive(Debug)]
pub(super) struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
}

/// An answer's status and body.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

/// The lines of a streamed answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lines {
    pub(super) all: u64,
    /// Those that begin as wanted.
    pub(super) good: u64,
}

/// Where requests go, and what each of them says besides.
#[derive(Clone, Debug)]
pub(super) struct Door {
    address: SocketAddr,
    /// Header lines, each with its end.
    head: Arc<str>,
}

impl Door {
    pub(super) fn new(address: SocketAddr, token: Option<&str>) -> Self {
        let token = token.map(|token| format!("authorization: Bearer {token}\r\n")).unwrap_or_default();
        Self { address, head: format!("host: {address}\r\n{token}").into() }
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn open(&self) -> anyhow::Result<Connection> {
        let socket = TcpStream::connect(self.address).await.with_context(|| format!("connect to {}", self.address))?;
        socket.set_nodelay(true)?;
        Ok(Connection { socket, buffer: Vec::with_capacity(4096) })
    }

    /// A `POST` of JSON, ready to be written.
    pub(super) fn post(&self, path: &str, body: &str) -> Vec<u8> {
        self.post_as("application/json", path, body)
    }

    /// A `POST` of lines of JSON.
    pub(super) fn post_lines(&self, path: &str, body: &str) -> Vec<u8> {
        self.post_as("application/x-ndjson", path, body)
    }

    fn post_as(&self, kind: &str, path: &str, body: &str) -> Vec<u8> {
        let (head, length) = (&self.head, body.len());
        format!("POST {path} HTTP/1.1\r\n{head}content-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}")
            .into_bytes()
    }

    pub(super) fn get_lines(&self, path: &str) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\n{}accept: application/x-ndjson\r\n\r\n", self.head).into_bytes()
    }

    pub(super) fn get(&self, path: &str) -> Vec<u8> {
        format!("GET {path} HTTP/1.1\r\n{}\r\n", self.head).into_bytes()
    }
}

impl Connection {
    pub(super) async fn send(&mut self, request: &[u8]) -> anyhow::Result<Reply> {
        self.socket.write_all(request).await.context("send a request")?;
        loop {
            if let Some((reply, used)) = parse(&self.buffer)? {
                self.buffer.drain(..used);
                return Ok(reply);
            }
            if self.buffer.len() > ANSWER_BYTES_MAX {
                bail!("an answer is longer than {ANSWER_BYTES_MAX} bytes");
            }
            if self.socket.read_buf(&mut self.buffer).await.context("read an answer")? == 0 {
                bail!("the replica closed the connection");
            }
        }
    }

    /// Sends a request while it reads the answer, which comes in chunks; counts its lines and those that begin so.
    pub(super) async fn stream(&mut self, request: &[u8], good: &[u8]) -> anyhow::Result<Lines> {
        let mut lines = Lines::default();
        self.follow(request, |line| {
            lines.all += 1;
            lines.good += u64::from(line.starts_with(good));
            Next::Line
        })
        .await?;
        Ok(lines)
    }

    /// Sends a request while it reads the answer, which comes in chunks, line by line until its end or until told to
    /// stop; then the connection is of no more use. Which of the two it was.
    pub(super) async fn follow(
        &mut self,
        request: &[u8],
        mut on_line: impl FnMut(&[u8]) -> Next,
    ) -> anyhow::Result<Next> {
        let (mut from, mut to) = self.socket.split();
        let mut answer = Chunks::default();
        let send = async { to.write_all(request).await.context("send a request") };
        let receive = async {
            let mut text = Vec::new();
            loop {
                let ended = answer.take(&mut self.buffer, &mut text)?;
                let mut used = 0;
                while let Some(length) = text[used..].iter().position(|byte| *byte == b'\n') {
                    let line = &text[used..used + length];
                    used += length + 1;
                    if on_line(line) == Next::Stop {
                        return Ok(Next::Stop);
                    }
                }
                text.drain(..used);
                if ended {
                    return Ok(Next::Line);
                }
                if from.read_buf(&mut self.buffer).await.context("read an answer")? == 0 {
                    bail!("the replica closed the connection");
                }
            }
        };
        let ((), last) = tokio::try_join!(send, receive)?;
        Ok(last)
    }
}

/// What a reader of lines wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Line,
    Stop,
}

/// How far a chunked answer has come (RFC 9112, section 7.1).
#[derive(Debug, Default)]
struct Chunks {
    /// The head has been read; it said 200.
    begun: bool,
    /// So much of the present chunk is to come.
    left: usize,
}

impl Chunks {
    /// Moves what is whole from `bytes` to `text`. Whether that was all of the answer.
    fn take(&mut self, bytes: &mut Vec<u8>, text: &mut Vec<u8>) -> anyhow::Result<bool> {
        let mut used = 0;
        let ended = loop {
            let rest = &bytes[used..];
            if self.left > 0 {
                let part = rest.len().min(self.left);
                text.extend_from_slice(&rest[..part]);
                self.left -= part;
                used += part;
                if self.left > 0 {
                    break false;
                }
                continue;
            }
            let end: &[u8] = if self.begun { b"\r\n" } else { b"\r\n\r\n" };
            let Some(at) = rest.windows(end.len()).position(|window| window == end) else { break false };
            let line = std::str::from_utf8(&rest[..at]).context("an answer's head")?;
            // An empty line follows the last chunk.
            let last = self.begun && line == "0";
            let needed = at + end.len() + if last { 2 } else { 0 };
            if rest.len() < needed {
                break false;
            }
            used += needed;
            if last {
                break true;
            }
            if !self.begun {
                ensure!(line.starts_with("HTTP/1.1 200 "), "an answer begins with {:?}", line.lines().next());
                self.begun = true;
            } else if !line.is_empty() {
                // An empty line ends the chunk before.
                self.left =
                    usize::from_str_radix(line, 16).with_context(|| format!("the size of a chunk: {line:?}"))?;
            }
        };
        bytes.drain(..used);
        Ok(ended)
    }
}

/// The first answer in `bytes` and its length, once it is complete.
fn parse(bytes: &[u8]) -> anyhow::Result<Option<(Reply, usize)>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).context("an answer's head")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let status = status.with_context(|| format!("an answer begins with {:?}", head.lines().next()))?;
    let total = end + 4 + length.unwrap_or(0);
    if bytes.len() < total {
        return Ok(None);
    }
    Ok(Some((Reply { status, body: bytes[end + 4..total].to_vec() }, total)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_put_together() {
        let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"id\"\r\nd\r\n:1}\n{\"error\"}\r\n1\r\n\n\r\n0\r\n\r\n";
        for cut in 1..answer.len() {
            let (mut chunks, mut text) = (Chunks::default(), Vec::new());
            let mut bytes = answer[..cut].to_vec();
            assert!(!chunks.take(&mut bytes, &mut text).unwrap(), "cut at {cut}");
            bytes.extend_from_slice(&answer[cut..]);
            assert!(chunks.take(&mut bytes, &mut text).unwrap(), "cut at {cut}");
            assert_eq!(text, b"{\"id\":1}\n{\"error\"}\n", "cut at {cut}");
        }
    }

    #[test]
    fn answers_are_cut_at_their_length() {
        let text = b"HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\n{ }\nHTTP/1.1 503 X\r\n\r\n";
        assert!(parse(&text[..20]).unwrap().is_none());
        assert!(parse(&text[..45]).unwrap().is_none());
        let (reply, used) = parse(text).unwrap().unwrap();
        assert_eq!((reply.status, reply.body.as_slice()), (201, b"{ }\n".as_slice()));
        assert_eq!(parse(&text[used..]).unwrap().unwrap().0.status, 503);
        assert!(parse(b"nonsense\r\n\r\n").is_err());
    }
}
