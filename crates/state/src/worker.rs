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
    /// Derived: those of them that hold nothing.
    #[serde(skip)]
    pub waiting: usize,
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
    /// The element behind whose attempt it was assigned.
    pub behind: Option<TaskIndex>,
    /// Whether it holds what its task asks for. If not, it takes that over from the one before it.
    pub holds: bool,
    /// The element that takes over from it.
    pub next: Option<TaskIndex>,
}

/// A worker as it was in one version and as it is in another.
pub type WorkerChange<'a> = (Option<&'a Arc<Worker>>, Option<&'a Arc<Worker>>);

/// An element whose attempt on a worker ended or began to hold something, or both.
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

    /// What became of the attempts that hold something since an earlier version.
    pub fn changed_attempts<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = AttemptChange> + 'a {
        let changes = earlier.attempts.diff(&self.attempts).map(|change| match change {
            DiffItem::Add(key, new) => (key, None, new.holding()),
            DiffItem::Remove(key, old) => (key, old.holding(), None),
            DiffItem::Update { old: (_, old), new: (key, new) } => (key, old.holding(), new.holding()),
        });
        changes.filter(|(_, was, is)| was != is).map(|(key, was, is)| AttemptChange { key: *key, was, is })
    }

    /// How many attempts hold something.
    pub fn holding(&self) -> usize {
        self.attempts.len() - self.waiting
    }

    /// The attempts that hold something.
    pub fn holders(&self) -> impl Iterator<Item = (&ElementKey, &LiveAttempt)> {
        self.attempts.iter().filter(|(_, live)| live.holds)
    }

    /// The one that an attempt behind `first`, with the same fence, waits for: the last of them that is before it. Who
    /// was assigned behind another heads no line.
    pub fn before(&self, at: &ElementKey, first: TaskIndex, fence: Fence) -> Option<ElementKey> {
        let all = self.attempts.range(ElementKey { index: first, ..*at }..*at);
        let is_one = |(key, live): &(&ElementKey, &LiveAttempt)| {
            let is_head = key.index == first && live.behind.is_none();
            live.fence == fence && (is_head || live.behind == Some(first))
        };
        all.rev().find(is_one).map(|(key, _)| *key)
    }

    /// Takes up an attempt, at the end of its line; whether it holds what its task asks for.
    pub(crate) fn take(&mut self, key: ElementKey, mut attempt: LiveAttempt) -> bool {
        let before = attempt.behind.and_then(|first| self.before(&key, first, attempt.fence));
        attempt.holds = before.is_none();
        if let Some(last) = before.and_then(|before| self.attempts.get_mut(&before)) {
            last.next = Some(key.index);
        }
        self.waiting += usize::from(!attempt.holds);
        self.attempts.insert(key, attempt);
        attempt.holds
    }

    /// Drops an attempt; who holds now what it held. Another one may have waited for it that goes on waiting.
    pub(crate) fn release(&mut self, key: &ElementKey) -> Option<ElementKey> {
        let ended = self.attempts.remove(key)?;
        let next = ended.next.map(|index| ElementKey { index, ..*key });
        if ended.holds {
            let heir = next.and_then(|next| self.attempts.get_mut(&next))?;
            heir.holds = true;
            self.waiting -= 1;
            return next;
        }
        self.waiting -= 1;
        let before = ended.behind.and_then(|first| self.before(key, first, ended.fence))?;
        self.attempts.get_mut(&before)?.next = ended.next;
        None
    }
}

impl LiveAttempt {
    pub(crate) fn new(number: AttemptNumber, fence: Fence, behind: Option<TaskIndex>) -> Self {
        Self { number, fence, stopping: false, behind, holds: true, next: None }
    }

    fn holding(&self) -> Option<AttemptNumber> {
        self.holds.then_some(self.number)
    }
}
