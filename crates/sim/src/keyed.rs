//! The history of each job, as its clients saw it, for the search of `linear`: an object per idempotency key.

use std::collections::BTreeMap;

use quorate_types::status::JobState;
use quorate_types::{JobId, LogIndex};

use crate::history::Violation;
use crate::linear::{self, Model, Operation, Verdict};

/// What was asked for, and answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// `None`: not known.
    Submit {
        made: Option<Made>,
    },
    Read {
        found: Option<(JobState, LogIndex)>,
    },
    /// A request that changes the job.
    Edit {
        verb: Verb,
        answer: Answered,
    },
}

/// A submission that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) job: JobId,
    /// It was there already, for the same key.
    pub(crate) existing: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Cancel,
    Pause,
    Freeze,
    Resume,
    Retry,
    /// Of what did not succeed.
    RetryFailed,
    /// Of a task that the job may not have, and of what needs it.
    RetryFrom,
}

impl Verb {
    /// As a path has it.
    pub(crate) const fn path(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Pause | Self::Freeze => "pause",
            Self::Resume => "resume",
            Self::Retry | Self::RetryFailed | Self::RetryFrom => "retry",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    Done(LogIndex),
    /// The job's state does not allow it.
    Conflict,
    NoSuchJob,
    Unknown,
}

/// How it stands with a job. What the cluster does by itself, ending it that is, happens when an answer
/// shows it: earlier would explain no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Absent,
    Live {
        cancelling: bool,
        paused: bool,
    },
    Ended(JobState),
    /// Succeeded, failed, or cancelled if that was asked for: the answer did not say.
    EndedSomehow {
        cancelling: bool,
    },
}

/// The state of one job, with when it had changed at the last read, and into what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Known {
    phase: Phase,
    job: JobId,
    seen: Option<(LogIndex, JobState)>,
}

pub(crate) struct Job;

impl Model for Job {
    type State = Known;
    type Call = Call;

    fn step(known: &Known, call: &Call) -> Option<Known> {
        match call {
            Call::Submit { made } => submit(*known, *made),
            Call::Read { found: None } => (known.phase == Phase::Absent).then_some(*known),
            Call::Read { found: Some((state, changed)) } => read(*known, *state, *changed),
            Call::Edit { answer: Answered::NoSuchJob, .. } => (known.phase == Phase::Absent).then_some(*known),
            Call::Edit { verb, answer } => {
                if let (Answered::Done(index), Some((changed, _))) = (answer, known.seen)
                    && changed > *index
                {
                    return None;
                }
                let phase = edit(known.phase, *verb, *answer == Answered::Conflict)?;
                Some(Known { phase, ..*known })
            }
        }
    }
}

const FRESH: Phase = Phase::Live { cancelling: false, paused: false };

fn submit(known: Known, made: Option<Made>) -> Option<Known> {
    let is_new = known.phase == Phase::Absent;
    match made {
        Some(made) if made.existing == is_new => None,
        Some(made) if is_new => Some(Known { phase: FRESH, job: made.job, ..known }),
        // Who made it was never told its number.
        Some(made) => {
            (known.job == made.job || known.job == JobId::default()).then_some(Known { job: made.job, ..known })
        }
        None if is_new => Some(Known { phase: FRESH, ..known }),
        None => Some(known),
    }
}

fn read(known: Known, state: JobState, changed: LogIndex) -> Option<Known> {
    if known.seen.is_some_and(|(before, then)| changed < before || (changed == before && state != then)) {
        return None;
    }
    let phase = match (known.phase, state) {
        (Phase::Live { paused, .. }, JobState::Paused) if paused => known.phase,
        (Phase::Live { paused, .. }, JobState::Pending | JobState::Running) if !paused => known.phase,
        (Phase::Live { cancelling: true, .. } | Phase::EndedSomehow { cancelling: true }, JobState::Cancelled) => {
            Phase::Ended(state)
        }
        (Phase::Live { .. } | Phase::EndedSomehow { .. }, JobState::Succeeded | JobState::Failed) => {
            Phase::Ended(state)
        }
        (Phase::Ended(before), after) if before == after => known.phase,
        _ => return None,
    };
    Some(Known { phase, seen: Some((changed, state)), ..known })
}

