//! The queue as the policy orders it, and what a leader that begins now would decide over the front of it.
//!
//! The whole queue is walked, but only its front is kept: a round does not look further, and a million tasks in a
//! second book would take as much memory again as the leader's.

use std::cell::RefCell;
use std::collections::{BTreeMap, BinaryHeap};

use quorate_state::State;
use quorate_state::job::ElementKey;
use quorate_state::queue::Queued;
use quorate_types::explain::{Expected, NamespaceUse, QuotaPlace, QuotaUse};
use quorate_types::policy::QueueOrder;
use quorate_types::resources::in_units;
use quorate_types::{Epoch, Name, Resources, Span, Timestamp};

use super::FRONT_MAX;
use crate::book::queue::{goes_by_time, goes_by_use};
use crate::book::spaces::Tier;
use crate::book::{Book, Bounds, Facts, Gate, Gauge, Kept};
use crate::paths::Paths;
use crate::planner::{Planner, facts_of, plain_facts_of, waiting_facts_of};
use crate::sight::Sight;

/// Fractional bits of a share.
const SHARE_BITS: i32 = 30;

/// The line with the seats of the tasks that somebody asks about.
pub(super) struct Line {
    book: Book,
    seats: BTreeMap<Queued, Seat>,
    /// Where the decision starts elements of those tasks, in their order.
    starts: BTreeMap<Queued, Vec<Epoch>>,
    kept: Vec<Kept>,
    gauge: Gauge,
    /// Of gangs, how many elements would fit now.
    fit: BTreeMap<Queued, u64>,
}

/// Where a task stands.
#[derive(Clone, Debug)]
pub(super) struct Seat {
    spot: Spot,
    pub(super) before: u64,
    pub(super) of: u64,
    pub(super) facts: Facts,
    pub(super) expected: Option<Expected>,
    pub(super) namespace_use: Option<NamespaceUse>,
    pub(super) quota: Option<QuotaPlace>,
}

/// A place that can be compared with others of the same line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spot {
    /// Under `fair-share` each namespace has a line of its own.
    line: Option<Name>,
    place: Place,
}

/// What is within the quota of its namespace comes first.
type Place = (Tier, u64, Queued);

/// What a namespace that waits uses.
#[derive(Clone, Copy, Debug)]
struct Use {
    share: u64,
    penalty: u64,
}

/// How spots are made.
struct Order {
    queue: QueueOrder,
    uses: BTreeMap<Name, Use>,
    paths: RefCell<Paths>,
}

impl Line {
    pub(super) fn new(state: &State, now: Timestamp, asked: &[Queued]) -> Self {
        let mut book = Planner::book_of_workers(state);
        let order = Order::of(state, &mut book, now);
        let seats = asked.iter().filter_map(|queued| Some((*queued, order.seat(state, &book, *queued)?)));
        let mut seats: BTreeMap<Queued, Seat> = seats.collect();
        let mut front = Front::new(order.lines());
        for queued in state.queue().iter() {
            let Some(spot) = order.spot(state, &book, queued) else { continue };
            seats.values_mut().for_each(|seat| seat.note(&spot));
            if Order::may_start(state, &book, queued) {
                front.offer(spot);
            }
        }
        for queued in front.tasks() {
            if let Some(mut facts) = waiting_facts_of(state, queued) {
                order.set_path(state, &book, queued, &mut facts);
                book.enqueue(queued, facts);
            }
        }
        let mut starts: BTreeMap<Queued, Vec<Epoch>> = BTreeMap::new();
        book.keep_for_all();
        let decision = book.plan(now, Bounds::default(), &Sight(state));
        for start in decision.starts {
            let seated = state.job(start.queued.job).map_or(start.queued.task, |job| job.queued_as(start.queued.task));
            if seats.contains_key(&Queued { task: seated, ..start.queued }) {
                starts.entry(start.queued).or_default().push(start.epoch);
            }
        }
        let kept = book.kept();
        let fit = seats.keys().map(|queued| (*queued, book.fit_of_gang(*queued, &Sight(state)))).collect();
        Self { book, seats, starts, kept, gauge: decision.gauge, fit }
    }

    /// How many elements of a gang would fit now.
    pub(super) fn fit(&self, queued: Queued) -> u64 {
        self.fit.get(&queued).copied().unwrap_or(0)
    }

