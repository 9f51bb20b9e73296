//! What clients were told, and whether it can be true: the checks that need no look inside.

use std::collections::BTreeMap;

use quorate_types::{JobId, LogIndex};

use crate::keyed::Histories;

/// A violated promise, in words.
pub(crate) type Violation = String;

/// What every client was told so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Accepted submissions by idempotency key.
    accepted: BTreeMap<String, JobId>,
    /// Who owns a job's number.
    keys: BTreeMap<JobId, String>,
    /// The newest index that anybody was told with the answer of a write or a linearizable read.
    newest: LogIndex,
    /// The newest change that was seen of each job, in linearizable reads.
    changed: BTreeMap<JobId, LogIndex>,
    /// Who asked for what, and was told what, job by job.
    pub(crate) jobs: Histories,
}

/// When an operation began: what was known by then, it must see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Begun {
    newest: LogIndex,
    changed: Option<LogIndex>,
    accepted: bool,
}

impl History {
    pub(crate) fn accepted(&self) -> &BTreeMap<String, JobId> {
        &self.accepted
    }

    /// The newest index that anybody was told.
    pub(crate) fn newest(&self) -> LogIndex {
        self.newest
    }

    /// The jobs that were accepted last.
    pub(crate) fn newest_jobs(&self, many: usize) -> Vec<JobId> {
        self.keys.keys().rev().take(many).copied().collect()
    }

    /// An operation, about `job` if it is about one, begins now.
    pub(crate) fn begin(&self, job: Option<JobId>) -> Begun {
        Begun {
            newest: self.newest,
            changed: job.and_then(|job| self.changed.get(&job).copied()),
            accepted: job.is_some_and(|job| self.keys.contains_key(&job)),
        }
    }

    /// A submission was answered with 2xx.
    pub(crate) fn on_accepted(&mut self, key: &str, job: JobId, index: LogIndex) -> Result<(), Violation> {
        if let Some(other) = self.accepted.get(key)
            && *other != job
        {
            return Err(format!("key {key} is job {other} and job {job}"));
        }
        if let Some(other) = self.keys.get(&job)
            && other != key
        {
            return Err(format!("job {job} belongs to the keys {other} and {key}"));
        }
        self.accepted.insert(key.to_owned(), job);
        self.keys.insert(job, key.to_owned());
        self.jobs.on_accepted(key, job);
        self.newest = self.newest.max(index);
        Ok(())
    }

    /// Another write was answered with 2xx.
    pub(crate) fn on_written(&mut self, index: LogIndex) {
        self.newest = self.newest.max(index);
    }

    /// A linearizable read at `index` gave when a job had changed; `None` if there is no such job.
    pub(crate) fn on_read(
        &mut self,
        begun: &Begun,
        job: JobId,
        index: LogIndex,
        changed: Option<LogIndex>,
    ) -> Result<(), Violation> {
        if index < begun.newest {
            return Err(format!(
                "a linearizable read saw index {index}, and {} was known before it began",
                begun.newest
            ));
        }
        let Some(changed) = changed else {
            return if begun.accepted { Err(format!("job {job} was accepted and is not there")) } else { Ok(()) };
        };
        if begun.changed.is_some_and(|before| changed < before) || changed > index {
            return Err(format!("job {job} at {index} was changed at {changed}; seen before: {:?}", begun.changed));
        }
        let known = self.changed.entry(job).or_default();
        *known = (*known).max(changed);
        self.newest = self.newest.max(index);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_is_one_job() {
        let mut history = History::default();
        history.on_accepted("a", JobId(1), LogIndex(5)).unwrap();
        history.on_accepted("a", JobId(1), LogIndex(6)).unwrap();
        assert!(history.on_accepted("a", JobId(2), LogIndex(7)).is_err());
        assert!(history.on_accepted("b", JobId(1), LogIndex(7)).is_err());
    }

    #[test]
    fn a_read_sees_what_was_known_before_it_began() {
        let mut history = History::default();
        let early = history.begin(Some(JobId(1)));
        history.on_accepted("a", JobId(1), LogIndex(5)).unwrap();
        let late = history.begin(Some(JobId(1)));
        history.on_read(&early, JobId(1), LogIndex(4), None).unwrap();
        assert!(history.on_read(&late, JobId(1), LogIndex(4), None).is_err());
        assert!(history.on_read(&late, JobId(1), LogIndex(5), None).is_err());
        history.on_read(&late, JobId(1), LogIndex(5), Some(LogIndex(5))).unwrap();
        let later = history.begin(Some(JobId(1)));
        assert!(history.on_read(&later, JobId(1), LogIndex(6), Some(LogIndex(4))).is_err());
    }
}
