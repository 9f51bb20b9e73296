//! What an element has to get before it starts, besides room on a worker: counted resources of the whole cluster, and
//! tokens of a rate. And the locks that attempts take while they run.

use serde::{Deserialize, Serialize};

use crate::id::{AttemptNumber, Fence, JobId, TaskIndex};
use crate::name::Name;
use crate::time::{Span, Timestamp};

/// Of the tasks of a namespace that name the same key, at most `limit` attempts start in any `per`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rate {
    pub key: Name,
    pub limit: u32,
    pub per: Span,
}

/// A rate as a user writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateRequest {
    pub key: Name,
    pub limit: u32,
    pub per: Span,
}

/// One element of a task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ElementName {
    pub job: JobId,
    pub task: Name,
    pub index: TaskIndex,
}

impl ElementName {
    /// Whether it is the element of this attempt.
    pub fn is(&self, claimant: &Claimant) -> bool {
        self.job == claimant.job && self.task == claimant.task && self.index == claimant.index
    }
}

/// The body of `PUT /v1/resources/{name}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetResource {
    pub total: u32,
}

/// A counted resource of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceView {
    pub name: Name,
    pub total: u32,
    /// What live attempts hold; more than the total if that was lowered since.
    pub held: u64,
    /// Tasks with elements that could be placed and ask for it.
    pub waiting: u64,
    /// The first that hold something of it.
    pub holders: Vec<ResourceHolder>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceHolder {
    #[serde(flatten)]
    pub element: ElementName,
    pub amount: u32,
}

/// Who asks for a lock or gives it back: an attempt, known by its fence. The body of
/// `POST /v1/locks/{name}/release`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claimant {
    pub job: JobId,
    pub task: Name,
    pub index: TaskIndex,
    pub fence: Fence,
}

/// The body of `POST /v1/locks/{name}/acquire`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcquireLock {
    pub job: JobId,
    pub task: Name,
    pub index: TaskIndex,
    pub fence: Fence,
    /// How long it stays in line unless it asks again; without it, it does not wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Span>,
}

impl AcquireLock {
    pub fn claimant(self) -> Claimant {
        let Self { job, task, index, fence, wait: _ } = self;
        Claimant { job, task, index, fence }
    }
}

/// The body of `POST /v1/locks/{name}/check`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckLock {
    pub token: u64,
    /// That of the lock; `default` without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Name>,
}

/// A lock that somebody holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockView {
    pub name: Name,
    pub namespace: Name,
    /// Larger than that of any holder before.
    pub token: u64,
    pub holder: LockHolder,
    pub since: Timestamp,
    /// How many wait for it.
    pub waiting: u64,
}

/// An attempt that holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockHolder {
    #[serde(flatten)]
    pub element: ElementName,
    pub attempt: AttemptNumber,
    pub fence: Fence,
    pub worker: Name,
}

/// The answer to one who waits for a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockPlace {
    pub name: Name,
    pub namespace: Name,
    /// From 1.
    pub place: u64,
    /// Until when it stays in line unless it asks again.
    pub until: Timestamp,
}

/// The answer to one who asks for a lock.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum LockAnswer {
    Held(LockView),
    /// It is in line; who still wants the lock asks again.
    Waits(LockPlace),
}
