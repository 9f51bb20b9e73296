//! The network seam: the one place where connections to peers are made, and the one where they are taken.
//! TCP is what runs; a simulation brings its own.

use std::fmt;
use std::io;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// A connection: bytes in order, both ways, until it breaks.
pub trait Connection: AsyncRead + AsyncWrite + fmt::Debug + Unpin + Send + Sync + 'static {}

impl<T: AsyncRead + AsyncWrite + fmt::Debug + Unpin + Send + Sync + 'static> Connection for T {}

/// The way to the peers.
pub trait Network: fmt::Debug + Send + Sync + 'static {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Connection>>>;
}

/// Where peers connect.
pub trait Listener: Send + Sync + 'static {
    /// The next connection, and where it comes from.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Connection>, String)>>;
}

/// The network of the host.
#[derive(Clone, Copy, Debug)]
pub struct Tcp;

impl Network for Tcp {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Connection>>> {
        Box::pin(async move { ready(TcpStream::connect(address).await?) })
    }
}

impl Listener for TcpListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Connection>, String)>> {
        Box::pin(async move {
            let (stream, from) = TcpListener::accept(self).await?;
            Ok((ready(stream)?, from.to_string()))
        })
    }
}

/// Small messages wait for nothing.
fn ready(stream: TcpStream) -> io::Result<Box<dyn Connection>> {
    stream.set_nodelay(true)?;
    Ok(Box::new(stream))
}