    pub(super) fn seat(&self, queued: Queued) -> Option<&Seat> {
        self.seats.get(&queued)
    }

    /// Where elements of the task start now, in their order.
    pub(super) fn starts(&self, queued: Queued) -> &[Epoch] {
        self.starts.get(&queued).map_or(&[], Vec::as_slice)
    }

    /// Whether what starts now leaves too little behind a gate.
    pub(super) fn is_closed(&self, gate: &Gate, sight: &Sight<'_>, now: Timestamp) -> bool {
        self.gauge.is_closed(gate, sight, now)
    }

    /// What is kept for the task, in the order of its elements that do not start now.
    pub(super) fn kept_for(&self, queued: Queued) -> impl Iterator<Item = &Kept> {
        self.kept.iter().filter(move |kept| kept.queued == queued)
    }

    /// For whom ahead of the task the worker is kept.
    pub(super) fn kept_on(&self, epoch: Epoch, behind: Queued) -> Option<Queued> {
        // In the order of the queue.
        let mut ahead = self.kept.iter().take_while(|kept| kept.queued != behind);
        ahead.find(|kept| kept.epoch == epoch).map(|kept| kept.queued)
    }

    /// Whether an attempt is known to run on for longer than this.
    pub(super) fn has_longer_to_go(&self, key: ElementKey, expected: Span, now: Timestamp) -> bool {
        self.book.end_of(key).is_some_and(|end| end.since(now) > expected)
    }

    /// Whether the worker has room for the request after all that starts now.
    pub(super) fn has_room_left(&self, epoch: Epoch, request: &Resources) -> bool {
        self.book.left_on(epoch).is_some_and(|left| request.fits(left))
    }
}

impl Seat {
    /// Another task waits there.
    fn note(&mut self, other: &Spot) {
        if self.spot.line == other.line {
            self.of += 1;
            self.before += u64::from(other.place < self.spot.place);
        }
    }
}

impl Order {
    fn of(state: &State, book: &mut Book, now: Timestamp) -> Self {
        let queue = state.policy().queue;
        if !goes_by_use(queue) {
            return Self { queue, uses: BTreeMap::new(), paths: RefCell::default() };
        }
        book.settle_use(now);
        let mut uses: BTreeMap<Name, Use> = BTreeMap::new();
        for job in state.queue().iter().filter_map(|queued| state.job(queued.job)) {
            if !uses.contains_key(&job.spec.namespace) {
                let share = book.share_of(&job.spec.namespace);
                uses.insert(job.spec.namespace.clone(), Use { share, penalty: 0 });
            }
        }
        let all = uses.values().map(|held| u128::from(held.share)).sum();
        let weights = uses.keys().map(|name| book.spaces.weight(name)).sum();
        if queue == QueueOrder::Multifactor {
            uses.iter_mut().for_each(|(name, held)| held.penalty = book.penalty_of(name, all, weights));
        }
        Self { queue, uses, paths: RefCell::default() }
    }

    /// With learned times, where the order goes by them.
    fn set_path(&self, state: &State, book: &Book, queued: Queued, facts: &mut Facts) {
        if let Some(job) = state.job(queued.job).filter(|_| self.queue == QueueOrder::CriticalPath) {
            facts.path = self.paths.borrow_mut().of(book, job, queued.task);
        }
    }

    /// How many lines there are.
    fn lines(&self) -> usize {
        if self.queue == QueueOrder::FairShare { self.uses.len() } else { 1 }
    }

    /// Whether the namespace has room for it: what waits for that would only keep others from the front.
    fn may_start(state: &State, book: &Book, queued: Queued) -> bool {
        let Some(job) = state.job(queued.job).filter(|_| book.spaces.bound_starts()) else { return true };
        let spec = job.task_spec(queued.task);
        spec.is_none_or(|spec| book.spaces.times(&job.spec.namespace, &spec.resources, None) > 0)
    }

    fn spot(&self, state: &State, book: &Book, queued: Queued) -> Option<Spot> {
        let mut facts = plain_facts_of(state.job(queued.job)?, queued.task)?;
        if goes_by_time(self.queue) && facts.expected.is_none() {
            facts = facts_of(state, queued)?;
            facts.expected = book.expected(&facts).map(|expected| expected.span);
        }
        self.set_path(state, book, queued, &mut facts);
        Some(self.spot_of(book, queued, &facts))
    }

