//! Submission of jobs.

use std::collections::VecDeque;
use std::sync::Arc;

use quorate_types::status::JobState;
use quorate_types::{Extension, JobId, JobSpec};
use serde::Serialize;

use super::Result;
use super::gates::announce;
use crate::flow::{Flow, Slot};
use crate::job::Job;
use crate::lifecycle::Change;
use crate::limits::{SPEC_BYTES_MAX, UNFINISHED_ELEMENTS_MAX};
use crate::outcome::{Applied, Outcome, Rejection};
use crate::slots::SlotKey;
use crate::state::{IdempotencyKey, KeyUse, State};

/// What a job costs in memory besides its specification's own bytes: measured with 100,000 jobs of
/// one task each, rounded up.
const JOB_OVERHEAD_BYTES: u64 = 1_024;
/// What each further task costs besides: its definition's fields and allocations, its place among the job's tasks, and
/// in the plan.
const TASK_OVERHEAD_BYTES: u64 = 768;
/// What each need costs besides: itself, the edge of the plan, and its share of what is reserved beside them.
const NEED_OVERHEAD_BYTES: u64 = 32;

impl State {
    pub(super) fn submit(&mut self, spec: &Arc<JobSpec>, out: &mut Applied) -> Result {
        let encoded = encode(&**spec);
        let key = idempotency_key(spec);
        if let Some(used) = key.as_ref().and_then(|key| self.cluster.keys.get(key)) {
            return self.resubmitted(*used, digest(&encoded));
        }
        let spec_bytes = encoded.len() as u64 + overhead(spec);
        self.check_room(spec, spec_bytes)?;
        Self::check_times(spec, out.time)?;
        self.check_needs(spec)?;
        self.check_key(spec)?;
        self.check_systems(spec)?;
        self.check_resources(spec)?;
        let flow = Flow::of(spec, out.time, out.time);
        let id = self.start_job(spec, spec_bytes, flow, out);
        if let Some(key) = key {
            let used = KeyUse { job: id, submitted: out.index, spec_digest: digest(&encoded) };
            self.cluster.keys.insert(key, used);
        }
        let state = self.jobs.get(&id).map_or(JobState::Pending, |job| job.header.state);
        Ok(Outcome::Submitted { job: id, index: out.index, state, existing: false })
    }

    /// A new job begins its life.
    pub(super) fn start_job(&mut self, spec: &Arc<JobSpec>, spec_bytes: u64, flow: Flow, out: &mut Applied) -> JobId {
        self.cluster.scalars.last_job += 1;
        let id = JobId(self.cluster.scalars.last_job);
        let mut job = Job::new(id, spec.clone(), spec_bytes, out.index, out.time);
        let runs = !job.is_schedule();
        let key = SlotKey::of(&job).filter(|_| runs);
        let needs = self.job_needs(spec, |_| runs, |_| false);
        if flow != Flow::PLAIN || key.is_some() || !needs.awaited.is_empty() {
            job.header.flow = Some(Box::new(Flow { awaited: needs.awaited.clone(), ..flow }));
        }
        if key.is_some() && job.header.flow().start_at.is_none() {
            job.header.flow_mut().slot = Slot::Waiting;
        }
        if spec.schedule.as_ref().is_some_and(|schedule| schedule.paused) {
            (job.header.paused, job.header.state) = (true, JobState::Paused);
        }
        if job.header.flow.is_some() || !needs.past.is_empty() {
            job.hold_back(&needs.counts());
        }
        self.cluster.note_submitted(&job);
        self.cluster.enlist(&job);
        announce(&mut Change { job: &mut job, cluster: &mut self.cluster, out, ended: VecDeque::new() });
        self.jobs.insert(id, Arc::new(job));
        self.begin_system(id, out);
        if !needs.past.is_empty() {
            self.edit(id, out, |change| change.resolve_past_needs(&needs.past));
        }
        self.end_if_over(id, out);
        if let Some(key) = key {
            self.displace(id, out);
            self.admit(&key, out);
        }
        id
    }

