//! Placement decisions become attempts. Every part of a decision is checked again: it was made on an
//! older version of the state, perhaps by a leader that is none any more.

use quorate_types::event::EventType;
use quorate_types::session::AttemptKey;
use quorate_types::status::{AttemptState, TaskState};
use quorate_types::{Bug, Fence, Name, TaskIndex, TaskSpec, is_planted};

use crate::command::Assignment;
use crate::element::Attempt;
use crate::gang::Gang;
use crate::job::ElementKey;
use crate::lifecycle::Change;
use crate::limits::ATTEMPTS_PER_WORKER_MAX;
use crate::outcome::{Applied, Notice, NoticeKind, Outcome};
use crate::state::{Cluster, State};
use crate::worker::LiveAttempt;

impl State {
    pub(super) fn assign(&mut self, items: &[Assignment], out: &mut Applied) -> Outcome {
        let mut accepted = 0;
        let mut items: Vec<&Assignment> = items.iter().collect();
        if is_planted(Bug::HashOrder) {
            let hashes = std::hash::RandomState::new();
            items.sort_by_key(|item| std::hash::BuildHasher::hash_one(&hashes, (item.job, item.index)));
        }
        let all = items.len() as u32;
        let mut rest = items.as_slice();
        while let Some(first) = rest.first() {
            let gang = self.job(first.job).and_then(|job| job.gang(first.task)).cloned();
            let len = gang.as_ref().map_or(1, |gang| {
                let members = rest.iter().take_while(|item| item.job == first.job && gang.has(item.task));
                members.take(gang.size() as usize).count()
            });
            let (together, others) = rest.split_at(len);
            let placed = match gang {
                None => self.place(first, out),
                Some(gang) => self.place_gang(&gang, together, out),
            };
            accepted += placed.map_or(0, |()| len as u32);
            rest = others;
        }
        Outcome::Assigned { accepted, stale: all - accepted }
    }

    fn place(&mut self, item: &Assignment, out: &mut Applied) -> Option<()> {
        self.edit(item.job, out, |change| change.place(item)).flatten()
    }

    /// Starts all attempts of a gang, or changes nothing: a copy of the state costs next to nothing.
    fn place_gang(&mut self, gang: &Gang, items: &[&Assignment], out: &mut Applied) -> Option<()> {
        let (before, events, notices) = (self.clone(), out.events.len(), out.notices.len());
        let is_whole = items.len() == gang.size() as usize && items.iter().all(|item| self.place(item, out).is_some());
        if !is_whole {
            *self = before;
            out.events.truncate(events);
            out.notices.truncate(notices);
        }
        is_whole.then_some(())
    }
}

impl Change<'_> {
    /// Starts the attempt, or does nothing and gives `None` if the decision no longer holds.
    fn place(&mut self, item: &Assignment) -> Option<()> {
        let fence = Fence(self.out.index.0);
        self.check_pending(item, fence)?;
        let at = ElementKey { job: item.job, task: item.task, index: item.index };
        let attempt = LiveAttempt::new(item.attempt, fence, item.behind);
        let worker = self.occupy_worker(item, at, attempt)?;
        let assigned_at = self.now();
        let task = self.job.task_mut(item.task)?;
        task.materialise(item.index);
        // It waits for another: nothing else may be assigned behind one.
        task.head.in_line += u32::from(item.behind.is_some());
        let element = self.element_mut(item.task, item.index)?;
        element.wait_until = None;
        self.drop_copies(&at);
        let element = self.element_mut(item.task, item.index)?;
        element.push_attempt(Attempt {
            number: item.attempt,
            fence,
            worker: worker.clone(),
            epoch: item.epoch,
            state: AttemptState::Assigned,
            ending: None,
            stopped: None,
            behind: item.behind,
            assigned_at,
            started_at: None,
            finished_at: None,
        });
        self.move_element(item.task, item.index, TaskState::Assigned);
        self.emit(EventType::TaskAssigned, item.task, item.index, None);
        let key = AttemptKey { job: item.job, task: item.task, index: item.index, attempt: item.attempt, fence };
        self.out.notices.push(Notice { worker, epoch: item.epoch, what: NoticeKind::Start(key) });
        Some(())
    }

    /// The element must still be pending, with that very attempt to come.
    fn check_pending(&self, item: &Assignment, fence: Fence) -> Option<()> {
        if is_planted(Bug::StaleAssignment) {
            return Some(());
        }
        let task = self.job.task(item.task).filter(|_| self.job.is_placeable())?;
        if task.state_of(item.index) != Some(TaskState::Pending) || task.head.live_left() == 0 {
            return None;
        }
        let (next, last_fence) = match task.element(item.index) {
            Some(element) => (element.next_attempt().0, element.current().map_or(Fence(0), |a| a.fence)),
            None => (1, Fence(0)),
        };
        (next == item.attempt.0 && last_fence < fence && gap_is_small(task.head.fresh, item.index)).then_some(())
    }

    /// The namespace must be within its limit; the worker must live in that epoch, take new tasks and have room, or an
    /// attempt after which it will.
    fn occupy_worker(&mut self, item: &Assignment, at: ElementKey, attempt: LiveAttempt) -> Option<Name> {
        let name = self.cluster.epochs.get(&item.epoch)?.clone();
        let found = self.cluster.workers.get(&name)?;
        let spec = &self.job.spec.tasks[item.task as usize];
        let there = if item.behind.is_none() { found.holding() } else { found.waiting };
        let full = there >= ATTEMPTS_PER_WORKER_MAX;
        let fits = spec.resources.fits(&found.free()) || is_planted(Bug::CapacityIgnored);
        if found.draining || full || !spec.suits(found.labels(), found.taints()) {
            return None;
        }
        if let Some(first) = item.behind {
            // What it will hold is held by another of its task until then.
            let may_wait = !self.job.is_service() && spec.rate.is_none() && self.job.gang(item.task).is_none();
            let before = found.before(&at, first, attempt.fence).and_then(|before| found.attempts.get(&before));
            before.filter(|live| may_wait && !live.stopping && live.next.is_none())?;
            self.cluster.occupy(&name, at, attempt, &self.job.spec);
            return Some(name);
        }
        if !fits {
            return None;
        }
        if !self.cluster.is_within_limit(&self.job.spec.namespace, &spec.resources) && !is_planted(Bug::LimitIgnored) {
            return None;
        }
        // Also a task that says nothing may have to stay apart from one that does.
        if self.cluster.is_crowded(self.job, item.task, &name) {
            return None;
        }
        self.cluster.pass_gates(&self.job.spec.namespace, spec)?;
        self.cluster.occupy(&name, at, attempt, &self.job.spec);
        Some(name)
    }
}

impl Cluster {
    /// There must be enough of what the task holds, and a token if it has a rate: that one is taken.
    fn pass_gates(&mut self, namespace: &Name, spec: &TaskSpec) -> Option<()> {
        if !self.pools.has_room(spec) {
            return None;
        }
        let Some(rate) = &spec.rate else { return Some(()) };
        self.has_token(namespace, rate).then(|| self.take_token(namespace, rate))
    }
}

/// Skipped elements get records; a plan never skips more than one batch of its own stale items.
fn gap_is_small(fresh: u32, index: TaskIndex) -> bool {
    const GAP_MAX: u32 = 65_536;
    index.0 < fresh.saturating_add(GAP_MAX)
}
