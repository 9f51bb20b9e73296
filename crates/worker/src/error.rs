//! Why a worker can't go on.

use std::io;
use std::path::PathBuf;

/// Why [`run`](crate::run) ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("{action} {path}: {source}")]
    File { action: &'static str, path: PathBuf, source: io::Error },
    #[error("another worker uses the folder {0}; give each worker one of its own with --data")]
    Locked(PathBuf),
    #[error("the folder {0} has a name that is not UTF-8, which the environment of tasks can't carry")]
    FolderName(PathBuf),
    #[error("no servers are given")]
    NoServers,
    #[error("{0:?} is no server: http://HOST:PORT is expected")]
    Server(String),
    #[error("the cluster refused this worker: {0}")]
    Refused(String),
    #[error("start the watchdog: {0}")]
    Watchdog(#[source] io::Error),
    #[error("get a random number: {0}")]
    Random(#[source] io::Error),
    #[error("a part of the worker failed: {0}")]
    Internal(#[from] tokio::task::JoinError),
}

impl WorkerError {
    /// For `map_err` on operations on files: `action` is a verb such as "open".
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
