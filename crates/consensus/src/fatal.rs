//! The one way in which a replica gives up: the first reason is kept, and whoever waits learns it.

use std::io;
use std::sync::Arc;

use quorate_types::ReplicaId;
use tokio::sync::watch;

use crate::error::FatalError;

#[derive(Clone, Debug)]
pub(crate) struct Fatal(Arc<watch::Sender<Option<FatalError>>>);

impl Fatal {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Reports a reason; only the first one counts.
    pub(crate) fn report(&self, error: FatalError) {
        self.0.send_if_modified(|reason| {
            if reason.is_some() {
                return false;
            }
            tracing::error!(%error, "this replica can't go on");
            *reason = Some(error);
            true
        });
    }

    /// Reports an error if it speaks of damage.
    pub(crate) fn report_damage(&self, id: ReplicaId, error: &io::Error) {
        if error.kind() == io::ErrorKind::InvalidData {
            self.report(FatalError::Damaged { id, detail: error.to_string() });
        }
    }

    /// Waits until there is a reason.
    pub(crate) async fn reported(&self) -> FatalError {
        let mut reasons = self.0.subscribe();
        loop {
            if let Some(reason) = reasons.borrow_and_update().clone() {
                return reason;
            }
            if reasons.changed().await.is_err() {
                // The sender lives as long as `self`.
                std::future::pending::<()>().await;
            }
        }
    }
}