/// What an edit makes of a job; `None` if it can't have been answered so.
fn edit(phase: Phase, verb: Verb, conflict: bool) -> Option<Phase> {
    let ended = |cancelling| Phase::EndedSomehow { cancelling };
    let verb = match (phase, verb) {
        (Phase::Ended(JobState::Succeeded), Verb::RetryFailed) if !conflict => return None,
        // Where there is no such task, or nothing that could be tried again, a job that has ended stays as it is.
        (Phase::Ended(_) | Phase::EndedSomehow { .. }, Verb::RetryFailed | Verb::RetryFrom) if conflict => {
            return Some(phase);
        }
        (_, Verb::RetryFailed | Verb::RetryFrom) => Verb::Retry,
        (_, verb) => verb,
    };
    match (phase, verb) {
        (Phase::Absent, _) => None,
        (Phase::Live { cancelling, .. }, Verb::Cancel) if conflict => Some(ended(cancelling)),
        (Phase::Live { paused, .. }, Verb::Cancel) => Some(Phase::Live { cancelling: true, paused }),
        (Phase::Live { cancelling: true, .. }, Verb::Pause | Verb::Freeze | Verb::Resume) => conflict.then_some(phase),
        (Phase::Live { .. }, Verb::Pause | Verb::Freeze | Verb::Resume) if conflict => Some(ended(false)),
        (Phase::Live { .. }, Verb::Pause | Verb::Freeze) => Some(Phase::Live { cancelling: false, paused: true }),
        (Phase::Live { .. }, Verb::Resume) => Some(FRESH),
        (Phase::Live { .. }, Verb::Retry) if conflict => Some(phase),
        // It had ended, unseen.
        (_, Verb::Retry) if !conflict => Some(FRESH),
        (Phase::Ended(JobState::Cancelled), Verb::Cancel) => Some(phase),
        (Phase::EndedSomehow { cancelling: true }, Verb::Cancel) if !conflict => {
            Some(Phase::Ended(JobState::Cancelled))
        }
        (Phase::Ended(_) | Phase::EndedSomehow { .. }, _) => conflict.then_some(phase),
        (Phase::Live { .. }, Verb::Retry | Verb::RetryFailed | Verb::RetryFrom) => unreachable!("taken above"),
    }
}

/// All that clients asked for, in the order of time.
#[derive(Debug, Default)]
pub(crate) struct Histories {
    /// Counts what happens.
    moment: u64,
    operations: BTreeMap<String, Vec<Operation<Call>>>,
    keys: BTreeMap<JobId, String>,
}

/// Where a call stands that was begun.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    key: String,
    begun: u64,
}

impl Histories {
    /// A submission begins.
    pub(crate) fn begin(&mut self, key: &str) -> Ticket {
        self.moment += 1;
        Ticket { key: key.to_owned(), begun: self.moment }
    }

    /// A request about a job begins; `None` if its key is not known.
    pub(crate) fn begin_on(&mut self, job: JobId) -> Option<Ticket> {
        let key = self.keys.get(&job)?.clone();
        Some(self.begin(&key))
    }

    pub(crate) fn on_accepted(&mut self, key: &str, job: JobId) {
        self.keys.insert(job, key.to_owned());
    }

    /// A call was answered.
    pub(crate) fn end(&mut self, ticket: Ticket, call: Call) {
        self.moment += 1;
        let operation = Operation { call, begun: ticket.begun, ended: Some(self.moment) };
        self.operations.entry(ticket.key).or_default().push(operation);
    }

    /// A call that may take effect at any time, or not at all.
    pub(crate) fn leave_open(&mut self, ticket: Ticket, call: Call) {
        let operation = Operation { call, begun: ticket.begun, ended: None };
        self.operations.entry(ticket.key).or_default().push(operation);
    }

    /// How many operations there are.
    pub(crate) fn operations(&self) -> u64 {
        self.operations.values().map(|operations| operations.len() as u64).sum()
    }

