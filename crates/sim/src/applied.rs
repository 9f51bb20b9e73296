//! What replicas applied at each index: the first to apply it says what it must be.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex};

use quorate_state::State;
use quorate_state::outcome::{Applied as Step, Event};
use quorate_types::event::EventType;
use quorate_types::policy::Policy;
use quorate_types::status::TaskState;
use quorate_types::{AttemptNumber, End, JobId, LogIndex, Name, ReplicaId, Span, TaskIndex, Timestamp};
use xxhash_rust::xxh3::Xxh3;

use crate::history::Violation;
use crate::physical::KEPT;

/// The task that a rate bounds: so many attempts start in any such span.
pub(crate) const RATED: &str = "rated";
pub(crate) const RATE_LIMIT: usize = 5;
pub(crate) const RATE_PER: Span = Span::from_secs(3);

pub(crate) type Applied = Arc<Mutex<AppliedLog>>;

/// Elements of the service, and how many of them may be unavailable in a rollout.
pub(crate) const KEPT_COUNT: usize = 4;
pub(crate) const KEPT_MAX: usize = 2;

/// How the reason begins if a task could not be started. Nothing is wrong with the programs of a simulation, nor with
/// what they need; and a worker that is not allowed to start anything any more must not blame the task.
const NOT_STARTED: &str = "could not be started";

/// One attempt of one element of a task.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Attempt {
    pub(crate) job: JobId,
    pub(crate) task: Name,
    pub(crate) index: TaskIndex,
    pub(crate) number: AttemptNumber,
}

#[derive(Default)]
pub(crate) struct AppliedLog {
    hashes: BTreeMap<LogIndex, u64>,
    /// How many events each index has.
    pub(crate) events: BTreeMap<LogIndex, u64>,
    /// Stands for everything that was applied.
    pub(crate) digest: Xxh3,
    /// The result that counts, of each element that succeeded.
    results: BTreeMap<JobId, BTreeMap<(Name, TaskIndex), AttemptNumber>>,
    /// Successes that were accepted since the last look: somebody must have exited with 0.
    pub(crate) news: Vec<Attempt>,
    pub(crate) violation: Option<Violation>,
    /// Elements of services that run and are well.
    well: BTreeMap<JobId, BTreeSet<TaskIndex>>,
    /// The service with so many elements.
    pub(crate) service: Option<JobId>,
    /// Elements by the policies that were in force when they were assigned.
    pub(crate) assigned: BTreeMap<String, u64>,
    ends: BTreeMap<JobId, Vec<(Timestamp, End)>>,
    /// When attempts of that task started that may still count.
    rated: VecDeque<Timestamp>,
}

/// Takes text in, and keeps nothing of it.
struct Hashing(Xxh3);

impl fmt::Write for Hashing {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

impl AppliedLog {
    /// `state` is what it led to.
    pub(crate) fn note(&mut self, replica: ReplicaId, state: &State, applied: &Step) {
        let mut hasher = Hashing(Xxh3::new());
        // Hashing can't fail.
        let _ = write!(hasher, "{:?} {:?} {:?}", applied.time, applied.outcomes, applied.events);
        let (index, hash) = (applied.index, hasher.0.digest());
        if let Some(first) = self.hashes.get(&index) {
            if *first != hash && self.violation.is_none() {
                self.violation = Some(format!("replica {replica} applied something else at index {index}"));
            }
            return;
        }
        self.hashes.insert(index, hash);
        self.events.insert(index, applied.events.len() as u64);
        self.digest.update(&index.0.to_le_bytes());
        self.digest.update(&hash.to_le_bytes());
        self.note_policy(state, applied);
        for event in &applied.events {
            self.on_end(event, applied.time);
            let judged = comes_with_success(event, &applied.events).and_then(|()| self.on_event(event, state));
            if let Err(violation) =
                judged.and_then(|()| self.on_start(event, applied.time)).and_then(|()| self.on_kept(event))
            {
                self.violation.get_or_insert(violation);
            }
        }
    }

    /// How many elements were assigned while which policies were in force.
    fn note_policy(&mut self, state: &State, applied: &Step) {
        let assigned = applied.events.iter().filter(|event| event.kind == EventType::TaskAssigned);
        let assigned = assigned.map(|event| event.count.map_or(1, u64::from)).sum::<u64>();
        if assigned > 0 {
            let Policy { queue, backfill, placement, .. } = state.policy();
            for name in [format!("{queue:?}"), format!("Backfill::{backfill:?}"), format!("Placement::{placement:?}")] {
                *self.assigned.entry(name).or_default() += assigned;
            }
        }
    }

