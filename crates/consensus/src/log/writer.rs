//! The one thread that writes to the database, and its group commit: take all that is queued, insert it,
//! sync once, and only then say so.
//!
//! Trees of purged entries are dropped beside it, which is no write that anybody relies on.
//!
//! After an error nothing is written any more: what the disk holds is unknown, and a second try could
//! make an entry look durable that is not.

use std::io;
use std::sync::Arc;
use std::thread;

use openraft::storage::IOFlushed;
use quorate_types::{Bug, is_planted};
use tokio::sync::{mpsc, oneshot};

use super::layout;
use super::store::LogShared;
use super::watermark::Watermark;
use crate::archive::{ArchiveWrite, ArchiveWriter};
use crate::disk::{Disk, META};
use crate::error::FatalError;
use crate::fatal::Fatal;
use crate::host;
use crate::type_config::{Entry, TypeConfig};

type Done = oneshot::Sender<io::Result<()>>;

/// A write, in the order of the queue.
pub(crate) enum Write {
    Append {
        entries: Vec<Entry>,
        done: IOFlushed<TypeConfig>,
    },
    /// A record of the tree `meta` that must be durable before the caller goes on.
    Meta {
        key: &'static [u8],
        record: Vec<u8>,
        done: Done,
    },
    /// A record of the tree `meta` that may be lost.
    MetaLater {
        key: &'static [u8],
        record: Vec<u8>,
    },
    /// Remove the entries from `first` on.
    Truncate {
        first: u64,
        done: Done,
    },
    /// Remember `purged`, and drop the trees that lie wholly before it in the background.
    Purge {
        index: u64,
        purged: Vec<u8>,
        done: Done,
    },
    /// A part of the archive; durable with the next sync.
    Archive(ArchiveWrite),
    /// Everything before this.
    Sync {
        done: Done,
    },
    /// The last one.
    Stop,
}

impl std::fmt::Debug for Write {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Append { .. } => "Append",
            Self::Meta { .. } => "Meta",
            Self::MetaLater { .. } => "MetaLater",
            Self::Truncate { .. } => "Truncate",
            Self::Purge { .. } => "Purge",
            Self::Archive(_) => "Archive",
            Self::Sync { .. } => "Sync",
            Self::Stop => "Stop",
        })
    }
}

/// Queues writes.
#[derive(Clone, Debug)]
pub(crate) struct Writer(mpsc::Sender<Write>);

impl Writer {
    /// A queue that a test empties.
    #[cfg(test)]
    pub(crate) fn by_hand(queue_max: usize) -> (Self, mpsc::Receiver<Write>) {
        let (sender, queue) = mpsc::channel(queue_max);
        (Self(sender), queue)
    }

    /// Waits for a place in the queue.
    pub(crate) async fn queue(&self, write: Write) -> io::Result<()> {
        self.0.send(write).await.map_err(|_| stopped())
    }

    /// Queues a write and waits until it is durable.
    pub(crate) async fn durably(&self, write: impl FnOnce(Done) -> Write) -> io::Result<()> {
        let (done, finished) = oneshot::channel();
        self.queue(write(done)).await?;
        finished.await.unwrap_or_else(|_| Err(stopped()))
    }

    pub(crate) async fn sync(&self) -> io::Result<()> {
        self.durably(|done| Write::Sync { done }).await
    }

    /// Lets the thread end, after all that is queued.
    pub(crate) async fn stop(&self) {
        // An error means that it has ended already.
        let _ = self.queue(Write::Stop).await;
    }
}

fn stopped() -> io::Error {
    io::Error::other("the writer thread has ended")
}

/// The thread's side.
pub(crate) struct WriterThread {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) log: Arc<LogShared>,
    pub(crate) archive: ArchiveWriter,
    pub(crate) watermark: Watermark,
    pub(crate) fatal: Fatal,
    pub(crate) group_max: usize,
}

/// Who is told once a group is durable.
enum Waiter {
    Raft(IOFlushed<TypeConfig>),
    Caller(Done),
    /// It is synced all the same.
    Nobody,
}

#[derive(Default)]
struct Group {
    waiters: Vec<Waiter>,
    /// The last index among the group's entries.
    appended: Option<u64>,
    stop: bool,
}

/// A group is synced when it is this large, whatever else is queued.
const GROUP_BYTES_MAX: usize = 8 << 20;

