//! The leader's rounds: a [`Book`] that follows versions of the state, from one to the next.
//!
//! A version shares most of its structure with the one before, so that what changed is found without looking at
//! everything. What a plan gives away is known to be given when a later version says so.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use quorate_state::State;
use quorate_state::command::{self, Assignment, Preemption};
use quorate_state::company::Company;
use quorate_state::element::{Attempt, Element};
use quorate_state::job::{ElementKey, Job, Task};
use quorate_state::queue::{QueueChange, Queued};
use quorate_state::worker::Worker;
use quorate_types::policy::{QueueOrder, Rebalance};
use quorate_types::status::WorkerState;
use quorate_types::{AttemptNumber, LogIndex, Name, Span, Timestamp};

use crate::book::queue::goes_by_use;
use crate::book::{self, Book, Bounds, Constraints, Decision, Facts, Gate, Member, Tracking};
use crate::learn::lineage;
use crate::paths::Paths;
use crate::preempt::{self, Preemptor};
use crate::rebalance::{self, Rebalancer};
use crate::sight::Sight;
use crate::turn::turn_of;
use crate::{ahead, learn, lines};

/// What a round decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub assignments: Vec<Assignment>,
    /// What is ended so that tasks that found no room get some, and what is moved.
    pub preemptions: Vec<Preemption>,
    /// The round stopped at its bounds; another one would find more.
    pub more: bool,
}

/// Decides which pending task goes to which worker. What it knows beyond the state (how long tasks ran, whose turn it
/// is) is lost with the leader.
#[derive(Debug)]
pub struct Planner {
    seen: State,
    book: Book,
    paths: Paths,
    seed: u64,
    wake_at: Option<Timestamp>,
    preemptor: Preemptor,
    rebalancer: Rebalancer,
}

impl Planner {
    /// `seed` is where random placement starts.
    pub fn new(seed: u64) -> Self {
        let seen = State::default();
        let book = Book::new(seen.policy().clone(), Tracking::of(seen.policy()), seed);
        let (preemptor, rebalancer) = (Preemptor::default(), Rebalancer::default());
        Self { seen, book, paths: Paths::default(), seed, wake_at: None, preemptor, rebalancer }
    }

    /// Decides what to start now.
    pub fn round(&mut self, state: &State, now: Timestamp, bounds: Bounds) -> Plan {
        if state.index() < self.seen.index() {
            // A plan ahead has seen more; the version with it is on its way.
            return Plan::default();
        }
        self.follow(state);
        rebalance::review(&self.seen, &mut self.book);
        preempt::review(&self.seen, &mut self.book);
        let (mut plan, decision) = self.plan(now, bounds);
        plan.preemptions = self.preemptor.victims(&self.seen, &mut self.book, &decision, now);
        if self.preemptor.goes_on() {
            self.wake_at = Some(now);
        }
        plan.preemptions.extend(self.rebalancer.moves(&self.seen, &mut self.book, &decision, now));
        plan
    }

    /// Decides what to start once `entry`, the next of the log, has been applied to `state`. None if the entry gives
    /// no reason to look, or if looking would take long.
    pub fn ahead(&mut self, state: &State, entry: &command::Entry) -> Option<Plan> {
        if !ahead::is_promising(state, entry) {
            return None;
        }
        let mut then = state.clone();
        then.apply(LogIndex(state.index().0 + 1), entry);
        if !self.knows_rules_of(&then) || !self.knows_namespaces_of(&then) {
            // Everything would be looked at anew, which is for a round.
            return None;
        }
        self.follow(&then);
        let (plan, decision) = self.plan(then.now(), ahead::BOUNDS);
        if decision.cut || self.book.has_claimants() || self.seen.policy().rebalance == Rebalance::On {
            self.book.look_again();
        }
        Some(plan)
    }

    /// A book with the workers of a version and what can be learned of it, and with nothing that waits.
    pub(crate) fn book_of_workers(state: &State) -> Book {
        let mut planner = Self::new(0);
        planner.follow_rules(state);
        let none = std::mem::take(&mut planner.seen);
        planner.follow_workers(&none, state);
        planner.follow_spaces(&none, state);
        planner.recall(state);
        planner.book
    }

    /// When time alone may change what a round decides.
    pub fn wake_at(&self) -> Option<Timestamp> {
        [self.wake_at, self.rebalancer.wake_at()].into_iter().flatten().min()
    }

    fn plan(&mut self, now: Timestamp, bounds: Bounds) -> (Plan, Decision) {
        let state = &self.seen;
        let decision = self.book.plan(now, bounds, &Sight(state));
        self.wake_at = decision.wake_at;
        let mut assignments = assignments(state, &decision);
        if !decision.more {
            lines::line_up(state, &mut assignments, bounds.assignments_max);
        }
        (Plan { assignments, preemptions: Vec::new(), more: decision.more }, decision)
    }

    /// Whether the book was made for this policy and this cluster.
    fn knows_rules_of(&self, state: &State) -> bool {
        state.policy() == self.seen.policy() && state.cluster_id() == self.seen.cluster_id()
    }

