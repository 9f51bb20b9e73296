//! One end of a connection, and the network as consensus wants it.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Host, IN_FLIGHT_MAX, Inner, Listener, Network};

/// One end of a connection.
pub(crate) struct Connection {
    pub(super) network: Network,
    pub(super) reads: u64,
    pub(super) writes: u64,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({})", self.writes)
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.network.inner();
        let Inner { pipes, stirred, .. } = &mut *inner;
        let Some(pipe) = pipes.get_mut(&self.reads) else { return Poll::Ready(Ok(())) };
        if pipe.arrived.is_empty() {
            if pipe.ended {
                return Poll::Ready(Ok(()));
            }
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let n = pipe.arrived.len().min(buffer.remaining());
        buffer.put_slice(&pipe.arrived[..n]);
        pipe.arrived.advance(n);
        pipe.in_flight -= n;
        let writer = pipe.wake_writer(stirred);
        drop(inner);
        writer.into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = self.network.inner();
        let Some(pipe) = inner.pipes.get_mut(&self.writes) else {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        };
        if pipe.broken || pipe.reader_gone {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if pipe.in_flight >= IN_FLIGHT_MAX {
            pipe.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if !bytes.is_empty() {
            inner.send(self.writes, Bytes::copy_from_slice(bytes));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.network.inner().send(self.writes, Bytes::new());
        Poll::Ready(Ok(()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut inner = self.network.inner();
        let silenced = inner.pipes.get(&self.writes).is_none_or(|pipe| pipe.broken);
        if !silenced {
            inner.send(self.writes, Bytes::new());
        }
        let Inner { pipes, dark, stirred, .. } = &mut *inner;
        let writer = pipes.get_mut(&self.reads).and_then(|pipe| {
            // A machine without power tells nobody that it is gone.
            pipe.reader_gone = !dark.contains(&pipe.to);
            pipe.wake_writer(stirred)
        });
        drop(inner);
        writer.into_iter().for_each(Waker::wake);
    }
}

impl Network {
    /// As consensus wants it: the network as one host sees it.
    pub(crate) fn of(&self, host: Host) -> HostNetwork {
        HostNetwork { network: self.clone(), host }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct HostNetwork {
    network: Network,
    host: Host,
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

impl quorate_consensus::Network for HostNetwork {
    fn dial<'a>(&'a self, address: &'a str) -> Boxed<'a, Box<dyn quorate_consensus::Connection>> {
        Box::pin(async move {
            let connection = self.network.connect(self.host, address).await?;
            Ok(Box::new(connection) as Box<dyn quorate_consensus::Connection>)
        })
    }
}

impl quorate_consensus::Listener for Listener {
    fn accept(&mut self) -> Boxed<'_, (Box<dyn quorate_consensus::Connection>, String)> {
        Box::pin(async move {
            let (connection, from) = Listener::accept(self).await;
            Ok((Box::new(connection) as Box<dyn quorate_consensus::Connection>, from))
        })
    }
}
