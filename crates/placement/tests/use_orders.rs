//! The orders that go by what namespaces use.

use std::collections::BTreeMap;

use quorate_placement::book::{Book, Bounds, Decision, Facts, Tracking, Worker};
use quorate_state::job::ElementKey;
use quorate_state::queue::Queued;
use quorate_types::policy::{Policy, QueueOrder};
use quorate_types::{Epoch, JobId, Name, Resources, TaskIndex, Timestamp};

const HOUR: u64 = 3_600_000;

/// A book with one worker, and how much of each task still waits.
struct Queue {
    book: Book,
    pending: BTreeMap<Queued, u64>,
    facts: BTreeMap<Queued, Facts>,
}

impl Queue {
    fn new(queue: QueueOrder, capacity: Resources) -> Self {
        let mut book = Book::new(Policy { queue, ..Policy::default() }, Tracking::Attempts, 1);
        let name = Name::new("w").unwrap();
        book.worker(Worker {
            epoch: Epoch(1),
            name,
            labels: BTreeMap::new(),
            capacity,
            taints: Vec::new(),
            ready: true,
        });
        Self { book, pending: BTreeMap::new(), facts: BTreeMap::new() }
    }

    fn task(&mut self, namespace: &str, count: u64, facts: Facts) {
        let queued = Queued { job: JobId(self.pending.len() as u64 + 1), task: 0 };
        let facts = Facts { namespace: Name::new(namespace).unwrap(), ..facts };
        self.pending.insert(queued, count);
        self.facts.insert(queued, facts.clone());
        self.book.enqueue(queued, facts);
    }

    fn plan(&mut self, now: u64) -> Decision {
        let pending = &self.pending;
        self.book.plan(Timestamp(now), Bounds::default(), &|queued| pending[&queued])
    }

    /// Whose elements start, in order, one letter each.
    fn turns(&mut self, now: u64) -> String {
        let starts = self.plan(now).starts;
        starts.iter().map(|start| &self.facts[&start.queued].namespace[..1]).collect()
    }

    /// Starts what was planned, as elements of so many.
    fn start(&mut self, now: u64) -> Vec<ElementKey> {
        let mut keys = Vec::new();
        for start in self.plan(now).starts {
            let left = self.pending.get_mut(&start.queued).unwrap();
            *left -= 1;
            let key = ElementKey { job: start.queued.job, task: 0, index: TaskIndex(*left as u32) };
            self.book.started(key, start.epoch, Timestamp(now), &self.facts[&start.queued]);
            keys.push(key);
        }
        keys
    }
}

fn cores(count: u64) -> Facts {
    Facts::new(Timestamp(0), Resources::new(count * 1_000, 0))
}

/// The example of Ghodsi et al. 2011, section 4.1: 9 processors and 18 GB for tasks of <1, 4> and <3, 1>.
#[test]
fn fair_share_gives_what_the_papers_example_gives() {
    let mut queue = Queue::new(QueueOrder::FairShare, Resources::new(9_000, 18));
    queue.task("a", 100, Facts::new(Timestamp(0), Resources::new(1_000, 4)));
    queue.task("b", 100, Facts::new(Timestamp(0), Resources::new(3_000, 1)));
    assert_eq!(queue.turns(0), "ababa");
}

#[test]
fn inside_a_namespace_fair_share_goes_by_submission_and_an_array_takes_no_more_than_its_share() {
    let mut queue = Queue::new(QueueOrder::FairShare, Resources::new(8_000, 0));
    queue.task("a", 100, cores(1));
    queue.task("a", 1, cores(1));
    queue.task("b", 1, cores(1));
    queue.task("c", 2, cores(1));
    let jobs: Vec<u64> = queue.plan(0).starts.iter().map(|start| start.queued.job.0).collect();
    assert_eq!(jobs, [1, 3, 4, 1, 4, 1, 1, 1]);
}

