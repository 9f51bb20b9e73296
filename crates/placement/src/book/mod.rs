//! The book: what waits, what runs and where, kept up to date by whoever drives it, so that a decision looks at
//! what changed and not at everything. The leader drives it from versions of the state, the policy lab from a trace.
//!
//! Layout: `facts` (what policies know of a task), `wish` (what one of its elements asks of a worker), `crowd` (where its
//! siblings are), `waiting` and `running`, `pass` (one decision), `walk` (in which order), `batch` (several tasks at once), `earmarks` (room that others were ended for),
//! `queue/` (one file for each order of tasks), `backfill/` (what may pass a task that does not fit), `place/` (one
//! file for each way to choose a worker), `estimate` (run times learned from history), `usage` (what namespaces used),
//! `outlook` (what explanations ask), over the indexes `fleet` (of `member`s), `zones`, `traits`, `shapes`, `treap` and `vector`, and `decay` (powers of one half).
//!
//! Invariants: the same history of a book gives the same plan; a plan never gives a worker more than it has free, and
//! never names a task that could not be placed.

mod backfill;
mod batch;
mod crowd;
mod decay;
mod earmarks;
mod estimate;
mod facts;
mod fleet;
mod member;
mod outlook;
mod pass;
mod place;
pub(crate) mod queue;
mod running;
mod shapes;
mod traits;
mod treap;
mod usage;
mod vector;
mod waiting;
mod walk;
mod wish;
mod zones;

use std::collections::{BTreeMap, BTreeSet};

use quorate_state::job::ElementKey;
use quorate_state::queue::Queued;
use quorate_types::{Epoch, JobId, Name, Policy, Resources, Span, TaskIndex, Timestamp};

pub(crate) use crowd::Crowding;
pub use crowd::Surroundings;
pub use facts::{Constraints, Facts, Lineage};
pub use member::Worker;
pub(crate) use outlook::Kept;
pub(crate) use pass::{Pass, Placing};
pub(crate) use waiting::{Entry, Waiting};
pub(crate) use wish::Wish;

use backfill::conservative::Reservations;
use batch::Carried;
use earmarks::Earmark;
use estimate::Estimator;
use fleet::{Fleet, Slot};
use running::{Running, RunningSet};
use usage::Usage;
use vector::Vector;
use waiting::Measures;

/// How much one plan may decide, so that it stays short whatever waits.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Assignments of one plan: one log entry carries them.
    pub assignments_max: usize,
    /// Queued tasks that fit nowhere before the plan gives up looking further.
    pub misses_max: usize,
    /// Pairs of a shape of tasks and a worker that `min-cost-flow` looks at; what comes after them goes to the least
    /// loaded worker.
    pub pairs_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        // 4,096 assignments encode to about 50 KiB and apply within a few milliseconds.
        // Four thousand tasks of which no two are alike and a thousand workers take a fraction of a second.
        Self { assignments_max: 4_096, misses_max: 1_000, pairs_max: 4_096_000 }
    }
}

/// What a policy remembers from one decision to the next. Lost with the leader, and no harm done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) last_worker: Epoch,
    pub(crate) seed: u64,
}

/// One element of a task goes to a worker: the next one that is pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    pub queued: Queued,
    pub epoch: Epoch,
}

/// Stands behind every other key.
pub(crate) const LAST_KEY: ElementKey = ElementKey { job: JobId(u64::MAX), task: u32::MAX, index: TaskIndex(u32::MAX) };

/// What was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub starts: Vec<Start>,
    /// The bound on assignments was reached; another plan would find more.
    pub more: bool,
    /// The bound on misses was reached; a plan with another one might find more.
    pub cut: bool,
    /// When time alone may change the decision.
    pub wake_at: Option<Timestamp>,
    /// Something had changed, and everything was looked at.
    pub looked: bool,
}

/// How a book learns what runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// Attempt by attempt, so that it knows what ends when and who uses what: [`Book::started`] and [`Book::ended`].
    Attempts,
    /// Worker by worker: [`Book::load`]. It costs less where no policy looks ahead or learns.
    Loads,
}

/// What waits, what runs and the workers.
#[derive(Debug)]
pub struct Book {
    policy: Policy,
    memory: Memory,
    pub(crate) fleet: Fleet,
    pub(crate) waiting: Waiting,
    running: RunningSet,
    estimator: Estimator,
    /// Kept where the order goes by it.
    pub(crate) usage: Usage,
    /// What is reserved for those that wait, where backfill is conservative.
    pub(crate) reservations: Reservations,
    /// The workers that the last decision kept, and for whom, where backfill is not conservative.
    kept: Vec<Kept>,
    /// Where the next batch begins, where tasks are placed together.
    carried: Carried,
    /// What the last decision gave away and nobody has started yet. It is taken off what is free.
    promises: BTreeMap<(Queued, Epoch), Promise>,
    tracking: Tracking,
    /// Workers whose room is for one task first.
    earmarks: BTreeMap<Epoch, Earmark>,
    /// To whom something was promised, where single attempts are not followed.
    promised: BTreeSet<Epoch>,
    /// Something changed since the last decision.
    changed: bool,
    wake_at: Option<Timestamp>,
}

