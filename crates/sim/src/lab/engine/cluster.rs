//! The simulated cluster: a book, and the jobs that it is about.

mod gangs;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use quorate_placement::book::{Book, Bounds, Facts, Start, Tracking, Worker};
use quorate_state::job::ElementKey;
use quorate_state::queue::Queued;
use quorate_types::policy::QueueOrder;
use quorate_types::{Epoch, JobId, Name, NamespaceRules, Policy, Resources, Span, TaskIndex, Timestamp};

use super::super::error::LabError;
use super::super::job::{Job, Machine, Record, Totals};
use super::super::scene::{Scene, Underway};
use super::crowds::{Crowds, Together};
use super::live::{Attempt, Live};
use super::{Estimates, Options};

/// A job that was interrupted so often will most likely never finish.
const INTERRUPTIONS_MAX: u32 = 1_000;

pub(super) struct Cluster {
    book: Book,
    estimates: Estimates,
    /// Whether the policy goes by paths, which cost something to follow.
    by_path: bool,
    machines: Vec<Machine>,
    /// Those that take nothing new.
    closed: BTreeSet<u32>,
    epochs: BTreeMap<Epoch, u32>,
    last_epoch: u64,
    /// What namespaces are entitled to.
    rules: BTreeMap<Name, Arc<NamespaceRules>>,
    /// Who runs on each machine, as far as constraints of others depend on that.
    crowds: Crowds,
    /// Jobs that are not finished, in the order of submission.
    jobs: BTreeMap<u64, Live>,
    /// Their places in that order by their own numbers.
    places: BTreeMap<u64, u64>,
    /// The places of the jobs of each gang, by what tells it from others; and which of them are new.
    gangs: BTreeMap<u64, Vec<u64>>,
    new_gangs: BTreeSet<u64>,
    submitted: u64,
    /// When attempts end, with their numbers and jobs; also of some that were interrupted.
    ends: BinaryHeap<Reverse<(Timestamp, u64, u64)>>,
    attempts: u64,
    wake_at: Option<Timestamp>,
    totals: Totals,
}