    fn spot_of(&self, book: &Book, queued: Queued, facts: &Facts) -> Spot {
        let penalty = self.uses.get(&facts.namespace).map_or(0, |held| held.penalty);
        let rank = book.rank_of(facts).saturating_add(penalty);
        let line = (self.queue == QueueOrder::FairShare).then(|| facts.namespace.clone());
        Spot { line, place: (book.spaces.tier(facts), rank, queued) }
    }

    fn seat(&self, state: &State, book: &Book, queued: Queued) -> Option<Seat> {
        let mut facts = facts_of(state, queued)?;
        let expected = book.expected(&facts);
        facts.expected = expected.map(|expected| expected.span);
        self.set_path(state, book, queued, &mut facts);
        let namespace_use = self.uses.get(&facts.namespace).map(|own| NamespaceUse {
            share: per_mille(own.share),
            after: self
                .uses
                .iter()
                .filter(|(name, other)| {
                    let theirs = u128::from(other.share) * u128::from(book.spaces.weight(&facts.namespace));
                    theirs < u128::from(own.share) * u128::from(book.spaces.weight(name))
                })
                .count() as u64,
            of: self.uses.len() as u64,
        });
        let spot = self.spot_of(book, queued, &facts);
        let quota = book.spaces.have_quotas().then(|| quota(state, spot.place.0, &facts));
        Some(Seat { spot, before: 0, of: 0, facts, expected, namespace_use, quota })
    }
}

fn quota(state: &State, tier: Tier, facts: &Facts) -> QuotaPlace {
    let held = state.space(&facts.namespace).map(|space| space.held.clone()).unwrap_or_default();
    let kinds = state.rules_of(&facts.namespace).into_iter().flat_map(|rules| rules.quota.kinds());
    let asked = kinds.filter(|(kind, _)| facts.request.amount(kind) > 0);
    let amounts = asked.map(|(kind, quota)| QuotaUse {
        resource: kind.clone(),
        held: in_units(kind, held.amount(kind)),
        quota: in_units(kind, quota),
    });
    QuotaPlace { covered: tier == Tier::Covered, amounts: amounts.collect() }
}

/// A share with three digits.
fn per_mille(share: u64) -> f64 {
    (share as f64 * 1_000.0 / f64::from(2.0_f32.powi(SHARE_BITS))).round() / 1_000.0
}

/// The first tasks of each line.
struct Front {
    each: usize,
    lines: BTreeMap<Option<Name>, BinaryHeap<Place>>,
}

impl Front {
    fn new(lines: usize) -> Self {
        Self { each: (FRONT_MAX / lines.max(1)).max(1), lines: BTreeMap::new() }
    }

    fn offer(&mut self, spot: Spot) {
        let line = self.lines.entry(spot.line).or_default();
        if line.len() < self.each {
            line.push(spot.place);
        } else if line.peek().is_some_and(|last| spot.place < *last) {
            line.pop();
            line.push(spot.place);
        }
    }

    fn tasks(self) -> impl Iterator<Item = Queued> {
        self.lines.into_values().flat_map(BinaryHeap::into_vec).map(|(_, _, queued)| queued)
    }
}

#[cfg(test)]
mod tests {
    use quorate_types::JobId;

    use super::*;

    #[test]
    fn only_the_front_of_a_long_queue_is_kept() {
        let mut front = Front::new(1);
        let queued = |job| Queued { job: JobId(job), task: 0 };
        let all = 3 * FRONT_MAX as u64;
        (0..all).for_each(|n| front.offer(Spot { line: None, place: (Tier::Covered, all - n, queued(n)) }));
        let mut kept: Vec<u64> = front.tasks().map(|queued| queued.job.0).collect();
        kept.sort_unstable();
        assert_eq!(kept, (all - FRONT_MAX as u64..all).collect::<Vec<_>>());
    }

    #[test]
    fn each_line_keeps_its_part() {
        let names = ["a", "b"].map(|name| Some(Name::new(name).unwrap()));
        let mut front = Front::new(2);
        for n in 0..FRONT_MAX as u64 {
            let line = names[usize::from(n > 10)].clone();
            front.offer(Spot { line, place: (Tier::Covered, n, Queued { job: JobId(n), task: 0 }) });
        }
        let lengths: Vec<usize> = names.iter().map(|name| front.lines[name].len()).collect();
        assert_eq!(lengths, [11, FRONT_MAX / 2]);
    }
}
