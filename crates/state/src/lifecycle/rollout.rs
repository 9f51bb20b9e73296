//! How the elements of a service go on, and go over to another version. Each step is taken by the entry that makes it
//! possible, and depends on nothing but the state.

use std::sync::Arc;

use quorate_types::event::EventType;
use quorate_types::service::Kind;
use quorate_types::status::{Ending, StopReason, TaskState};
use quorate_types::{Name, Span, TaskIndex};

use super::Change;
use crate::element::{AfterStop, Attempt, Element};
use crate::job::ElementKey;
use crate::service::Member;

/// How the attempt of an element of a service ended.
pub(super) enum Gone<'a> {
    /// It was asked to, or its worker left.
    Stopped,
    Lost,
    /// By itself, after it had run for so long.
    Ended(&'a Ending, Span),
    /// Its worker was unable to run it.
    Unable(&'a Ending),
}

impl Change<'_> {
    fn newest(&self) -> u32 {
        self.job.spec.service.as_ref().map_or(0, |service| service.newest)
    }

    fn member(&self, index: TaskIndex) -> Option<Member> {
        self.job.service.as_ref()?.members.get(&index.0).copied()
    }

    pub(crate) fn set_member(&mut self, index: TaskIndex, member: Member) {
        let newest = self.newest();
        if let Some(service) = &mut self.job.service {
            Arc::make_mut(service).set(index.0, member, newest);
            self.job.header.changed = self.out.index;
        }
    }

    fn forget_member(&mut self, index: TaskIndex) {
        if let Some(service) = &mut self.job.service {
            Arc::make_mut(service).forget(index.0);
            self.job.header.changed = self.out.index;
        }
    }

    /// The element's attempt runs and is well, or is so no longer. It does not count where it is not to be any more.
    pub(crate) fn set_available(&mut self, at: &ElementKey, available: bool) {
        let Some(member) = self.member(at.index) else { return };
        let counts = member.version == at.task || !available;
        if counts && member.available != available {
            self.set_member(at.index, Member { available, ..member });
        }
    }

    /// Its worker says that it runs.
    pub(crate) fn on_service_started(&mut self, at: &ElementKey) {
        if self.job.is_service() && self.job.spec.health_of(at.task).is_none() {
            self.set_available(at, true);
            self.roll();
        }
    }

    /// Its health command has succeeded.
    pub(crate) fn on_healthy(&mut self, at: &ElementKey) {
        let runs = self.element(at.task, at.index).is_some_and(|element| element.state == TaskState::Running);
        let is_new = self.member(at.index).is_some_and(|member| member.version == at.task && !member.available);
        if runs && is_new {
            self.set_available(at, true);
            self.emit(EventType::TaskHealthy, at.task, at.index, None);
            self.roll();
        }
    }

    /// What becomes of an element of a service whose attempt has ended.
    pub(super) fn go_on(&mut self, at: &ElementKey, gone: &Gone<'_>) {
        self.set_available(at, false);
        if self.job.header.cancelling {
            return self.cancel_element(at);
        }
        self.leave_former_host(at);
        match self.member(at.index) {
            None => self.cancel_element(at),
            Some(member) if member.version != at.task => self.go_over(at, member.version),
            Some(_) => self.start_again(at, gone),
        }
        self.roll();
    }

    /// The worker of a system job's element is not one for it any more, and the element goes with the attempt.
    fn leave_former_host(&mut self, at: &ElementKey) {
        let Some(hosts) = self.cluster.systems.get(&at.job) else { return };
        let worker = self.element(at.task, at.index).and_then(Element::current).map(|attempt| &attempt.worker);
        if worker.is_some_and(|worker| !hosts.contains(worker)) {
            self.forget_member(at.index);
        }
    }

    fn start_again(&mut self, at: &ElementKey, gone: &Gone<'_>) {
        let backoff = self.job.spec.tasks[at.task as usize].backoff;
        let most = self.job.spec.tasks[at.task as usize].losses;
        let Some(element) = self.element_mut(at.task, at.index) else { return };
        let ran = match gone {
            Gone::Ended(_, ran) => *ran,
            Gone::Stopped | Gone::Lost | Gone::Unable(_) => element.current().map_or(Span(0), Attempt::lasted),
        };
        if ran >= backoff.max {
            element.failures = 0;
        }
        let (times, reason) = match gone {
            Gone::Stopped => (0, "stopped".to_owned()),
            // Whatever kills its workers one after the other is damped as what crashes is.
            Gone::Lost if element.losses >= most => (element.losses, "worker lost".to_owned()),
            Gone::Lost => (0, "worker lost".to_owned()),
            Gone::Unable(why) => (element.unable, why.to_string()),
            Gone::Ended(why, _) => {
                element.failures = element.failures.saturating_add(1);
                (element.failures, why.to_string())
            }
        };
        if times == 0 {
            self.move_element(at.task, at.index, TaskState::Pending);
            return self.emit(EventType::TaskPending, at.task, at.index, Some(&reason));
        }
        self.hold(at, &reason);
        self.wait_before_retry(at, at.task, times);
    }

    /// An element without an attempt goes over to another version.
    fn go_over(&mut self, at: &ElementKey, to: u32) {
        self.cancel_quietly(at);
        self.begin(to, at.index);
        self.emit(EventType::TaskPending, to, at.index, Some("it has another version"));
    }

    /// It is not there any more, which is no end that anybody waits for.
    fn cancel_quietly(&mut self, at: &ElementKey) {
        let events = self.out.events.len();
        self.cancel_element(at);
        self.out.events.truncate(events);
    }

    /// Makes the element one that could be placed.
    fn begin(&mut self, task: u32, index: TaskIndex) {
        let Some(found) = self.job.task_mut(task) else { return };
        let missing = (index.0 + 1).saturating_sub(found.head.count);
        let had_none = found.element(index).is_none();
        if missing > 0 {
            // Records up to it, of elements that are elsewhere.
            let before = found.head;
            found.materialise(TaskIndex(before.count.saturating_sub(1)));
            for more in before.count..=index.0 {
                found.elements.insert(more, Arc::new(Element::new(TaskState::Cancelled)));
            }
            (found.head.count, found.head.fresh) = (index.0 + 1, index.0 + 1);
            found.head.cancelled += missing;
            let counts = &mut self.job.header.counts;
            counts.total += u64::from(missing);
            counts.cancelled += u64::from(missing);
        } else if had_none {
            found.materialise(index);
        }
        let Some(element) = self.element_mut(task, index) else { return };
        if element.state != TaskState::Cancelled {
            return;
        }
        let attempts = std::mem::take(&mut element.attempts);
        *element = Element { attempts, ..Element::new(TaskState::Cancelled) };
        self.go_on_counting(task, index);
        self.revive(task, index);
    }

    /// Attempts are counted through all versions: until the next one starts, the last one of them is here as well.
    fn go_on_counting(&mut self, task: u32, index: TaskIndex) {
        let last = self.job.attempts_of(task, index).pop().map(|(version, attempt)| (version, attempt.clone()));
        if let (Some((version, last)), Some(element)) = (last, self.element_mut(task, index)) {
            let is_newer = element.current().is_none_or(|own| own.fence < last.fence);
            element.attempts.extend((version != task && is_newer).then_some(last));
        }
    }

    /// An element is about to start, or not to start here after all: what is only there for the count goes.
    pub(crate) fn drop_copies(&mut self, at: &ElementKey) {
        if self.job.tasks.len() < 2 || !self.job.is_service() {
            return;
        }
        let all = self.job.attempts_of(at.task, at.index);
        let others: Vec<_> = all.iter().filter(|(version, _)| *version != at.task).map(|(_, it)| it.fence).collect();
        if let Some(element) = self.element_mut(at.task, at.index) {
            element.attempts.retain(|attempt| !others.contains(&attempt.fence));
        }
    }

    /// A cancelled element could be placed again.
    fn revive(&mut self, task: u32, index: TaskIndex) {
        if let Some(found) = self.job.task_mut(task) {
            found.head.cancelled -= 1;
        }
        self.cluster.note_more_elements(&self.job.spec.namespace, 1);
        self.move_element(task, index, TaskState::Pending);
    }

    /// Takes as many elements to the newest version as may be unavailable meanwhile: first those that are so anyway.
    pub(crate) fn roll(&mut self) {
        if !self.job.is_service() || !self.job.is_placeable() {
            return;
        }
        let newest = self.newest();
        while let Some(at) = self.next_to_go_over() {
            let Some(member) = self.member(at) else { return };
            self.set_member(at, Member { version: newest, available: false });
            let key = ElementKey { job: self.job.id(), task: member.version, index: at };
            let state = self.job.task(key.task).and_then(|task| task.state_of(at));
            match state {
                Some(TaskState::Waiting | TaskState::Pending) => {
                    self.materialise(&key);
                    self.go_over(&key, newest);
                }
                Some(TaskState::Assigned | TaskState::Running) => {
                    self.stop(&key, AfterStop::Requeue, StopReason::Outdated);
                }
                // It is ending already, in the version that it has or in one before.
                Some(_) | None => {}
            }
        }
        while let Some(at) = self.next_to_move() {
            self.stop(&at, AfterStop::Requeue, StopReason::Draining);
        }
        self.tell_finished();
        self.settle();
    }

    /// An element of a service on a worker that drains, if one more may be unavailable. Nothing else would end it
    /// there.
    fn next_to_move(&self) -> Option<ElementKey> {
        let (service, spec) = (self.job.service.as_ref()?, self.job.spec.service.as_ref()?);
        if spec.kind != Kind::Service || service.unavailable() >= spec.max_unavailable.of(service.len()) {
            return None;
        }
        let draining = self.cluster.draining.iter().filter_map(|name| self.cluster.workers.get(name));
        let draining = draining.filter(|worker| worker.is_alive());
        let first = ElementKey { job: self.job.id(), task: 0, index: TaskIndex(0) };
        let there = draining.flat_map(|worker| {
            worker.attempts.range(first..).take_while(|(at, _)| at.job == self.job.id()).map(|(at, live)| (*at, live))
        });
        let mut there = there.filter(|(at, live)| !live.stopping && self.job.is_available(at.index) == Some(true));
        there.next().map(|(at, _)| at)
    }

    fn materialise(&mut self, at: &ElementKey) {
        if let Some(found) = self.job.task_mut(at.task) {
            found.materialise(at.index);
        }
    }

    fn next_to_go_over(&self) -> Option<TaskIndex> {
        let (service, spec) = (self.job.service.as_ref()?, self.job.spec.service.as_ref()?);
        let most = spec.max_unavailable.of(service.len());
        let is_slow = service.coming.len() as u32 >= most;
        let available = service.behind.get_min().filter(|_| !is_slow);
        // Before one that is available goes over, all that are down have: no others are unavailable than those that
        // come. What starts of a system job has the newest version: another one may suit workers that match no more.
        let down = service.down.get_min().filter(|_| !is_slow || spec.kind == Kind::System);
        down.or(available).map(|at| TaskIndex(*at))
    }

    /// Says once that all elements have the newest version and are well.
    fn tell_finished(&mut self) {
        let Some(service) = &self.job.service else { return };
        if service.rolling && service.len() > 0 && service.is_updated() && service.coming.is_empty() {
            self.set_rolling(false);
            self.emit_job(EventType::RolloutFinished);
        }
    }

    pub(crate) fn set_rolling(&mut self, rolling: bool) {
        if let Some(service) = &mut self.job.service {
            Arc::make_mut(service).rolling = rolling;
        }
    }

    /// One element more, of the newest version.
    pub(crate) fn add_member(&mut self, index: TaskIndex) {
        let newest = self.newest();
        self.set_member(index, Member { version: newest, available: false });
        let is_there = |task: u32| {
            let state = self.job.task(task).and_then(|found| found.state_of(index));
            state.is_some_and(|state| !state.is_finished())
        };
        // It may still be ending from before.
        if (0..self.job.tasks.len()).any(is_there) {
            return;
        }
        self.begin(newest, index);
        self.emit(EventType::TaskPending, newest, index, None);
    }

    /// The element is not to be any more.
    pub(crate) fn drop_member(&mut self, index: TaskIndex) {
        self.forget_member(index);
        for task in 0..self.job.tasks.len() {
            let at = ElementKey { job: self.job.id(), task, index };
            match self.job.task(task).and_then(|found| found.state_of(index)) {
                Some(TaskState::Waiting | TaskState::Pending) => {
                    self.materialise(&at);
                    self.cancel_element(&at);
                }
                Some(TaskState::Assigned | TaskState::Running) => {
                    self.stop(&at, AfterStop::Requeue, StopReason::Surplus);
                }
                Some(_) | None => {}
            }
        }
    }

    /// A worker is one for an element of the system job from now on, or no longer.
    pub(crate) fn on_host(&mut self, worker: &Name, comes: bool) {
        let Some(found) = self.cluster.workers.get(worker) else { return };
        if self.job.lives_on(found) || self.job.header.cancelling {
            // The element there stays, or goes with its attempt.
            return;
        }
        match (comes, self.job.spec.kind()) {
            (true, Kind::System) => {
                let free = self.free_index();
                self.add_member(free);
            }
            (false, Kind::System) => {
                if let Some(index) = self.unstarted_member() {
                    self.drop_member(index);
                }
            }
            (_, Kind::Service | Kind::Batch) => {}
        }
        self.roll();
    }

    /// The lowest index that no member has.
    fn free_index(&self) -> TaskIndex {
        let Some(service) = &self.job.service else { return TaskIndex(0) };
        let len = service.len();
        // Most often those of the members are without a gap.
        let dense = service.members.get_max().is_none_or(|(last, _)| last + 1 == len);
        let free = if dense { Some(len) } else { (0..len).find(|at| !service.members.contains_key(at)) };
        TaskIndex(free.unwrap_or(len))
    }

    /// The last member without an attempt.
    pub(crate) fn unstarted_member(&self) -> Option<TaskIndex> {
        let service = self.job.service.as_ref()?;
        let rests = |at: &u32, member: &Member| {
            let state = self.job.task(member.version).and_then(|task| task.state_of(TaskIndex(*at)));
            matches!(state, Some(TaskState::Waiting | TaskState::Pending))
        };
        let last = service.members.iter().rev().find(|(at, member)| !member.available && rests(at, member));
        last.map(|(at, _)| TaskIndex(*at))
    }
}