impl Cluster {
    pub(super) fn new(machines: &[Machine], policy: Policy, options: &Options, scene: &Scene) -> Self {
        let mut cluster = Self {
            by_path: policy.queue == QueueOrder::CriticalPath,
            book: Book::new(policy, Tracking::Attempts, options.seed),
            estimates: options.estimates,
            machines: machines.to_vec(),
            closed: scene.closed.clone(),
            epochs: BTreeMap::new(),
            last_epoch: 0,
            rules: scene.rules.clone(),
            crowds: Crowds::default(),
            jobs: BTreeMap::new(),
            places: BTreeMap::new(),
            gangs: BTreeMap::new(),
            new_gangs: BTreeSet::new(),
            submitted: 0,
            ends: BinaryHeap::new(),
            attempts: 0,
            wake_at: None,
            totals: Totals::default(),
        };
        (0..machines.len() as u32).for_each(|machine| cluster.repair(machine));
        entitle(&mut cluster.book, &cluster.rules);
        cluster
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    pub(super) fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(super) fn unfinished(&self) -> u64 {
        self.jobs.len() as u64
    }

    pub(super) fn next_end(&self) -> Option<Timestamp> {
        self.ends.peek().map(|Reverse((at, _, _))| *at)
    }

    /// When the book wants to be asked again.
    pub(super) fn wake_at(&self) -> Option<Timestamp> {
        self.wake_at
    }

    /// What happens next happens at `now`.
    pub(super) fn advance(&mut self, now: Timestamp) {
        self.book.advance(now);
    }

    pub(super) fn submit(&mut self, job: Job) -> Result<(), LabError> {
        let open = (0_u32..).zip(&self.machines).filter(|(at, _)| !self.closed.contains(at));
        let mut open = open.map(|(_, machine)| machine);
        let fits = open.any(|machine| machine.is_large_enough(&job) && machine.suits(&job));
        let rules = self.rules.get(&job.namespace);
        let may_start = rules.is_none_or(|rules| rules.limit.fits(&job.request, &Resources::default()));
        if !fits || !may_start || job.run == Span(0) {
            self.totals.dropped += 1;
            return Ok(());
        }
        let place = self.number(job.id)?;
        let mut open_needs = 0;
        for need in &job.needs {
            let needed = self.places.get(need).and_then(|needed| self.jobs.get_mut(needed));
            let Some(needed) = needed else { continue };
            needed.dependents.push(place);
            open_needs += 1;
        }
        if let Some(gang) = job.gang {
            self.gangs.entry(gang.id).or_default().push(place);
            self.new_gangs.insert(gang.id);
        }
        self.jobs.insert(place, Live::new(job, open_needs));
        if open_needs == 0 {
            self.enqueue(place);
        }
        self.lengthen_paths(place).into_iter().for_each(|needed| self.enqueue(needed));
        Ok(())
    }

    /// The next place in the order of submission.
    fn number(&mut self, id: u64) -> Result<u64, LabError> {
        let place = self.submitted;
        self.submitted += 1;
        match self.places.insert(id, place) {
            Some(_) => Err(LabError::Repeated { id }),
            None => Ok(place),
        }
    }

    /// What ran before the replay began runs on.
    pub(super) fn resume(&mut self, underway: &Underway) -> Result<(), LabError> {
        let place = self.number(underway.job.id)?;
        let machine = self.epochs.iter().find(|(_, machine)| **machine == underway.machine);
        let epoch = *machine.ok_or(LabError::Nowhere { id: underway.job.id })?.0;
        let live = Live::new(underway.job.clone(), 0);
        let facts = live.facts(self.estimates);
        self.jobs.insert(place, live);
        self.run(place, epoch, underway.started, &facts);
        Ok(())
    }

    /// What a new job needs has it behind it now, directly or not. Gives back those that wait in the queue: their place
    /// there may depend on it.
    fn lengthen_paths(&mut self, place: u64) -> BTreeSet<u64> {
        let mut queued = BTreeSet::new();
        let mut longer = vec![place];
        while let Some(at) = longer.pop() {
            let Some(live) = self.jobs.get(&at) else { continue };
            let path = live.path(self.estimates);
            let needs: Vec<u64> = live.job.needs.iter().filter_map(|id| self.places.get(id).copied()).collect();
            for needed in needs {
                let Some(live) = self.jobs.get_mut(&needed).filter(|_| needed < at) else { continue };
                let grows = self.by_path && live.behind < path;
                if grows {
                    live.behind = path;
                    longer.push(needed);
                }
                if live.attempt.is_none() && live.open_needs == 0 && (grows || at == place) {
                    queued.insert(needed);
                }
            }
        }
        queued
    }

    /// Plans and starts until there is nothing more to start.
    pub(super) fn pass(&mut self, now: Timestamp, bounds: Bounds) {
        loop {
            let together = Together { crowds: &self.crowds, machines: &self.machines, epochs: &self.epochs };
            let decision = self.book.plan(now, bounds, &together);
            self.wake_at = decision.wake_at.filter(|at| *at > now);
            decision.starts.iter().for_each(|start| self.start(*start, now));
            if !decision.more {
                break;
            }
        }
        self.totals.queued_max = self.totals.queued_max.max(self.book.waiting_len() as u64);
    }

    /// What was to end now gives its room back, before it is known to have ended.
    pub(super) fn free_what_was_to_end(&mut self, now: Timestamp) {
        let due = self.ends.iter().filter(|Reverse((at, _, _))| *at == now);
        for Reverse((_, number, place)) in due {
            let attempt = self.jobs.get(place).and_then(|live| live.attempt);
            if attempt.is_some_and(|attempt| attempt.number == *number && attempt.expected_end == Some(now)) {
                let ran = self.jobs.get(place).map(Live::run);
                self.book.ended(key(*place), ran);
            }
        }
    }

    /// Finishes the next job that ends by now; false if there is none.
    pub(super) fn finish_next(&mut self, now: Timestamp, sink: &mut dyn FnMut(&Record)) -> bool {
        while let Some(Reverse((at, number, place))) = self.ends.peek().copied() {
            if at > now {
                return false;
            }
            self.ends.pop();
            let attempt = self.jobs.get(&place).and_then(|live| live.attempt);
            if let Some(attempt) = attempt.filter(|attempt| attempt.number == number) {
                self.finish(place, &attempt, now, sink);
                return true;
            }
        }
        false
    }

    fn finish(&mut self, place: u64, attempt: &Attempt, now: Timestamp, sink: &mut dyn FnMut(&Record)) {
        let Some(live) = self.jobs.get_mut(&place) else { return };
        self.book.ended(key(place), Some(live.run()));
        self.crowds.leave(&live.job, attempt);
        (live.attempt, live.ended) = (None, Some((*attempt, now)));
        match live.job.gang {
            Some(gang) => self.finish_gang(gang, sink),
            None => self.complete(place, sink),
        }
    }

    /// What has ended is done, and those that wait for it may go on.
    fn complete(&mut self, place: u64, sink: &mut dyn FnMut(&Record)) {
        let Some(live) = self.jobs.remove(&place) else { return };
        if let Some((attempt, at)) = live.ended {
            self.totals.finished += 1;
            sink(&live.record(&attempt, at));
        }
        self.release(live);
    }

    fn release(&mut self, live: Live) {
        self.places.remove(&live.job.id);
        for dependent in live.dependents {
            let Some(waiting) = self.jobs.get_mut(&dependent) else { continue };
            waiting.open_needs -= 1;
            if waiting.open_needs == 0 {
                self.enqueue(dependent);
            }
        }
    }

    /// The machine fails: what ran there starts again elsewhere, from the beginning.
    pub(super) fn fail(&mut self, machine: u32, now: Timestamp) -> Result<(), LabError> {
        self.totals.failures += 1;
        let Some(epoch) = self.epochs.iter().find(|(_, of)| **of == machine).map(|(epoch, _)| *epoch) else {
            return Ok(());
        };
        self.epochs.remove(&epoch);
        self.book.left(epoch);
        let on_it = |live: &Live| live.attempt.is_some_and(|attempt| attempt.epoch == epoch);
        let hit: Vec<u64> = self.jobs.iter().filter(|(_, live)| on_it(live)).map(|(place, _)| *place).collect();
        let hit = self.with_their_gangs(hit);
        hit.into_iter().try_for_each(|place| self.interrupt(place, now))
    }

    /// The machine is there, again or for the first time.
    pub(super) fn repair(&mut self, machine: u32) {
        self.last_epoch += 1;
        let epoch = Epoch(self.last_epoch);
        self.epochs.insert(epoch, machine);
        self.book.worker(self.worker(machine, epoch));
    }

    fn worker(&self, machine: u32, epoch: Epoch) -> Worker {
        let Machine { name, capacity, labels, taints } = self.machines[machine as usize].clone();
        Worker { epoch, name, labels, taints, capacity, ready: !self.closed.contains(&machine) }
    }

    fn interrupt(&mut self, place: u64, now: Timestamp) -> Result<(), LabError> {
        let Some(live) = self.jobs.get_mut(&place) else { return Ok(()) };
        if let Some(attempt) = live.attempt.take() {
            // Where its machine is gone it is known to have ended already.
            self.book.ended(key(place), None);
            self.crowds.leave(&live.job, &attempt);
            live.lost.0 += now.since(attempt.started).0;
        } else if let Some((attempt, at)) = live.ended.take() {
            live.lost.0 += at.since(attempt.started).0;
        } else {
            return Ok(());
        }
        live.interrupted += 1;
        if live.interrupted >= INTERRUPTIONS_MAX {
            return Err(LabError::Hopeless { id: live.job.id, interrupted: live.interrupted });
        }
        self.enqueue(place);
        Ok(())
    }

    fn enqueue(&mut self, place: u64) {
        let Some(live) = self.jobs.get(&place) else { return };
        match live.job.gang {
            Some(gang) => self.enqueue_gang(gang),
            None => self.book.enqueue(queued(place), live.facts(self.estimates)),
        }
    }

    fn start(&mut self, start: Start, now: Timestamp) {
        let place = start.queued.job.0;
        let dequeued = self.book.dequeue(start.queued);
        // Of a gang only the first stands in the queue.
        let of_gang = || self.jobs.get(&place).filter(|live| live.job.gang.is_some());
        let facts = match of_gang() {
            Some(live) => Some(live.facts(self.estimates)),
            None => dequeued,
        };
        if let Some(facts) = facts {
            self.run(place, start.epoch, now, &facts);
        }
    }

    /// An attempt of the job runs on the machine since `started`.
    fn run(&mut self, place: u64, epoch: Epoch, started: Timestamp, facts: &Facts) {
        let Some(live) = self.jobs.get_mut(&place) else { return };
        self.book.started(key(place), epoch, started, facts);
        self.attempts += 1;
        let machine = self.epochs.get(&epoch).copied().unwrap_or_default();
        let expected_end = facts.expected.map(|span| started.plus(span));
        let attempt = Attempt { number: self.attempts, epoch, machine, started, expected_end };
        self.crowds.join(&live.job, &attempt);
        live.attempt = Some(attempt);
        self.ends.push(Reverse((started.plus(live.run()), self.attempts, place)));
    }
}

fn entitle(book: &mut Book, rules: &BTreeMap<Name, Arc<NamespaceRules>>) {
    rules.iter().for_each(|(name, rules)| book.entitle(name, Some(rules), Resources::default()));
}

fn queued(place: u64) -> Queued {
    Queued { job: JobId(place), task: 0 }
}

fn key(place: u64) -> ElementKey {
    ElementKey { job: JobId(place), task: 0, index: TaskIndex(0) }
}
