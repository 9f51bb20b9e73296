//! One decision: tasks in the queue's order, each to the worker that the policy chooses; `gang` for those that go
//! together.

mod elements;
mod gang;
mod way;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_state::queue::Queued;
use quorate_types::policy::{Backfill, PlacementOrder, Rebalance};
use quorate_types::{Resources, Timestamp};

use super::waiting::Entry;
use super::{Book, Bounds, Decision, Wish, earmarks};
use crate::book::backfill::{conservative, easy, none};
use crate::book::batch::{Batch, Batches};
use crate::book::crowd::{Crowding, Surroundings};
use crate::book::facts::Constraints;
use crate::book::fleet::Slot;
use crate::book::gate::Gauge;
use crate::book::place::{self, Hopes};
use crate::book::queue;
use crate::book::queue::turns::Turns;
use crate::book::ring::Ring;
use crate::book::shapes::Shapes;
use crate::book::vector::Least;
use crate::book::walk::Walk;

pub(crate) use gang::{Cost, Formation, Load, Station, left_over};

/// Tasks that no worker could ever take, of those that one decision looks at.
const STRAYS_MAX: usize = 10_000;

/// A decision while it is made.
pub(crate) struct Pass<'a> {
    pub(crate) book: &'a mut Book,
    pub(crate) now: Timestamp,
    bounds: Bounds,
    /// Somebody asks for whom workers are kept, or a gang that waits has to get as far as its formation.
    keeps_for_all: bool,
    crowding: Crowding<'a>,
    gauge: Gauge,
    decision: Decision,
    misses: usize,
    strays: usize,
    /// Elements that were started before the walk, where a worker was kept for them.
    ahead: BTreeMap<Queued, u64>,
    /// Requests with kinds that no worker has enough of: looked for once. Only such are remembered; the others are
    /// found out by the index.
    hopeless: BTreeSet<(Option<Arc<Constraints>>, Resources)>,
    /// Shapes for which nothing more is to be had.
    blocked: Shapes,
    held: Vec<Slot>,
    walk: Walk,
    /// What was done in vain for gangs.
    gang_looks: usize,
    /// The gang that has a formation.
    gang_waits: Option<Queued>,
    /// Whether it may.
    pub(crate) forms: bool,
    /// Where tasks go together, if the policy wants them to.
    batches: Option<Batches>,
    /// The decision depends on when something will end.
    pub(crate) looked_ahead: bool,
}

/// Whether all elements of a task were placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placing {
    Whole,
    /// There was no room for the next one.
    Short,
}

/// Whether a worker was kept for a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holding {
    Held,
    /// It is a gang, and another one waits before it.
    Waits,
    /// Nobody that is not held could ever take it.
    Nobody,
}

/// Whether the task that has been looked at last may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    Goes,
    /// Another namespace comes first; the task comes again.
    Over,
}

impl Book {
    /// Decides what to start now. What it gives away is taken off what is free until it has started, or until the
    /// next plan.
    pub fn plan(&mut self, now: Timestamp, bounds: Bounds, around: &dyn Surroundings) -> Decision {
        self.withdraw();
        self.spaces.withdraw();
        if !self.changed && self.wake_at.is_none_or(|at| now < at) {
            return Decision { wake_at: self.wake_at, ..Decision::default() };
        }
        self.correct_overdue(now);
        self.fleet.ring.iter_mut().for_each(Ring::arrange);
        self.kept.clear();
        let walk = self.walk(now);
        let flows = self.policy.placement == PlacementOrder::MinCostFlow;
        let mut pass = Pass {
            book: self,
            now,
            bounds,
            keeps_for_all: false,
            crowding: Crowding::new(around),
            gauge: Gauge::default(),
            decision: Decision { looked: true, ..Decision::default() },
            misses: 0,
            strays: 0,
            ahead: BTreeMap::new(),
            hopeless: BTreeSet::new(),
            blocked: Shapes::default(),
            held: Vec::new(),
            batches: flows.then(|| Batches::new(bounds.pairs_max)),
            walk,
            gang_looks: 0,
            gang_waits: None,
            forms: true,
            looked_ahead: false,
        };
        pass.keeps_for_all = pass.book.keeps_for_all
            || pass.book.policy.rebalance == Rebalance::On
            || pass.book.waiting.gangs() > 0
            || pass.book.has_claimants();
        pass.start_claimed();
        earmarks::run(&mut pass);
        pass.run();
        pass.decision.cut = pass.misses >= pass.bounds.misses_max || pass.strays >= STRAYS_MAX;
        let (held, looked_ahead, mut decision) = (pass.held, pass.looked_ahead, pass.decision);
        decision.gauge = pass.gauge;
        held.into_iter().for_each(|slot| self.fleet.release(slot));
        decision.starts.iter().for_each(|start| self.dates.forget(start.queued));
        let opening = if looked_ahead { self.next_opening(now) } else { None };
        self.wake_at = [opening, decision.gauge.wake_at, self.next_turn_end(now)].into_iter().flatten().min();
        // What was started may be the reason why more can be: an element of the same task became pending meanwhile.
        self.changed = decision.more || !decision.starts.is_empty();
        decision.wake_at = self.wake_at;
        decision
    }

