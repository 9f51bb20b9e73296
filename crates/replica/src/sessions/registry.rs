//! Who is connected here, and the notices that wait for each.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate_state::outcome::{Notice, NoticeKind};
use quorate_types::{Epoch, LogIndex, Name};
use tokio::sync::{Notify, mpsc};

use super::output::ReadRequest;
use crate::limits::NOTICES_MAX;

/// The sessions of this replica. At most one counts for each registration: a newer one takes over.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    sessions: Mutex<BTreeMap<Epoch, Arc<Seat>>>,
}

/// One session's place: what waits for it.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) worker: Name,
    pub(crate) epoch: Epoch,
    inbox: Mutex<Inbox>,
    pub(crate) wake: Notify,
    pub(crate) reads: mpsc::Sender<ReadRequest>,
}

/// What came since the session last looked.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    pub(crate) notices: Vec<(LogIndex, NoticeKind)>,
    /// Something was left out, or the state was replaced: the whole truth must be sent.
    pub(crate) resync: bool,
    /// Another session of the same registration has come.
    pub(crate) superseded: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the locks guard is valid after every line; nothing panics while it holds one.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Registry {
    /// Takes a seat. From now on notices are kept for it.
    pub(crate) fn enter(&self, worker: Name, epoch: Epoch, reads: mpsc::Sender<ReadRequest>) -> Arc<Seat> {
        let seat = Arc::new(Seat { worker, epoch, inbox: Mutex::default(), wake: Notify::new(), reads });
        if let Some(earlier) = lock(&self.sessions).insert(epoch, seat.clone()) {
            lock(&earlier.inbox).superseded = true;
            earlier.wake.notify_one();
        }
        seat
    }

    pub(crate) fn leave(&self, seat: &Arc<Seat>) {
        let mut sessions = lock(&self.sessions);
        if sessions.get(&seat.epoch).is_some_and(|present| Arc::ptr_eq(present, seat)) {
            sessions.remove(&seat.epoch);
        }
    }

    pub(crate) fn get(&self, epoch: Epoch) -> Option<Arc<Seat>> {
        lock(&self.sessions).get(&epoch).cloned()
    }

    /// Passes on what an entry did. Called from apply: takes no longer than the notices are many.
    pub(crate) fn notify(&self, index: LogIndex, notices: Vec<Notice>) {
        if notices.is_empty() {
            return;
        }
        let sessions = lock(&self.sessions);
        for notice in notices {
            if let Some(seat) = sessions.get(&notice.epoch) {
                seat.push(index, notice.what);
            }
        }
    }

    /// The state was replaced: every session sends the whole truth.
    pub(crate) fn resync_all(&self) {
        for seat in lock(&self.sessions).values() {
            lock(&seat.inbox).resync = true;
            seat.wake.notify_one();
        }
    }
}

impl Seat {
    fn push(&self, index: LogIndex, what: NoticeKind) {
        let mut inbox = lock(&self.inbox);
        if inbox.notices.len() < NOTICES_MAX {
            inbox.notices.push((index, what));
        } else {
            inbox.notices.clear();
            inbox.resync = true;
        }
        self.wake.notify_one();
    }

    /// Takes what has come.
    pub(crate) fn take(&self) -> Inbox {
        std::mem::take(&mut lock(&self.inbox))
    }
}