/// Starts of elements of one task on one worker.
#[derive(Debug)]
struct Promise {
    namespace: Name,
    request: Resources,
    wanted: Vector,
    count: u32,
    /// When they are expected to end.
    end: Timestamp,
}

/// Tasks that one round would end others for.
const PREEMPTORS_MAX: usize = 1_000;

/// Stands for the `nth` element of a promise until it has started and its own index is known: counted from the other
/// end than elements are.
fn stand_in(queued: Queued, nth: u32) -> ElementKey {
    ElementKey { job: queued.job, task: queued.task, index: TaskIndex(u32::MAX - nth) }
}

impl Book {
    /// `seed` is where random placement starts.
    pub fn new(policy: Policy, tracking: Tracking, seed: u64) -> Self {
        Self {
            memory: Memory { last_worker: Epoch(0), seed: seed.max(1) },
            fleet: Fleet::new(&policy),
            waiting: Waiting::new(&policy),
            running: RunningSet::default(),
            estimator: Estimator::default(),
            usage: Usage::default(),
            reservations: Reservations::new(),
            kept: Vec::new(),
            carried: Carried::default(),
            promises: BTreeMap::new(),
            earmarks: BTreeMap::new(),
            tracking,
            promised: BTreeSet::new(),
            changed: true,
            wake_at: None,
            policy,
        }
    }

    /// What is told from here on happened at `now`. Only what namespaces used depends on it.
    pub fn advance(&mut self, now: Timestamp) {
        self.usage.advance(now);
    }

    /// A worker registered, or takes new tasks again, or none any more.
    pub fn worker(&mut self, worker: Worker) {
        if self.fleet.put(worker) {
            self.waiting.measure(&self.fleet);
        }
        self.changed = true;
    }

    /// A worker is gone, and with it what ran there.
    pub fn left(&mut self, epoch: Epoch) {
        let keys: Vec<ElementKey> = match self.fleet.slot(epoch) {
            Some(slot) => self.fleet.member(slot).ends.iter().map(|((_, key), _)| *key).collect(),
            None => return,
        };
        self.promised.remove(&epoch);
        keys.into_iter().for_each(|key| self.ended(key, None));
        self.withdraw();
        self.fleet.remove(epoch);
        self.changed = true;
    }

    /// Elements of a task wait: it is new, or what is known of it changed.
    pub fn enqueue(&mut self, queued: Queued, mut facts: Facts) {
        facts.expected = self.estimator.expected(&facts);
        self.fleet.name_conditions(&facts, self.waiting.is_empty());
        let needs = self.fleet.needs(&facts);
        let wanted = self.fleet.kinds.vector(&facts.request);
        let size = self.fleet.size_of(&wanted);
        self.waiting.insert(queued, facts, Measures { wanted, needs, size });
        self.changed = true;
    }

    /// Nothing of the task waits any more.
    pub fn dequeue(&mut self, queued: Queued) -> Option<Facts> {
        self.changed = true;
        self.waiting.remove(queued)
    }

    /// When elements of a task will start at the latest, the first one first, as far as there are reservations and
    /// nothing runs for longer than expected: where backfill is conservative, as of the last plan.
    pub fn reserved(&self, queued: Queued) -> impl Iterator<Item = Timestamp> {
        let reservations = self.reservations.get(&queued).into_iter().flatten();
        reservations.map(|reservation| reservation.start).filter(|start| *start != Timestamp(u64::MAX))
    }

    /// The first of the tasks that may end others to have room, in the queue's order.
    pub(crate) fn preempting(&self) -> Vec<Queued> {
        self.waiting.preempting().take(PREEMPTORS_MAX).collect()
    }

    /// What is known of a task that waits.
    pub(crate) fn facts(&self, queued: Queued) -> Option<Facts> {
        self.waiting.entry(queued).map(|entry| entry.facts.clone())
    }

    /// How long an attempt is expected to run on; none if nobody knows, or it has run for longer already.
    pub(crate) fn remaining(&self, key: ElementKey, now: Timestamp) -> Option<Span> {
        let running = self.running.get(key).filter(|running| !running.overdue)?;
        (running.end != Timestamp(u64::MAX)).then(|| running.end.since(now))
    }

    /// Whether the worker takes new tasks, and could take an element of the task if it had room.
    pub(crate) fn could_take(&self, epoch: Epoch, queued: Queued, crowding: &Crowding<'_>) -> bool {
        let slot = self.fleet.slot(epoch).filter(|slot| self.fleet.is_ready(*slot));
        let (Some(slot), Some(entry)) = (slot, self.waiting.entry(queued)) else { return false };
        self.fleet.could_take(slot, &Wish::new(queued, entry, crowding))
    }

    /// Whether a worker could take an element of the task if it had room.
    pub(crate) fn has_able(&mut self, queued: Queued, crowding: &Crowding<'_>) -> bool {
        let Some(entry) = self.waiting.entry(queued).cloned() else { return false };
        self.fleet.most_free(&Wish::new(queued, &entry, crowding)).is_some()
    }

