//! Decisions in a cluster that is full, to measure what they cost: whenever something ends, what has room then starts
//! from a long queue.

use std::collections::{BTreeMap, BTreeSet};

use quorate_placement::book::{Book, Bounds, Facts, Start, Tracking};
use quorate_state::job::ElementKey;
use quorate_state::queue::Queued;
use quorate_types::policy::Policy;
use quorate_types::{Epoch, Resources, Span, TaskIndex, Timestamp};

use super::decisions::{book, capacity, queued, shape, various};

/// Attempts that end before each round.
pub const ENDS: usize = 32;
/// Attempts that fill a worker in the beginning.
const FILLING: u64 = 16;
/// A core.
const CORE: u64 = 1_000;

/// Workers of four sizes without room, and tasks of a thousand shapes that wait for it.
#[derive(Debug)]
pub struct Churn {
    book: Book,
    tracking: Tracking,
    /// By when they end.
    running: BTreeSet<(Timestamp, ElementKey)>,
    on: BTreeMap<ElementKey, (Epoch, Facts)>,
    /// What the workers have left, and how many attempts.
    loads: Vec<(Resources, u32)>,
    waiting: BTreeMap<Queued, Facts>,
    next: u64,
    now: Timestamp,
}

impl Churn {
    /// With so many tasks that wait, now and after each round.
    pub fn new(policy: Policy, workers: u64, tasks: u64) -> Self {
        let tracking = Tracking::of(&policy);
        let loads = (0..workers).map(|worker| (capacity(worker), 0)).collect();
        let mut churn = Self {
            book: book(policy, workers, std::iter::empty()),
            tracking,
            running: BTreeSet::new(),
            on: BTreeMap::new(),
            loads,
            waiting: BTreeMap::new(),
            next: 0,
            now: Timestamp(0),
        };
        for number in 0..workers * FILLING {
            let all = capacity(number % workers);
            let mut facts = various(number, Resources::new(all.cpu_millis / FILLING, all.memory_bytes / FILLING));
            facts.expected = Some(Span(1 + number.wrapping_mul(7_919) % 18_000));
            churn.begin(queued(number), Epoch(number % workers), facts);
        }
        churn.next = workers * FILLING;
        (0..tasks).for_each(|_| churn.submit());
        churn
    }

    /// The next attempts end, and what has room then starts, and is followed by as many tasks. Gives the number of
    /// starts.
    pub fn round(&mut self) -> usize {
        for _ in 0..ENDS {
            let Some((at, key)) = self.running.pop_first() else { break };
            self.now = self.now.max(at);
            self.end(key);
        }
        let starts = self.book.plan(self.now, Bounds::default(), &|_| 1).starts;
        for Start { queued, epoch } in &starts {
            let Some(facts) = self.waiting.remove(queued) else { continue };
            drop(self.book.dequeue(*queued));
            self.begin(*queued, *epoch, facts);
            self.submit();
        }
        starts.len()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    fn submit(&mut self) {
        let (number, shape) = (self.next, shape(self.next));
        self.next += 1;
        // From four cores to 32, each with one to four GiB.
        let cores = 4 * (1 + shape % 8);
        let facts = various(number, Resources::new(CORE * cores, (1 + shape * 31 % 4) * (cores << 30)));
        self.book.enqueue(queued(number), facts.clone());
        self.waiting.insert(queued(number), facts);
    }

    fn begin(&mut self, queued: Queued, epoch: Epoch, facts: Facts) {
        let key = ElementKey { job: queued.job, task: queued.task, index: TaskIndex(0) };
        self.change(epoch, |(free, attempts)| {
            free.subtract(&facts.request);
            *attempts += 1;
        });
        if self.tracking == Tracking::Attempts {
            self.book.started(key, epoch, self.now, &facts);
        }
        self.running.insert((self.now.plus(facts.expected.unwrap_or(Span(1))), key));
        self.on.insert(key, (epoch, facts));
    }

    fn end(&mut self, key: ElementKey) {
        let Some((epoch, facts)) = self.on.remove(&key) else { return };
        if self.tracking == Tracking::Attempts {
            self.book.ended(key, None);
        }
        self.change(epoch, |(free, attempts)| {
            free.add(&facts.request);
            *attempts -= 1;
        });
    }

    fn change(&mut self, epoch: Epoch, change: impl FnOnce(&mut (Resources, u32))) {
        let load = &mut self.loads[epoch.0 as usize];
        change(load);
        if self.tracking == Tracking::Loads {
            self.book.load(epoch, load.0.clone(), load.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_types::policy::{Backfill, QueueOrder};

    use super::*;

    #[test]
    fn what_ends_makes_room_for_what_waits() {
        let orders = QueueOrder::ALL.iter().map(|queue| Policy { queue: *queue, ..Policy::default() });
        let backfills = Backfill::ALL.iter().map(|backfill| Policy { backfill: *backfill, ..Policy::default() });
        for policy in orders.chain(backfills) {
            let mut churn = Churn::new(policy.clone(), 50, 500);
            let started: usize = (0..50).map(|_| churn.round()).sum();
            assert!(started > 500, "{started} starts: {policy:?}");
            assert_eq!(churn.waiting(), 500);
        }
    }
}
