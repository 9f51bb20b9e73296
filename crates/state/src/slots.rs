//! Concurrency keys: which jobs hold a place, and which wait for one. Derived from the jobs.

use std::cmp::Reverse;

use imbl::{OrdMap, OrdSet};
use quorate_types::{JobId, Name};

use crate::flow::Slot;
use crate::job::Job;

/// A concurrency key belongs to a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SlotKey {
    pub(crate) namespace: Name,
    pub(crate) key: Name,
}

impl SlotKey {
    pub(crate) fn of(job: &Job) -> Option<Self> {
        let concurrency = job.spec.concurrency.as_ref()?;
        Some(Self { namespace: job.spec.namespace.clone(), key: concurrency.key.clone() })
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Slots {
    by_key: OrdMap<SlotKey, Users>,
}

/// The line for a concurrency key, as one that waits in it sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyLine {
    /// The first jobs that hold a place.
    pub holders: Vec<JobId>,
    pub held: u64,
    /// From 1.
    pub place: u64,
    pub waiting: u64,
}

/// Who uses a key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Users {
    pub(crate) holders: OrdSet<JobId>,
    /// Highest priority first, then the oldest.
    pub(crate) waiting: OrdSet<(Reverse<u8>, JobId)>,
}

impl Slots {
    pub(crate) fn users(&self, key: &SlotKey) -> Users {
        self.by_key.get(key).cloned().unwrap_or_default()
    }

    /// The line that a job waits in, with the first `most` of the jobs that hold a place.
    pub(crate) fn line_of(&self, job: &Job, most: usize) -> Option<KeyLine> {
        let users = self.by_key.get(&SlotKey::of(job)?)?;
        let place = (Reverse(job.spec.priority), job.id());
        users.waiting.contains(&place).then(|| KeyLine {
            holders: users.holders.iter().take(most).copied().collect(),
            held: users.holders.len() as u64,
            place: users.waiting.range(..=place).count() as u64,
            waiting: users.waiting.len() as u64,
        })
    }

    /// Takes note of what the job's slot is.
    pub(crate) fn update(&mut self, job: &Job) {
        let Some(key) = SlotKey::of(job) else { return };
        let mut users = self.users(&key);
        let (id, ranked) = (job.id(), (Reverse(job.spec.priority), job.id()));
        users.holders.remove(&id);
        users.waiting.remove(&ranked);
        match job.header.flow().slot {
            Slot::None => {}
            Slot::Waiting => {
                users.waiting.insert(ranked);
            }
            Slot::Held => {
                users.holders.insert(id);
            }
        }
        if users.holders.is_empty() && users.waiting.is_empty() {
            self.by_key.remove(&key);
        } else {
            self.by_key.insert(key, users);
        }
    }
}
