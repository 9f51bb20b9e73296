//! Where the log begins and ends, when terms and indexes do not agree and when the queue is behind.

use std::sync::Arc;

use openraft::RaftLogReader;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt};

use super::tests::{blanks, limits, open};
use super::*;
use crate::archive::Overlay;
use crate::disk::{Disk, HostFiles, MemoryDisk};
use crate::fatal::Fatal;
use crate::type_config::{Entry, LogId};

/// A tail of a higher term that nobody committed, and a snapshot of a lower one beyond it: the tail is
/// gone, for this life and the next.
#[tokio::test]
async fn a_tail_before_the_snapshot_is_absent_whatever_its_term() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::new());
    let mut bench = open(dir.path(), Some(Arc::new(disk.clone()))).unwrap();
    bench.log.blocking_append(blanks(5, 90..101)).await.unwrap();
    let snapshot = LogId::new_term_index(4, 200);
    bench.log.purge(snapshot).await.unwrap();
    assert_eq!(bench.log.get_log_state().await.unwrap().last_log_id, Some(snapshot));
    bench.close().await;
    assert!(disk.last_key(&layout::tree_of(100)).unwrap().is_some(), "the tail is not on disk: this shows nothing");

    let mut bench = open(dir.path(), Some(Arc::new(disk))).unwrap();
    let state = bench.log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(snapshot), Some(snapshot)));
    assert_eq!(bench.read(..).await.unwrap(), []);
    bench.log.blocking_append(blanks(6, 201..205)).await.unwrap();
    bench.log.truncate_after(Some(LogId::new_term_index(6, 202))).await.unwrap();
    assert_eq!(bench.log.get_log_state().await.unwrap().last_log_id, Some(LogId::new_term_index(6, 202)));
    assert_eq!(bench.read(..).await.unwrap(), blanks(6, 201..203));
    bench.log.truncate_after(Some(snapshot)).await.unwrap();
    assert_eq!(bench.log.get_log_state().await.unwrap().last_log_id, Some(snapshot));
    bench.close().await;
}

#[tokio::test]
async fn a_reader_that_is_late_is_told_and_gets_nothing_else() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::new());
    let mut bench = open(dir.path(), Some(Arc::new(disk))).unwrap();
    bench.log.blocking_append(blanks(1, 1..20)).await.unwrap();
    bench.log.purge(LogId::new_term_index(1, 10)).await.unwrap();
    let mut reader = bench.log.get_log_reader().await;
    let error = reader.limited_get_log_entries(10, 15).await.unwrap_err().to_string();
    assert!(error.contains("from 10") && error.contains("up to 10"), "{error}");
    assert_eq!(reader.limited_get_log_entries(11, 15).await.unwrap().first(), blanks(1, 11..12).first());
    assert_eq!(reader.limited_get_log_entries(5, 5).await.unwrap(), []);
    let streamed: Vec<_> = futures_util::StreamExt::collect(reader.entries_stream(3..15).await).await;
    assert!(matches!(&streamed[..], [Err(_)]), "{streamed:?}");
    bench.close().await;
}

/// Appended entries may still be queued when the store lowers its mark for a truncation behind them.
#[tokio::test]
async fn a_truncation_leaves_no_stale_mark() {
    let (dir, disk) = (tempfile::tempdir().unwrap(), MemoryDisk::new());
    let watermark = Watermark::open(&HostFiles, &dir.path().join("watermark")).unwrap();
    let shared = Arc::new(LogShared::open(&disk, &watermark, &limits()).unwrap());
    let thread = WriterThread {
        disk: Arc::new(disk.clone()),
        log: shared.clone(),
        archive: Arc::<Overlay>::default().writer(),
        watermark,
        fatal: Fatal::new(),
        group_max: 512,
    };
    let (writer, queue) = Writer::by_hand(64);
    let mut log = LogStore::new(shared.clone(), Arc::new(disk), writer.clone(), &limits());
    let append: Vec<Entry> = blanks(1, 1..20);
    log.append(append, openraft::storage::IOFlushed::noop()).await.unwrap();
    let truncate = tokio::spawn(async move { log.truncate_after(Some(LogId::new_term_index(1, 5))).await });
    while queue.len() < 2 {
        tokio::task::yield_now().await;
    }
    writer.queue(Write::Stop).await.unwrap();
    let thread = tokio::spawn(thread.run(queue));
    truncate.await.unwrap().unwrap();
    thread.await.unwrap();
    assert_eq!(shared.inner().written, 5);
}
