//! Which jobs must not share a worker because one has a label that a task of the other shuns. Kept by label, worker and
//! job, so that a look costs no more on a full worker than on an empty one.

use std::fmt;
use std::sync::Arc;

use imbl::OrdMap;
use quorate_types::{Apart, Epoch, JobId, JobSpec, Name, TaskSpec};

/// A label of jobs in a namespace, with its value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sign(Arc<str>);

impl Sign {
    /// Namespaces hold no `/`, and labels no `=`: different signs differ.
    fn new(namespace: &Name, label: &Name, value: &str) -> Self {
        Self(format!("{namespace}/{label}={value}").into())
    }

    /// The label and its value.
    pub fn label(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, label)| label)
    }
}

impl fmt::Debug for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What other jobs may mind about the attempts of a task, and what these mind about other jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Company {
    bears: Vec<Sign>,
    shuns: Vec<Sign>,
}

impl Company {
    /// None if its job has no labels and it shuns none: nobody minds, and it doesn't.
    pub fn of(job: &JobSpec, task: &TaskSpec) -> Option<Self> {
        let shunned = task.anti_affinity.iter().filter_map(Apart::jobs);
        let shuns: Vec<Sign> = shunned.map(|one| Sign::new(&job.namespace, &one.label, &one.value)).collect();
        let bears = job.labels.iter().map(|(label, value)| Sign::new(&job.namespace, label, value));
        (!job.labels.is_empty() || !shuns.is_empty()).then(|| Self { bears: bears.collect(), shuns })
    }

    pub fn shuns_any(&self) -> bool {
        !self.shuns.is_empty()
    }
}

/// How many attempts of a job are on a worker under a sign.
type Presence = OrdMap<(Sign, Epoch, JobId), u32>;

/// Who is where.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Companies {
    bearing: Presence,
    shunning: Presence,
}

impl Companies {
    /// An attempt of the job is on the worker from now on.
    pub fn join(&mut self, company: &Company, job: JobId, epoch: Epoch) {
        for (signs, presence) in [(&company.bears, &mut self.bearing), (&company.shuns, &mut self.shunning)] {
            for sign in signs {
                *presence.entry((sign.clone(), epoch, job)).or_insert(0) += 1;
            }
        }
    }

    /// It is there no more.
    pub fn leave(&mut self, company: &Company, job: JobId, epoch: Epoch) {
        for (signs, presence) in [(&company.bears, &mut self.bearing), (&company.shuns, &mut self.shunning)] {
            for sign in signs {
                let key = (sign.clone(), epoch, job);
                match presence.get(&key).copied().unwrap_or(0) {
                    0 | 1 => drop(presence.remove(&key)),
                    more => drop(presence.insert(key, more - 1)),
                }
            }
        }
    }

    /// Another job that keeps the task off the worker, and the label that one of them shuns.
    pub fn in_the_way<'a>(&self, company: &'a Company, job: JobId, epoch: Epoch) -> Option<(JobId, &'a Sign)> {
        let shunned = company.shuns.iter().find_map(|sign| Some((other(&self.bearing, sign, job, epoch)?, sign)));
        shunned.or_else(|| {
            let bears = if self.has_shunning() { company.bears.as_slice() } else { &[] };
            bears.iter().find_map(|sign| Some((other(&self.shunning, sign, job, epoch)?, sign)))
        })
    }

    /// Whether anybody shuns anything.
    pub fn has_shunning(&self) -> bool {
        !self.shunning.is_empty()
    }

    /// Whether other jobs may keep the task off a worker.
    pub fn concern(&self, company: &Company) -> bool {
        let is_shunned = |sign: &Sign| {
            let (first, last) = ((sign.clone(), Epoch(0), JobId(0)), (sign.clone(), Epoch(u64::MAX), JobId(u64::MAX)));
            self.shunning.range(first..=last).next().is_some()
        };
        !company.shuns.is_empty() || (self.has_shunning() && company.bears.iter().any(is_shunned))
    }
}

/// The first other job that is on the worker under the sign: the second one that is looked at, at the latest.
fn other(presence: &Presence, sign: &Sign, job: JobId, epoch: Epoch) -> Option<JobId> {
    let (first, last) = ((sign.clone(), epoch, JobId(0)), (sign.clone(), epoch, JobId(u64::MAX)));
    presence.range(first..=last).map(|((_, _, other), _)| *other).find(|other| *other != job)
}
