//! What the public surface can't show: the archive that travels with a snapshot.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quorate_state::command::Command;
use quorate_state::outcome::{Applied, ArchiveKey, ArchiveOp};
use quorate_types::job::JobRequest;
use quorate_types::{JobId, ReplicaId};
use tokio::net::TcpListener;

use crate::options::{Addresses, Limits, Observer, Options, Start, Timing, Version};
use crate::{Handle, start};

struct Nobody;

impl Observer for Nobody {
    fn applied(&self, _: &Arc<Version>, _: Applied) {}
    fn restored(&self, _: &Arc<Version>) {}
}

async fn replica(id: u64, dir: &Path, bootstrap: bool) -> (Handle, Addresses) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let advertise = Addresses { http: String::new(), peer: listener.local_addr().unwrap().to_string() };
    let id = ReplicaId(id);
    let start_as = if bootstrap { Start::Bootstrap(BTreeMap::from([(id, advertise.clone())])) } else { Start::Join };
    let limits = Limits { snapshot_entries: 20, entries_behind_snapshot: 0, purge_batch: 1, ..Limits::default() };
    let options = Options {
        id,
        dir: dir.to_owned(),
        listener: Box::new(listener),
        network: Arc::new(crate::Tcp),
        advertise: advertise.clone(),
        start: start_as,
        token: None,
        timing: Timing::default(),
        limits,
        observer: Arc::new(Nobody),
    };
    (start(options).await.unwrap(), advertise)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_brings_the_archive_along_and_nothing_too_much() {
    let dirs = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (leader, _) = replica(1, dirs.0.path(), true).await;
    for _ in 0..60 {
        let spec = JobRequest { command: Some(vec!["true".into()]), ..JobRequest::default() }.validate().unwrap();
        leader.propose(Command::Submit(Arc::new(spec))).await.unwrap();
    }
    let value = |id: u64| -> Arc<[u8]> { vec![id as u8; 200_000].into() };
    let known = leader.version().state.jobs().next().unwrap().id();
    let stale = JobId(987_654);
    let put = |job: JobId| ArchiveOp::Put { key: ArchiveKey::Job(job), value: value(job.0) };
    leader.0.archive.apply(vec![put(known), put(stale)]).await.unwrap();
    assert!(leader.archived(ArchiveKey::Job(stale)).await.unwrap().is_some());

    let (learner, there) = replica(2, dirs.1.path(), false).await;
    leader.add_replica(ReplicaId(2), there).await.unwrap();
    let index = leader.version().index;
    learner.wait_applied(index, Duration::from_secs(20)).await.unwrap();
    assert!(learner.status().snapshot.0 > 0, "it came by a snapshot");
    let found = learner.archived(ArchiveKey::Job(known)).await.unwrap();
    assert_eq!(found.as_deref(), Some(&value(known.0)[..]));
    learner.0.archive.sync().await.unwrap();
    assert_eq!(learner.archived(ArchiveKey::Job(stale)).await.unwrap(), None, "no job of its state");
    assert!(!learner.0.archive.is_unswept().unwrap());
    learner.shutdown().await;
    leader.shutdown().await;
}
