//! What policies know of a task.

use std::sync::Arc;

use quorate_types::{Name, Resources, Span, Timestamp};

/// What a task of a job is to the policies. All of its elements share it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Whose it is.
    pub namespace: Name,
    pub submitted: Timestamp,
    /// From 0 to 100, higher first.
    pub priority: u8,
    /// Of one element.
    pub request: Resources,
    /// How long one element will run. If nobody says, what was learned of its lineage stands in, or the limit.
    pub expected: Option<Span>,
    /// How long one element may run.
    pub limit: Option<Span>,
    /// Tasks of its job that wait for it.
    pub open_dependencies: u32,
    /// When its job has to be done.
    pub deadline: Option<Timestamp>,
    /// How long it and the longest chain of tasks that wait for it, each for the one before, will run.
    pub path: Span,
    /// What learned times and consistent hashing go by; the latter else by the job's number.
    pub lineage: Option<Lineage>,
}

/// Tasks that are likely to run equally long: those of one owner under one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lineage {
    pub owner: Name,
    pub name: Arc<str>,
}

impl Facts {
    /// The facts of a plain task: what it asks for, and nothing else known.
    pub fn new(submitted: Timestamp, request: Resources) -> Self {
        Self {
            namespace: quorate_types::validate::default_namespace(),
            submitted,
            priority: 50,
            request,
            expected: None,
            limit: None,
            open_dependencies: 0,
            deadline: None,
            path: Span(0),
            lineage: None,
        }
    }
}
