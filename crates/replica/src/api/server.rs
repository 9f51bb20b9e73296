//! Accepting connections: how many, how slow, and how they end.

use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::patient::Patient;
use super::refusal::Explained;
use super::{App, router};
use crate::limits::{
    CONNECTION_BYTES_MAX, HEADER_TIMEOUT, KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, SEND_BUFFER_BYTES_MAX, SHUTDOWN_WAIT,
    WRITE_TIMEOUT,
};

/// After an accept that failed: most often for want of file descriptors, which takes a while to mend.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until shutdown, then lets the requests under way finish.
pub(crate) async fn serve(app: App, listener: TcpListener, shutdown: CancellationToken) {
    let router = router::router(app.clone());
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => match app.room.connections.clone().try_acquire_owned() {
                Ok(permit) => {
                    connections.spawn(connection(stream, app.clone(), router.clone(), shutdown.clone(), permit));
                }
                // Closing at once is all that can be said without working for the connection.
                Err(_) => debug!("too many connections"),
            },
            Err(error) => {
                warn!(%error, "accept a connection");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(SHUTDOWN_WAIT, connections.wait()).await.is_err() {
        warn!("some connections did not end in time");
    }
}

/// Small answers go out at once, few bytes wait in the kernel, and a client that is gone without a word is noticed.
fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    setsockopt(stream, sockopt::SndBuf, &SEND_BUFFER_BYTES_MAX)?;
    let seconds = |time: Duration| time.as_secs() as u32;
    setsockopt(stream, sockopt::KeepAlive, &true)?;
    setsockopt(stream, sockopt::TcpKeepIdle, &seconds(KEEPALIVE_IDLE))?;
    setsockopt(stream, sockopt::TcpKeepInterval, &seconds(KEEPALIVE_INTERVAL))?;
    // Also ends what is sent and never acknowledged, which the kernel would otherwise repeat for a quarter of an hour.
    setsockopt(stream, sockopt::TcpUserTimeout, &(WRITE_TIMEOUT.as_millis() as u32))?;
    Ok(())
}

async fn connection(
    stream: TcpStream,
    app: App,
    router: Router,
    shutdown: CancellationToken,
    permit: OwnedSemaphorePermit,
) {
    if let Err(error) = set_options(&stream) {
        debug!(%error, "set a connection's options");
    }
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(CONNECTION_BYTES_MAX)
        .serve_connection(TokioIo::new(Explained::new(Patient::new(stream), app)), TowerToHyperService::new(router))
        .with_upgrades();
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = &mut connection => served,
        () = shutdown.cancelled() => {
            // The request under way is answered, then the connection closes.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        debug!(%error, "connection ended");
    }
    drop(permit);
}
