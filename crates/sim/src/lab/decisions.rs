//! Decisions without a cluster, to measure what they cost: one batch after the other from the same state.

use std::collections::BTreeMap;

use quorate_placement::book::{Book, Bounds, Facts, Tracking, Worker};
use quorate_state::queue::Queued;
use quorate_types::policy::{PlacementOrder, Policy};
use quorate_types::validate::default_namespace;
use quorate_types::{Epoch, JobId, Name, Resources, Span, Timestamp};

/// Decisions of one batch: what a round makes at the most.
pub const BATCH: usize = 4_096;
/// Requests that differ.
const SHAPES: u64 = 1_000;
const NAMESPACES: u64 = 10;

/// Workers of four sizes, and more tasks of a thousand shapes than one batch places.
#[derive(Debug)]
pub struct Decisions {
    book: Book,
    batch: usize,
    pairs_max: usize,
}

impl Decisions {
    /// Everything that a batch can decide has a place.
    pub fn new(policy: Policy, workers: u64) -> Self {
        let tasks = (0..2 * BATCH as u64).map(request);
        Self { book: book(policy, workers, tasks), batch: BATCH, pairs_max: Bounds::default().pairs_max }
    }

    /// The same of ten namespaces, with priorities, expected times and deadlines, as orders of the queue go by.
    pub fn ordered(policy: Policy, workers: u64) -> Self {
        let mut decisions = Self::new(policy, workers);
        for task in 0..2 * BATCH as u64 {
            if let Some(facts) = decisions.book.dequeue(queued(task)) {
                decisions.book.enqueue(queued(task), various(task, facts.request));
            }
        }
        decisions
    }

    /// So many tasks, no two alike, for one round that places them all together.
    pub fn together(workers: u64, tasks: u64) -> Self {
        let policy = Policy { placement: PlacementOrder::MinCostFlow, ..Policy::default() };
        let distinct = (0..tasks).map(|task| {
            let like = request(task);
            Resources::new(like.cpu_millis, like.memory_bytes + task)
        });
        Self { book: book(policy, workers, distinct), batch: tasks as usize, pairs_max: (workers * tasks) as usize }
    }

    /// Decides, and gives the number of decisions.
    pub fn decide(&mut self) -> usize {
        self.book.look_again();
        let bounds = Bounds { assignments_max: self.batch, pairs_max: self.pairs_max, ..Bounds::default() };
        self.book.plan(Timestamp(0), bounds, &|_| 1).starts.len()
    }

    /// Takes the last decisions back.
    pub fn take_back(&mut self) {
        for epoch in self.book.promised() {
            self.book.load(epoch, capacity(epoch.0), 0);
        }
    }

    /// Fills all workers, so that nothing can be decided.
    pub fn fill(&mut self, workers: u64) {
        (0..workers).for_each(|number| self.book.load(Epoch(number), Resources::default(), 1));
        let _ = self.decide();
    }

    /// A round in which nothing has changed.
    pub fn decide_nothing(&mut self) -> usize {
        self.book.plan(Timestamp(0), Bounds::default(), &|_| 1).starts.len()
    }
}

/// What tasks are that orders of the queue tell apart.
pub(super) fn various(task: u64, request: Resources) -> Facts {
    let (shape, mut facts) = (shape(task), Facts::new(Timestamp(task), request));
    facts.namespace = name(&format!("n{}", task % NAMESPACES));
    facts.priority = (shape % 100) as u8;
    facts.expected = Some(Span(1_000 + shape * 17));
    facts.deadline = Some(Timestamp(task + shape * 1_000));
    facts.path = Span(shape * 29);
    facts
}

pub(super) fn book(policy: Policy, workers: u64, requests: impl Iterator<Item = Resources>) -> Book {
    let tracking = Tracking::of(&policy);
    let mut book = Book::new(policy, tracking, 1);
    for number in 0..workers {
        let name = name(&format!("w{number}"));
        let (epoch, labels, taints) = (Epoch(number), BTreeMap::new(), Vec::new());
        book.worker(Worker { epoch, name, labels, taints, capacity: capacity(number), ready: true });
    }
    for (task, request) in (0..).zip(requests) {
        book.enqueue(queued(task), Facts::new(Timestamp(task), request));
    }
    book
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap_or_else(|_| default_namespace())
}

pub(super) fn queued(task: u64) -> Queued {
    Queued { job: JobId(task), task: 0 }
}

pub(super) fn shape(task: u64) -> u64 {
    task.wrapping_mul(7_919) % SHAPES
}

pub(super) fn capacity(worker: u64) -> Resources {
    Resources::new(64_000 << (worker % 4), (256 << 30) << (worker % 4))
}

/// Up to a core and up to 4 GiB.
fn request(task: u64) -> Resources {
    let shape = shape(task);
    Resources::new(1 + shape, (1 + shape * 31 % SHAPES) << 22)
}

#[cfg(test)]
mod tests {
    use quorate_types::policy::{Backfill, QueueOrder};

    use super::*;

    #[test]
    fn each_batch_is_whole_and_begins_where_the_one_before_did() {
        for placement in PlacementOrder::ALL.iter().copied() {
            let mut decisions = Decisions::new(Policy { placement, ..Policy::default() }, 50);
            for _ in 0..3 {
                assert_eq!(decisions.decide(), BATCH, "{placement}");
                decisions.take_back();
            }
            decisions.fill(50);
            assert_eq!(decisions.decide_nothing(), 0, "{placement}");
        }
        assert_eq!(Decisions::together(50, 300).decide(), 300);
        let orders = QueueOrder::ALL.iter().map(|queue| Policy { queue: *queue, ..Policy::default() });
        let backfills = Backfill::ALL.iter().map(|backfill| Policy { backfill: *backfill, ..Policy::default() });
        for policy in orders.chain(backfills) {
            let mut decisions = Decisions::ordered(policy.clone(), 50);
            for _ in 0..2 {
                assert_eq!(decisions.decide(), BATCH, "{policy:?}");
                decisions.take_back();
            }
        }
    }
}
