//! What is moved from workers with much to do to those with little, where its tasks say that it may be: the load is
//! that of [`least-load`](quorate_types::policy::PlacementOrder::LeastLoad), the used share of the scarcest resource.
//!
//! It comes to rest: a move leaves both of its workers with less than the one had before, so that the loads, sorted
//! from the highest down, become smaller with each (Even-Dar, Kesselman, Mansour, "Convergence time to Nash equilibrium
//! in load balancing", ACM Transactions on Algorithms 3(3), 2007, section 3). It is not begun for differences that the
//! next task may make up for ([`LOPSIDED`]), nor for a gain that is not worth it ([`GAIN`]).

use std::cmp::Reverse;
use std::collections::BTreeSet;

use quorate_state::State;
use quorate_state::command::{Grounds, Preemption};
use quorate_state::element::Element;
use quorate_state::queue::Queued;
use quorate_types::policy::Rebalance;
use quorate_types::status::TaskState;
use quorate_types::{Epoch, Span, Timestamp};

use crate::book::share::WHOLE;
use crate::book::{Book, Crowding, Decision, Mover, Standing};
use crate::planner::{element_of, facts_of};
use crate::sight::Sight;

/// How much more than the least loaded worker the one has from which something is moved: a fifth of a worker.
const LOPSIDED: u64 = WHOLE / 5;
/// By how much a move lowers the distances of its two workers from the mean load: a hundredth of a worker.
const GAIN: u64 = WHOLE / 100;
/// Between two looks at all workers: each costs a millisecond where there are ten thousand, and what was moved last is
/// mostly there by then.
const EVERY: Span = Span::from_secs(10);
/// Attempts of one worker that one look considers, and workers that it considers for each: where none of the first will
/// do, the others are hardly better.
const MOVERS_MAX: usize = 64;
const TARGETS_MAX: usize = 16;
/// Pairs of an attempt and a worker that one look considers: some milliseconds.
const LOOKS_MAX: usize = 10_000;

/// Moves what is movable, a little at a time.
#[derive(Debug, Default)]
pub(crate) struct Rebalancer {
    next_look: Timestamp,
    /// Whether a look may find something.
    stirred: bool,
}

impl Rebalancer {
    /// When to look again.
    pub(crate) fn wake_at(&self) -> Option<Timestamp> {
        self.stirred.then_some(self.next_look)
    }

    /// What to end so that it goes on elsewhere.
    pub(crate) fn moves(
        &mut self,
        state: &State,
        book: &mut Book,
        decision: &Decision,
        now: Timestamp,
    ) -> Vec<Preemption> {
        if state.policy().rebalance == Rebalance::Off {
            return Vec::new();
        }
        self.stirred |= decision.looked;
        if !self.stirred || now < self.next_look {
            return Vec::new();
        }
        self.next_look = now.plus(EVERY);
        let sight = Sight(state);
        let (items, rest) = Look::new(&sight, book, now).run();
        self.stirred = rest == Rest::MayMove;
        items
    }
}

/// Whether another look may find something even if nothing changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    MayMove,
    Even,
}

/// One look at all workers.
struct Look<'a> {
    state: &'a State,
    book: &'a mut Book,
    now: Timestamp,
    standings: Vec<Standing>,
    by_load: BTreeSet<(u64, usize)>,
    /// Those of them from which something may be moved, as far as is known.
    sources: BTreeSet<(u64, usize)>,
    total: u64,
    /// Workers that are kept for somebody.
    kept: BTreeSet<Epoch>,
    crowding: Crowding<'a>,
    looks: usize,
}

impl<'a> Look<'a> {
    fn new(sight: &'a Sight<'a>, book: &'a mut Book, now: Timestamp) -> Self {
        let state = sight.0;
        let standings = book.standings();
        let by_load: BTreeSet<(u64, usize)> = standings.iter().map(Standing::load).zip(0..).collect();
        let total = by_load.iter().map(|(load, _)| load).sum();
        let kept = book.kept().into_iter().map(|kept| kept.epoch);
        let kept = kept.chain(book.all_earmarks().into_iter().map(|(epoch, _)| epoch)).collect();
        let mut crowding = Crowding::new(sight);
        for (key, moving) in book.moves() {
            let queued = Queued { job: key.job, task: key.task };
            if let (Some(facts), Some(worker)) = (facts_of(state, queued), book.worker_of(moving.to)) {
                crowding.add(queued, &facts, worker);
            }
        }
        Self { state, book, now, standings, sources: by_load.clone(), by_load, total, kept, crowding, looks: 0 }
    }

