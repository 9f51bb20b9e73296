//! The log store: openraft's own suite, and what it does not look at.

use std::io;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;

use openraft::RaftLogReader;
use openraft::entry::RaftEntry;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};
use openraft::testing::log::{StoreBuilder, Suite};
use quorate_state::command::{Command, Entry as CommandEntry, Proposal};
use quorate_state::outcome::Applied;
use quorate_types::ReplicaId;
use tempfile::TempDir;

use super::*;
use crate::archive::{Archive, Overlay};
use crate::codec;
use crate::disk::{Disk, HostFiles, MemoryDisk, SledDisk};
use crate::fatal::Fatal;
use crate::machine::{Machine, MachineParts, Published};
use crate::options::{Limits, Observer, Version};
use crate::storage::Folder;
use crate::type_config::{Commands, Entry, LogId, TypeConfig, Vote};

struct Nobody;

impl Observer for Nobody {
    fn applied(&self, _: &Arc<Version>, _: Applied) {}
    fn restored(&self, _: &Arc<Version>) {}
}

/// A store with all around it.
pub(super) struct Bench {
    pub(super) log: LogStore,
    machine: Machine,
    writer: Writer,
    ended: tokio::sync::oneshot::Receiver<()>,
    fatal: Fatal,
    lock: std::fs::File,
}

pub(super) fn limits() -> Limits {
    Limits { cached_entries: 8, ..Limits::default() }
}

fn folder(dir: &Path) -> Folder {
    Folder { dir: dir.to_owned(), id: ReplicaId(1), joins: false, limits: limits() }
}

pub(super) fn open(dir: &Path, disk: Option<Arc<dyn Disk>>) -> Result<Bench, crate::StartError> {
    let storage = match disk {
        Some(disk) => folder(dir).open_disk(disk, Arc::new(HostFiles))?,
        None => folder(dir).open()?,
    };
    let (shared, fatal, overlay) = (Arc::new(storage.log), Fatal::new(), Arc::<Overlay>::default());
    let thread = WriterThread {
        disk: storage.disk.clone(),
        log: shared.clone(),
        archive: overlay.writer(),
        watermark: storage.watermark,
        fatal: fatal.clone(),
        group_max: 512,
    };
    let (writer, ended) = thread.spawn(64).unwrap();
    let archive = Archive::new(overlay, storage.disk.clone(), writer.clone(), 1 << 20);
    let parts = MachineParts {
        published: Published::new(),
        observer: Arc::new(Nobody),
        archive,
        snapshots: storage.snapshots,
        snapshot_log_bytes: u64::MAX,
    };
    let log = LogStore::new(shared, storage.disk, writer.clone(), &limits());
    Ok(Bench { log, machine: Machine::new(parts), writer, ended, fatal, lock: storage.lock })
}

impl Bench {
    pub(super) async fn close(self) {
        self.writer.stop().await;
        self.ended.await.unwrap();
        drop(self.lock);
    }

    pub(super) async fn read(
        &mut self,
        range: impl RangeBounds<u64> + Clone + std::fmt::Debug + Send,
    ) -> io::Result<Vec<Entry>> {
        self.log.get_log_reader().await.try_get_log_entries(range).await
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), openraft::StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let bench = open(dir.path(), Some(Arc::new(MemoryDisk::new()))).unwrap();
        Ok((dir, bench.log, bench.machine))
    }
}

struct OnSled;

impl StoreBuilder<TypeConfig, LogStore, Machine, TempDir> for OnSled {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), openraft::StorageError<TypeConfig>> {
        let dir = tempfile::tempdir().unwrap();
        let bench = open(dir.path(), None).unwrap();
        Ok((dir, bench.log, bench.machine))
    }
}

#[tokio::test]
async fn openrafts_suite_passes_in_memory() {
    Suite::test_all(Builder).await.unwrap();
}

#[tokio::test]
async fn openrafts_suite_passes_on_sled() {
    Suite::test_all(OnSled).await.unwrap();
}

