//! The network between a worker's host and the replicas, which can be cut: what is sent then is neither
//! delivered nor refused, as when a cable is pulled.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

const BUFFER_BYTES: usize = 16 << 10;

#[derive(Debug)]
pub(super) struct Relay {
    address: SocketAddr,
    connected: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Relay {
    /// Connections go to the targets in turn.
    pub(super) async fn start(targets: Vec<SocketAddr>) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let connected = watch::Sender::new(true);
        let gate = connected.subscribe();
        let accepting = tokio::spawn(async move {
            for target in targets.iter().cycle() {
                let Ok((near, _)) = listener.accept().await else { return };
                tokio::spawn(join(near, *target, gate.clone()));
            }
        });
        Ok(Self { address, connected, accepting })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(super) fn cut(&self) {
        self.connected.send_replace(false);
    }

    pub(super) fn mend(&self) {
        self.connected.send_replace(true);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn join(near: TcpStream, target: SocketAddr, mut gate: watch::Receiver<bool>) {
    // The relay ends with the bench; so do the connections that wait here.
    if gate.wait_for(|connected| *connected).await.is_err() {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else { return };
    for stream in [&near, &far] {
        let _ = stream.set_nodelay(true);
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    tokio::join!(carry(near_in, far_out, gate.clone()), carry(far_in, near_out, gate));
}

/// Carries bytes until the sender ends, and then says so.
async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut gate: watch::Receiver<bool>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        if gate.wait_for(|connected| *connected).await.is_err() {
            return;
        }
        let bytes = buffer.get(..read).unwrap_or_default();
        if bytes.is_empty() || to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
