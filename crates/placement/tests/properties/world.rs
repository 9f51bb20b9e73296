//! A cluster in virtual time around a book. It keeps accounts of its own, and complains of every plan that does not
//! agree with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_placement::book::{Book, Bounds, Facts, Lineage, Member, Start, Tracking, Worker};
use quorate_state::job::ElementKey;
use quorate_state::limits::ATTEMPTS_PER_WORKER_MAX;
use quorate_state::queue::Queued;
use quorate_types::{Allowance, Epoch, JobId, Name, NamespaceRules, Policy, Resources, Span, TaskIndex, Timestamp};

#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub(crate) worker: Worker,
    pub(crate) free: Resources,
    pub(crate) attempts: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    pub(crate) facts: Facts,
    pub(crate) pending: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) epoch: Epoch,
    pub(crate) request: Resources,
    pub(crate) end: Timestamp,
    pub(crate) namespace: Name,
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) book: Book,
    pub(crate) now: Timestamp,
    /// When the book wants to be asked again.
    pub(crate) wake_at: Option<Timestamp>,
    pub(crate) machines: BTreeMap<Epoch, Machine>,
    pub(crate) waiting: BTreeMap<Queued, Waiting>,
    pub(crate) running: BTreeMap<ElementKey, Run>,
    pub(crate) limits: BTreeMap<Name, Allowance>,
    epochs: u64,
    jobs: u64,
    starts: u32,
}

pub(crate) fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

pub(crate) fn facts(cpu: u64, expected: Option<u64>) -> Facts {
    let mut facts = Facts::new(Timestamp(0), Resources::new(cpu * 1_000, 0));
    facts.expected = expected.map(Span);
    facts
}

/// Named after the job, so that keys differ.
pub(crate) fn lineage(text: &str) -> Option<Lineage> {
    Some(Lineage { owner: name("owner"), name: text.into() })
}

impl World {
    pub(crate) fn new(policy: Policy) -> Self {
        Self {
            book: Book::new(policy, Tracking::Attempts, 1),
            now: Timestamp(0),
            wake_at: None,
            machines: BTreeMap::new(),
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            limits: BTreeMap::new(),
            epochs: 0,
            jobs: 0,
            starts: 0,
        }
    }

    pub(crate) fn join(&mut self, capacity: Resources) -> Epoch {
        self.epochs += 1;
        self.join_as(&format!("w{}", self.epochs), capacity)
    }

    pub(crate) fn join_labelled(&mut self, labels: BTreeMap<Name, String>, capacity: Resources) {
        let epoch = self.join(capacity);
        let machine = self.machines.get_mut(&epoch).unwrap();
        machine.worker.labels = labels;
        self.book.left(epoch);
        self.book.worker(machine.worker.clone());
    }

    pub(crate) fn join_as(&mut self, named: &str, capacity: Resources) -> Epoch {
        let epoch = Epoch(self.epochs.max(self.machines.len() as u64 + 1));
        let worker = Worker {
            epoch,
            name: name(named),
            labels: BTreeMap::new(),
            capacity: capacity.clone(),
            taints: Vec::new(),
            ready: true,
        };
        self.book.worker(worker.clone());
        self.machines.insert(epoch, Machine { worker, free: capacity, attempts: 0 });
        epoch
    }

    pub(crate) fn entitle(&mut self, namespace: &Name, rules: NamespaceRules) {
        self.limits.insert(namespace.clone(), rules.limit.clone());
        let held = self.held(namespace);
        self.book.entitle(namespace, Some(&Arc::new(rules)), held);
    }

    /// What the namespace holds.
    pub(crate) fn held(&self, namespace: &Name) -> Resources {
        let mut held = Resources::default();
        let theirs = self.running.values().filter(|run| run.namespace == *namespace);
        theirs.for_each(|run| held.add(&run.request));
        held
    }

    pub(crate) fn set_ready(&mut self, epoch: Epoch, ready: bool) {
        let machine = self.machines.get_mut(&epoch).unwrap();
        machine.worker.ready = ready;
        self.book.worker(machine.worker.clone());
    }

    pub(crate) fn lose(&mut self, epoch: Epoch) {
        self.machines.remove(&epoch);
        self.running.retain(|_, run| run.epoch != epoch);
        self.book.left(epoch);
    }

    pub(crate) fn submit(&mut self, facts: Facts, count: u64) -> Queued {
        self.jobs += 1;
        let queued = Queued { job: JobId(self.jobs), task: 0 };
        self.book.enqueue(queued, facts.clone());
        self.waiting.insert(queued, Waiting { facts, pending: count });
        queued
    }