    /// When something is expected to end, or a reservation begins that waits for no end: what stood before it may have
    /// moved away.
    fn next_opening(&self, now: Timestamp) -> Option<Timestamp> {
        let starts = self.reservations.values().flatten().map(|reservation| reservation.start);
        let begin = starts.filter(|start| *start > now && *start != Timestamp(u64::MAX)).min();
        [self.running.next_end(), begin].into_iter().flatten().min()
    }

    fn walk(&mut self, now: Timestamp) -> Walk {
        if queue::goes_by_use(self.policy.queue) {
            self.usage.advance(now);
            self.usage.settle();
        } else if !self.spaces.bound_starts() {
            return Walk::line();
        }
        Walk::turns(Turns::new(self))
    }

    /// What has run for longer than was expected is expected to end later.
    fn correct_overdue(&mut self, now: Timestamp) {
        while let Some((key, mut running)) = self.running.take_overdue(now) {
            self.fleet.forget_end(running.slot, running.end, key);
            (running.end, running.overdue) = (running.later_end(now), true);
            let given_back = self.fleet.kinds.vector(&running.request);
            self.fleet.note_end(running.slot, running.end, key, given_back);
            self.running.insert(key, running);
        }
    }
}

impl Pass<'_> {
    fn run(&mut self) {
        if self.book.waiting.is_empty() || self.book.fleet.ready_len() == 0 {
            return;
        }
        match self.book.policy.backfill {
            Backfill::None => none::run(self),
            Backfill::Easy => easy::run(self, easy::Order::Queue),
            Backfill::EasySjbf => easy::run(self, easy::Order::Shortest),
            Backfill::Conservative => conservative::run(self),
        }
    }

    /// Whether nothing more is to be decided.
    pub(crate) fn is_over(&mut self) -> bool {
        if self.decision.starts.len() >= self.bounds.assignments_max {
            self.decision.more = true;
        }
        self.decision.more || self.misses >= self.bounds.misses_max || self.strays >= STRAYS_MAX
    }

    /// A task was looked at in vain.
    pub(crate) fn miss(&mut self) {
        self.misses += 1;
    }

    /// An element goes to the worker that is kept for it.
    pub(crate) fn start_earmarked(&mut self, queued: Queued, slot: Slot, entry: &Entry) {
        let nth = self.elements(queued, entry).start;
        *self.ahead.entry(queued).or_default() += 1;
        let _ = self.start(queued, slot, entry, nth);
    }

    /// Keeps the worker out of what follows.
    pub(crate) fn hold(&mut self, slot: Slot) {
        self.book.fleet.hold(slot);
        self.held.push(slot);
    }

    /// Keeps the worker for the task that will most likely have room first.
    pub(crate) fn hold_for(&mut self, queued: Queued) -> Holding {
        let Some(entry) = self.book.waiting.entry(queued).cloned() else { return Holding::Nobody };
        if let Some(gang) = &entry.gang {
            return self.hold_for_gang(queued, &entry, gang);
        }
        if self.is_hopeless(&entry) {
            return Holding::Nobody;
        }
        match self.most_free(queued, &entry) {
            Some(slot) => {
                self.hold(slot);
                self.keep_gates(&entry);
                self.book.keep(slot, queued, None);
                Holding::Held
            }
            None => {
                self.give_up(&entry);
                Holding::Nobody
            }
        }
    }

    /// The worker that will most likely have room first.
    pub(crate) fn most_free(&mut self, queued: Queued, entry: &Entry) -> Option<Slot> {
        self.book.fleet.most_free(&Wish::new(queued, entry, &self.crowding))
    }

    /// The worker that will have room first, and when, as far as anybody knows.
    pub(crate) fn soonest(&mut self, queued: Queued, entry: &Entry) -> Option<(Timestamp, Slot)> {
        self.book.fleet.soonest(&Wish::new(queued, entry, &self.crowding))
    }

    /// Whether the task could ever go to the worker.
    pub(crate) fn could_take(&self, slot: Slot, queued: Queued, entry: &Entry) -> bool {
        self.book.fleet.could_take(slot, &self.wish(queued, entry))
    }

    pub(crate) fn wish<'b>(&'b self, queued: Queued, entry: &'b Entry) -> Wish<'b> {
        Wish::new(queued, entry, &self.crowding)
    }

    /// Nothing like it finds a place in this decision.
    pub(crate) fn give_up(&mut self, entry: &Entry) {
        // Where others are that it minds is the one thing that others like it don't share.
        if !self.crowding.is_social(&entry.facts) {
            self.blocked = self.blocked.with(entry.shape.but_others());
            self.hopeless.insert((entry.facts.constraints.clone(), entry.facts.request.clone()));
        }
    }

    fn is_hopeless(&self, entry: &Entry) -> bool {
        !self.hopeless.is_empty()
            && self.hopeless.contains(&(entry.facts.constraints.clone(), entry.facts.request.clone()))
    }

    /// A task that no worker could ever take was looked at: it is no reason to look no further.
    pub(crate) fn stray(&mut self) {
        self.strays += 1;
    }

    /// Whether it stands for a gang.
    pub(crate) fn is_gang(&self, queued: Queued) -> bool {
        self.book.is_gang(queued)
    }

    /// Places elements of a task while there is room, each where the policy wants it.
    pub(crate) fn place(&mut self, queued: Queued) -> Placing {
        self.place_by(queued, |_, _| None)
    }

    /// The same; where the pool has no room, `otherwise` may know a worker.
    pub(crate) fn place_by(
        &mut self,
        queued: Queued,
        mut otherwise: impl FnMut(&mut Book, &Wish<'_>) -> Option<Slot>,
    ) -> Placing {
        let Some(entry) = self.book.waiting.entry(queued).cloned() else { return Placing::Whole };
        if let Some(gang) = &entry.gang {
            return self.place_gang(queued, &entry, gang, otherwise);
        }
        if self.is_hopeless(&entry) {
            return Placing::Short;
        }
        self.place_batch(queued);
        let mut hopes = Hopes::default();
        for nth in self.elements(queued, &entry) {
            if self.decision.starts.len() >= self.bounds.assignments_max {
                break;
            }
            let wish = Wish::new(queued, &entry, &self.crowding);
            let advice = self.batches.as_mut().and_then(|batches| batches.advice(self.book, &wish));
            let chosen = advice.or_else(|| place::choose(&self.book.fleet, &wish, &mut self.book.memory, &mut hopes));
            let Some(slot) = chosen.or_else(|| otherwise(self.book, &wish)) else { return Placing::Short };
            if self.start(queued, slot, &entry, nth) == Turn::Over {
                return Placing::Whole;
            }
        }
        self.look_at_gates(queued, &entry);
        Placing::Whole
    }

    /// The worker that the policy wants an element on, of those with room.
    pub(crate) fn choose(&mut self, queued: Queued, entry: &Entry) -> Option<Slot> {
        self.place_batch(queued);
        let wish = Wish::new(queued, entry, &self.crowding);
        let advice = self.batches.as_mut().and_then(|batches| batches.advice(self.book, &wish));
        advice.or_else(|| place::choose(&self.book.fleet, &wish, &mut self.book.memory, &mut Hopes::default()))
    }

    /// Looks for places for this task and those that come after it, if that is how they are placed, and it was not
    /// among those that were looked at before.
    fn place_batch(&mut self, queued: Queued) {
        let Some(batches) = self.batches.as_ref().filter(|batches| !batches.knows(queued)) else { return };
        let elements_left = (self.bounds.assignments_max - self.decision.starts.len()) as u64;
        let shapes_max = batches.shapes_max(self.book.fleet.ready_len());
        // One shape alone goes where it would go one by one.
        if shapes_max < 2 {
            return;
        }
        let (mut batch, most) = (Batch::default(), self.book.fleet.most_room().map(|room| room.free));
        let mut take = |queued: Queued| {
            let Some(entry) = self.book.waiting.entry(queued).filter(|_| !batches.knows(queued)) else { return true };
            let elements = self.elements(queued, entry);
            batch.add(queued, entry, elements.end.saturating_sub(elements.start).min(elements_left));
            batch.elements() < elements_left
                && batch.tasks() < self.bounds.assignments_max
                && batch.shapes() < shapes_max
        };
        if take(queued) {
            let may = |least: &Least| {
                !least.shapes.are_all_in(self.blocked) && most.is_some_and(|most| least.request.fits(&most))
            };
            self.walk.ahead(self.book, may, take);
        }
        let Some(mut batches) = self.batches.take() else { return };
        batches.place(self.book, &batch, &self.crowding);
        self.batches = Some(batches);
    }

    /// For where the next elements of the same tasks go: this worker has one of them more.
    fn note_crowding(&mut self, queued: Queued, entry: &Entry, slot: Slot) {
        self.crowding.add(entry.facts.kin.unwrap_or(queued), &entry.facts, &self.book.fleet.member(slot).worker);
    }

    /// The `nth` element of a task goes to the worker.
    pub(crate) fn start(&mut self, queued: Queued, slot: Slot, entry: &Entry, nth: u64) -> Turn {
        self.note_crowding(queued, entry, slot);
        self.keep_gates(entry);
        self.book.dates.forget(queued);
        let start = self.book.promise(queued, slot, entry, self.now);
        self.decision.starts.push(start);
        let over = self.walk.pass_on(self.book, nth + 1);
        if over { Turn::Over } else { Turn::Goes }
    }
}
