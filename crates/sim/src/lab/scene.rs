//! A cluster at one instant, which a replay goes on from.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_types::{Name, NamespaceRules, Timestamp};

use super::job::{Job, Record};

/// What there is when a replay begins. By default it begins with the first submission, on idle machines.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// Nothing starts before; what was submitted before waits by then.
    pub now: Timestamp,
    /// Machines, by position, that take nothing new. What runs there goes on.
    pub closed: BTreeSet<u32>,
    /// What runs already, not after `now`.
    pub running: Vec<Underway>,
    /// What namespaces are entitled to; the others have the defaults.
    pub rules: BTreeMap<Name, Arc<NamespaceRules>>,
}

/// A job that runs already.
#[derive(Clone, Debug)]
pub struct Underway {
    /// Its run time is that of the whole attempt.
    pub job: Job,
    pub machine: u32,
    pub started: Timestamp,
}

/// What became of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    pub id: u64,
    /// Of the attempt that finished.
    pub started: Timestamp,
    pub finished: Timestamp,
    pub machine: u32,
}

impl Fate {
    pub(super) fn of(record: &Record) -> Self {
        let Record { id, started, finished, machine, .. } = *record;
        Self { id, started, finished, machine }
    }
}
