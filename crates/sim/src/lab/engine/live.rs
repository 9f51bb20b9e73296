//! A job between its submission and its end.

use quorate_placement::book::{Facts, Lineage};
use quorate_state::queue::Queued;
use quorate_types::{Epoch, JobId, Span, Timestamp};

use super::super::job::{Job, Kin, Record};
use super::Estimates;

#[derive(Debug)]
pub(super) struct Live {
    pub(super) job: Job,
    /// Jobs that it waits for.
    pub(super) open_needs: usize,
    /// Jobs that wait for it, by their number in the order of submission.
    pub(super) dependents: Vec<u64>,
    /// How long the longest chain of jobs behind it will run, as far as they are submitted and policies know.
    pub(super) behind: Span,
    pub(super) attempt: Option<Attempt>,
    /// Of a gang: it has ended, and waits for the others.
    pub(super) ended: Option<(Attempt, Timestamp)>,
    pub(super) interrupted: u32,
    pub(super) lost: Span,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) number: u64,
    pub(super) epoch: Epoch,
    pub(super) machine: u32,
    pub(super) started: Timestamp,
    /// When it was expected to end.
    pub(super) expected_end: Option<Timestamp>,
}

/// What the elements of a task are counted under.
pub(super) fn queued_as(kin: Kin) -> Queued {
    Queued { job: JobId(kin.job), task: kin.task }
}

impl Live {
    pub(super) fn new(job: Job, open_needs: usize) -> Self {
        Self {
            job,
            open_needs,
            dependents: Vec::new(),
            behind: Span::default(),
            attempt: None,
            ended: None,
            interrupted: 0,
            lost: Span::default(),
        }
    }

    /// How long it takes: at most what was asked for.
    pub(super) fn run(&self) -> Span {
        self.job.limit.map_or(self.job.run, |limit| self.job.run.min(limit))
    }

    pub(super) fn facts(&self, estimates: Estimates) -> Facts {
        let job = &self.job;
        let mut facts = Facts::new(job.submitted, job.request.clone());
        facts.priority = job.priority;
        facts.limit = job.limit;
        facts.open_dependencies = self.dependents.len() as u32;
        facts.namespace = job.namespace.clone();
        facts.path = self.path(estimates);
        facts.lineage = Some(Lineage { owner: job.owner.clone(), name: job.name.as_str().into() });
        facts.expected = self.known_run(estimates);
        facts.constraints = job.constraints.clone();
        facts.company = job.company.clone();
        facts.kin = Some(queued_as(job.kin));
        facts
    }

    /// How long it will run, if policies are told.
    fn known_run(&self, estimates: Estimates) -> Option<Span> {
        match estimates {
            Estimates::User => self.job.limit,
            Estimates::Exact => Some(self.run()),
            Estimates::Learned => None,
        }
    }

    /// How long it and the longest chain behind it will run. Learned times are not known so early; the limit, or a
    /// second, stands in.
    pub(super) fn path(&self, estimates: Estimates) -> Span {
        let own = self.known_run(estimates).or(self.job.limit).unwrap_or(Span::from_secs(1));
        Span(own.0.saturating_add(self.behind.0))
    }

    pub(super) fn record(&self, attempt: &Attempt, finished: Timestamp) -> Record {
        Record {
            id: self.job.id,
            namespace: self.job.namespace.clone(),
            submitted: self.job.submitted,
            started: attempt.started,
            finished,
            request: self.job.request.clone(),
            machine: attempt.machine,
            interrupted: self.interrupted,
            lost: self.lost,
        }
    }
}
