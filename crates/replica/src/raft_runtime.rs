//! Raft's own threads: whatever clients ask for, heartbeats, votes and the log never queue behind it.

use std::io;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};

/// Raft's core is one task, applying another, and both are busy at once; links and the peers' connections
/// take little.
const THREADS: usize = 2;

pub(crate) struct RaftRuntime(Option<Runtime>);

impl RaftRuntime {
    pub(crate) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(THREADS).thread_name("raft").enable_all().build()?;
        Ok(Self(Some(runtime)))
    }

    /// Runs it, and everything that it spawns, on these threads.
    ///
    /// # Errors
    /// If it fails or panics.
    pub(crate) async fn run<T, E>(
        &self,
        future: impl Future<Output = Result<T, E>> + Send + 'static,
    ) -> anyhow::Result<T>
    where
        T: Send + 'static,
        E: Into<anyhow::Error> + Send + 'static,
    {
        let runtime = self.0.as_ref().context("raft's threads have ended")?;
        runtime.spawn(future).await?.map_err(Into::into)
    }
}

impl Drop for RaftRuntime {
    fn drop(&mut self) {
        // Waiting for its threads is not allowed here, and not needed: raft has been shut down before, unless the
        // replica did not even start.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