    /// Looks at every job's history. Returns how many of them were too entangled.
    pub(crate) fn check(&self) -> Result<u64, Violation> {
        let mut undecided = 0;
        for (key, operations) in &self.operations {
            let initial = Known { phase: Phase::Absent, job: JobId::default(), seen: None };
            match linear::check::<Job>(&initial, operations) {
                Verdict::Linearizable => {}
                Verdict::Undecided => undecided += 1,
                Verdict::Violated { explained } => {
                    let mut sorted: Vec<_> = operations.iter().collect();
                    sorted.sort_by_key(|operation| operation.begun);
                    let told: Vec<String> = sorted
                        .iter()
                        .map(|operation| format!("{}..{:?} {:?}", operation.begun, operation.ended, operation.call))
                        .collect();
                    return Err(format!(
                        "the history of key {key} is not linearizable, only {explained} answers can be explained:\n  {}",
                        told.join("\n  ")
                    ));
                }
            }
        }
        Ok(undecided)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADE: Call = Call::Submit { made: Some(Made { job: JobId(7), existing: false }) };
    const THERE: Call = Call::Submit { made: Some(Made { job: JobId(7), existing: true }) };

    fn found(state: JobState, changed: u64) -> Call {
        Call::Read { found: Some((state, LogIndex(changed))) }
    }

    fn edited(verb: Verb, answer: Answered) -> Call {
        Call::Edit { verb, answer }
    }

    /// One after the other.
    fn row(calls: &[Call]) -> Result<u64, Violation> {
        let mut histories = Histories::default();
        for call in calls {
            let ticket = histories.begin("k");
            histories.end(ticket, call.clone());
        }
        histories.check()
    }

    #[test]
    fn a_key_is_made_once() {
        row(&[MADE, THERE, found(JobState::Pending, 5)]).unwrap();
        row(&[MADE, MADE]).unwrap_err();
        row(&[THERE]).unwrap_err();
        row(&[MADE, Call::Submit { made: Some(Made { job: JobId(8), existing: true }) }]).unwrap_err();
        row(&[MADE, Call::Read { found: None }]).unwrap_err();
        row(&[found(JobState::Pending, 5), MADE]).unwrap_err();
    }

    #[test]
    fn a_submission_that_was_not_answered_may_be_the_one() {
        let mut histories = Histories::default();
        let lost = histories.begin("k");
        histories.leave_open(lost, Call::Submit { made: None });
        let again = histories.begin("k");
        histories.end(again, THERE);
        assert_eq!(histories.check(), Ok(0));
    }

    #[test]
    fn reads_never_go_back() {
        row(&[MADE, found(JobState::Pending, 5), found(JobState::Running, 8), found(JobState::Succeeded, 9)]).unwrap();
        row(&[MADE, found(JobState::Running, 8), found(JobState::Pending, 5)]).unwrap_err();
        row(&[MADE, found(JobState::Running, 8), found(JobState::Pending, 8)]).unwrap_err();
        row(&[MADE, found(JobState::Succeeded, 8), found(JobState::Running, 9)]).unwrap_err();
        row(&[MADE, found(JobState::Cancelled, 8)]).unwrap_err();
    }

    #[test]
    fn what_was_cancelled_stays_so_until_it_is_tried_again() {
        let cancelled = edited(Verb::Cancel, Answered::Done(LogIndex(6)));
        let paused = edited(Verb::Pause, Answered::Done(LogIndex(7)));
        let retried = edited(Verb::Retry, Answered::Done(LogIndex(9)));
        row(&[MADE, cancelled.clone(), found(JobState::Running, 6), found(JobState::Cancelled, 8)]).unwrap();
        row(&[MADE, cancelled.clone(), found(JobState::Cancelled, 8), found(JobState::Running, 9)]).unwrap_err();
        row(&[MADE, cancelled.clone(), paused.clone()]).unwrap_err();
        row(&[MADE, cancelled.clone(), found(JobState::Cancelled, 8), retried, found(JobState::Running, 12)]).unwrap();
        for verb in [Verb::RetryFailed, Verb::RetryFrom] {
            let (done, refused) = (edited(verb, Answered::Done(LogIndex(9))), edited(verb, Answered::Conflict));
            row(&[MADE, found(JobState::Failed, 8), done.clone(), found(JobState::Running, 12)]).unwrap();
            row(&[MADE, found(JobState::Failed, 8), refused, found(JobState::Running, 12)]).unwrap_err();
            let succeeded = row(&[MADE, found(JobState::Succeeded, 8), done]);
            assert_eq!(succeeded.is_err(), verb == Verb::RetryFailed);
        }
        row(&[MADE, found(JobState::Succeeded, 5), cancelled.clone()]).unwrap_err();
        row(&[MADE, found(JobState::Running, 7), cancelled]).unwrap_err();
        row(&[MADE, paused.clone(), found(JobState::Running, 9)]).unwrap_err();
        row(&[MADE, paused, found(JobState::Paused, 9)]).unwrap();
        row(&[MADE, found(JobState::Paused, 9)]).unwrap_err();
    }
}