fn entry(term: u64, index: u64, bytes: usize) -> Entry {
    let text = "x".repeat(bytes);
    let command = Command::AnnounceReplica { replica: ReplicaId(index), http: text };
    let entry = CommandEntry { time: Default::default(), proposals: vec![Proposal { origin: None, command }] };
    let bytes = codec::to_bytes(&entry).unwrap();
    Entry::new_normal(LogId::new_term_index(term, index), Commands::new(entry, bytes.into()))
}

pub(super) fn blanks(term: u64, range: std::ops::Range<u64>) -> Vec<Entry> {
    range.map(|index| entry(term, index, 10)).collect()
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_power_cut_and_nothing_else_is_made_up() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::new());
    let mut bench = open(dir.path(), Some(Arc::new(disk.clone()))).unwrap();
    let syncs = disk.syncs();
    bench.log.save_vote(&Vote::new(7, 1)).await.unwrap();
    bench.log.blocking_append(blanks(7, 1..50)).await.unwrap();
    assert!(disk.syncs() >= syncs + 2, "the vote and the entries were synced");

    let after = disk.after_power_cut();
    let other = tempfile::tempdir().unwrap();
    std::fs::copy(dir.path().join("watermark"), other.path().join("watermark")).unwrap();
    let mut revived = open(other.path(), Some(Arc::new(after))).unwrap();
    assert_eq!(revived.log.get_log_reader().await.read_vote().await.unwrap(), Some(Vote::new(7, 1)));
    assert_eq!(revived.log.get_log_state().await.unwrap().last_log_id, Some(LogId::new_term_index(7, 49)));
    assert_eq!(revived.read(..).await.unwrap(), blanks(7, 1..50));
    bench.close().await;
    revived.close().await;
}

#[tokio::test]
async fn many_writers_share_syncs() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::new());
    let bench = open(dir.path(), Some(Arc::new(disk.clone()))).unwrap();
    let before = disk.syncs();
    let writes = (0..500).map(|_| bench.writer.sync());
    for synced in futures_util::future::join_all(writes).await {
        synced.unwrap();
    }
    assert!(disk.syncs() - before < 250, "{} syncs for 500 waiters", disk.syncs() - before);
    bench.close().await;
}

#[tokio::test]
async fn a_failed_sync_is_never_repeated() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::new());
    let mut bench = open(dir.path(), Some(Arc::new(disk.clone()))).unwrap();
    bench.log.blocking_append(blanks(1, 1..3)).await.unwrap();
    disk.break_syncs();
    assert!(bench.log.blocking_append(blanks(1, 3..5)).await.is_err());
    let syncs = disk.syncs();
    assert!(bench.log.save_vote(&Vote::new(9, 1)).await.is_err());
    assert!(bench.log.blocking_append(blanks(1, 5..6)).await.is_err());
    assert_eq!(disk.syncs(), syncs, "the disk was left alone");
    let fatal = bench.fatal.reported().await;
    assert!(fatal.to_string().contains("broken"), "{fatal}");
    bench.close().await;
}

#[tokio::test]
async fn large_entries_are_cut_up_and_come_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = open(dir.path(), None).unwrap();
    let entries: Vec<_> = (1..20).map(|index| entry(1, index, 1 + (index as usize - 1) * 30_000)).collect();
    bench.log.blocking_append(entries.clone()).await.unwrap();
    bench.log.blocking_append([entry(1, 20, 3 << 20)]).await.unwrap();
    bench.close().await;

    let mut bench = open(dir.path(), None).unwrap();
    assert_eq!(bench.read(1..20).await.unwrap(), entries);
    assert_eq!(bench.read(20..).await.unwrap(), [entry(1, 20, 3 << 20)]);
    let blobs = dir.path().join("db/blobs").read_dir().map(Iterator::count);
    assert_eq!(blobs.unwrap_or(0), 0, "large values went to files that sled never syncs");
    bench.close().await;
}

