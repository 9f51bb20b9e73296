//! The book: what waits, what runs and where, kept up to date by whoever drives it, so that a decision looks at
//! what changed and not at everything. The leader drives it from versions of the state, the policy lab from a trace.
//!
//! Layout: `facts` (what policies know of a task), `wish` (what one of its elements asks of a worker), `crowd` (where
//! its siblings are), `gate` (what it has to get besides room), `waiting` and `running`, `pass` (one decision), `walk`
//! (in which order), `batch` (several tasks at once), `promises` (what was given away and has not started), `earmarks`
//! (room that others were ended for), `slices` (who has had its turn), `moves` (room for what moves from one worker to
//! another), `queue/` (one file for each order of tasks), `backfill/` (what may pass a task that does not fit),
//! `place/` (one file for each way to choose a worker), `estimate` (run times learned from history), `usage` (what
//! namespaces used), `spaces` (what they are entitled to), `outlook` (what explanations ask), over the indexes `fleet`
//! (of `member`s), `ring`, `zones`, `traits`, `shapes`, `steps`, `treap` and `vector`.
//!
//! Invariants: the same history of a book gives the same plan; a plan never gives a worker more than it has free, and
//! never names a task that could not be placed.

mod backfill;
mod batch;
mod crowd;
mod dates;
mod earmarks;
mod estimate;
mod facts;
mod fleet;
mod forming;
mod gate;
mod member;
mod moves;
mod outlook;
mod pass;
mod place;
mod promises;
pub(crate) mod queue;
mod ring;
mod running;
mod shapes;
pub(crate) mod share;
mod slices;
pub(crate) mod spaces;
mod steps;
mod traits;
mod treap;
mod usage;
mod vector;
mod waiting;
mod walk;
mod wish;
mod zones;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_state::job::ElementKey;
use quorate_state::past::Past;
use quorate_state::queue::Queued;
use quorate_types::{Epoch, JobId, Name, Policy, Resources, Span, TaskIndex, Timestamp};

pub(crate) use crowd::Crowding;
pub use crowd::Surroundings;
pub use facts::{Constraints, Facts, Lineage, Member};
pub(crate) use forming::Forming;
pub(crate) use gate::Gauge;
pub use gate::{Gate, GateRoom};
pub use member::Worker;
pub(crate) use moves::{Mover, Standing};
pub(crate) use outlook::Kept;
pub(crate) use pass::{Formation, Pass, Placing, Station};
pub(crate) use running::Running;
pub(crate) use steps::Steps;
pub(crate) use vector::{Room, Vector};
pub(crate) use waiting::{Entry, Mate, Waiting};
pub(crate) use wish::Wish;

use backfill::conservative::Reservations;
use batch::Carried;
use dates::Dates;
use earmarks::Earmark;
use estimate::Estimator;
use fleet::Fleet;
use moves::Move;
use promises::Promise;
use running::RunningSet;
use spaces::Spaces;
use usage::Usage;
use waiting::Measures;

/// How much one plan may decide, so that it stays short whatever waits.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Assignments of one plan: one log entry carries them.
    pub assignments_max: usize,
    /// Queued tasks that fit nowhere before the plan gives up looking further.
    pub misses_max: usize,
    /// Pairs of a shape of tasks and a worker, or a block of like ones, that `min-cost-flow` looks at; what comes after
    /// them goes to the least loaded worker.
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

/// Stands before every other key.
pub(crate) const FIRST_KEY: ElementKey = ElementKey { job: JobId(0), task: 0, index: TaskIndex(0) };

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
    pub(crate) gauge: Gauge,
}

/// How a book learns what runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// Attempt by attempt, so that it knows what ends when and who uses what: [`Book::started`] and [`Book::ended`].
    Attempts,
    /// Worker by worker: [`Book::load`]. It costs less where no policy looks ahead or learns.
    Loads,
}

