//! Running a finished job again.

use std::collections::BTreeSet;
use std::sync::Arc;

use imbl::{OrdMap, OrdSet};
use quorate_types::api::TaskCounts;
use quorate_types::event::EventType;
use quorate_types::status::{JobState, TaskState};
use quorate_types::{End, JobId, Name, On, TaskIndex, Timestamp};

use super::Result;
use super::gates::JobNeeds;
use crate::archive::{self, Recalled};
use crate::command::RetryScope;
use crate::element::Element;
use crate::flow::{Flow, Slot};
use crate::job::{Job, Task, TaskHead};
use crate::lifecycle::{Change, Ended};
use crate::limits::UNFINISHED_ELEMENTS_MAX;
use crate::outcome::{Applied, Outcome, Rejection};
use crate::slots::SlotKey;
use crate::state::State;

/// What of a finished job runs again.
struct Scope {
    /// These tasks as a whole.
    tasks: BTreeSet<u32>,
    others: Others,
}

/// What becomes of the elements of the other tasks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    /// Those that succeeded are kept.
    Succeeded,
    /// All are.
    Finished,
    /// There are none, and what the job has gained is gone: it will be added again.
    Anew,
}

impl Scope {
    fn all(job: &Job) -> Self {
        Self { tasks: (0..job.tasks.len()).collect(), others: Others::Anew }
    }

    /// What did not succeed, and as a whole what depended on how that ended.
    fn not_succeeded(job: &Job) -> Self {
        let again = job.tasks.iter().filter(|(_, task)| task.head.end() != Some(End::Succeeded)).map(|(at, _)| at);
        let edges = again.flat_map(|at| job.plan.dependents(at)).filter(|edge| edge.on != On::Success);
        Self { tasks: job.with_dependents(edges.map(|edge| edge.task).collect()), others: Others::Succeeded }
    }

    fn from(job: &Job, first: u32) -> Self {
        Self { tasks: job.with_dependents(vec![first]), others: Others::Finished }
    }

    /// A task that has added others to the job would do so again, and they are there.
    fn unless_it_extends(self, job: &Job) -> std::result::Result<Self, Rejection> {
        let mut extensions = job.plan.growth().into_iter().flat_map(|growth| growth.extensions());
        let again = extensions.find(|extended| self.tasks.contains(&extended.by));
        match again.and_then(|extended| job.task_spec(extended.by)) {
            Some(task) => Err(Rejection::Extended { job: job.id(), task: task.name.clone() }),
            None => Ok(self),
        }
    }

    fn keeps(&self, task: u32, state: TaskState) -> bool {
        let kept = match self.others {
            Others::Succeeded => state == TaskState::Succeeded,
            Others::Finished | Others::Anew => state.is_finished(),
        };
        kept && !self.tasks.contains(&task)
    }

    /// How many elements run again.
    fn elements(&self, job: &Job) -> u64 {
        let submitted = job.spec.tasks.submitted().len();
        let tasks = job.tasks.iter().take(if self.others == Others::Anew { submitted } else { usize::MAX });
        let again = tasks.map(|(at, task)| {
            let head = &task.head;
            let kept = match self.others {
                Others::Succeeded => head.succeeded,
                Others::Finished | Others::Anew => head.succeeded + head.failed + head.cancelled,
            };
            head.count - if self.tasks.contains(&at) { 0 } else { kept }
        });
        again.map(u64::from).sum()
    }

    /// Whether nothing of the task runs again.
    fn keeps_task(&self, at: u32, head: &TaskHead) -> bool {
        let kept = match self.others {
            Others::Succeeded => head.end() == Some(End::Succeeded),
            Others::Finished | Others::Anew => head.end().is_some(),
        };
        kept && !self.tasks.contains(&at)
    }
}

impl Job {
    /// These tasks, the rest of their gangs, and all that need them, directly or through others.
    fn with_dependents(&self, mut open: Vec<u32>) -> BTreeSet<u32> {
        let mut tasks: BTreeSet<u32> = open.iter().copied().collect();
        while let Some(at) = open.pop() {
            let mates = self.gang(at).into_iter().flat_map(|gang| gang.tasks.iter().map(|(task, _)| *task));
            let dependents = self.plan.dependents(at).map(|edge| edge.task);
            open.extend(dependents.chain(mates).filter(|at| tasks.insert(*at)));
        }
        tasks
    }

