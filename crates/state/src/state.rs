//! The state: what all replicas agree on.

use std::sync::Arc;

use imbl::ordmap::DiffItem;
use imbl::{OrdMap, OrdSet};
use quorate_types::status::JobState;
use quorate_types::{Epoch, JobId, LogIndex, Name, NamespaceRules, Policy, ReplicaId, Resources, Timestamp};
use serde::{Deserialize, Serialize};

use crate::archive::{Archived, Leaving};
use crate::crowds::Crowds;
use crate::dedup::Dedup;
use crate::job::Job;
use crate::locks::Locks;
use crate::past::Pasts;
use crate::pools::Pools;
use crate::queue::Queue;
use crate::rates::Rates;
use crate::slots::{KeyLine, Slots};
use crate::spaces::Space;
use crate::timers::Timers;
use crate::worker::{Worker, WorkerChange};

/// The replicated state. A clone is O(1) and shares its structure with the original.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub(crate) jobs: OrdMap<JobId, Arc<Job>>,
    pub(crate) cluster: Cluster,
    pub(crate) dedup: Dedup,
}

/// Everything besides the jobs, so that a job and the rest can be changed side by side.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) scalars: Scalars,
    pub(crate) storages: OrdMap<ReplicaId, u64>,
    /// Where each replica says that it serves HTTP.
    pub(crate) https: OrdMap<ReplicaId, Arc<str>>,
    pub(crate) workers: OrdMap<Name, Arc<Worker>>,
    /// Derived: the live registrations.
    pub(crate) epochs: OrdMap<Epoch, Name>,
    /// Derived: the living workers that drain.
    pub(crate) draining: OrdSet<Name>,
    pub(crate) keys: OrdMap<IdempotencyKey, KeyUse>,
    pub(crate) archive: OrdMap<JobId, Archived>,
    /// Large finished jobs on their way there.
    pub(crate) leaving: OrdMap<JobId, Leaving>,
    /// Derived.
    pub(crate) queue: Queue,
    /// Derived.
    pub(crate) timers: Timers,
    /// Derived.
    pub(crate) slots: Slots,
    /// Derived: who waits for the end of a job, with the task that does.
    pub(crate) awaited: OrdMap<JobId, imbl::OrdSet<(JobId, u32)>>,
    /// Derived.
    pub(crate) crowds: Crowds,
    pub(crate) pools: Pools,
    pub(crate) rates: Rates,
    pub(crate) locks: Locks,
    /// Derived: the schedules that have not ended, with their newest change.
    pub(crate) schedules: OrdMap<JobId, LogIndex>,
    /// Derived: finished jobs in memory that don't leave it yet, oldest first.
    pub(crate) finished: imbl::OrdSet<(Timestamp, JobId)>,
    /// Derived: the same by their number of elements, smallest first.
    pub(crate) finished_by_size: imbl::OrdSet<(u64, JobId)>,
    /// Derived: archived jobs, oldest first.
    pub(crate) archived: imbl::OrdSet<(Timestamp, JobId)>,
    /// Derived: the system jobs that have not ended, each with the workers on which it is to have an element.
    pub(crate) systems: OrdMap<JobId, OrdSet<Name>>,
    /// Derived: the services that have not ended, with the number of their newest version.
    pub(crate) services: OrdMap<JobId, u32>,
    /// The records of namespaces.
    pub(crate) rules: OrdMap<Name, Arc<NamespaceRules>>,
    /// What namespaces held that hold more than the limit allows that they were given last.
    pub(crate) over: OrdMap<Name, Resources>,
    /// What namespaces used before.
    pub(crate) past: Pasts,
    /// Derived: the namespaces that have jobs in memory.
    pub(crate) spaces: OrdMap<Name, Space>,
    /// Derived.
    pub(crate) totals: Totals,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scalars {
    pub(crate) index: LogIndex,
    pub(crate) now: Timestamp,
    pub(crate) cluster_id: u64,
    pub(crate) policy: Policy,
    pub(crate) last_job: u64,
    pub(crate) last_epoch: u64,
    /// A hash over everything that ever went into the archive.
    pub(crate) archive_hash: u64,
    /// Counts tokens of locks and tickets of those who wait for them.
    pub(crate) last_lock: u64,
}

/// Sums over all jobs in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// With those of jobs that will follow others.
    pub unfinished_elements: u64,
    pub finished_elements: u64,
    pub spec_bytes: u64,
    /// Output tails in the archive.
    pub output_bytes: u64,
    /// Results of jobs in memory.
    pub result_bytes: u64,
}

/// An idempotency key belongs to a namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct IdempotencyKey {
    pub(crate) namespace: Name,
    pub(crate) key: Arc<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyUse {
    pub(crate) job: JobId,
    pub(crate) submitted: LogIndex,
    pub(crate) spec_digest: u64,
}

