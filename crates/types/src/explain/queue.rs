//! Where a task stands in the queue.

use serde::{Deserialize, Serialize};

use super::number;
use crate::name::Name;
use crate::policy::QueueOrder;
use crate::time::{Span, Timestamp};
use crate::words;

/// Where a task stands in the queue, and why there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueuePlace {
    pub policy: QueueOrder,
    /// From 1. Under `fair-share` in the line of its namespace.
    pub place: u64,
    /// How many tasks wait, or how many of its namespace.
    pub of: u64,
    /// How many elements of the same task come before this one.
    pub elements_before: u64,
    pub namespace: Name,
    pub submitted_at: Timestamp,
    /// When it came to the end of the line: at its submission, when an element of it started last, or when it came
    /// back.
    pub in_line_since: Timestamp,
    pub priority: u8,
    /// How long it is expected to run.
    pub expected: Option<Expected>,
    pub deadline: Option<Timestamp>,
    /// Tasks that wait for it.
    pub open_dependencies: u32,
    /// How long it and the longest chain behind it will run.
    pub path: Span,
    /// Where the policy goes by what namespaces use.
    pub namespace_use: Option<NamespaceUse>,
    /// Where any namespace has a quota.
    pub quota: Option<QuotaPlace>,
}

/// How a task stands to the quota of its namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuotaPlace {
    /// It would be within the quota, and comes before all that is not.
    pub covered: bool,
    /// The kinds that it asks for and the quota names.
    pub amounts: Vec<QuotaUse>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuotaUse {
    pub resource: Name,
    #[serde(serialize_with = "number")]
    pub held: f64,
    #[serde(serialize_with = "number")]
    pub quota: f64,
}

/// How long something is expected to run, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    pub span: Span,
    pub source: ExpectedSource,
}

words!(
    /// Who says how long a task will run.
    ExpectedSource {
        /// The task's `expected`.
        Specification = "specification",
        /// The last ones of its name and owner.
        Learned = "learned",
        /// Its `timeout`.
        Timeout = "timeout",
    }
);

/// What a namespace uses, by what it runs and what it used before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamespaceUse {
    /// Of the cluster, from 0 on.
    #[serde(serialize_with = "number")]
    pub share: f64,
    /// How many of the namespaces that wait use less; it comes after those.
    pub after: u64,
    /// How many namespaces wait.
    pub of: u64,
}
