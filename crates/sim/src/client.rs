//! Clients of the simulation: each does one thing at a time, through any replica, and tries again through
//! another one, with the same idempotency key, when it does not know what became of it.

mod request;
mod wishes;

use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use quorate_types::api::{JobView, Submitted};
use quorate_types::policy::PolicyChange;
use quorate_types::{JobId, LogIndex, NamespaceRules};

use crate::chance::Chance;
use crate::history::{Begun, History, Violation};
use crate::keyed::{Answered, Call, Made, Ticket, Verb};
use crate::replica::Answer;

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(8);
/// So many of the last jobs are the recent ones.
const RECENT: usize = 3;
/// How often a client takes an interest in what another one submitted.
const OTHERS_PERMILLE: u32 = 250;
const THINK_MIN: Duration = Duration::from_millis(20);
const THINK_MAX: Duration = Duration::from_millis(900);

/// What a client can want.
#[derive(Clone, Debug)]
enum What {
    Submit {
        key: String,
        body: String,
    },
    Read {
        job: JobId,
        how: Reading,
    },
    Edit {
        job: JobId,
        verb: Verb,
    },
    Reassign {
        job: JobId,
        task: &'static str,
    },
    /// Another policy for everybody.
    ChangePolicy(PolicyChange),
    /// Another quota or limit for a namespace.
    Entitle {
        namespace: &'static str,
        rules: NamespaceRules,
    },
    /// How many there are of the resource that jobs ask for; always the same.
    SetResource,
}

#[derive(Clone, Copy, Debug)]
enum Reading {
    Linearizable,
    /// As it is, but not older than this index, which somebody was told.
    Stale {
        min_index: LogIndex,
    },
}

#[derive(Debug)]
struct Operation {
    what: What,
    begun: Begun,
    /// The number of the request that is under way.
    request: Option<u64>,
    /// Where that request stands in the history of its job.
    ticket: Option<Ticket>,
    /// When to give it up, or when to try again.
    until: Duration,
}

/// What clients did and what came of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) reads: u64,
    pub(crate) other_writes: u64,
    pub(crate) refused: u64,
    pub(crate) unknown: u64,
    pub(crate) events: u64,
    /// What operators have done to the membership.
    pub(crate) changes: u64,
    /// Replicas that noticed damage, and stopped.
    pub(crate) noticed: u64,
}

pub(crate) struct Client {
    number: usize,
    chance: Chance,
    operation: Option<Operation>,
    idle_until: Duration,
    submitted: u64,
    /// It knows that the resource is there.
    stocked: bool,
    /// Jobs that this client may ask for.
    mine: Vec<JobId>,
}

/// A request to one of the replicas.
pub(crate) struct Send {
    pub(crate) request: Request<Body>,
    pub(crate) number: u64,
}