    /// Whether it knows what namespaces are entitled to.
    fn knows_namespaces_of(&self, state: &State) -> bool {
        state.rules().ptr_eq(self.seen.rules())
    }

    /// Brings the book to this version.
    fn follow(&mut self, state: &State) {
        let begins = self.follow_rules(state);
        let seen = std::mem::replace(&mut self.seen, state.clone());
        if !begins && Tracking::of(state.policy()) == Tracking::Attempts {
            learn::between(&mut self.book, &seen, state);
        }
        self.follow_workers(&seen, state);
        if self.book.take_newcomers() || begins {
            self.recall(state);
        }
        self.follow_spaces(&seen, state);
        if !state.has_totals_of(&seen) {
            self.book.look_again();
        }
        for change in state.queue().changes_since(seen.queue()) {
            match change {
                QueueChange::Came(queued) => self.enqueue(state, queued),
                QueueChange::Went(queued) => drop(self.book.dequeue(queued)),
            }
        }
        self.follow_services(&seen, state);
    }

    /// What waits of a service that was changed has another priority, say, or must keep apart from another version.
    fn follow_services(&mut self, seen: &State, state: &State) {
        for id in state.changed_services(seen) {
            self.preemptor.note_service(state, id);
            for queued in state.queue().of_job(id) {
                drop(self.book.dequeue(queued));
                self.enqueue(state, queued);
            }
        }
    }

    fn enqueue(&mut self, state: &State, queued: Queued) {
        let (Some(mut facts), Some(job)) = (waiting_facts_of(state, queued), state.job(queued.job)) else { return };
        if state.policy().queue == QueueOrder::CriticalPath {
            facts.path = self.paths.of(&self.book, job, queued.task);
        }
        self.book.enqueue(queued, facts);
    }

    /// Whether the book begins anew, since the policy is another one.
    fn follow_rules(&mut self, state: &State) -> bool {
        let begins = !self.knows_rules_of(state);
        if begins {
            let is_same =
                state.cluster_id() == self.seen.cluster_id() && Tracking::of(self.seen.policy()) == Tracking::Attempts;
            self.seen = State::default();
            let book = Book::new(state.policy().clone(), Tracking::of(state.policy()), self.seed);
            let earlier = std::mem::replace(&mut self.book, book);
            self.preemptor = Preemptor::default();
            self.paths = Paths::default();
            if Tracking::of(state.policy()) == Tracking::Attempts {
                // What it knows longer than jobs are in memory, and then once more what those say.
                if is_same {
                    self.book.remember_times(earlier);
                }
                state.finished_jobs().for_each(|job| learn::of_job(&mut self.book, job));
            }
        }
        self.book.advance(state.now());
        begins
    }

    /// What namespaces used until now. A worker that comes may have a kind that the book did not know.
    fn recall(&mut self, state: &State) {
        if goes_by_use(state.policy().queue) {
            state.past_uses().for_each(|(namespace, past)| self.book.recall(namespace, &past));
        }
    }

    fn follow_workers(&mut self, seen: &State, state: &State) {
        // All ends before all starts: an element may have ended on one worker and started on another.
        for (old, new) in state.changed_workers(seen) {
            self.ends(seen, old, new);
        }
        for (old, new) in state.changed_workers(seen) {
            self.starts(state, old, new);
            [old, new].into_iter().flatten().for_each(|worker| self.preemptor.note(worker.epoch));
        }
        for epoch in self.book.promised() {
            if let Some(worker) = state.worker_of(epoch) {
                self.book.load(epoch, worker.free(), worker.holding() as u32);
            }
        }
    }

    /// What namespaces are entitled to and hold, of those that have a record.
    fn follow_spaces(&mut self, seen: &State, state: &State) {
        if state.rules().is_empty() && seen.rules().is_empty() {
            return;
        }
        let held = |name: &Name| state.space(name).map(|space| space.held.clone()).unwrap_or_default();
        for name in state.changed_rules(seen) {
            self.book.entitle(name, state.rules_of(name), held(name));
        }
        for name in state.changed_spaces(seen) {
            self.book.hold(name, &held(name));
        }
    }

    /// What a worker runs no more; it may be gone itself.
    fn ends(&mut self, seen: &State, old: Option<&Arc<Worker>>, new: Option<&Arc<Worker>>) {
        let Some(old) = old.filter(|worker| worker.is_alive()) else { return };
        let stays = new.filter(|new| new.is_alive() && new.epoch == old.epoch);
        if Tracking::of(seen.policy()) == Tracking::Attempts {
            match stays {
                Some(new) => {
                    let ends = new.changed_attempts(old).filter(|change| change.was.is_some());
                    ends.for_each(|change| self.book.ended(change.key, None));
                }
                None => old.holders().for_each(|(key, _)| self.book.ended(*key, None)),
            }
        }
        if stays.is_none() {
            self.book.left(old.epoch);
        }
    }

