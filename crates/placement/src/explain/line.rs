//! The queue as the policy orders it, and what a leader that begins now would decide over the front of it.
//!
//! The whole queue is walked, but only its front is kept: a round does not look further, and a million tasks in a
//! second book would take as much memory again as the leader's.

use std::collections::{BTreeMap, BinaryHeap};

use quorate_state::State;
use quorate_state::queue::Queued;
use quorate_types::explain::{Expected, NamespaceUse};
use quorate_types::policy::QueueOrder;
use quorate_types::{Epoch, Name, Resources, Timestamp};

use super::FRONT_MAX;
use crate::book::queue::{goes_by_time, goes_by_use};
use crate::book::{Book, Bounds, Facts, Kept};
use crate::planner::{Planner, Sight, facts_of, plain_facts_of, waiting_facts_of};

/// Fractional bits of a share.
const SHARE_BITS: i32 = 30;

/// The line with the seats of the tasks that somebody asks about.
pub(super) struct Line {
    book: Book,
    seats: BTreeMap<Queued, Seat>,
    /// Where the decision starts elements of those tasks, in their order.
    starts: BTreeMap<Queued, Vec<Epoch>>,
    kept: Vec<Kept>,
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
}

/// A place that can be compared with others of the same line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Spot {
    /// Under `fair-share` each namespace has a line of its own.
    line: Option<Name>,
    place: (u64, Queued),
}

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
            front.offer(spot);
        }
        for queued in front.tasks() {
            if let Some(facts) = waiting_facts_of(state, queued) {
                book.enqueue(queued, facts);
            }
        }
        let mut starts: BTreeMap<Queued, Vec<Epoch>> = BTreeMap::new();
        for start in book.plan(now, Bounds::default(), &Sight(state)).starts {
            let seated = state.job(start.queued.job).map_or(start.queued.task, |job| job.queued_as(start.queued.task));
            if seats.contains_key(&Queued { task: seated, ..start.queued }) {
                starts.entry(start.queued).or_default().push(start.epoch);
            }
        }
        let kept = book.kept();
        let fit = seats.keys().map(|queued| (*queued, book.fit_of_gang(*queued, &Sight(state)))).collect();
        Self { book, seats, starts, kept, fit }
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

    /// What is kept for the task, in the order of its elements that do not start now.
    pub(super) fn kept_for(&self, queued: Queued) -> impl Iterator<Item = &Kept> {
        self.kept.iter().filter(move |kept| kept.queued == queued)
    }

    /// For whom else the worker is kept.
    pub(super) fn kept_on(&self, epoch: Epoch, besides: Queued) -> Option<Queued> {
        let found = self.kept.iter().find(|kept| kept.epoch == epoch && kept.queued != besides);
        found.map(|kept| kept.queued)
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
            return Self { queue, uses: BTreeMap::new() };
        }
        book.settle_use(now);
        let mut uses: BTreeMap<Name, Use> = BTreeMap::new();
        for job in state.queue().iter().filter_map(|queued| state.job(queued.job)) {
            if !uses.contains_key(&job.spec.namespace) {
                let share = book.share_of(&job.spec.namespace);
                uses.insert(job.spec.namespace.clone(), Use { share, penalty: 0 });
            }
        }
        let (all, namespaces) = (uses.values().map(|held| u128::from(held.share)).sum(), uses.len());
        if queue == QueueOrder::Multifactor {
            uses.iter_mut().for_each(|(name, held)| held.penalty = book.penalty_of(name, all, namespaces));
        }
        Self { queue, uses }
    }

    /// How many lines there are.
    fn lines(&self) -> usize {
        if self.queue == QueueOrder::FairShare { self.uses.len() } else { 1 }
    }

    fn spot(&self, state: &State, book: &Book, queued: Queued) -> Option<Spot> {
        let mut facts = plain_facts_of(state.job(queued.job)?, queued.task)?;
        if goes_by_time(self.queue) && facts.expected.is_none() {
            facts = facts_of(state, queued)?;
            facts.expected = book.expected(&facts).map(|expected| expected.span);
        }
        Some(self.spot_of(book, queued, &facts))
    }

    fn spot_of(&self, book: &Book, queued: Queued, facts: &Facts) -> Spot {
        let penalty = self.uses.get(&facts.namespace).map_or(0, |held| held.penalty);
        let rank = book.rank_of(facts).saturating_add(penalty);
        let line = (self.queue == QueueOrder::FairShare).then(|| facts.namespace.clone());
        Spot { line, place: (rank, queued) }
    }

    fn seat(&self, state: &State, book: &Book, queued: Queued) -> Option<Seat> {
        let mut facts = facts_of(state, queued)?;
        let expected = book.expected(&facts);
        facts.expected = expected.map(|expected| expected.span);
        let namespace_use = self.uses.get(&facts.namespace).map(|own| NamespaceUse {
            share: per_mille(own.share),
            after: self.uses.values().filter(|other| other.share < own.share).count() as u64,
            of: self.uses.len() as u64,
        });
        let spot = self.spot_of(book, queued, &facts);
        Some(Seat { spot, before: 0, of: 0, facts, expected, namespace_use })
    }
}

/// A share with three digits: more would pretend to know the use that has ended.
fn per_mille(share: u64) -> f64 {
    (share as f64 * 1_000.0 / f64::from(2.0_f32.powi(SHARE_BITS))).round() / 1_000.0
}

/// The first tasks of each line.
struct Front {
    each: usize,
    lines: BTreeMap<Option<Name>, BinaryHeap<(u64, Queued)>>,
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
        self.lines.into_values().flat_map(BinaryHeap::into_vec).map(|(_, queued)| queued)
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
        (0..all).for_each(|n| front.offer(Spot { line: None, place: (all - n, queued(n)) }));
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
            front.offer(Spot { line, place: (n, Queued { job: JobId(n), task: 0 }) });
        }
        let lengths: Vec<usize> = names.iter().map(|name| front.lines[name].len()).collect();
        assert_eq!(lengths, [11, FRONT_MAX / 2]);
    }
}