    /// A task that would run again, but needs an end that another one, which is kept, does not have.
    fn unmet(&self, scope: &Scope) -> Option<u32> {
        let kept = self.tasks.iter().filter(|(at, task)| scope.keeps_task(*at, &task.head));
        let ends = kept.filter_map(|(at, task)| Some((at, task.head.end()?)));
        ends.flat_map(|(at, end)| self.plan.dependents(at).map(move |edge| (edge, end)))
            .find(|(edge, end)| !edge.each && scope.tasks.contains(&edge.task) && !edge.on.is_met_by(*end))
            .map(|(edge, _)| edge.task)
    }
}

impl State {
    pub(super) fn retry(
        &mut self,
        id: JobId,
        scope: RetryScope,
        recalled: Option<&Recalled>,
        out: &mut Applied,
    ) -> Result {
        self.run_again(id, recalled, out, |job| match scope {
            RetryScope::NotSucceeded if job.header.state == JobState::Succeeded => {
                Err(Rejection::JobState { job: id, state: JobState::Succeeded })
            }
            RetryScope::NotSucceeded => Scope::not_succeeded(job).unless_it_extends(job),
            RetryScope::All => Ok(Scope::all(job)),
        })
    }

    /// Runs a task again, and everything that needs it.
    pub(super) fn retry_from(
        &mut self,
        id: JobId,
        name: &Name,
        recalled: Option<&Recalled>,
        out: &mut Applied,
    ) -> Result {
        self.run_again(id, recalled, out, |job| {
            let no_such = || Rejection::NoSuchTask { job: id, task: name.clone(), index: TaskIndex(0) };
            let first = job.position_of(name).ok_or_else(no_such)?;
            let scope = Scope::from(job, first).unless_it_extends(job)?;
            match job.unmet(&scope).and_then(|task| job.task_spec(task)) {
                Some(task) => Err(Rejection::NeedUnmet { job: id, task: task.name.clone() }),
                None => Ok(scope),
            }
        })
    }

    fn run_again(
        &mut self,
        id: JobId,
        recalled: Option<&Recalled>,
        out: &mut Applied,
        scope: impl FnOnce(&Job) -> std::result::Result<Scope, Rejection>,
    ) -> Result {
        let job = self.recall(id, recalled)?;
        let state = job.header.state;
        let finished_at = job.header.finished_at.ok_or(Rejection::JobState { job: id, state })?;
        if job.is_schedule() {
            return Err(Rejection::Schedule(id));
        }
        if job.is_service() {
            return Err(Rejection::Service(id));
        }
        let unfinished = self.cluster.totals.unfinished_elements;
        if unfinished + job.header.counts.total + job.spec.elements_to_follow() > UNFINISHED_ELEMENTS_MAX {
            return Err(Rejection::QueueFull(unfinished));
        }
        let scope = scope(&job)?;
        self.check_namespace(&job.spec.namespace, scope.elements(&job) + job.spec.elements_to_follow())?;
        // A time that is over would end the job at once.
        let ahead = |time: Option<Timestamp>| time.filter(|time| *time > out.time);
        let flow = Flow::of(&job.spec, job.header.submitted_at, out.time);
        let flow = Flow { deadline: ahead(flow.deadline), expires: ahead(flow.expires), ..flow };
        let again = |at: u32| job.task(at).is_some_and(|task| !scope.keeps_task(at, &task.head));
        let begun = |at: u32| job.task(at).is_some_and(Task::has_begun);
        let needs = self.job_needs(&job.spec, again, begun);
        self.check_awaited(needs.awaited.iter().map(|(_, other)| *other))?;
        if let Some(key) = SlotKey::of(&job) {
            self.check_line(&key)?;
        }
        self.take_up_finished(&job, finished_at);
        self.edit(id, out, |change| {
            change.cluster.unnote_finished(change.job, finished_at);
            change.cluster.unnote_submitted(change.job);
            if scope.others == Others::Anew && change.job.plan.growth().is_some() {
                change.job.give_up_gains();
                // Other tasks may get the same positions: what is kept of outputs goes by them.
                archive::drop_job(id, change.cluster, change.out);
                change.job.header.output_bytes = 0;
            }
            reopen(change.job, &scope, flow, &needs);
            change.job.header.changed = change.out.index;
            change.cluster.note_submitted(change.job);
            change.cluster.enlist(change.job);
            change.cluster.queue.update_all(change.job);
            change.emit_job(EventType::JobRetried);
            change.follow_what_was_kept();
            change.resolve_past_needs(&needs.past);
        });
        self.on_run_retried(id, out);
        if let Some(key) = SlotKey::of(&job) {
            self.admit(&key, out);
        }
        Ok(Outcome::Done)
    }
}

