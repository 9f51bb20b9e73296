//! Workers and their registrations.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use quorate_types::status::WorkerState;
use quorate_types::{
    AttemptNumber, Epoch, Fence, JobId, Labels, Name, ReplicaId, Resources, Span, Taint, TaskIndex, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::job::ElementKey;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    pub name: Name,
    pub epoch: Epoch,
    /// The agent's random number for this registration.
    pub instance: u64,
    pub labels: BTreeMap<Name, String>,
    /// Those that it registered with.
    pub own_taints: Vec<Taint>,
    /// Those that an operator gave it; they survive a new registration.
    pub given_taints: Vec<Taint>,
    /// Under which name or address others reach what runs there.
    pub host: String,
    pub capacity: Resources,
    pub life: Life,
    /// An operator wants no new tasks there; survives a new registration.
    pub draining: bool,
    pub replica: ReplicaId,
    pub lease_ttl: Span,
    /// When the registration began or ended.
    pub since: Timestamp,
    /// When what still runs on the draining worker is moved.
    pub drain_until: Option<Timestamp>,
    /// Derived: what the live attempts hold together.
    #[serde(skip)]
    pub used: Resources,
    /// Derived: the live attempts.
    #[serde(skip)]
    pub attempts: OrdMap<ElementKey, LiveAttempt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Life {
    Alive,
    Lost,
    Left,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveAttempt {
    pub number: AttemptNumber,
    pub fence: Fence,
    pub stopping: bool,
}

/// A worker as it was in one version and as it is in another.
pub type WorkerChange<'a> = (Option<&'a Arc<Worker>>, Option<&'a Arc<Worker>>);

/// An element whose attempt on a worker ended or began, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptChange {
    pub key: ElementKey,
    pub was: Option<AttemptNumber>,
    pub is: Option<AttemptNumber>,
}

impl Worker {
    pub fn state(&self) -> WorkerState {
        match self.life {
            Life::Lost => WorkerState::Lost,
            Life::Left => WorkerState::Left,
            Life::Alive if self.draining => WorkerState::Draining,
            Life::Alive => WorkerState::Ready,
        }
    }

    pub fn is_alive(&self) -> bool {
        self.life == Life::Alive
    }

    pub fn labels(&self) -> Labels<'_> {
        Labels { worker: &self.name, labels: &self.labels }
    }

    /// What keeps tasks off, its own first.
    pub fn taints(&self) -> impl Iterator<Item = &Taint> {
        self.own_taints.iter().chain(self.given_taints.iter().filter(|taint| !self.own_taints.contains(taint)))
    }

    /// Whether an attempt of the task is live here.
    pub fn runs(&self, job: JobId, task: u32) -> bool {
        let first = ElementKey { job, task, index: TaskIndex(0) };
        let last = ElementKey { job, task, index: TaskIndex(u32::MAX) };
        self.attempts.range(first..=last).next().is_some()
    }

    /// What new attempts may take.
    pub fn free(&self) -> Resources {
        self.capacity.clone().minus(&self.used)
    }

    /// What became of its live attempts since an earlier version.
    pub fn changed_attempts<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = AttemptChange> + 'a {
        earlier.attempts.diff(&self.attempts).filter_map(|change| match change {
            DiffItem::Add(key, new) => Some(AttemptChange { key: *key, was: None, is: Some(new.number) }),
            DiffItem::Remove(key, old) => Some(AttemptChange { key: *key, was: Some(old.number), is: None }),
            DiffItem::Update { old: (_, old), new: (key, new) } => (old.number != new.number)
                .then_some(AttemptChange { key: *key, was: Some(old.number), is: Some(new.number) }),
        })
    }

    pub(crate) fn take(&mut self, key: ElementKey, attempt: LiveAttempt, resources: &Resources) {
        self.used.add(resources);
        self.attempts.insert(key, attempt);
    }

    pub(crate) fn release(&mut self, key: &ElementKey, resources: &Resources) {
        if self.attempts.remove(key).is_some() {
            self.used.subtract(resources);
        }
    }
}
