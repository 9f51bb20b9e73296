use std::fs;
use std::sync::Arc;

use quorate_state::State;
use quorate_state::command::{Command, Entry, Proposal};
use quorate_types::job::JobRequest;
use quorate_types::{LogIndex, ReplicaId, Timestamp};

use super::*;
use crate::disk::HostFiles;
use crate::options::Addresses;
use crate::type_config::{LogId, SnapshotMeta, StoredMembership};

fn state(jobs: u64) -> State {
    let mut state = State::default();
    for index in 1..=jobs {
        let command = Some(vec!["echo".to_owned(), "x".repeat(5000)]);
        let spec = JobRequest { command, ..JobRequest::default() }.validate().unwrap();
        let command = Command::Submit(Arc::new(spec));
        let entry = Entry { time: Timestamp(index), proposals: vec![Proposal { origin: None, command }] };
        state.apply(LogIndex(index), &entry);
    }
    state
}

fn meta(term: u64, index: u64) -> SnapshotMeta {
    let nodes = [(1, Addresses::default())];
    let membership = openraft::Membership::new(vec![[1].into()], std::collections::BTreeMap::from(nodes)).unwrap();
    SnapshotMeta {
        last_log_id: Some(LogId::new_term_index(term, index)),
        last_membership: StoredMembership::new(Some(LogId::new_term_index(1, 1)), membership),
    }
}

#[test]
fn a_snapshot_comes_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (path, state) = (dir.path().join("s"), state(200));
    file::write(&HostFiles, &path, &meta(2, 200), &state).unwrap();
    assert!(fs::metadata(&path).unwrap().len() > 900_000, "several blocks");
    let (found, restored) = file::read(&HostFiles, &path).unwrap();
    assert_eq!(found, meta(2, 200));
    assert_eq!(file::read_meta(&HostFiles, &path).unwrap(), found);
    assert_eq!(restored.digest(), state.digest());
    assert_eq!(restored.storage_of(ReplicaId(1)), None);
}

#[test]
fn a_damaged_snapshot_is_named_and_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    file::write(&HostFiles, &path, &meta(2, 60), &state(60)).unwrap();
    let sound = fs::read(&path).unwrap();
    let expect_error = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        let error = file::read(&HostFiles, &path).map(|_| ()).expect_err(what).to_string();
        assert!(error.contains(&path.display().to_string()), "{what}: {error}");
    };
    for at in (0..sound.len()).step_by(sound.len() / 97) {
        let mut damaged = sound.clone();
        damaged[at] ^= 0x10;
        expect_error(&damaged, &format!("byte {at} changed"));
        expect_error(&sound[..at], &format!("cut off at {at}"));
    }
    expect_error(&[&sound[..], b"x"].concat(), "something follows");
    fs::write(&path, &sound).unwrap();
    file::read(&HostFiles, &path).unwrap();
}

#[test]
fn the_folder_keeps_two_and_knows_the_newest() {
    let dir = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(Arc::new(HostFiles), dir.path()).unwrap();
    assert!(snapshots.current().is_none());
    for index in [9, 10, 100] {
        let path = snapshots.unfinished_path();
        file::write(&HostFiles, &path, &meta(1, index), &state(3)).unwrap();
        snapshots.adopt(&path, &meta(1, index)).unwrap();
    }
    fs::write(snapshots.unfinished_path(), "half of one").unwrap();
    let snapshots = Snapshots::open(Arc::new(HostFiles), dir.path()).unwrap();
    assert_eq!(snapshots.current().unwrap().0, meta(1, 100));
    let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["10-1.snap", "100-1.snap"]);
}