/// Makes the job what it would be if the tasks in scope had never been tried; attempts stay listed,
/// and their numbers go on.
fn reopen(job: &mut Job, scope: &Scope, flow: Flow, needs: &JobNeeds) {
    let header = &mut job.header;
    (header.state, header.cancelling) = (JobState::Pending, false);
    (header.paused, header.frozen) = (false, false);
    (header.started_at, header.finished_at, header.result_bytes) = (None, None, 0);
    let (run, follows) = (header.flow().run, header.flow().follows);
    let waits = job.spec.concurrency.is_some() && flow.start_at.is_none();
    let slot = if waits { Slot::Waiting } else { Slot::None };
    let gate = u32::from(waits || flow.start_at.is_some());
    let needed = needs.counts();
    let mut counts = TaskCounts { total: header.counts.total, ..TaskCounts::default() };
    let mut skipped = 0;
    for at in 0..job.tasks.len() {
        let open_needs = job.plan.needs(at) + gate + needed.get(&at).copied().unwrap_or(0);
        let fresh_head = TaskHead::new(&job.spec.tasks[at as usize], open_needs);
        let Some(task) = job.task_mut(at) else { continue };
        let old = task.head;
        task.head = TaskHead { fresh: old.fresh, ..fresh_head };
        if scope.keeps_task(at, &old) {
            (task.head.fresh_cancelled, task.head.skipped) = (old.fresh_cancelled, old.skipped);
            skipped += u64::from(old.skipped);
        }
        reopen_elements(at, task, scope, &mut counts);
    }
    let awaited = needs.awaited.clone();
    let flow = Flow { slot, awaited, run, follows, skipped, kept_failed: counts.failed, ..flow };
    job.header.flow = (flow != Flow::PLAIN).then(|| Box::new(flow));
    job.header.counts = counts;
    let elements = job.tasks.values().flat_map(|task| task.elements.values());
    let kept = elements.filter_map(|element| element.result.as_ref()).map(|result| result.len() as u64);
    job.header.result_bytes = kept.sum();
}

fn reopen_elements(at: u32, task: &mut Task, scope: &Scope, counts: &mut TaskCounts) {
    let state = task.head.fresh_state();
    let initial = if state == TaskState::Cancelled { TaskState::Waiting } else { state };
    let mut elements = OrdMap::new();
    let mut ready = OrdSet::new();
    for (index, element) in &task.elements {
        if scope.keeps(at, element.state) {
            *counts.of(element.state) += 1;
            if let Some(ended) = task.head.of_end(element.state) {
                *ended += 1;
            }
            elements.insert(*index, element.clone());
            continue;
        }
        let attempts = element.attempts.clone();
        elements.insert(*index, Arc::new(Element { attempts, ..Element::new(initial) }));
        *counts.of(initial) += 1;
        if initial == TaskState::Pending {
            ready.insert(*index);
        }
    }
    *counts.of(state) += u64::from(task.head.fresh_len());
    (task.elements, task.ready) = (elements, ready);
}

impl Change<'_> {
    /// What was kept has ended already: those that need it go on, or are left out, as then.
    fn follow_what_was_kept(&mut self) {
        let plan = self.job.plan.clone();
        for (at, task) in self.job.tasks.iter() {
            if plan.feeds_elements(at) {
                let kept = task.elements().filter(|(_, element)| element.state.is_finished());
                self.ended.extend(kept.map(|(index, _)| Ended::Element(at, index)));
                if task.head.fresh_cancelled && task.head.fresh_len() > 0 {
                    self.ended.push_back(Ended::Fresh(at, task.head.fresh));
                }
            }
            if task.head.end().is_some() {
                self.ended.push_back(Ended::Task(at));
            }
        }
        self.settle();
    }
}
