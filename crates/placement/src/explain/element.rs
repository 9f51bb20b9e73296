//! One element, in whatever state it is.

use std::cell::OnceCell;

use quorate_state::State;
use quorate_state::archive::JobRecord;
use quorate_state::element::Element;
use quorate_state::gang::Gang;
use quorate_state::job::{ElementKey, Job, TaskHead};
use quorate_state::queue::Queued;
use quorate_types::explain::{Explanation, GangOutlook, GangTask, QueuePlace, RoomMade, StartBasis, StartForecast};
use quorate_types::policy::PlacementOrder;
use quorate_types::status::TaskState;
use quorate_types::{Epoch, JobId, TaskIndex, Timestamp};

use super::line::{Line, Seat};
use super::survey::{self, Beyond};
use super::words::{self, Circumstances};
use super::{Subject, Voice, WORKERS_LISTED_MAX, attempt, end, gates, protected, room, service, waits};

/// Explains an element of a job in memory; none if there is no such element.
pub fn element(state: &State, now: Timestamp, id: JobId, task: u32, index: TaskIndex) -> Option<Explanation> {
    let job = state.job(id)?;
    let queued = Queued { job: id, task };
    let line = is_in_line(state, job, task, index).then(|| {
        let seated = Queued { task: job.queued_as(task), ..queued };
        Line::new(state, now, &[seated])
    });
    let scene = Scene::new(state, now, Voice::Real, line.as_ref(), WORKERS_LISTED_MAX);
    scene.explain(job, task, index)
}

/// Explains an element of a job that has left memory; `head` is that of its task.
pub fn archived(
    now: Timestamp,
    record: &JobRecord,
    task: u32,
    index: TaskIndex,
    element: Option<&Element>,
) -> Option<Explanation> {
    let heads = |at: u32| record.tasks.get(at as usize).copied();
    let head = heads(task).filter(|head| index.0 < head.count)?;
    let state = element.map_or_else(|| head.fresh_state(), |element| element.state);
    let subject = Subject {
        voice: Voice::Real,
        header: &record.header,
        spec: &record.spec,
        heads: &heads,
        task,
        index,
        record: element,
    };
    let mut explanation = blank(&subject, state)?;
    explanation.end = end::of(&subject, state);
    words::say(&mut explanation, &Circumstances::of(&subject, now));
    Some(explanation)
}

/// Whether the element could be placed, so that its place in the queue is worth finding.
pub(super) fn is_in_line(state: &State, job: &Job, task: u32, index: TaskIndex) -> bool {
    let is_pending = job.task(task).and_then(|found| found.state_of(index)) == Some(TaskState::Pending);
    is_pending && waits::of(state, job, task, index).0.is_empty()
}

/// What explanations of one version share.
pub(super) struct Scene<'a> {
    pub(super) state: &'a State,
    pub(super) now: Timestamp,
    pub(super) voice: Voice,
    /// Made if any of the elements is in line.
    pub(super) line: Option<&'a Line>,
    pub(super) listed_max: usize,
    /// What was told to stop for the job, once somebody has asked.
    room: OnceCell<Vec<RoomMade>>,
}

impl<'a> Scene<'a> {
    pub(super) const fn new(
        state: &'a State,
        now: Timestamp,
        voice: Voice,
        line: Option<&'a Line>,
        listed_max: usize,
    ) -> Self {
        Self { state, now, voice, line, listed_max, room: OnceCell::new() }
    }

    pub(super) fn explain(&self, job: &Job, task: u32, index: TaskIndex) -> Option<Explanation> {
        let found = job.task(task)?;
        let state = found.state_of(index)?;
        let heads = |at: u32| -> Option<TaskHead> { job.task(at).map(|task| task.head) };
        let subject = Subject {
            voice: self.voice,
            header: &job.header,
            spec: &job.spec,
            heads: &heads,
            task,
            index,
            record: found.element(index),
        };
        let mut explanation = blank(&subject, state)?;
        match state {
            TaskState::Waiting | TaskState::Pending => {
                explanation.previous = subject.record.and_then(attempt::previous);
                self.look_ahead(&mut explanation, job, task, index)?;
            }
            TaskState::Assigned | TaskState::Running | TaskState::Stopping => {
                let at = ElementKey { job: job.id(), task, index };
                explanation.attempt = subject.record.and_then(|element| attempt::of(self.state, job, &at, element));
                explanation.waits_for = gates::locks(self.state, &at);
            }
            TaskState::Succeeded | TaskState::Failed | TaskState::Cancelled => {
                explanation.end = end::of(&subject, state);
            }
        }
        words::say(&mut explanation, &Circumstances::of(&subject, self.now));
        if explanation.start.as_ref().is_some_and(|start| start.basis == StartBasis::Now) {
            let open = explanation.workers.as_ref().map_or(0, |workers| workers.open);
            explanation.sentences.push(chooser(self.state.policy().placement, open));
        }
        explanation.sentences.extend(service::of_element(job, task, index));
        Some(explanation)
    }