#[test]
fn what_was_used_an_hour_ago_counts_half() {
    let mut queue = Queue::new(QueueOrder::FairShare, Resources::new(8_000, 0));
    queue.task("a", 8, cores(1));
    let keys = queue.start(0);
    queue.book.advance(Timestamp(HOUR));
    keys.iter().for_each(|key| queue.book.ended(*key, None));
    queue.task("a", 100, cores(1));
    queue.task("b", 100, cores(1));
    assert_eq!(queue.turns(HOUR), "bbbbabab", "a has used half of everything");
    assert_eq!(queue.turns(2 * HOUR), "bbababab", "a quarter is left of that");
    assert_eq!(queue.turns(40 * HOUR), "abababab", "nothing is left");
}

#[test]
fn what_runs_counts_as_long_as_it_runs() {
    let mut queue = Queue::new(QueueOrder::FairShare, Resources::new(8_000, 0));
    queue.task("a", 2, cores(2));
    queue.start(0);
    queue.task("a", 100, cores(1));
    queue.task("b", 100, cores(1));
    assert_eq!(queue.turns(0), "bbbb");
    queue.book.left(Epoch(1));
    let name = Name::new("w").unwrap();
    let capacity = Resources::new(8_000, 0);
    queue.book.worker(Worker {
        epoch: Epoch(2),
        name,
        labels: BTreeMap::new(),
        capacity,
        taints: Vec::new(),
        ready: true,
    });
    assert_eq!(queue.turns(0), "abababab");
}

/// What a namespace has ended leaves no trace but its past.
#[test]
fn promises_that_nobody_keeps_cost_nothing() {
    let mut queue = Queue::new(QueueOrder::FairShare, Resources::new(8_000, 0));
    queue.task("a", 1, cores(7));
    assert_eq!(queue.turns(0), "a");
    queue.task("b", 100, cores(1));
    queue.book.look_again();
    assert_eq!(queue.turns(0), "ab");
}

#[test]
fn multifactor_weighs_age_size_priority_and_use() {
    let order = |tasks: &[(&str, u64, u64, u8)]| {
        let mut queue = Queue::new(QueueOrder::Multifactor, Resources::new(16_000, 0));
        for (namespace, submitted, size, priority) in tasks {
            let mut facts = Facts::new(Timestamp(*submitted), Resources::new(size * 1_000, 0));
            facts.priority = *priority;
            queue.task(namespace, 1, facts);
        }
        queue.plan(40 * HOUR).starts.iter().map(|start| start.queued.job.0).collect::<Vec<_>>()
    };
    assert_eq!(order(&[("a", 2, 1, 50), ("b", 1, 1, 50)]), [2, 1], "age");
    assert_eq!(order(&[("a", 0, 1, 50), ("b", 0, 4, 50)]), [2, 1], "size");
    // A quarter of the worker is worth an hour.
    assert_eq!(order(&[("a", 0, 1, 50), ("b", HOUR, 4, 50)]), [1, 2], "size");
    assert_eq!(order(&[("a", 0, 1, 50), ("b", 9 * HOUR, 1, 100)]), [1, 2], "half of the priority: 8 hours 20");
    assert_eq!(order(&[("a", 0, 1, 50), ("b", 8 * HOUR, 1, 100)]), [2, 1], "priority");
}

#[test]
fn multifactor_lets_those_pass_who_have_used_less() {
    for (later, first) in [(5 * HOUR, "b"), (7 * HOUR, "a")] {
        let mut queue = Queue::new(QueueOrder::Multifactor, Resources::new(16_000, 0));
        // Each of two has a fair half: a has used all of what was used, which is worth a factor of 1/4, b of nothing.
        queue.task("a", 1, cores(8));
        queue.start(0);
        queue.task("a", 1, cores(1));
        let b = Facts { submitted: Timestamp(later + 3 * HOUR), ..cores(1) };
        queue.task("b", 1, b);
        assert_eq!(&queue.turns(20 * HOUR)[..1], first, "{later}");
    }
}