#[tokio::test]
async fn a_truncated_tail_is_gone_and_can_be_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = open(dir.path(), None).unwrap();
    // Across the border of two trees.
    bench.log.purge(LogId::new_term_index(1, 65_499)).await.unwrap();
    bench.log.blocking_append((65_500..65_600).map(|i| entry(1, i, 20_000))).await.unwrap();
    bench.log.truncate_after(Some(LogId::new_term_index(1, 65_510))).await.unwrap();
    bench.log.blocking_append(blanks(2, 65_511..65_530)).await.unwrap();
    bench.close().await;

    let mut bench = open(dir.path(), None).unwrap();
    assert_eq!(bench.log.get_log_state().await.unwrap().last_log_id, Some(LogId::new_term_index(2, 65_529)));
    assert_eq!(bench.read(65_511..).await.unwrap(), blanks(2, 65_511..65_530));
    assert_eq!(bench.read(..).await.unwrap().len(), 30);
    bench.close().await;
}

#[tokio::test]
async fn purging_drops_whole_trees_and_keeps_the_rest() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::new());
    let mut bench = open(dir.path(), Some(Arc::new(disk.clone()))).unwrap();
    bench.log.purge(LogId::new_term_index(1, 131_060)).await.unwrap();
    bench.log.blocking_append(blanks(1, 131_061..131_100)).await.unwrap();
    let trees = |disk: &MemoryDisk| disk.trees().unwrap().iter().filter(|tree| tree.starts_with("log.")).count();
    assert_eq!(trees(&disk), 2);
    bench.log.purge(LogId::new_term_index(1, 131_070)).await.unwrap();
    assert_eq!(trees(&disk), 2, "one entry of the first tree is still wanted");
    assert_eq!(bench.read(..).await.unwrap(), blanks(1, 131_071..131_100));
    bench.log.purge(LogId::new_term_index(1, 131_071)).await.unwrap();
    until(|| trees(&disk) == 1).await;
    assert_eq!(bench.read(..).await.unwrap(), blanks(1, 131_072..131_100));
    bench.close().await;
}

async fn until(condition: impl Fn() -> bool) {
    let waited = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), waited).await.unwrap();
}

/// sled takes long to drop a tree; raft waits for its purges, and everybody for the writer.
#[tokio::test]
async fn nobody_waits_for_a_tree_to_be_dropped() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::new());
    let mut bench = open(dir.path(), Some(Arc::new(disk.clone()))).unwrap();
    bench.log.purge(LogId::new_term_index(1, 65_499)).await.unwrap();
    bench.log.blocking_append(blanks(1, 65_500..65_600)).await.unwrap();
    disk.set_drops_wait(true);
    let goes_on = async {
        bench.log.purge(LogId::new_term_index(1, 65_535)).await.unwrap();
        bench.log.blocking_append(blanks(1, 65_600..65_610)).await.unwrap();
        assert_eq!(bench.read(..).await.unwrap(), blanks(1, 65_536..65_610));
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), goes_on).await.unwrap();
    let first = layout::tree_of(65_535);
    assert!(disk.trees().unwrap().contains(&first));
    disk.set_drops_wait(false);
    until(|| !disk.trees().unwrap().contains(&first)).await;
    bench.close().await;
}

#[tokio::test]
async fn an_entry_that_was_written_in_part_was_never_acknowledged() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::new());
    let mut bench = open(dir.path(), Some(Arc::new(disk.clone()))).unwrap();
    bench.log.blocking_append(vec![entry(1, 1, 10), entry(1, 2, 100_000)]).await.unwrap();
    bench.close().await;
    let last = disk.last_key(&layout::tree_of(2)).unwrap().unwrap();
    disk.remove(&layout::tree_of(2), &last).unwrap();
    // Had it been synced once, its loss would be damage.
    assert!(open(dir.path(), Some(Arc::new(disk.clone()))).is_err());
    Watermark::open(&HostFiles, &dir.path().join("watermark")).unwrap().fall(1).unwrap();
    let mut bench = open(dir.path(), Some(Arc::new(disk))).unwrap();
    assert_eq!(bench.log.get_log_state().await.unwrap().last_log_id, Some(LogId::new_term_index(1, 1)));
    bench.close().await;
}