    /// What an element that has not started waits for, and where it may go.
    fn look_ahead(&self, out: &mut Explanation, job: &Job, task: u32, index: TaskIndex) -> Option<()> {
        let (spec, queued) = (job.task_spec(task)?, Queued { job: job.id(), task });
        (out.waits_for, out.waits_for_more) = waits::of(self.state, job, task, index);
        // A gang has one seat.
        let seated = Queued { task: job.queued_as(task), ..queued };
        let line = self.line.filter(|line| out.waits_for.is_empty() && line.seat(seated).is_some());
        let Some((line, seat)) = line.and_then(|line| Some((line, line.seat(seated)?))) else {
            out.waits_for.extend(gates::closed(self.state, self.now, job, task, index, None));
            out.workers = Some(survey::of(self.state, spec, None, self.listed_max));
            return Some(());
        };
        let before = job.task(task)?.pending_before(index);
        let gang = job.gang(task);
        out.gang = gang.and_then(|gang| outlook(job, gang, line.fit(seated)));
        let before = if gang.is_some() { u64::from(index.0) } else { before };
        let rank = gang.map(|gang| u64::from(gang.rank_of(task)) + before);
        out.start = self.forecast(line, queued, before as usize, rank.map(|rank| (seated, rank)));
        let starts = out.start.as_ref().is_some_and(|start| start.basis == StartBasis::Now);
        out.queue = Some(self.place(seat, if gang.is_some() { 0 } else { before }));
        if out.start.is_none() {
            out.waits_for = gates::closed(self.state, self.now, job, task, index, Some(line));
        }
        // Who waits for something else is in nobody's way at a worker.
        let short = out.gang.as_ref().filter(|gang| gang.fit < gang.size).map(|gang| gang.name.clone());
        let beyond = Beyond { line, queued, voice: self.voice, starts, gang: short };
        let beyond = out.waits_for.is_empty().then_some(beyond);
        out.workers = Some(survey::of(self.state, spec, beyond.as_ref(), self.listed_max));
        if !starts {
            out.room.clone_from(self.room.get_or_init(|| room::made_for(self.state, job.id())));
            if out.waits_for.is_empty() {
                out.protected = protected::by_quota(self.state, self.now, job, task, line, seat);
            }
        }
        Some(())
    }

    /// Where the element starts that has so many of its task before it. What is kept for a gang is in the order of
    /// its ranks.
    fn forecast(
        &self,
        line: &Line,
        queued: Queued,
        before: usize,
        ranked: Option<(Queued, u64)>,
    ) -> Option<StartForecast> {
        let name = |epoch: Epoch| self.state.worker_of(epoch).map(|worker| worker.name.clone());
        let starts = line.starts(queued);
        if let Some(epoch) = starts.get(before) {
            return Some(StartForecast { basis: StartBasis::Now, worker: name(*epoch)?, at: None });
        }
        let kept = match ranked {
            Some((gang, rank)) => line.kept_for(gang).nth(rank as usize)?,
            None => line.kept_for(queued).nth(before - starts.len())?,
        };
        let basis = if kept.at.is_some() { StartBasis::Reservation } else { StartBasis::Hold };
        Some(StartForecast { basis, worker: name(kept.epoch)?, at: kept.at })
    }

    fn place(&self, seat: &Seat, elements_before: u64) -> QueuePlace {
        let facts = &seat.facts;
        QueuePlace {
            policy: self.state.policy().queue,
            place: seat.before + 1,
            of: seat.of,
            elements_before,
            namespace: facts.namespace.clone(),
            submitted_at: facts.submitted,
            in_line_since: facts.turn,
            priority: facts.priority,
            expected: seat.expected,
            deadline: facts.deadline,
            open_dependencies: facts.open_dependencies,
            path: facts.path,
            namespace_use: seat.namespace_use,
            quota: seat.quota.clone(),
        }
    }
}

/// Who chooses the worker, and whether the leader may come to another one of those that are open: what it is about to
/// draw, whose turn it has come to and what it begins from is known to it alone.
fn chooser(placement: PlacementOrder, open: u64) -> String {
    let chooses = format!("Of the workers that may take it the placement {placement} chooses");
    let how = match placement {
        PlacementOrder::Random | PlacementOrder::PowerOfTwo => "by chance",
        PlacementOrder::RoundRobin | PlacementOrder::WeightedRoundRobin => "in turn",
        PlacementOrder::Spread | PlacementOrder::MinCostFlow => "going on from its last round",
        PlacementOrder::BestFit | PlacementOrder::WorstFit => return format!("{chooses}."),
        PlacementOrder::LeastLoad | PlacementOrder::LeastJobs => return format!("{chooses}."),
        PlacementOrder::LowestUtilisation | PlacementOrder::ConsistentHash => return format!("{chooses}."),
    };
    if open > 1 { format!("{chooses}, {how}: it may be another one.") } else { format!("{chooses}.") }
}

/// What the gang asks for, of which so many would fit now.
fn outlook(job: &Job, gang: &Gang, fit: u64) -> Option<GangOutlook> {
    let specs = gang.tasks.iter().filter_map(|(task, _)| job.task_spec(*task));
    let tasks =
        specs.map(|spec| GangTask { task: spec.name.clone(), count: spec.count, resources: spec.resources.clone() });
    let name = job.task_spec(gang.first_task())?.gang.clone()?;
    Some(GangOutlook { name, size: u64::from(gang.size()), fit, tasks: tasks.collect() })
}

/// Nothing but who it is.
fn blank(subject: &Subject<'_>, state: TaskState) -> Option<Explanation> {
    Some(Explanation {
        job: subject.voice.job(subject.header.id),
        task: subject.spec.tasks.get(subject.task as usize)?.name.clone(),
        index: subject.index,
        state,
        sentences: Vec::new(),
        waits_for: Vec::new(),
        waits_for_more: 0,
        gang: None,
        queue: None,
        workers: None,
        start: None,
        room: Vec::new(),
        protected: Vec::new(),
        previous: None,
        attempt: None,
        end: None,
        unblock: Vec::new(),
    })
}