    /// What a worker is, and runs besides.
    fn starts(&mut self, state: &State, old: Option<&Arc<Worker>>, new: Option<&Arc<Worker>>) {
        let Some(new) = new.filter(|worker| worker.is_alive()) else { return };
        let old = old.filter(|old| old.is_alive() && old.epoch == new.epoch);
        if old.is_none_or(|old| old.state() != new.state() || old.given_taints != new.given_taints) {
            self.book.worker(book::Worker {
                epoch: new.epoch,
                name: new.name.clone(),
                labels: new.labels.clone(),
                taints: new.taints().cloned().collect(),
                capacity: new.capacity.clone(),
                ready: new.state() == WorkerState::Ready,
            });
        }
        match (Tracking::of(state.policy()), old) {
            (Tracking::Loads, _) => self.book.load(new.epoch, new.free(), new.holding() as u32),
            (Tracking::Attempts, Some(old)) => {
                let starts = new.changed_attempts(old).filter_map(|change| Some((change.key, change.is?)));
                starts.for_each(|(key, number)| self.start(state, new, key, number));
            }
            (Tracking::Attempts, None) => {
                new.holders().for_each(|(key, live)| self.start(state, new, *key, live.number));
            }
        }
    }

    fn start(&mut self, state: &State, worker: &Worker, key: ElementKey, number: AttemptNumber) {
        let Some(facts) = facts_of(state, Queued { job: key.job, task: key.task }) else { return };
        let element = element_of(state, key);
        let attempt = element.and_then(|element| attempt_of(element, number));
        // What took over from another began when that ended, about now.
        let since = attempt.filter(|it| it.behind.is_none()).map_or(state.now(), |attempt| attempt.assigned_at);
        self.book.started(key, worker.epoch, since, &facts);
        let lost = element.map_or(Span(0), Element::longest_lost);
        if lost > Span(0) {
            self.book.lost_before(key, lost);
        }
    }
}

/// The elements that the decision is about: those of one task in their order, from the first that is pending. A task
/// may have several turns.
fn assignments(state: &State, decision: &Decision) -> Vec<Assignment> {
    let mut pending = BTreeMap::new();
    let starts = decision.starts.iter().filter_map(|book::Start { queued, epoch }| {
        let elements = match pending.entry(*queued) {
            Entry::Vacant(vacant) => vacant.insert(task_of(state, *queued)?.pending()),
            Entry::Occupied(occupied) => occupied.into_mut(),
        };
        let (index, attempt) = elements.next()?;
        Some(Assignment { job: queued.job, task: queued.task, index, attempt, epoch: *epoch, behind: None })
    });
    starts.collect()
}

fn task_of(state: &State, queued: Queued) -> Option<&Task> {
    state.job(queued.job)?.task(queued.task)
}

pub(crate) fn element_of(state: &State, key: ElementKey) -> Option<&Element> {
    state.job(key.job)?.task(key.task)?.element(key.index)
}

fn attempt_of(element: &Element, number: AttemptNumber) -> Option<&Attempt> {
    element.attempts.iter().rev().find(|attempt| attempt.number == number)
}

/// The same, and of a gang those of all of its tasks.
pub(crate) fn waiting_facts_of(state: &State, queued: Queued) -> Option<Facts> {
    let facts = facts_of(state, queued)?;
    let Some(gang) = state.job(queued.job)?.gang(queued.task) else { return Some(facts) };
    let members = gang.tasks.iter().map(|(task, count)| {
        let queued = Queued { job: queued.job, task: *task };
        Some(Member { queued, count: *count, facts: facts_of(state, queued)? })
    });
    let members: Vec<Member> = members.collect::<Option<_>>()?;
    let gates = members.iter().map(|member| (member.facts.gates.as_deref(), member.count));
    Some(Facts { gates: Gate::of_gang(gates), gang: Some(Arc::new(members)), ..facts })
}

pub(crate) fn facts_of(state: &State, queued: Queued) -> Option<Facts> {
    let job = state.job(queued.job)?;
    let lineage = lineage(job, &job.task_spec(queued.task)?.name);
    Some(Facts { lineage: Some(lineage), ..plain_facts_of(job, queued.task)? })
}

/// Without the lineage, whose name costs more than all the rest.
pub(crate) fn plain_facts_of(job: &Job, task: u32) -> Option<Facts> {
    let spec = job.task_spec(task)?;
    Some(Facts {
        namespace: job.spec.namespace.clone(),
        submitted: job.header.submitted_at,
        turn: turn_of(job, task),
        priority: job.spec.priority,
        preempts: job.spec.preempt,
        request: spec.resources.clone(),
        expected: spec.expected,
        limit: spec.timeout,
        open_dependencies: job.dependents(task) as u32,
        deadline: job.header.flow().deadline,
        path: job.path(task),
        lineage: None,
        key: spec.key.clone(),
        constraints: Constraints::of(spec, job.apart(task).collect()),
        company: Company::of(&job.spec, spec).map(Arc::new),
        movable: spec.movable,
        kin: None,
        gates: Gate::all_of(&job.spec.namespace, spec),
        gang: None,
    })
}
