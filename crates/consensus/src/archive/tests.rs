use quorate_state::outcome::ArchiveOp::{Drop, Put};
use quorate_types::session::Stream;
use quorate_types::{AttemptNumber, TaskIndex};

use super::*;
use crate::disk::MemoryDisk;

fn job(id: u64) -> ArchiveKey {
    ArchiveKey::Job(JobId(id))
}

fn output(id: u64, index: u32) -> ArchiveKey {
    let (job, task, attempt) = (JobId(id), 0, AttemptNumber(1));
    ArchiveKey::Output { job, task, index: TaskIndex(index), attempt, stream: Stream::Stdout }
}

fn value(seed: u8, bytes: usize) -> Arc<[u8]> {
    vec![seed; bytes].into()
}

/// An archive whose writes are taken from the queue by hand.
struct Bench {
    archive: Archive,
    queue: tokio::sync::mpsc::Receiver<Write>,
    writer: ArchiveWriter,
    disk: MemoryDisk,
}

fn bench() -> Bench {
    let (disk, overlay) = (MemoryDisk::new(), Arc::<Overlay>::default());
    let (writer, queue) = Writer::by_hand(64);
    let archive = Archive::new(overlay.clone(), Arc::new(disk.clone()), writer, 1 << 20);
    Bench { archive, queue, writer: overlay.writer(), disk }
}

impl Bench {
    /// Does up to `count` queued writes.
    fn write(&mut self, count: usize) {
        for _ in 0..count {
            match self.queue.try_recv() {
                Ok(Write::Archive(write)) => drop(self.writer.write(&self.disk, write).unwrap()),
                Ok(other) => panic!("{other:?}"),
                Err(_) => return,
            }
        }
    }
}

#[tokio::test]
async fn readers_see_what_was_applied_however_far_the_disk_is() {
    let mut bench = bench();
    let big = value(7, 100_000);
    let ops = vec![
        Put { key: job(1), value: value(1, 10) },
        Put { key: output(1, 3), value: big.clone() },
        Put { key: job(2), value: value(2, 10) },
        Drop(JobId(1)),
        Put { key: job(1), value: value(9, 20) },
    ];
    bench.archive.apply(ops).await.unwrap();
    for written in 0..=5 {
        assert_eq!(bench.archive.read(job(1)).unwrap().as_deref(), Some(&[9; 20][..]), "after {written}");
        assert_eq!(bench.archive.read(output(1, 3)).unwrap(), None, "after {written}");
        assert_eq!(bench.archive.read(job(2)).unwrap().as_deref(), Some(&[2; 10][..]), "after {written}");
        bench.write(1);
    }
    assert_eq!(bench.archive.overlay.pending().bytes, 0);
    assert!(bench.archive.overlay.pending().dropped.is_empty());
    bench.archive.apply(vec![Put { key: output(2, 0), value: big.clone() }]).await.unwrap();
    bench.write(1);
    assert_eq!(bench.archive.read(output(2, 0)).unwrap().as_deref(), Some(&big[..]), "cut up and put together");
}

