//! What hyper can't parse never reaches a handler: it answers with a status and no body. Here that answer
//! becomes a problem like every other one.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use bytes::{Buf, Bytes};
use quorate_types::problem::{Code, Problem};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::App;
use super::error::ApiError;
use super::layers::mark;

/// No answer of ours is without it, see [`mark`].
const OURS: &str = "quorate-replica";

/// A connection on which hyper's own refusals are explained.
#[derive(Debug)]
pub(crate) struct Explained<T> {
    stream: T,
    app: App,
    /// What is written in the place of a refusal, and is not yet.
    explanation: Bytes,
    /// The last thing that happened was that something came in: what hyper writes next is the head of an
    /// answer, and never a piece of somebody's output.
    heard: bool,
}

impl<T: AsyncWrite + Unpin> Explained<T> {
    pub(crate) fn new(stream: T, app: App) -> Self {
        Self { stream, app, explanation: Bytes::new(), heard: false }
    }

    fn poll_explain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.explanation.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.explanation))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.explanation.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

/// The status, if `written` is an answer that hyper made up: a head of its own, with nothing after it.
fn refusal(written: &[u8]) -> Option<StatusCode> {
    if !written.starts_with(b"HTTP/1.1 4") {
        return None;
    }
    let head = std::str::from_utf8(written).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    let is_whole = head.find("\r\n\r\n")? + 4 == head.len();
    let is_empty = head.contains("\r\ncontent-length: 0\r\n");
    let status = StatusCode::from_bytes(status.as_bytes()).ok()?;
    (is_whole && is_empty && status.is_client_error() && !head.contains(OURS)).then_some(status)
}

fn problem(status: StatusCode) -> Problem {
    let (code, detail) = match status {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            (Code::TooLarge, "the request's head has too many bytes or fields")
        }
        StatusCode::URI_TOO_LONG => (Code::TooLarge, "the request's path and query are too long"),
        _ => (Code::InvalidJson, "this is not an HTTP/1.1 request"),
    };
    Problem { status: status.as_u16(), ..Problem::new(code, detail) }
}

/// The answer as it goes over the wire; the connection ends with it.
fn explain(app: &App, status: StatusCode) -> Bytes {
    let problem = problem(status);
    let body = serde_json::to_vec(&problem).unwrap_or_else(|e| unreachable!("a problem is plain JSON: {e}"));
    let mut response: Response = ApiError(problem).into_response();
    mark(app, &mut response);
    let mut wire = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len()).into_bytes();
    for (name, value) in response.headers() {
        if name != "content-length" {
            wire.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
    }
    wire.extend_from_slice(b"\r\n");
    wire.extend_from_slice(&body);
    wire.into()
}

impl<T: AsyncRead + Unpin> AsyncRead for Explained<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let filled = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        self.heard |= buffer.filled().len() > filled;
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Explained<T> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_explain(cx))?;
        let mut filled = slices.iter().filter(|slice| !slice.is_empty());
        if std::mem::take(&mut self.heard)
            && let (Some(head), None) = (filled.next(), filled.next())
            && let Some(status) = refusal(head)
        {
            self.explanation = explain(&self.app, status);
            return Poll::Ready(Ok(head.len()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_explain(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_explain(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_hyper_made_up_is_a_refusal() {
        let refused = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        assert_eq!(refusal(refused), Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        let ours = b"HTTP/1.1 404 Not Found\r\nquorate-replica: 1\r\ncontent-length: 0\r\n\r\n";
        let with_body = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\nx";
        let done = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        for answer in [&ours[..], with_body, done, b"HTTP/1.1 4", b"\xff"] {
            assert_eq!(refusal(answer), None, "{}", String::from_utf8_lossy(answer));
        }
    }
}
