//! Frames of the worker protocol.

use bytes::{Bytes, BytesMut};
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use quorate_types::limits::SESSION_FRAME_BYTES_MAX;
use quorate_types::session::{FromWorker, ToWorker};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

/// Why a session's connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("the worker closed the connection")]
    Closed,
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    #[error("a frame is no message of the protocol: {0}")]
    Decode(#[from] bincode::error::DecodeError),
}

/// Splits a connection into frames.
pub(crate) fn frames(
    io: impl AsyncRead + AsyncWrite + Unpin,
) -> (impl Sink<Bytes, Error = std::io::Error> + Unpin, impl Stream<Item = std::io::Result<BytesMut>> + Unpin) {
    let codec = LengthDelimitedCodec::builder().max_frame_length(SESSION_FRAME_BYTES_MAX).new_codec();
    Framed::new(io, codec).split()
}

pub(crate) async fn receive(
    frames: &mut (impl Stream<Item = std::io::Result<BytesMut>> + Unpin),
) -> Result<FromWorker, WireError> {
    let frame = frames.next().await.ok_or(WireError::Closed)??;
    Ok(crate::calls::decode(&frame)?)
}

/// Takes up a message; sends those before it if there are many.
pub(crate) async fn feed(
    frames: &mut (impl Sink<Bytes, Error = std::io::Error> + Unpin),
    message: &ToWorker,
) -> Result<(), WireError> {
    Ok(frames.feed(crate::calls::encode(message)).await?)
}

pub(crate) async fn flush(frames: &mut (impl Sink<Bytes, Error = std::io::Error> + Unpin)) -> Result<(), WireError> {
    Ok(frames.flush().await?)
}

#[cfg(test)]
mod fuzz_tests;
