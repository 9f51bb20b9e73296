//! A first reading: how much there is, and how far out of order.

use quorate_types::{Span, Timestamp};
use serde::Serialize;

use super::error::InputError;
use super::{Entry, Reason};

/// What a first reading of recorded work found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Jobs that will be replayed.
    pub jobs: u64,
    pub dropped: Dropped,
    /// When the first job was submitted, and the last.
    pub first_submission: Timestamp,
    pub last_submission: Timestamp,
    /// The longest that a job stands behind one that was submitted later.
    pub lateness: Span,
    /// No job of the trace says what its user asked for, so the run times stand for that.
    pub requests_are_run_times: bool,
}

/// Records that are no jobs, by the cleaning rules of the Parallel Workloads Archive's users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Dropped {
    pub no_run_time: u64,
    pub no_processors: u64,
    pub no_requested_time: u64,
    /// They ask for more than any machine has.
    pub too_large: u64,
    /// No machine that is large enough is what they require.
    pub unsuited: u64,
}

impl Dropped {
    pub const fn total(&self) -> u64 {
        self.no_run_time + self.no_processors + self.no_requested_time + self.too_large + self.unsuited
    }

    fn count(&mut self, reason: Reason) {
        *match reason {
            Reason::NoRunTime => &mut self.no_run_time,
            Reason::NoProcessors => &mut self.no_processors,
            Reason::NoRequestedTime => &mut self.no_requested_time,
            Reason::TooLarge => &mut self.too_large,
            Reason::Unsuited => &mut self.unsuited,
        } += 1;
    }
}

impl Survey {
    pub(super) fn of(entries: impl Iterator<Item = Result<Entry, InputError>>) -> Result<Self, InputError> {
        let mut survey = Self { first_submission: Timestamp(u64::MAX), ..Self::default() };
        for entry in entries {
            match entry? {
                Entry::Dropped(reason) => survey.dropped.count(reason),
                Entry::Job(job) => survey.count(job.submitted),
            }
        }
        if survey.jobs == 0 {
            survey.first_submission = Timestamp(0);
        }
        Ok(survey)
    }

    fn count(&mut self, submitted: Timestamp) {
        self.jobs += 1;
        self.lateness = self.lateness.max(self.last_submission.since(submitted));
        self.first_submission = self.first_submission.min(submitted);
        self.last_submission = self.last_submission.max(submitted);
    }

    /// Whether requested times are missing everywhere, which says that nobody recorded them.
    pub(super) const fn lacks_requests(&self) -> bool {
        self.jobs == 0 && self.dropped.no_requested_time > 0
    }

    pub(super) fn limit(&mut self, first: Option<u64>) {
        self.jobs = self.jobs.min(first.unwrap_or(u64::MAX));
    }
}
