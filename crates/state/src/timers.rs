//! What becomes due at a time. Derived from the records; fires with the entry whose time reaches it.

use imbl::OrdSet;
use quorate_types::{Epoch, JobId, Name, Timestamp};

use crate::job::ElementKey;
use crate::rates::RateKey;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The element's backoff is over.
    Backoff(ElementKey),
    /// The finished job leaves memory.
    Archive(JobId),
    /// The archived job is dropped.
    Drop(JobId),
    /// The dead worker is no longer listed.
    ForgetWorker { name: Name, epoch: Epoch },
    /// The job may start.
    Start(JobId),
    /// What has not finished fails.
    Deadline(JobId),
    /// What has not started is dropped.
    Expire(JobId),
    /// What still runs on the draining worker is moved.
    DrainDeadline { name: Name, epoch: Epoch },
    /// All tokens of the rate are back.
    ForgetRate(RateKey),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Timers {
    due: OrdSet<(Timestamp, Timer)>,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Timestamp, timer: Timer) {
        self.due.insert((at, timer));
    }

    pub(crate) fn cancel(&mut self, at: Timestamp, timer: Timer) {
        self.due.remove(&(at, timer));
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.due.get_min().map(|(at, _)| *at)
    }

    /// Takes the earliest timer that is due at `now`.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<Timer> {
        if self.next()? > now {
            return None;
        }
        self.due.remove_min().map(|(_, timer)| timer)
    }

    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }
}
