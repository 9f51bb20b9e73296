//! Keeps the end of the database file ahead of where sled writes. A sync of what was written over a file's bytes takes
//! less than one of what made the file longer, which changes the file system's metadata too.
//!
//! sled takes a segment that begins with zeros for one that nobody has used. Zeros are only ever appended, so that
//! nothing that sled has written can be overwritten, whatever it does meanwhile.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// Each is synced for itself: a sync of the log has to wait for as much at most.
const PIECE_BYTES: usize = 128 << 10;

/// Where less of the disk is free the file grows as sled writes: what is left is for that, and for snapshots.
const FREE_MIN: u64 = 256 << 20;

/// sled's header of a segment, which it writes first.
const HEADER_BYTES: usize = 20;

/// The thread that appends, while this is there.
#[derive(Debug)]
pub(super) struct Ahead {
    file: File,
    /// Where the segment begins whose use makes the next one wanted; the largest number if none is.
    reserve: Arc<AtomicU64>,
    /// Gone when the thread is to end.
    wanted: Option<SyncSender<()>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    pub(super) fn start(path: &Path, segment: u64) -> io::Result<Self> {
        let file = File::open(path)?;
        let (wanted, asked) = sync_channel(1);
        let (reserve, stop) = (Arc::new(AtomicU64::new(u64::MAX)), Arc::new(AtomicBool::new(false)));
        let zeros = Zeros {
            file: OpenOptions::new().append(true).read(true).open(path)?,
            segment,
            reserve: reserve.clone(),
            stop: stop.clone(),
        };
        let thread = thread::Builder::new().name("ahead".to_owned()).spawn(move || zeros.run(&asked))?;
        let ahead = Self { file, reserve, wanted: Some(wanted), stop, thread: Some(thread) };
        ahead.ask();
        Ok(ahead)
    }

    /// Asks for another segment if sled has begun to use the last one. For whoever has just synced.
    pub(super) fn look(&self) {
        let reserve = self.reserve.load(Ordering::Relaxed);
        let mut header = [0; HEADER_BYTES];
        // It is gone where sled has made the file shorter.
        let mut is_there = || self.file.read_exact_at(&mut header, reserve).is_ok() && header == [0; HEADER_BYTES];
        if reserve < u64::MAX && !is_there() {
            self.ask();
        }
    }

    fn ask(&self) {
        // If it can't be told, it was told before, or has given up: then the file grows as sled writes.
        let _ = self.wanted.as_ref().map(|wanted| wanted.try_send(()));
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wanted = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Zeros {
    file: File,
    segment: u64,
    reserve: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Zeros {
    fn run(&self, asked: &Receiver<()>) {
        while asked.recv().is_ok() {
            if let Err(error) = self.extend() {
                tracing::warn!(%error, "the database file is not made longer ahead of time any more");
                return;
            }
        }
    }

    /// Until there is one segment more than sled uses.
    fn extend(&self) -> io::Result<()> {
        if free_bytes(&self.file)? < FREE_MIN {
            self.reserve.store(u64::MAX, Ordering::Relaxed);
            return Ok(());
        }
        let used = used_segments(&self.file, self.segment)?;
        let wanted = (used + 1) * self.segment;
        let zeros = vec![0; PIECE_BYTES];
        loop {
            let len = self.file.metadata()?.len();
            if len >= wanted || self.stop.load(Ordering::Relaxed) {
                break;
            }
            (&self.file).write_all(&zeros[..PIECE_BYTES.min((wanted - len) as usize)])?;
            self.file.sync_data()?;
        }
        self.reserve.store(used * self.segment, Ordering::Relaxed);
        Ok(())
    }
}

/// Of the disk that the file is on.
fn free_bytes(file: &File) -> io::Result<u64> {
    let disk = nix::sys::statvfs::fstatvfs(file)?;
    Ok(disk.blocks_available() * disk.fragment_size())
}

/// Whether no segment begins there, or one that nobody has used.
fn is_unused(file: &File, at: u64) -> io::Result<bool> {
    let mut header = [0; HEADER_BYTES];
    match file.read_exact_at(&mut header, at) {
        Ok(()) => Ok(header == [0; HEADER_BYTES]),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(true),
        Err(error) => Err(error),
    }
}

/// Up to the last one that is in use.
fn used_segments(file: &File, segment: u64) -> io::Result<u64> {
    let mut segments = file.metadata()?.len().div_ceil(segment);
    while segments > 0 && is_unused(file, (segments - 1) * segment)? {
        segments -= 1;
    }
    Ok(segments)
}

/// Takes back what is ahead, before sled opens the file: it would write all of it. `WouldBlock` while an earlier
/// opening has not ended: what it writes must not be cut off.
pub(super) fn trim(path: &Path, segment: u64) -> io::Result<()> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    // The same lock as sled's.
    file.try_lock()?;
    let used = used_segments(&file, segment)? * segment;
    if file.metadata()?.len() > used {
        file.set_len(used)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: u64 = 1 << 20;

    fn wait_for(what: impl Fn() -> bool) {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while !what() {
            assert!(std::time::Instant::now() < until, "it did not come about");
            thread::yield_now();
        }
    }

    #[test]
    fn there_is_always_a_segment_more_than_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("db");
        let file = File::create_new(&path).unwrap();
        file.write_all_at(&[7; 100], 0).unwrap();
        let ahead = Ahead::start(&path, SEGMENT).unwrap();
        let len = || file.metadata().unwrap().len();
        wait_for(|| len() == 2 * SEGMENT && ahead.reserve.load(Ordering::Relaxed) == SEGMENT);
        file.write_all_at(&[8; 100], 100).unwrap();
        ahead.look();
        file.write_all_at(&[9; 100], SEGMENT).unwrap();
        ahead.look();
        wait_for(|| len() == 3 * SEGMENT);
        drop(ahead);
        let mut found = vec![0; 3 * SEGMENT as usize];
        File::open(&path).unwrap().read_exact_at(&mut found, 0).unwrap();
        let mut expected = vec![0; found.len()];
        expected[..100].fill(7);
        expected[100..200].fill(8);
        expected[SEGMENT as usize..SEGMENT as usize + 100].fill(9);
        assert!(found == expected, "nothing but zeros was added");
        trim(&path, SEGMENT).unwrap();
        assert_eq!(len(), 2 * SEGMENT);
    }

    #[test]
    fn a_file_that_is_not_there_has_nothing_ahead() {
        let dir = tempfile::tempdir().unwrap();
        trim(&dir.path().join("db"), SEGMENT).unwrap();
    }
}
