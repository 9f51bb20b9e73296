//! What policies know of a task.

use std::sync::Arc;

use quorate_types::{Name, Resources, Span, Timestamp};

/// What a task of a job is to the policies. All of its elements share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub submitted: Timestamp,
    /// Since when it waits for a worker and for nothing else.
    pub pending_since: Timestamp,
    /// From 0 to 100, higher first.
    pub priority: u8,
    pub namespace: Name,
    /// Of one element.
    pub request: Resources,
    /// How many elements could be placed.
    pub count: u64,
    /// How long one element will run. If nobody says, what was learned of its lineage stands in, or the limit.
    pub expected: Option<Span>,
    /// How long one element may run.
    pub limit: Option<Span>,
    pub deadline: Option<Timestamp>,
    /// Tasks of its job that wait for it.
    pub open_dependencies: u32,
    /// The longest path through its job from its own start on.
    pub remaining_path: Option<Span>,
    pub lineage: Option<Lineage>,
    /// What consistent hashing goes by; without one, the lineage and the task's number.
    pub key: Option<Arc<str>>,
    /// The label whose values it is spread over.
    pub spread: Option<Name>,
}

/// Tasks that are likely to run equally long: those of one owner under one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lineage {
    pub owner: Name,
    pub name: Arc<str>,
}

impl Facts {
    /// The facts of a plain task: what it asks for, and nothing else known.
    pub fn new(submitted: Timestamp, namespace: Name, request: Resources) -> Self {
        Self {
            submitted,
            pending_since: submitted,
            priority: 50,
            namespace,
            request,
            count: 1,
            expected: None,
            limit: None,
            deadline: None,
            open_dependencies: 0,
            remaining_path: None,
            lineage: None,
            key: None,
            spread: None,
        }
    }
}
