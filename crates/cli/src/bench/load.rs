//! A lean HTTP client for load: requests written ready-made to a kept connection, answers read as far as
//! they are needed. On a machine that the cluster shares, a full client would measure itself.

use std::net::SocketAddr;

use anyhow::{Context, bail};
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

/// A `POST` of JSON, ready to be written.
pub(super) fn post(address: SocketAddr, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let socket = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, buffer: Vec::with_capacity(4096) })
    }

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
