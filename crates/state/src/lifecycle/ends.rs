//! What the end of a task or of one element means for those that need it. Ends are noted as they come and
//! followed one after the other, so that a chain of ten thousand tasks is no deep recursion.

use std::collections::BTreeMap;

use quorate_types::event::EventType;
use quorate_types::status::TaskState;
use quorate_types::{Bug, End, On, TaskIndex, is_planted};

use super::Change;
use crate::job::ElementKey;
use crate::plan::Edge;

/// Something that has ended and that others may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Task(u32),
    Element(u32, TaskIndex),
    /// The elements from this one on, which never had a record.
    Fresh(u32, u32),
}

/// What became of a condition.
enum Met {
    Open,
    Yes,
    /// It can't come about any more; whether that is what the job's author provided for.
    No {
        skipped: bool,
    },
}

impl Change<'_> {
    /// Notes ends for [`follow_ends`](Self::follow_ends), after elements of `task` have finished.
    pub(super) fn note_end(&mut self, task: u32, index: Option<TaskIndex>) {
        if let Some(index) = index.filter(|_| self.job.plan.feeds_elements(task)) {
            self.ended.push_back(Ended::Element(task, index));
        }
        if self.job.task(task).is_some_and(|found| found.head.end().is_some()) {
            self.ended.push_back(Ended::Task(task));
        }
    }

    /// Lets go on what waited for the ends that were noted, and cancels what waited for others.
    pub(super) fn follow_ends(&mut self) {
        let plan = self.job.plan.clone();
        while let Some(ended) = self.ended.pop_front() {
            match ended {
                Ended::Element(task, index) => {
                    for edge in plan.dependents(task).filter(|edge| edge.each) {
                        self.look_at_element(edge.task, index);
                    }
                }
                Ended::Fresh(task, from) => {
                    let skipped = self.job.task(task).is_some_and(|found| found.head.is_skipped());
                    for edge in plan.dependents(task).filter(|edge| edge.each) {
                        self.look_at_elements_from(edge, from, skipped);
                    }
                }
                Ended::Task(task) => {
                    for edge in plan.dependents(task).filter(|edge| !edge.each) {
                        self.on_task_end(task, edge);
                    }
                }
            }
        }
    }

    pub(crate) fn on_task_end(&mut self, task: u32, edge: Edge) {
        let Some(head) = self.job.task(task).map(|found| found.head) else { return };
        let Some(end) = head.end() else { return };
        match met(edge.on, Some(end), head.is_skipped()) {
            Met::Open => {}
            Met::Yes => self.meet(edge.task),
            Met::No { skipped } => self.miss(edge.task, skipped),
        }
    }

    /// One thing less that the task waits for.
    pub(crate) fn meet(&mut self, task: u32) {
        let doomed = self.is_doomed(task);
        let Some(found) = self.job.task_mut(task) else { return };
        if is_planted(Bug::NeedsOnlyStarted) && found.head.open_needs == 0 {
            return;
        }
        found.head.open_needs -= 1;
        if found.head.open_needs == 0 && !doomed {
            self.open_task(task);
        }
    }

    /// What the task waits for can't come about: it will never run.
    pub(crate) fn miss(&mut self, task: u32, skipped: bool) {
        let before = self.job.header.counts.cancelled;
        self.cancel_unstarted_of(task);
        self.note_skipped(task, self.job.header.counts.cancelled - before, skipped);
    }

    fn note_skipped(&mut self, task: u32, elements: u64, skipped: bool) {
        if skipped && elements > 0 {
            self.job.header.flow_mut().skipped += elements;
            if let Some(found) = self.job.task_mut(task) {
                found.head.skipped += elements as u32;
            }
        }
    }

    /// An element failed for good: what needs the success of its task will not see it.
    pub(super) fn miss_success_of(&mut self, task: u32) {
        let plan = self.job.plan.clone();
        for edge in plan.dependents(task).filter(|edge| edge.on == On::Success && !edge.each) {
            self.miss(edge.task, false);
        }
    }

    /// All needs of the task have come about: its waiting elements could be placed now.
    fn open_task(&mut self, task: u32) {
        let Some(found) = self.job.task_mut(task) else { return };
        if found.head.each {
            return self.look_at_all_elements(task);
        }
        let fresh = if found.head.fresh_cancelled { 0 } else { found.head.fresh_len() };
        let from = found.head.fresh;
        let tried: Vec<u32> = found
            .elements
            .iter()
            .filter(|(_, e)| e.state == TaskState::Waiting && e.wait_until.is_none())
            .map(|(index, _)| *index)
            .collect();
        if fresh > 0 {
            self.count(TaskState::Waiting, TaskState::Pending, u64::from(fresh));
            self.emit_range(EventType::TaskPending, task, from, fresh);
        }
        for index in tried {
            self.move_element(task, TaskIndex(index), TaskState::Pending);
            self.emit(EventType::TaskPending, task, TaskIndex(index), None);
        }
        self.cluster.queue.update(self.job, task);
    }

    /// The task waits for single elements only: looks at those whose counterparts have ended.
    fn look_at_all_elements(&mut self, task: u32) {
        let plan = self.job.plan.clone();
        let Some(edge) = plan.each(task).next() else { return };
        let Some(first) = self.job.task(edge.task) else { return };
        let untouched = if first.head.fresh_cancelled { first.head.fresh..first.head.count } else { 0..0 };
        let touched = first.elements().filter(|(_, e)| e.state.is_finished()).map(|(index, _)| index);
        let ended: Vec<TaskIndex> = touched.chain(untouched.map(TaskIndex)).collect();
        for index in ended {
            self.look_at_element(task, index);
        }
    }

    /// Lets one element go on, or cancels it, if all of its counterparts have ended.
    pub(crate) fn look_at_element(&mut self, task: u32, index: TaskIndex) {
        let Some(found) = self.job.task(task) else { return };
        let backs_off = found.element(index).is_some_and(|element| element.wait_until.is_some());
        if found.state_of(index) != Some(TaskState::Waiting) || backs_off {
            return;
        }
        let (open_needs, plan) = (found.head.open_needs, self.job.plan.clone());
        let mut all_met = open_needs == 0 && !self.is_doomed(task);
        for edge in plan.each(task) {
            match self.met_by_element(&edge, index) {
                Met::Open => all_met = false,
                Met::Yes => {}
                Met::No { skipped } => return self.miss_element(task, index, skipped),
            }
        }
        if all_met {
            if let Some(found) = self.job.task_mut(task) {
                found.materialise(index);
            }
            self.move_element(task, index, TaskState::Pending);
            self.emit(EventType::TaskPending, task, index, None);
        }
    }

    fn met_by_element(&self, edge: &Edge, index: TaskIndex) -> Met {
        let Some(other) = self.job.task(edge.task) else { return Met::Open };
        let end = other.state_of(index).and_then(|state| match state {
            TaskState::Succeeded => Some(End::Succeeded),
            TaskState::Failed => Some(End::Failed),
            TaskState::Cancelled => Some(End::Cancelled),
            TaskState::Waiting
            | TaskState::Pending
            | TaskState::Assigned
            | TaskState::Running
            | TaskState::Stopping => None,
        });
        met(edge.on, end, other.head.is_skipped())
    }

    fn miss_element(&mut self, task: u32, index: TaskIndex, skipped: bool) {
        if let Some(found) = self.job.task_mut(task) {
            found.materialise(index);
        }
        self.cancel_element(&ElementKey { job: self.job.id(), task, index });
        self.note_skipped(task, 1, skipped);
    }

    /// The counterparts from `from` on were cancelled without a record.
    pub(crate) fn look_at_elements_from(&mut self, edge: Edge, from: u32, skipped: bool) {
        let Some(found) = self.job.task_mut(edge.task) else { return };
        let count = found.head.count;
        if edge.on == On::Finish {
            return (from..count).for_each(|at| self.look_at_element(edge.task, TaskIndex(at)));
        }
        if from > 0 {
            found.materialise(TaskIndex(from - 1));
        }
        let with_record = found.head.fresh;
        (from..with_record).for_each(|at| self.look_at_element(edge.task, TaskIndex(at)));
        let before = self.job.header.counts.cancelled;
        self.cancel_fresh_of(edge.task);
        self.note_skipped(edge.task, self.job.header.counts.cancelled - before, skipped);
    }

    /// Marks what is there for the failure of `task`, so that the failure does not cancel it: what needs the
    /// failure itself, what needs some end whatever it is, and what comes after those.
    pub(super) fn spare_handlers(&mut self, task: u32) {
        let plan = self.job.plan.clone();
        let mut seen: BTreeMap<u32, bool> = BTreeMap::new();
        let mut open: Vec<(u32, bool)> = (0..self.job.tasks.len()).map(|at| (at, false)).collect();
        while let Some((at, spared)) = open.pop() {
            for edge in plan.dependents(at) {
                let handles = spared || edge.on == On::Finish || (edge.on == On::Failure && at == task);
                if seen.get(&edge.task).is_none_or(|known| handles && !known) {
                    seen.insert(edge.task, handles);
                    open.push((edge.task, handles));
                }
            }
        }
        for (at, _) in seen.into_iter().filter(|(_, handles)| *handles) {
            if let Some(found) = self.job.task_mut(at) {
                found.head.handler = true;
            }
        }
    }
}

/// `skipped`: the other one was itself left out on purpose.
fn met(on: On, end: Option<End>, skipped: bool) -> Met {
    match end {
        None => Met::Open,
        Some(end) if on.is_met_by(end) => Met::Yes,
        Some(end) => Met::No { skipped: end == End::Succeeded || (end == End::Cancelled && skipped) },
    }
}