    fn run(mut self) -> (Vec<Preemption>, Rest) {
        let (mut items, mut rest) = (Vec::new(), Rest::Even);
        let (movable, moving) = self.book.movable_and_moving();
        let share = usize::from(self.state.policy().rebalance_share.per_mille());
        let left = (movable * share / 1_000).max(1).saturating_sub(moving);
        while let (Some(source), Some((least, _))) = (self.sources.last().copied(), self.by_load.first().copied()) {
            let (most, from) = source;
            if most < least + LOPSIDED {
                break;
            }
            if items.len() >= left || self.looks >= LOOKS_MAX {
                return (items, Rest::MayMove);
            }
            let (mut movers, resting) = self.book.movers(&self.standings[from], self.now, MOVERS_MAX);
            if !resting.is_empty() {
                rest = Rest::MayMove;
            }
            // The least work is lost with the youngest.
            movers.sort_by_key(|mover| (Reverse(mover.since), mover.key));
            match movers.iter().find_map(|mover| self.begin(mover, from)) {
                Some(item) => items.push(item),
                None => drop(self.sources.remove(&source)),
            }
        }
        if items.is_empty() { (items, rest) } else { (items, Rest::MayMove) }
    }

    /// Begins to move an attempt, if there is a worker for it.
    fn begin(&mut self, mover: &Mover, from: usize) -> Option<Preemption> {
        self.looks += TARGETS_MAX;
        let queued = Queued { job: mover.key.job, task: mover.key.task };
        let worker = self.state.worker_of(self.standings[from].epoch)?;
        let live = worker.attempts.get(&mover.key).filter(|live| !live.stopping)?;
        let job = self.state.job(queued.job)?;
        if !self.state.could_start_again(job, job.task_spec(queued.task)?) {
            return None;
        }
        let entry = self.book.entry_of(facts_of(self.state, queued)?);
        let to = self.by_load.iter().take(TARGETS_MAX).map(|(_, at)| *at).find(|to| {
            let target = &self.standings[*to];
            self.is_worth_it(mover, from, *to)
                && !self.kept.contains(&target.epoch)
                && self.book.has_room_on(target, queued, &entry, &self.crowding)
        })?;
        let target = self.standings[to].clone();
        self.book.begin_move(mover, live.number, worker.epoch, &target, &entry.facts);
        if let Some(worker) = self.book.worker_of(target.epoch) {
            self.crowding.add(queued, &entry.facts, worker);
        }
        let source = self.standings[from].without(mover);
        self.stand(from, source);
        self.stand(to, target.with(mover));
        Some(Preemption {
            job: mover.key.job,
            task: mover.key.task,
            index: mover.key.index,
            attempt: live.number,
            epoch: worker.epoch,
            by: mover.key.job,
            grounds: Grounds::Rebalance,
        })
    }

    /// Whether the two workers are nearer to the mean afterwards, and neither has as much as the one has now.
    fn is_worth_it(&self, mover: &Mover, from: usize, to: usize) -> bool {
        let before = (self.standings[from].load(), self.standings[to].load());
        let after = (self.standings[from].without(mover).load(), self.standings[to].with(mover).load());
        let mean = self.total / self.standings.len().max(1) as u64;
        let distance = |(a, b): (u64, u64)| a.abs_diff(mean) + b.abs_diff(mean);
        after.0.max(after.1) < before.0 && distance(after) + GAIN <= distance(before)
    }

    fn stand(&mut self, at: usize, standing: Standing) {
        let (before, after) = (self.standings[at].load(), standing.load());
        self.by_load.remove(&(before, at));
        self.by_load.insert((after, at));
        if self.sources.remove(&(before, at)) {
            self.sources.insert((after, at));
        }
        self.total = self.total - before + after;
        self.standings[at] = standing;
    }
}

/// What has ended by now gets the room that is kept for it; what will not end, or can't go there any more, needs none.
pub(crate) fn review(state: &State, book: &mut Book) {
    let moving: Vec<_> = book.moves().map(|(key, moving)| (key, moving.attempt, moving.to)).collect();
    for (key, attempt, to) in moving {
        let newest = |element: &&Element| element.current().map(|newest| newest.number) == Some(attempt);
        let element = element_of(state, key).filter(newest);
        match element.map(|element| element.state) {
            Some(TaskState::Stopping) => {}
            Some(TaskState::Pending) => {
                book.end_move(key);
                book.earmark(to, Queued { job: key.job, task: key.task });
            }
            Some(
                TaskState::Waiting
                | TaskState::Assigned
                | TaskState::Running
                | TaskState::Succeeded
                | TaskState::Failed
                | TaskState::Cancelled,
            )
            | None => drop(book.end_move(key)),
        }
    }
}