impl WriterThread {
    /// Starts the thread. A word comes when it has ended well.
    pub(crate) fn spawn(self, queue_max: usize) -> io::Result<(Writer, oneshot::Receiver<()>)> {
        let (sender, queue) = mpsc::channel(queue_max);
        let (end, ended) = oneshot::channel();
        // Nobody may be waiting for the word.
        if host::work_takes().is_some() {
            // A simulation has one thread for everything.
            tokio::spawn(async move {
                self.run(queue).await;
                let _ = end.send(());
            });
        } else {
            let alone = tokio::runtime::Builder::new_current_thread().build()?;
            thread::Builder::new().name("quorate-writer".into()).spawn(move || {
                alone.block_on(self.run(queue));
                // This waits for trees that are being dropped. What has not begun is left to the next purge.
                drop(alone);
                let _ = end.send(());
            })?;
        }
        Ok((Writer(sender), ended))
    }

    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Write>) {
        while let Some(first) = queue.recv().await {
            let (group, written) = self.write_group(first, &mut queue);
            let mut group = group;
            if is_planted(Bug::AcknowledgeBeforeSync) {
                let early = Group { waiters: std::mem::take(&mut group.waiters), ..Group::default() };
                group.waiters.push(Waiter::Nobody);
                early.complete(&Ok(()));
            }
            if let Some(time) = host::work_takes() {
                tokio::time::sleep(time).await;
            }
            let result = written.and_then(|()| self.sync(&group));
            let failed = result.as_ref().err().map(|e| (e.kind(), e.to_string()));
            let stop = group.stop;
            group.complete(&result);
            if let Some((kind, message)) = failed {
                self.fatal.report(FatalError::Storage(message.clone()));
                return refuse_all(&mut queue, kind, &message).await;
            }
            if stop {
                break;
            }
        }
        // The last words of a clean shutdown: what was allowed to be lost is not lost either.
        if let Err(error) = self.disk.sync() {
            tracing::warn!(%error, "the last sync failed");
        }
    }

    fn write_group(&mut self, first: Write, queue: &mut mpsc::Receiver<Write>) -> (Group, io::Result<()>) {
        let (mut group, mut writes, mut bytes) = (Group::default(), 0, 0);
        let mut next = Some(first);
        while let Some(write) = next {
            writes += 1;
            match self.write(write, &mut group) {
                Ok(written) => bytes += written,
                Err(error) => return (group, Err(error)),
            }
            let full = group.stop || writes >= self.group_max || bytes >= GROUP_BYTES_MAX;
            next = if full { None } else { queue.try_recv().ok() };
        }
        (group, Ok(()))
    }

    /// Writes without syncing; returns about how many bytes. The waiter joins the group in any case.
    fn write(&mut self, write: Write, group: &mut Group) -> io::Result<usize> {
        match write {
            Write::Append { entries, done } => {
                group.waiters.push(Waiter::Raft(done));
                self.append(&entries, group)
            }
            Write::Meta { key, record, done } => {
                group.waiters.push(Waiter::Caller(done));
                self.disk.insert(META, key, &record).map(|()| record.len())
            }
            Write::MetaLater { key, record } => self.disk.insert(META, key, &record).map(|()| 0),
            Write::Truncate { first, done } => {
                group.waiters.push(Waiter::Caller(done));
                self.truncate(first, group).map(|()| 0)
            }
            Write::Purge { index, purged, done } => {
                group.waiters.push(Waiter::Caller(done));
                self.purge(index, &purged).map(|()| 0)
            }
            Write::Archive(write) => self.archive.write(&*self.disk, write),
            Write::Sync { done } => {
                group.waiters.push(Waiter::Caller(done));
                Ok(0)
            }
            Write::Stop => {
                group.stop = true;
                Ok(0)
            }
        }
    }

    fn append(&mut self, entries: &[Entry], group: &mut Group) -> io::Result<usize> {
        let mut bytes = 0;
        for entry in entries {
            let record = layout::encode(entry)?;
            layout::insert(&*self.disk, entry.log_id.index, &record)?;
            bytes += record.len();
        }
        if let Some(last) = entries.last() {
            group.appended = Some(last.log_id.index);
            self.log.written(last.log_id.index);
        }
        Ok(bytes)
    }

    fn truncate(&mut self, first: u64, group: &mut Group) -> io::Result<()> {
        let last = first.saturating_sub(1);
        group.appended = group.appended.map(|appended| appended.min(last));
        // What stood in the queue before this has raised it again since the store lowered it.
        self.log.truncated(last);
        self.watermark.fall(last)?;
        layout::remove_from(&*self.disk, first)
    }

    /// First the position, then the trees: a crash in between leaves too much, never too little.
    fn purge(&self, index: u64, purged: &[u8]) -> io::Result<()> {
        self.disk.insert(META, layout::PURGED_KEY, purged)?;
        let trees = layout::trees_upto(&*self.disk, index)?;
        if !trees.is_empty() {
            // sled reads each page of a tree that goes: nothing may wait for that, raft least of all.
            let (disk, fatal) = (self.disk.clone(), self.fatal.clone());
            let sweep = move || {
                if let Err(error) = trees.iter().try_for_each(|tree| disk.drop_tree(tree)) {
                    fatal.report(FatalError::Storage(error.to_string()));
                }
            };
            match host::work_takes() {
                Some(time) => drop(tokio::spawn(async move {
                    tokio::time::sleep(time).await;
                    sweep();
                })),
                None => drop(tokio::task::spawn_blocking(sweep)),
            }
        }
        Ok(())
    }

    fn sync(&mut self, group: &Group) -> io::Result<()> {
        // Archive writes and saved positions alone can wait for the next sync that somebody waits for.
        if group.waiters.is_empty() {
            return Ok(());
        }
        self.disk.sync()?;
        group.appended.map_or(Ok(()), |appended| self.watermark.rise(appended))
    }
}

impl Group {
    fn complete(self, result: &io::Result<()>) {
        for waiter in self.waiters {
            waiter.complete(copy(result));
        }
    }
}

impl Waiter {
    fn complete(self, result: io::Result<()>) {
        match self {
            Self::Raft(done) => done.io_completed(result),
            // The caller may have gone; nobody is waiting then.
            Self::Caller(done) => drop(done.send(result)),
            Self::Nobody => {}
        }
    }
}

fn copy(result: &io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
    }
}

/// Answers every write after a failure, without touching the disk.
async fn refuse_all(queue: &mut mpsc::Receiver<Write>, kind: io::ErrorKind, message: &str) {
    while let Some(write) = queue.recv().await {
        let error = Err(io::Error::new(kind, format!("an earlier write failed: {message}")));
        match write {
            Write::Append { done, .. } => done.io_completed(error),
            Write::Meta { done, .. }
            | Write::Truncate { done, .. }
            | Write::Purge { done, .. }
            | Write::Sync { done } => drop(done.send(error)),
            Write::MetaLater { .. } | Write::Archive(_) => {}
            Write::Stop => return,
        }
    }
}
