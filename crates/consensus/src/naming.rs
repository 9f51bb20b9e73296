//! Names: the leader names the cluster, each replica shows its data folder, and what the cluster has
//! agreed on is compared with what this folder says.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use quorate_state::command::Command;
use quorate_state::outcome::{Outcome, Rejection};

use crate::error::FatalError;
use crate::host;
use crate::identity::Identity;
use crate::leadership::Leadership;
use crate::log::Writer;
use crate::options::Version;
use crate::propose::{EntryWriter, Proposer};
use crate::transport::Local;

/// After a proposal that came to nothing.
const PAUSE: Duration = Duration::from_millis(200);

pub(crate) struct Naming {
    pub(crate) local: Arc<Local>,
    pub(crate) identity: Identity,
    pub(crate) writer: Writer,
    pub(crate) proposer: Arc<Proposer>,
    pub(crate) fenced: Arc<EntryWriter>,
    pub(crate) leadership: tokio::sync::watch::Receiver<Leadership>,
}

impl Naming {
    /// Runs until both names are settled, and goes on comparing.
    pub(crate) async fn run(mut self) {
        let mut versions = self.local.published.versions.subscribe();
        loop {
            let version = versions.borrow_and_update().clone();
            let settled = self.compare(&version).await && self.propose(&version).await;
            let changed = tokio::select! {
                changed = versions.changed() => changed.is_ok(),
                changed = self.leadership.changed() => changed.is_ok(),
                () = tokio::time::sleep(PAUSE), if !settled => true,
            };
            if !changed {
                return;
            }
        }
    }

    /// Compares the state's names with the folder's; false if this replica can't go on.
    async fn compare(&mut self, version: &Version) -> bool {
        let (id, named) = (self.local.id, version.state.cluster_id());
        if version.state.storage_of(id).is_some_and(|recorded| recorded != self.local.storage) {
            self.local.fatal.report(FatalError::OtherStorage(id));
            return false;
        }
        if self.is_removed(version) {
            self.local.fatal.report(FatalError::Removed(id));
            return false;
        }
        if named == self.identity.cluster || named == 0 {
            return true;
        }
        if self.identity.cluster != 0 {
            self.local.fatal.report(FatalError::OtherCluster { id, ours: self.identity.cluster });
            return false;
        }
        self.identity.cluster = named;
        if let Err(error) = self.identity.save(&self.writer).await {
            self.local.fatal.report(FatalError::Storage(error.to_string()));
            return false;
        }
        self.local.cluster.store(named, Ordering::Relaxed);
        tracing::info!(cluster = named, "the replica belongs to a cluster");
        true
    }

    /// Whether the log itself says that this replica was removed. One that still leads hands over first.
    fn is_removed(&self, version: &Version) -> bool {
        let leads = self.leadership.borrow().leader == Some(self.local.id);
        version.state.storage_of(self.local.id).is_some() && !self.is_member() && !leads
    }

    fn is_member(&self) -> bool {
        self.local.published.membership.borrow().get_node(&self.local.id.0).is_some()
    }

    /// Proposes what is missing; true if nothing is.
    async fn propose(&self, version: &Version) -> bool {
        let leadership = *self.leadership.borrow();
        if version.state.cluster_id() == 0 {
            if leadership.local
                && let Ok(id) = host::random()
            {
                let name = self.fenced.write(leadership.term, vec![Command::NameCluster { id }]).await;
                tracing::debug!(?name, "proposed a name for the cluster");
            }
            return false;
        }
        if version.state.storage_of(self.local.id).is_some() {
            return true;
        }
        if self.is_member() {
            let (replica, storage) = (self.local.id, self.local.storage);
            let shown = self.proposer.propose(Command::IdentifyReplica { replica, storage }).await;
            if let Ok(shown) = &shown
                && shown.outcome == Outcome::Rejected(Rejection::OtherStorage(replica))
            {
                self.local.fatal.report(FatalError::OtherStorage(replica));
            }
        }
        false
    }
}
