//! The state machine as openraft sees it: applies entries, publishes a version after each, and takes and
//! installs snapshots. The state lives in memory; after a restart it is the newest snapshot plus the log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{Stream, TryStreamExt};
use openraft::EntryPayload;
use openraft::OptionalSend;
use openraft::alias::SnapshotOf;
use openraft::storage::{EntryResponder, RaftStateMachine};
use quorate_state::State;
use quorate_state::outcome::{Applied, Outcome};
use quorate_types::LogIndex;
use tokio::sync::{Notify, watch};

use crate::archive::{Archive, ArchiveWrite};
use crate::host;
use crate::options::{Observer, Version};
use crate::snapshot::{Builder, SnapshotFile, Snapshots, file};
use crate::type_config::{Commands, Entry, LogId, SnapshotMeta, StoredMembership, TypeConfig};

/// What others see of the state machine.
#[derive(Clone, Debug)]
pub(crate) struct Published {
    pub(crate) versions: Arc<watch::Sender<Arc<Version>>>,
    /// The applied membership.
    pub(crate) membership: Arc<watch::Sender<StoredMembership>>,
    /// Rung when so many bytes were applied since the last snapshot that it is time for the next.
    pub(crate) snapshot_due: Arc<Notify>,
}

impl Published {
    pub(crate) fn new() -> Self {
        Self {
            versions: Arc::new(watch::Sender::new(Arc::default())),
            membership: Arc::new(watch::Sender::new(StoredMembership::default())),
            snapshot_due: Arc::default(),
        }
    }

    pub(crate) fn version(&self) -> Arc<Version> {
        self.versions.borrow().clone()
    }
}

pub(crate) struct Machine {
    state: State,
    last_applied: Option<LogId>,
    membership: StoredMembership,
    published: Published,
    observer: Arc<dyn Observer>,
    archive: Archive,
    snapshots: Snapshots,
    /// Bytes applied since the last snapshot began.
    bytes: Arc<AtomicU64>,
    snapshot_log_bytes: u64,
}

/// What a machine is made of.
pub(crate) struct MachineParts {
    pub(crate) published: Published,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) archive: Archive,
    pub(crate) snapshots: Snapshots,
    pub(crate) snapshot_log_bytes: u64,
}

impl Machine {
    pub(crate) fn new(parts: MachineParts) -> Self {
        Self {
            state: State::default(),
            last_applied: None,
            membership: StoredMembership::default(),
            published: parts.published,
            observer: parts.observer,
            archive: parts.archive,
            snapshots: parts.snapshots,
            bytes: Arc::default(),
            snapshot_log_bytes: parts.snapshot_log_bytes,
        }
    }

    async fn apply_entry(&mut self, entry: Entry) -> io::Result<Vec<Outcome>> {
        let index = LogIndex(entry.log_id.index);
        self.last_applied = Some(entry.log_id);
        let mut applied = match entry.payload {
            EntryPayload::Normal(commands) => self.apply_commands(index, &commands),
            EntryPayload::Blank => self.skip(index),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                self.published.membership.send_replace(self.membership.clone());
                self.skip(index)
            }
        };
        self.archive.apply(std::mem::take(&mut applied.archive)).await?;
        let (outcomes, released) = (applied.outcomes.clone(), std::mem::take(&mut applied.released));
        let version = self.publish(index);
        self.observer.applied(&version, applied);
        if !released.is_empty() {
            host::discard(released);
        }
        Ok(outcomes)
    }

    fn apply_commands(&mut self, index: LogIndex, commands: &Commands) -> Applied {
        let before = self.bytes.fetch_add(commands.bytes.len() as u64, Ordering::Relaxed);
        if passes_multiple(before, commands.bytes.len() as u64, self.snapshot_log_bytes) {
            self.published.snapshot_due.notify_one();
        }
        host::in_place(commands.bytes.len(), || self.state.apply(index, &commands.entry))
    }

    fn skip(&mut self, index: LogIndex) -> Applied {
        // The very first membership stands at 0, which to the state is before everything.
        if index.0 > 0 {
            self.state.skip(index);
        }
        Applied::new(index, self.state.now())
    }

    fn publish(&self, index: LogIndex) -> Arc<Version> {
        let version = Arc::new(Version { index, state: self.state.clone() });
        self.published.versions.send_replace(version.clone());
        version
    }

    fn meta(&self) -> SnapshotMeta {
        SnapshotMeta { last_log_id: self.last_applied, last_membership: self.membership.clone() }
    }
}

/// Whether a sum passes a multiple of `step`. Every multiple counts: the first bell may ring while an earlier
/// snapshot is still being built, and raft begins none then.
fn passes_multiple(before: u64, added: u64, step: u64) -> bool {
    let step = step.max(1);
    before.saturating_add(added) / step > before / step
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.last_applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let outcomes = self.apply_entry(entry).await?;
            if let Some(responder) = responder {
                responder.send(outcomes);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        self.bytes.store(0, Ordering::Relaxed);
        Builder {
            meta: self.meta(),
            version: Arc::new(Version {
                index: LogIndex(self.last_applied.map_or(0, |last| last.index)),
                state: self.state.clone(),
            }),
            archive: self.archive.clone(),
            snapshots: self.snapshots.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotFile) -> io::Result<()> {
        let (snapshots, expected) = (self.snapshots.clone(), meta.clone());
        let load = move || {
            // The file becomes a snapshot of ours only now: raft has removed what contradicts it.
            let file = snapshots.take_in(snapshot, &expected)?;
            file::read(&*snapshots.files, &file.path)
        };
        let (meta, state) = host::blocking(load).await?;
        self.state = state;
        self.last_applied = meta.last_log_id;
        self.membership = meta.last_membership;
        self.bytes.store(0, Ordering::Relaxed);
        self.published.membership.send_replace(self.membership.clone());
        let version = self.publish(LogIndex(self.last_applied.map_or(0, |last| last.index)));
        self.observer.restored(&version);
        if self.archive.is_unswept()? {
            self.archive.queue(ArchiveWrite::Sweep(Box::new(self.state.clone()))).await?;
        }
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<TypeConfig, SnapshotFile>>> {
        let current = self.snapshots.current();
        Ok(current.map(|(meta, snapshot)| SnapshotOf::<TypeConfig, _> { meta, snapshot }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_multiple_rings() {
        let rings: Vec<u64> = (0..40).map(|n| n * 30).filter(|before| passes_multiple(*before, 30, 256)).collect();
        assert_eq!(rings, [240, 510, 750, 1020]);
        assert!(passes_multiple(10, 1000, 256) && !passes_multiple(0, 255, 256) && passes_multiple(0, 256, 256));
    }
}