    /// A gang of tasks, each with so many elements. It waits as its first task.
    pub(crate) fn submit_gang(&mut self, tasks: &[(Facts, u32)]) -> Queued {
        let queued = |task: usize| Queued { job: JobId(self.jobs + 1), task: task as u32 };
        let members = tasks.iter().enumerate();
        let members =
            members.map(|(at, (facts, count))| Member { queued: queued(at), count: *count, facts: facts.clone() });
        let gang = Some(Arc::new(members.collect()));
        let size = tasks.iter().map(|(_, count)| u64::from(*count)).sum();
        self.submit(Facts { gang, ..tasks[0].0.clone() }, size)
    }

    /// What is known of an element's task, and as what it waits.
    fn of_start(waiting: &BTreeMap<Queued, Waiting>, start: &Start) -> (Queued, Facts) {
        let queued = Queued { task: 0, ..start.queued };
        let facts = &waiting[&queued].facts;
        let member = facts.gang.as_ref().map(|gang| gang[start.queued.task as usize].facts.clone());
        (queued, member.unwrap_or_else(|| facts.clone()))
    }

    pub(crate) fn cancel(&mut self, queued: Queued) {
        self.waiting.remove(&queued);
        self.book.dequeue(queued);
    }

    pub(crate) fn end(&mut self, key: ElementKey) {
        let Some(run) = self.running.remove(&key) else { return };
        let machine = self.machines.get_mut(&run.epoch).unwrap();
        machine.free.add(&run.request);
        machine.attempts -= 1;
        self.book.ended(key, None);
    }

    /// Time goes on to `now`, and what is due by then ends.
    pub(crate) fn advance(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.book.advance(self.now);
        let due: Vec<ElementKey> =
            self.running.iter().filter(|(_, run)| run.end <= self.now).map(|(key, _)| *key).collect();
        due.into_iter().for_each(|key| self.end(key));
    }

    /// When something ends next.
    pub(crate) fn next_end(&self) -> Option<Timestamp> {
        self.running.values().map(|run| run.end).min()
    }

    /// A plan that was checked against what is there.
    pub(crate) fn plan(&mut self) -> Vec<Start> {
        let waiting = &self.waiting;
        let pending = |queued: Queued| waiting.get(&queued).map_or(0, |waiting| waiting.pending);
        let decision = self.book.plan(self.now, Bounds::default(), &pending);
        let starts = decision.starts;
        self.wake_at = decision.wake_at.filter(|at| *at > self.now);
        let mut machines = self.machines.clone();
        let mut left = waiting.clone();
        let mut held: BTreeMap<Name, Resources> = BTreeMap::new();
        for start in &starts {
            let (queued, facts) = Self::of_start(waiting, start);
            let task = left.get_mut(&queued).expect("it waits");
            task.pending = task.pending.checked_sub(1).expect("no more elements than are pending");
            let machine = machines.get_mut(&start.epoch).expect("the worker is there");
            assert!(machine.worker.ready, "the worker takes new tasks");
            assert!(facts.request.fits(&machine.free), "it fits: {start:?}");
            let namespace = &facts.namespace;
            let held = held.entry(namespace.clone()).or_insert_with(|| self.held(namespace));
            let limit = self.limits.get(namespace);
            assert!(limit.is_none_or(|limit| limit.fits(&facts.request, held)), "{namespace} keeps to {limit:?}");
            held.add(&facts.request);
            machine.free.subtract(&facts.request);
            machine.attempts += 1;
            assert!(machine.attempts <= ATTEMPTS_PER_WORKER_MAX, "not too many attempts");
        }
        for (queued, task) in left.iter().filter(|(_, task)| task.facts.gang.is_some()) {
            let whole = task.pending == 0 || task.pending == waiting[queued].pending;
            assert!(whole, "{} of {queued:?} were left behind", task.pending);
        }
        starts
    }

    /// Starts what was planned; each runs as long as it is expected to, or for ever.
    pub(crate) fn start(&mut self, starts: &[Start]) {
        for start in starts {
            let (_, facts) = Self::of_start(&self.waiting, start);
            let run = facts.expected;
            self.start_one(*start, &facts, run);
        }
    }

    fn start_one(&mut self, start: Start, facts: &Facts, run: Option<Span>) {
        self.starts += 1;
        let key = ElementKey { job: start.queued.job, task: start.queued.task, index: TaskIndex(self.starts) };
        let machine = self.machines.get_mut(&start.epoch).unwrap();
        machine.free.subtract(&facts.request);
        machine.attempts += 1;
        let end = run.map_or(Timestamp(u64::MAX), |run| self.now.plus(run));
        self.running.insert(
            key,
            Run { epoch: start.epoch, request: facts.request.clone(), end, namespace: facts.namespace.clone() },
        );
        let queued = Queued { task: 0, ..start.queued };
        let waiting = self.waiting.get_mut(&queued).unwrap();
        waiting.pending -= 1;
        if waiting.pending == 0 {
            self.waiting.remove(&queued);
            self.book.dequeue(queued);
        }
        self.book.started(key, start.epoch, self.now, facts);
    }
}