impl State {
    /// The index of the newest applied entry.
    pub fn index(&self) -> LogIndex {
        self.cluster.scalars.index
    }

    /// The newest time that an entry brought.
    pub fn now(&self) -> Timestamp {
        self.cluster.scalars.now
    }

    /// The cluster's identity; 0 before it has one.
    pub fn cluster_id(&self) -> u64 {
        self.cluster.scalars.cluster_id
    }

    pub fn policy(&self) -> &Policy {
        &self.cluster.scalars.policy
    }

    /// The data folder that a replica's number is bound to.
    pub fn storage_of(&self, replica: ReplicaId) -> Option<u64> {
        self.cluster.storages.get(&replica).copied()
    }

    /// Where a replica serves HTTP, as `host:port`.
    pub fn http_of(&self, replica: ReplicaId) -> Option<&str> {
        self.cluster.https.get(&replica).map(AsRef::as_ref)
    }

    pub fn job(&self, id: JobId) -> Option<&Arc<Job>> {
        self.jobs.get(&id)
    }

    /// Jobs in memory, by number.
    pub fn jobs(&self) -> impl DoubleEndedIterator<Item = &Arc<Job>> {
        self.jobs.values()
    }

    /// Jobs in memory with a number below `below`, newest first.
    pub fn jobs_below(&self, below: JobId) -> impl Iterator<Item = &Arc<Job>> {
        self.jobs.range(..below).rev().map(|(_, job)| job)
    }

    /// Finished jobs in memory, oldest first.
    pub fn finished_jobs(&self) -> impl Iterator<Item = &Arc<Job>> {
        self.cluster.finished.iter().filter_map(|(_, id)| self.jobs.get(id))
    }

    pub fn worker(&self, name: &str) -> Option<&Arc<Worker>> {
        self.cluster.workers.get(name)
    }

    pub fn workers(&self) -> impl Iterator<Item = &Arc<Worker>> {
        self.cluster.workers.values()
    }

    /// The workers that changed since an earlier version: as they were, and as they are. Parts that both share are
    /// skipped.
    pub fn changed_workers<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = WorkerChange<'a>> {
        earlier.cluster.workers.diff(&self.cluster.workers).map(|change| match change {
            DiffItem::Add(_, new) => (None, Some(new)),
            DiffItem::Update { old: (_, old), new: (_, new) } => (Some(old), Some(new)),
            DiffItem::Remove(_, old) => (Some(old), None),
        })
    }

    /// The living worker of this registration.
    pub fn worker_of(&self, epoch: Epoch) -> Option<&Arc<Worker>> {
        self.worker(self.cluster.epochs.get(&epoch)?)
    }

    /// The living registrations. A version in which nobody came or went shares them with the one before.
    pub fn registrations(&self) -> &OrdMap<Epoch, Name> {
        &self.cluster.epochs
    }

    pub fn queue(&self) -> &Queue {
        &self.cluster.queue
    }

    /// When the next timer is due.
    pub fn next_timer(&self) -> Option<Timestamp> {
        self.cluster.timers.next()
    }

    /// The schedules that have not ended, with their newest change. A version in which none came, changed or went
    /// shares them with the one before.
    pub fn schedules(&self) -> &OrdMap<JobId, LogIndex> {
        &self.cluster.schedules
    }

    /// The line for a concurrency key that a job waits in, with the first `most` of those that hold a place.
    pub fn key_line(&self, job: &Job, most: usize) -> Option<KeyLine> {
        self.cluster.slots.line_of(job, most)
    }

    pub fn totals(&self) -> Totals {
        self.cluster.totals
    }

    /// Archived jobs with a number below `below`, newest first.
    pub fn archived_below(&self, below: JobId) -> impl Iterator<Item = (JobId, &Archived)> {
        self.cluster.archive.range(..below).rev().map(|(id, archived)| (*id, archived))
    }

    pub fn is_archived(&self, id: JobId) -> bool {
        self.cluster.archive.contains_key(&id)
    }

    /// What is remembered of a job that is in the archive.
    pub fn archived(&self, id: JobId) -> Option<&Archived> {
        self.cluster.archive.get(&id)
    }

    /// Whether the job is in memory or in the archive.
    pub fn knows_job(&self, id: JobId) -> bool {
        self.jobs.contains_key(&id) || self.is_archived(id)
    }

    /// How many jobs in memory are in which state.
    pub fn job_states(&self) -> std::collections::BTreeMap<JobState, u64> {
        let mut states = std::collections::BTreeMap::new();
        for job in self.jobs.values() {
            *states.entry(job.header.state).or_default() += 1;
        }
        states
    }
}