#[tokio::test]
async fn a_hole_or_a_changed_byte_stops_the_replica_with_its_place() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::new());
    let mut bench = open(dir.path(), Some(Arc::new(disk.clone()))).unwrap();
    bench.log.blocking_append(blanks(1, 1..40)).await.unwrap();
    bench.close().await;
    let (tree, key) = (layout::tree_of(5), crate::disk::piece_key(&5_u64.to_be_bytes(), 0));
    let whole = disk.get(&tree, &key).unwrap().unwrap();
    let mut changed = whole.clone();
    changed[20] ^= 1;
    for damage in [Some(changed), None] {
        match damage {
            Some(value) => disk.insert(&tree, &key, &value).unwrap(),
            None => disk.remove(&tree, &key).unwrap(),
        }
        let mut bench = open(dir.path(), Some(Arc::new(disk.clone()))).unwrap();
        let error = bench.read(1..10).await.unwrap_err().to_string();
        assert!(error.contains("log entry 5"), "{error}");
        bench.close().await;
    }
    // The last entry is looked at when the folder is opened.
    let (tree, key) = (layout::tree_of(39), crate::disk::piece_key(&39_u64.to_be_bytes(), 0));
    let mut last = disk.get(&tree, &key).unwrap().unwrap();
    last[3] = 99;
    disk.insert(&tree, &key, &last).unwrap();
    let error = open(dir.path(), Some(Arc::new(disk))).err().unwrap().to_string();
    assert!(error.contains("log entry 39") && error.contains("version 99"), "{error}");
    assert!(error.contains("quorate cluster remove 1") && error.contains("new id"), "{error}");
}

#[tokio::test]
async fn a_log_that_lost_its_end_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = open(dir.path(), None).unwrap();
    bench.log.blocking_append(blanks(1, 1..40)).await.unwrap();
    bench.log.truncate_after(Some(LogId::new_term_index(1, 30))).await.unwrap();
    bench.close().await;
    open(dir.path(), None).unwrap().close().await;

    // As if sled had cut its file off at a damaged place.
    let disk = SledDisk::open(&dir.path().join("db"), 8 << 20).unwrap();
    layout::remove_from(&disk, 30).unwrap();
    disk.sync().unwrap();
    drop(disk);
    let error = open(dir.path(), None).err().unwrap().to_string();
    assert!(error.contains("up to 30") && error.contains("one here is 29"), "{error}");
}

/// Damage anywhere in the database file is noticed, or has changed nothing; there is no third way.
#[tokio::test]
async fn flipped_bytes_in_the_file_are_never_believed() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = open(dir.path(), None).unwrap();
    let entries: Vec<_> = (1..100).map(|index| entry(1, index, 2000)).collect();
    bench.log.save_vote(&Vote::new(3, 1)).await.unwrap();
    bench.log.blocking_append(entries.clone()).await.unwrap();
    bench.close().await;
    let file = dir.path().join("db/db");
    let sound = std::fs::read(&file).unwrap();
    let used = sound.iter().rposition(|byte| *byte != 0).unwrap();
    let (mut noticed, mut harmless) = (0, 0);
    for at in (0..used).step_by(used / 40 + 1) {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(dir.path(), copy.path());
        let mut damaged = sound.clone();
        damaged[at] ^= 0x55;
        std::fs::write(copy.path().join("db/db"), damaged).unwrap();
        match open(copy.path(), None) {
            Err(error) => {
                assert!(error.to_string().contains("db") || error.to_string().contains("log"), "{error}");
                noticed += 1;
            }
            Ok(mut bench) => {
                match bench.read(..).await {
                    Ok(read) => {
                        assert_eq!(read, entries);
                        harmless += 1;
                    }
                    Err(_) => noticed += 1,
                }
                bench.close().await;
            }
        }
    }
    assert!(noticed > 0, "{noticed} noticed, {harmless} harmless");
}

#[test]
fn the_encoding_of_an_entry_is_fixed() {
    let record = layout::encode(&Entry::new_blank(LogId::new_term_index(3, 300))).unwrap();
    assert_eq!(record[..8], [b'Q', b'R', 5, 9, 5, 0, 0, 0]);
    assert_eq!(record[12..], [3, 0xfb, 0x2c, 1, 0]);
    let record = layout::encode(&entry(3, 1, 2)).unwrap();
    // Term, index, commands, their length; time, one proposal without an origin; the command.
    assert_eq!(record[12..20], [3, 1, 1, 8, 0, 1, 0, 20]);
    assert_eq!(record[20..], [1, 2, b'x', b'x']);
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