    /// How many tasks wait.
    pub fn waiting_len(&self) -> usize {
        self.waiting.len()
    }

    /// An attempt holds its resources on the worker since `at`.
    pub fn started(&mut self, key: ElementKey, epoch: Epoch, at: Timestamp, facts: &Facts) {
        let Some(slot) = self.fleet.slot(epoch) else { return };
        self.ended(key, None);
        let wanted = self.fleet.kinds.vector(&facts.request);
        if !self.keep_promise(Queued { job: key.job, task: key.task }, epoch) {
            self.fleet.take(slot, &facts.request, &wanted);
            self.charge(&facts.namespace, &wanted, at);
        }
        let mut running = Running::new(slot, at, facts, wanted);
        running.end = self.estimator.expected(facts).map_or(running.end, |span| at.plus(span));
        self.fleet.note_end(slot, running.end, key, wanted);
        self.running.insert(key, running);
        self.changed = true;
    }

    /// An attempt holds nothing any more. `ran` if it finished, and others like it will run as long.
    pub fn ended(&mut self, key: ElementKey, ran: Option<Span>) {
        let Some(running) = self.running.remove(key) else { return };
        self.fleet.forget_end(running.slot, running.end, key);
        self.fleet.give_back(running.slot, &running.request);
        self.discharge(&running.namespace, &running.wanted);
        if let (Some(ran), Some(lineage)) = (ran, &running.lineage) {
            self.estimator.learn(lineage, ran);
        }
        self.changed = true;
    }

    /// What the worker has left, whatever was promised there.
    pub fn load(&mut self, epoch: Epoch, free: Resources, attempts: u32) {
        self.promised.remove(&epoch);
        if let Some(slot) = self.fleet.slot(epoch) {
            self.changed |= self.fleet.set_load(slot, free, attempts);
        }
    }

    /// To whom something was promised since the last word of what they have left.
    pub fn promised(&self) -> Vec<Epoch> {
        self.promised.iter().copied().collect()
    }

    /// The next plan looks at everything, even if nothing changes.
    pub fn look_again(&mut self) {
        self.changed = true;
    }

    /// Tasks of this lineage have run for so long.
    pub fn learn(&mut self, lineage: &Lineage, ran: Span) {
        self.estimator.learn(lineage, ran);
    }

    /// The namespace holds so much more since `since`.
    fn charge(&mut self, namespace: &Name, wanted: &Vector, since: Timestamp) {
        if queue::goes_by_use(self.policy.queue) {
            self.usage.hold(namespace, wanted, since);
        }
    }

    fn discharge(&mut self, namespace: &Name, wanted: &Vector) {
        if queue::goes_by_use(self.policy.queue) {
            self.usage.release(namespace, wanted);
        }
    }

    /// Whether there is a worker to place on.
    pub(crate) fn has_workers(&self) -> bool {
        self.fleet.ready_len() > 0
    }

    /// Whether the start was promised; if so, its resources are taken already.
    fn keep_promise(&mut self, queued: Queued, epoch: Epoch) -> bool {
        let Some(promise) = self.promises.get_mut(&(queued, epoch)) else { return false };
        promise.count -= 1;
        if let Some(slot) = self.fleet.slot(epoch) {
            self.fleet.forget_end(slot, promise.end, stand_in(queued, promise.count));
        }
        if promise.count == 0 {
            self.promises.remove(&(queued, epoch));
        }
        true
    }

    /// What was promised and not started is free again.
    fn withdraw(&mut self) {
        for ((queued, epoch), promise) in std::mem::take(&mut self.promises) {
            self.changed = true;
            (0..promise.count).for_each(|_| self.discharge(&promise.namespace, &promise.wanted));
            let Some(slot) = self.fleet.slot(epoch) else { continue };
            for nth in 0..promise.count {
                self.fleet.forget_end(slot, promise.end, stand_in(queued, nth));
                self.fleet.give_back(slot, &promise.request);
            }
        }
    }

    /// Takes off what an element of the task will hold on the worker.
    fn promise(&mut self, queued: Queued, slot: Slot, entry: &Entry, now: Timestamp) -> Start {
        let Entry { facts, wanted, .. } = entry;
        self.fleet.take(slot, &facts.request, wanted);
        let epoch = self.fleet.member(slot).worker.epoch;
        if self.tracking == Tracking::Loads {
            self.promised.insert(epoch);
            return Start { queued, epoch };
        }
        let end = facts.expected.map_or(Timestamp(u64::MAX), |span| now.plus(span));
        let promise = self.promises.entry((queued, epoch));
        let promise = promise.or_insert_with(|| Promise {
            namespace: facts.namespace.clone(),
            request: facts.request.clone(),
            wanted: *wanted,
            count: 0,
            end,
        });
        self.fleet.note_end(slot, end, stand_in(queued, promise.count), *wanted);
        promise.count += 1;
        self.charge(&facts.namespace, wanted, now);
        Start { queued, epoch }
    }
}