#[tokio::test]
async fn apply_waits_only_for_a_backlog_that_is_too_long() {
    let mut bench = bench();
    let ops = (0..3).map(|id| Put { key: job(id), value: value(1, 600_000) }).collect();
    let applied = tokio::spawn({
        let archive = bench.archive.clone();
        async move { archive.apply(ops).await }
    });
    while bench.archive.overlay.pending().bytes < 1_200_000 {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!applied.is_finished(), "the third one waits");
    bench.write(1);
    applied.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_sweep_leaves_what_the_state_knows() {
    let mut bench = bench();
    let ops = (1..=3).flat_map(|id| {
        [Put { key: job(id), value: value(1, 10) }, Put { key: output(id, 0), value: value(1, 50_000) }]
    });
    bench.archive.apply(ops.collect()).await.unwrap();
    bench.write(6);
    let all = bench.archive.pieces(&[], usize::MAX).unwrap();
    bench.archive.queue(ArchiveWrite::Unswept).await.unwrap();
    bench.archive.queue(ArchiveWrite::Pieces(all)).await.unwrap();
    bench.write(2);
    assert!(bench.archive.is_unswept().unwrap());
    bench.archive.queue(ArchiveWrite::Sweep(Box::default())).await.unwrap();
    bench.write(1);
    assert!(!bench.archive.is_unswept().unwrap());
    assert!(bench.archive.pieces(&[], usize::MAX).unwrap().is_empty());
}

/// A sweep may come between the pieces of another transfer, which then must be swept after all.
#[tokio::test]
async fn every_piece_says_that_a_sweep_is_due() {
    let (mut from, mut to) = (bench(), bench());
    let ops = (1..=2).map(|id| Put { key: job(id), value: value(1, 10) }).collect();
    from.archive.apply(ops).await.unwrap();
    from.write(2);
    to.archive.queue(ArchiveWrite::Unswept).await.unwrap();
    for piece in from.archive.pieces(&[], usize::MAX).unwrap() {
        to.archive.queue(ArchiveWrite::Sweep(Box::default())).await.unwrap();
        to.archive.queue(ArchiveWrite::Pieces(vec![piece])).await.unwrap();
    }
    to.write(5);
    assert!(to.archive.is_unswept().unwrap());
}

#[tokio::test]
async fn the_pieces_of_one_archive_make_another() {
    let (mut from, mut to) = (bench(), bench());
    let ops = (1..=20).map(|id| Put { key: output(id, 0), value: value(id as u8, 40_000) }).collect();
    from.archive.apply(ops).await.unwrap();
    from.write(20);
    let (mut start, mut rounds) = (Vec::new(), 0);
    loop {
        let pieces = from.archive.pieces(&start, 100_000).unwrap();
        let Some((last, _)) = pieces.last() else { break };
        start = [&last[..], &[0]].concat();
        rounds += 1;
        to.archive.queue(ArchiveWrite::Pieces(pieces)).await.unwrap();
        to.write(1);
    }
    assert!(rounds > 5, "in bounded steps");
    for id in 1..=20 {
        assert_eq!(to.archive.read(output(id, 0)).unwrap().as_deref(), Some(&value(id as u8, 40_000)[..]));
    }
}

#[tokio::test]
async fn a_changed_byte_is_noticed() {
    let mut bench = bench();
    bench.archive.apply(vec![Put { key: job(1), value: value(1, 10) }]).await.unwrap();
    bench.write(1);
    let (key, mut piece) = bench.archive.pieces(&[], 1).unwrap().remove(0);
    *piece.last_mut().unwrap() ^= 1;
    bench.disk.insert(ARCHIVE, &key, &piece).unwrap();
    let error = bench.archive.read(job(1)).unwrap_err().to_string();
    assert!(error.contains("tree archive") && error.contains("checksum"), "{error}");
}

#[tokio::test]
async fn damage_is_not_handed_on_and_a_record_that_is_being_written_is_none() {
    let mut bench = bench();
    let ops = (1..=3).map(|id| Put { key: output(id, 0), value: value(id as u8, 40_000) }).collect();
    bench.archive.apply(ops).await.unwrap();
    bench.write(3);
    let pieces = bench.archive.pieces(&[], usize::MAX).unwrap();
    assert_eq!((pieces.len(), last_record(&pieces)), (9, 6));
    bench.archive.check(&pieces).await.unwrap();
    // Two of three pieces were there when they were read; by now it is whole, so that a second look finds nothing.
    let half = [&pieces[..3], &pieces[3..5]].concat();
    let (archive, syncs) = (bench.archive.clone(), bench.queue);
    let answered = tokio::spawn(answer_syncs(syncs));
    archive.check(&half).await.unwrap();
    let (key, mut piece) = pieces[4].clone();
    piece[100] ^= 4;
    bench.disk.insert(ARCHIVE, &key, &piece).unwrap();
    let error = archive.check(&archive.pieces(&[], usize::MAX).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("checksum"), "{error}");
    drop(archive);
    drop(bench.archive);
    answered.await.unwrap();
}

async fn answer_syncs(mut queue: tokio::sync::mpsc::Receiver<Write>) {
    while let Some(write) = queue.recv().await {
        if let Write::Sync { done } = write {
            done.send(Ok(())).unwrap();
        }
    }
}