impl Client {
    pub(crate) fn new(number: usize, chance: Chance) -> Self {
        Self {
            number,
            chance,
            operation: None,
            idle_until: Duration::ZERO,
            submitted: 0,
            stocked: false,
            mine: Vec::new(),
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.operation.is_none()
    }

    /// What the client does now, if it does anything. With `submits` false it only ends what it has begun.
    pub(crate) fn on_time(
        &mut self,
        now: Duration,
        history: &mut History,
        counts: &mut Counts,
        next_request: &mut u64,
        submits: bool,
    ) -> Option<Send> {
        match &mut self.operation {
            Some(operation) if now < operation.until => return None,
            Some(operation) => {
                if operation.request.take().is_some() {
                    counts.unknown += 1;
                }
                operation.leave_open(history);
            }
            None if now < self.idle_until || !submits => return None,
            None => {
                let what = self.choose(history);
                let begun = history.begin(what.job());
                self.operation = Some(Operation { what, begun, request: None, ticket: None, until: now });
            }
        }
        let operation = self.operation.as_mut()?;
        *next_request += 1;
        operation.request = Some(*next_request);
        operation.ticket = operation.what.begin(history);
        operation.until = now + PATIENCE;
        Some(Send { request: operation.what.request(), number: *next_request })
    }

    /// What the client has just sent, once more. Nobody waits for its answer, and it may take effect at any time.
    pub(crate) fn double(&self, history: &mut History, next_request: &mut u64) -> Option<(Send, Option<String>)> {
        let what = &self.operation.as_ref()?.what;
        let ticket = what.begin(history);
        what.leave_open(ticket, history);
        *next_request += 1;
        let key = if let What::Submit { key, .. } = what { Some(key.clone()) } else { None };
        Some((Send { request: what.request(), number: *next_request }, key))
    }

    fn choose(&mut self, history: &History) -> What {
        if !self.stocked {
            return What::SetResource;
        }
        // Mostly a recent one: that is where something goes on.
        let recent = self.mine.len().saturating_sub(RECENT);
        let among = if self.chance.permille(800) { &self.mine[recent..] } else { &self.mine[..] };
        let job = if self.chance.permille(OTHERS_PERMILLE) {
            self.chance.pick(&history.newest_jobs(2 * RECENT)).copied()
        } else {
            self.chance.pick(among).copied()
        };
        match (self.chance.below(100), job) {
            (39, _) => What::ChangePolicy(wishes::policy(&mut self.chance)),
            (38, _) => {
                let (namespace, rules) = wishes::rules(&mut self.chance);
                What::Entitle { namespace, rules }
            }
            (40..75, Some(job)) => What::Read { job, how: Reading::Linearizable },
            (75..82, Some(job)) => {
                let min_index = if self.chance.permille(500) { history.newest() } else { LogIndex(0) };
                What::Read { job, how: Reading::Stale { min_index } }
            }
            (82..86, Some(job)) => What::Edit { job, verb: Verb::Cancel },
            (86..89, Some(job)) => What::Edit { job, verb: Verb::Pause },
            (89..91, Some(job)) => What::Edit { job, verb: Verb::Freeze },
            (91..94, Some(job)) => What::Edit { job, verb: Verb::Resume },
            (94..97, Some(job)) => {
                let verbs = [Verb::Retry, Verb::RetryFailed, Verb::RetryFrom];
                What::Edit { job, verb: self.chance.pick(&verbs).copied().unwrap_or(Verb::Retry) }
            }
            (97.., Some(job)) => {
                let task = self.chance.pick(&["a", "many", "first", "slow", "licensed"]).copied().unwrap_or("a");
                What::Reassign { job, task }
            }
            _ => {
                self.submitted += 1;
                let key = format!("c{}-{}", self.number, self.submitted);
                What::Submit { body: wishes::job(&mut self.chance, &key), key }
            }
        }
    }

    /// Takes an answer, unless the client has given up on it.
    pub(crate) fn on_answer(
        &mut self,
        now: Duration,
        number: u64,
        answer: &Answer,
        history: &mut History,
        counts: &mut Counts,
    ) -> Result<(), Violation> {
        if self.operation.as_ref().is_none_or(|operation| operation.request != Some(number)) {
            return Ok(());
        }
        let refused = matches!(answer.status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        // A damaged replica may say that it can't read what it has.
        if refused || (answer.status == StatusCode::INTERNAL_SERVER_ERROR && answer.damaged) {
            counts.refused += 1;
            if let Some(operation) = &mut self.operation {
                operation.request = None;
                // Every other refusal says that nothing was written.
                if code(answer).as_deref() == Some("outcome_unknown") {
                    operation.leave_open(history);
                }
                operation.until = now + self.chance.between(THINK_MIN, THINK_MAX);
            }
            return Ok(());
        }
        let Some(mut operation) = self.operation.take() else { return Ok(()) };
        self.idle_until = now + self.chance.between(THINK_MIN, THINK_MAX);
        let ticket = operation.ticket.take();
        let call = self.judge(&operation, answer, history, counts)?;
        if let (Some(ticket), Some(call)) = (ticket, call) {
            history.jobs.end(ticket, call);
        }
        Ok(())
    }

    /// The answer to a doubled submission: it must be about the same job.
    pub(crate) fn on_doubled(key: &str, answer: &Answer, history: &mut History) -> Result<(), Violation> {
        match serde_json::from_slice::<Submitted>(&answer.body) {
            Ok(submitted) if answer.status.is_success() => history.on_accepted(key, submitted.id, submitted.index),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// What the answer says, for the history of the job.
    fn judge(
        &mut self,
        operation: &Operation,
        answer: &Answer,
        history: &mut History,
        counts: &mut Counts,
    ) -> Result<Option<Call>, Violation> {
        let told = || format!("{:?} was answered {} {}", operation.what, answer.status, text(answer));
        match &operation.what {
            What::Submit { key, .. } => {
                let submitted: Submitted = serde_json::from_slice(&answer.body).map_err(|_| told())?;
                history.on_accepted(key, submitted.id, submitted.index)?;
                counts.accepted += 1;
                self.mine.push(submitted.id);
                let made = Made { job: submitted.id, existing: answer.status == StatusCode::OK };
                Ok(Some(Call::Submit { made: Some(made) }))
            }
            What::Read { how: Reading::Stale { min_index }, .. } => {
                counts.reads += 1;
                let says = answer.headers.contains_key("quorate-staleness-ms");
                if says && index_of(answer).is_some_and(|index| index >= *min_index) {
                    return Ok(None);
                }
                Err(format!("a stale read is older than was asked for, or does not say how stale: {}", told()))
            }
            What::Read { job, how: Reading::Linearizable } => {
                counts.reads += 1;
                let found = match answer.status {
                    StatusCode::NOT_FOUND => None,
                    StatusCode::OK => {
                        let view: JobView = serde_json::from_slice(&answer.body).map_err(|_| told())?;
                        Some((view.state, view.index))
                    }
                    _ => return Err(told()),
                };
                let index = index_of(answer).ok_or_else(told)?;
                history.on_read(&operation.begun, *job, index, found.map(|(_, changed)| changed))?;
                Ok(Some(Call::Read { found }))
            }
            What::Edit { verb, .. } => {
                let answered = match Self::judge_edit(answer, history, counts).ok_or_else(told)? {
                    // Which tasks a job has is not asked before.
                    Answered::NoSuchJob if *verb == Verb::RetryFrom && text(answer).contains(" has no task ") => {
                        Answered::Conflict
                    }
                    answered => answered,
                };
                Ok(Some(Call::Edit { verb: *verb, answer: answered }))
            }
            What::SetResource => {
                self.stocked = true;
                Self::judge_edit(answer, history, counts).map(|_| None).ok_or_else(told)
            }
            What::Reassign { .. } | What::ChangePolicy(_) | What::Entitle { .. } => {
                Self::judge_edit(answer, history, counts).map(|_| None).ok_or_else(told)
            }
        }
    }

    fn judge_edit(answer: &Answer, history: &mut History, counts: &mut Counts) -> Option<Answered> {
        match answer.status {
            status if status.is_success() => {
                let index = index_of(answer)?;
                counts.other_writes += 1;
                history.on_written(index);
                Some(Answered::Done(index))
            }
            StatusCode::CONFLICT => Some(Answered::Conflict),
            StatusCode::NOT_FOUND => Some(Answered::NoSuchJob),
            _ => None,
        }
    }
}

impl Operation {
    /// The request that was under way may still take effect.
    fn leave_open(&mut self, history: &mut History) {
        self.what.leave_open(self.ticket.take(), history);
    }
}

pub(crate) fn index_of(answer: &Answer) -> Option<LogIndex> {
    answer.headers.get("quorate-index")?.to_str().ok()?.parse().ok().map(LogIndex)
}

/// The stable code of a problem.
pub(crate) fn code(answer: &Answer) -> Option<String> {
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    Some(problem["code"].as_str()?.to_owned())
}

fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).chars().take(300).collect()
}

impl What {
    fn job(&self) -> Option<JobId> {
        match self {
            Self::Submit { .. } | Self::ChangePolicy(_) | Self::Entitle { .. } | Self::SetResource => None,
            Self::Read { job, .. } | Self::Edit { job, .. } | Self::Reassign { job, .. } => Some(*job),
        }
    }

    /// A request begins; `None` where the history does not take it up.
    fn begin(&self, history: &mut History) -> Option<Ticket> {
        match self {
            Self::Submit { key, .. } => Some(history.jobs.begin(key)),
            Self::Read { job, how: Reading::Linearizable } | Self::Edit { job, .. } => history.jobs.begin_on(*job),
            Self::Read { .. }
            | Self::Reassign { .. }
            | Self::ChangePolicy(_)
            | Self::Entitle { .. }
            | Self::SetResource => None,
        }
    }

    /// Nobody knows whether and when it takes effect.
    fn leave_open(&self, ticket: Option<Ticket>, history: &mut History) {
        let Some(ticket) = ticket else { return };
        match self {
            Self::Submit { .. } => history.jobs.leave_open(ticket, Call::Submit { made: None }),
            Self::Edit { verb, .. } => {
                history.jobs.leave_open(ticket, Call::Edit { verb: *verb, answer: Answered::Unknown });
            }
            // Whatever it would have seen, it changes nothing.
            Self::Read { .. }
            | Self::Reassign { .. }
            | Self::ChangePolicy(_)
            | Self::Entitle { .. }
            | Self::SetResource => {}
        }
    }
}