    fn resubmitted(&self, used: KeyUse, spec_digest: u64) -> Result {
        if used.spec_digest != spec_digest {
            return Err(Rejection::IdempotencyConflict(used.job));
        }
        let in_memory = self.jobs.get(&used.job).map(|job| job.header.state);
        let archived = self.cluster.archive.get(&used.job).map(|archived| archived.state);
        let state = in_memory.or(archived).ok_or(Rejection::NoSuchJob(used.job))?;
        Ok(Outcome::Submitted { job: used.job, index: used.submitted, state, existing: true })
    }

    pub(super) fn check_room(&self, spec: &JobSpec, spec_bytes: u64) -> std::result::Result<(), Rejection> {
        let totals = self.cluster.totals;
        if totals.unfinished_elements + spec.elements() + spec.elements_to_follow() > UNFINISHED_ELEMENTS_MAX {
            return Err(Rejection::QueueFull(totals.unfinished_elements));
        }
        if totals.spec_bytes + spec_bytes > SPEC_BYTES_MAX {
            return Err(Rejection::MemoryFull(totals.spec_bytes));
        }
        self.check_namespace(&spec.namespace, spec.elements() + spec.elements_to_follow())
    }
}

impl crate::state::Cluster {
    pub(crate) fn note_submitted(&mut self, job: &Job) {
        self.totals.unfinished_elements += job.unfinished_elements();
        self.totals.spec_bytes += job.header.spec_bytes;
        self.totals.output_bytes += job.header.output_bytes;
        self.totals.result_bytes += job.header.result_bytes;
        let space = self.spaces.entry(job.spec.namespace.clone()).or_default();
        space.jobs += 1;
        space.unfinished += job.unfinished_elements();
        if space.jobs == 1 {
            self.past.accompany(&job.spec.namespace);
        }
    }

    /// The job leaves memory.
    pub(crate) fn unnote_submitted(&mut self, job: &Job) {
        self.totals.unfinished_elements -= job.unfinished_elements();
        self.totals.spec_bytes -= job.header.spec_bytes;
        self.totals.output_bytes -= job.header.output_bytes;
        self.totals.result_bytes -= job.header.result_bytes;
        if let Some(space) = self.spaces.get_mut(&job.spec.namespace) {
            space.jobs -= 1;
            space.unfinished -= job.unfinished_elements();
            if space.jobs == 0 {
                self.spaces.remove(&job.spec.namespace);
                self.past.leave_alone(&job.spec.namespace, self.scalars.now);
            }
        }
    }
}

pub(crate) fn idempotency_key(spec: &JobSpec) -> Option<IdempotencyKey> {
    let key = spec.idempotency_key.as_deref()?;
    Some(IdempotencyKey { namespace: spec.namespace.clone(), key: key.into() })
}

/// What a job's specification counts for.
pub(super) fn weight(spec: &JobSpec) -> u64 {
    encode(spec).len() as u64 + overhead(spec)
}

/// The same of what a job gains.
pub(super) fn weight_of_extension(extension: &Extension) -> u64 {
    let overhead = TASK_OVERHEAD_BYTES * extension.tasks.len() as u64 + NEED_OVERHEAD_BYTES * extension.edges() as u64;
    encode(extension).len() as u64 + overhead
}

/// For the job, and for those that may follow it.
fn overhead(spec: &JobSpec) -> u64 {
    let jobs = std::iter::once(spec).chain(spec.then.iter().map(|follow_up| &*follow_up.job));
    jobs.map(|job| {
        let further = (job.tasks.len() as u64).saturating_sub(1);
        JOB_OVERHEAD_BYTES + TASK_OVERHEAD_BYTES * further + NEED_OVERHEAD_BYTES * job.tasks.edges() as u64
    })
    .sum()
}

fn encode<T: Serialize>(spec: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(spec, bincode::config::standard())
        .unwrap_or_else(|e| unreachable!("encoding into memory: {e}"))
}

fn digest(encoded: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(encoded)
}