    /// One accepted result for each element, until its job is run again.
    fn on_event(&mut self, event: &Event, state: &State) -> Result<(), Violation> {
        let Some(job) = event.job else { return Ok(()) };
        if let Some(reason) = event.reason.as_ref().filter(|reason| reason.starts_with(NOT_STARTED)) {
            return Err(format!("a task of job {job}: {reason}"));
        }
        match (event.kind, &event.task, event.index, event.attempt) {
            (EventType::JobRetried, ..) => {
                let kept = |task: &Name, index: TaskIndex| {
                    let job = state.job(job)?;
                    job.task(job.position_of(task)?)?.state_of(index)
                };
                let results = self.results.entry(job).or_default();
                results.retain(|(task, index), _| kept(task, *index) == Some(TaskState::Succeeded));
            }
            (EventType::TaskSucceeded, Some(task), Some(index), Some(number)) => {
                let results = self.results.entry(job).or_default();
                if let Some(before) = results.insert((task.clone(), index), number) {
                    return Err(format!(
                        "{task}[{index}] of job {job} has two accepted results, of the attempts {before} and {number}"
                    ));
                }
                self.news.push(Attempt { job, task: task.clone(), index, number });
            }
            (EventType::TaskAssigned | EventType::TaskPending, Some(task), Some(index), _)
                if event.count.is_none()
                    && self.results.get(&job).is_some_and(|results| results.contains_key(&(task.clone(), index))) =>
            {
                return Err(format!("{task}[{index}] of job {job} has succeeded and is to run again"));
            }
            _ => {}
        }
        Ok(())
    }

    /// When jobs have ended first, and how often in which way.
    fn on_end(&mut self, event: &Event, now: Timestamp) {
        let end = match event.kind {
            EventType::JobSucceeded => End::Succeeded,
            EventType::JobFailed => End::Failed,
            EventType::JobCancelled => End::Cancelled,
            _ => return,
        };
        if let Some(job) = event.job {
            self.ends.entry(job).or_default().push((now, end));
        }
    }

    /// When a job has ended, and how: more than once if it was tried again.
    pub(crate) fn ends(&self, job: JobId) -> &[(Timestamp, End)] {
        self.ends.get(&job).map_or(&[], Vec::as_slice)
    }

    /// No more start than the rate allows, wherever the span begins.
    fn on_start(&mut self, event: &Event, now: Timestamp) -> Result<(), Violation> {
        if event.kind != EventType::TaskAssigned || event.task.as_ref().is_none_or(|task| task.as_str() != RATED) {
            return Ok(());
        }
        while self.rated.front().is_some_and(|start| start.plus(RATE_PER) <= now) {
            self.rated.pop_front();
        }
        self.rated.push_back(now);
        if self.rated.len() > RATE_LIMIT {
            return Err(format!("more than {RATE_LIMIT} attempts of a rate started in {RATE_PER}: {:?}", self.rated));
        }
        Ok(())
    }

    /// No element that is well is ended for a new version if too few others are.
    fn on_kept(&mut self, event: &Event) -> Result<(), Violation> {
        let (Some(job), Some(index)) = (event.job, event.index) else { return Ok(()) };
        if event.task.as_ref().is_none_or(|task| task.as_str() != KEPT) {
            return Ok(());
        }
        let well = self.well.entry(job).or_default();
        match event.kind {
            EventType::TaskHealthy => drop(well.insert(index)),
            EventType::TaskStopping => {
                let was_well = well.remove(&index);
                let for_another = event.reason.as_deref() == Some("it gets another version");
                if was_well && for_another && event.job == self.service && well.len() + KEPT_MAX < KEPT_COUNT {
                    return Err(format!(
                        "of {KEPT_COUNT} elements of job {job} only {well:?} are left well by a rollout"
                    ));
                }
            }
            EventType::TaskPending | EventType::TaskWaiting | EventType::TaskCancelled => drop(well.remove(&index)),
            _ => {}
        }
        Ok(())
    }

    /// How many elements of a job have an accepted result.
    pub(crate) fn results(&self, job: JobId) -> u64 {
        self.results.get(&job).map_or(0, |results| results.len() as u64)
    }
}

/// What is added to a job is there with the success that brings it.
fn comes_with_success(event: &Event, all: &[Event]) -> Result<(), Violation> {
    let is_success =
        |other: &&Event| other.kind == EventType::TaskSucceeded && (other.job, &other.task) == (event.job, &event.task);
    if event.kind == EventType::JobExtended && !all.iter().any(|other| is_success(&other)) {
        return Err(format!("job {:?} was extended by {:?} without a success of it", event.job, event.task));
    }
    Ok(())
}