impl Tracking {
    /// Single attempts are worth following where a policy goes by when they end, or by how long they ran.
    pub fn of(policy: &Policy) -> Self {
        if policy.looks_ahead() { Self::Attempts } else { Self::Loads }
    }
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
    pub(crate) spaces: Spaces,
    /// What is reserved for those that wait, where backfill is conservative.
    pub(crate) reservations: Reservations,
    pub(crate) dates: Dates,
    /// The workers that the last decision kept, and for whom, where backfill is not conservative.
    kept: Vec<Kept>,
    /// Where the next batch begins, where tasks are placed together.
    carried: Carried,
    /// What the last decision gave away and nobody has started yet. It is taken off what is free.
    promises: BTreeMap<(Queued, Epoch), Promise>,
    tracking: Tracking,
    /// Workers whose room is for one task first.
    earmarks: BTreeMap<Epoch, Earmark>,
    /// Attempts that end so that they go on elsewhere, where room for them is taken already.
    moves: BTreeMap<ElementKey, Move>,
    /// To whom something was promised, where single attempts are not followed.
    promised: BTreeSet<Epoch>,
    /// The workers that the first gang that waits will go to.
    formation: Option<Formation>,
    /// A decision keeps a worker for each task that waits for room, also when nothing behind it could start.
    keeps_for_all: bool,
    /// Something changed since the last decision.
    changed: bool,
    /// Workers have come since somebody asked.
    has_newcomers: bool,
    wake_at: Option<Timestamp>,
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
            spaces: Spaces::default(),
            reservations: Reservations::new(),
            dates: Dates::default(),
            kept: Vec::new(),
            carried: Carried::default(),
            promises: BTreeMap::new(),
            earmarks: BTreeMap::new(),
            moves: BTreeMap::new(),
            tracking,
            promised: BTreeSet::new(),
            formation: None,
            keeps_for_all: false,
            changed: true,
            has_newcomers: false,
            wake_at: None,
            policy,
        }
    }

    /// From here on decisions say for each task that waits for room which worker is kept for it, also when nothing behind
    /// it could start: for explanations.
    pub fn keep_for_all(&mut self) {
        self.keeps_for_all = true;
    }

    /// What is told from here on happened at `now`. Only what namespaces used depends on it.
    pub fn advance(&mut self, now: Timestamp) {
        self.usage.advance(now);
    }

    /// A worker registered, or takes new tasks again, or none any more.
    pub fn worker(&mut self, worker: Worker) {
        self.has_newcomers |= self.fleet.slot(worker.epoch).is_none();
        if self.fleet.put(worker) {
            self.waiting.measure(&self.fleet);
        }
        self.changed = true;
    }

    /// Whether workers have come since the last question.
    pub(crate) fn take_newcomers(&mut self) -> bool {
        std::mem::take(&mut self.has_newcomers)
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
        self.expect(&mut facts);
        for facts in facts.members().map(|member| &member.facts).chain([&facts]) {
            self.fleet.name_conditions(facts, self.waiting.is_empty());
        }
        let measures = Measures::of(&self.fleet, &facts);
        self.waiting.insert(queued, facts, measures);
        self.changed = true;
    }

    /// Notes how long it will run, as far as that is known; a gang as long as the longest of its members.
    fn expect(&self, facts: &mut Facts) {
        facts.expected = self.estimator.expected(facts);
        if let Some(gang) = &mut facts.gang {
            let members = Arc::make_mut(gang);
            members.iter_mut().for_each(|member| member.facts.expected = self.estimator.expected(&member.facts));
            let spans: Option<Vec<Span>> = members.iter().map(|member| member.facts.expected).collect();
            facts.expected = spans.and_then(|spans| spans.into_iter().max());
        }
    }

    /// Nothing of the task waits any more.
    pub fn dequeue(&mut self, queued: Queued) -> Option<Facts> {
        self.changed = true;
        self.dates.forget(queued);
        self.waiting.remove(queued)
    }

    /// When elements of a task will start at the latest, the first one first, as far as there are reservations and
    /// nothing runs for longer than expected: where backfill is conservative, and of the first gang that waits, as of
    /// the last plan.
    pub fn reserved(&self, queued: Queued) -> impl Iterator<Item = Timestamp> {
        let reservations = self.reservations.get(&queued).into_iter().flatten();
        let formation = self.formation.iter().filter(move |formation| formation.queued == queued);
        let formed = formation.flat_map(|formation| formation.start);
        let each = reservations.map(|reservation| reservation.start).chain(formed);
        each.filter(|start| *start != Timestamp(u64::MAX))
    }

    /// What is known of a task that waits.
    pub(crate) fn facts(&self, queued: Queued) -> Option<Facts> {
        self.waiting.entry(queued).map(|entry| entry.facts.clone())
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
        self.spaces.begin(&facts.namespace, &facts.request);
        let mut running = Running::new(slot, at, facts, wanted);
        running.end = self.estimator.expected(facts).map_or(running.end, |span| at.plus(span));
        running.turn_end = self.turn_end(at, running.lost);
        self.fleet.note_end(slot, running.end, key, wanted);
        self.running.insert(key, running);
        self.take_turn(Queued { job: key.job, task: key.task }, at);
        self.changed = true;
    }

    /// An attempt holds nothing any more. `ran` if it finished, and others like it will run as long.
    pub fn ended(&mut self, key: ElementKey, ran: Option<Span>) {
        let Some(running) = self.running.remove(key) else { return };
        self.fleet.forget_end(running.slot, running.end, key);
        self.fleet.give_back(running.slot, &running.request);
        self.discharge(&running.namespace, &running.wanted);
        self.spaces.end(&running.namespace, &running.request);
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

    /// Takes over what another book of this cluster has learned.
    pub(crate) fn remember_times(&mut self, earlier: Self) {
        self.estimator = earlier.estimator;
    }

    /// The namespace holds so much more since `since`.
    fn charge(&mut self, namespace: &Name, wanted: &Vector, since: Timestamp) {
        if queue::goes_by_use(self.policy.queue) {
            self.usage.hold(namespace, wanted, since);
        }
    }

    /// What the namespace used until now, also by what runs.
    pub(crate) fn recall(&mut self, namespace: &Name, past: &Past) {
        self.usage.recall(namespace, self.fleet.kinds.past(past));
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
}
