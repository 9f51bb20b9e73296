//! Placement of the next tasks of the queue at once, as a flow of minimum cost. What the flow says is advice: the walk
//! goes on in the queue's order, with its holds and reservations, and each start is checked as under every other
//! policy. Where the advice no longer holds, and for tasks that are in no batch, the least loaded worker takes the
//! task. So nobody waits for the sake of the flow, and what starts is what the queue says; the flow says where.
//!
//! Costs: what of its preferences a worker does not meet comes first, then how loaded the worker would be. Each task
//! more on a worker costs what the mean task of the batch loads it with. Leaving a task out costs more than any place,
//! and the more the earlier it stands in the queue.
//!
//! Each batch begins with the prices and places of the one before: workers keep their prices, and what asks for the
//! same is looked for where it went last.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::limits::ATTEMPTS_PER_WORKER_MAX;
use quorate_state::queue::Queued;
use quorate_types::{Epoch, Resources};

use super::{Book, Crowding, Entry, Wish};
use crate::book::facts::Constraints;
use crate::book::fleet::Slot;
use crate::book::member::{Member, may_go};
use crate::book::vector::{LANES, Room, Vector};
use crate::flow::{self, COST_MAX, Group, Offer, Problem, ProblemError, Start, UNPLACED_MAX, WORKERS_MAX};

/// A full worker, in steps of load: fine enough to tell workers apart by a part in a hundred, and coarse enough that
/// many cost the same, which leaves the solver less to find out.
const FULL: u64 = 1 << 7;
/// What a point of preference weighs: more than any load, the task's own and that of those beside it.
const POINT: u32 = 2 * FULL as u32 + 1;
/// Slots that a worker has in a batch at least, if there is room for so many, and how many times its part of the batch:
/// what many prefer may take more than the others, and empty slots cost the solver time.
const SLOTS_MIN: u64 = 16;
const SLOTS_PART: u64 = 4;

/// What asks for the same of the same workers.
type Shape = (Option<Arc<Constraints>>, Resources);

/// What one batch leaves to the next.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    start: Start,
    shapes: Vec<Shape>,
    epochs: Vec<Epoch>,
}

/// The batches of one decision.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    /// Of each task that was looked at, its group.
    groups: BTreeMap<Queued, Option<usize>>,
    /// Where tasks of each group may go, and how many.
    places: Vec<Vec<(Slot, u32)>>,
    /// Pairs of a shape and a worker that may still be looked at.
    pairs_left: usize,
}

/// The tasks of a batch that ask for the same.
#[derive(Debug)]
struct Alike {
    /// One of them.
    queued: Queued,
    entry: Arc<Entry>,
    elements: u64,
}

/// The tasks of a batch, in the queue's order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    members: Vec<(Queued, Option<usize>)>,
    by_shape: BTreeMap<Shape, usize>,
    alike: Vec<Alike>,
    elements: u64,
}

impl Batch {
    /// Adds elements of a task. Where elements must keep apart, or go together, a flow does not know who is beside
    /// whom: such tasks are left out.
    pub(crate) fn add(&mut self, queued: Queued, entry: &Arc<Entry>, elements: u64) {
        let constraints = &entry.facts.constraints;
        let is_social = constraints.as_ref().is_some_and(|constraints| constraints.are_social());
        if is_social || entry.facts.company.is_some() || entry.gang.is_some() {
            self.members.push((queued, None));
            return;
        }
        let shape = (constraints.clone(), entry.facts.request.clone());
        let group = *self.by_shape.entry(shape).or_insert(self.alike.len());
        if group == self.alike.len() {
            self.alike.push(Alike { queued, entry: entry.clone(), elements: 0 });
        }
        self.alike[group].elements += elements;
        self.elements += elements;
        self.members.push((queued, Some(group)));
    }

    pub(crate) fn elements(&self) -> u64 {
        self.elements
    }

    pub(crate) fn tasks(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn shapes(&self) -> usize {
        self.alike.len()
    }

    /// What the mean of its tasks asks for.
    fn mean(&self) -> Vector {
        let sum = |lane: usize| {
            let each = self
                .alike
                .iter()
                .map(|alike| u128::from(alike.entry.wanted.lanes()[lane]) * u128::from(alike.elements));
            (each.sum::<u128>() / u128::from(self.elements.max(1))) as u64
        };
        Vector::of(std::array::from_fn(sum))
    }
}

impl Batches {
    pub(crate) fn new(pairs_max: usize) -> Self {
        Self { pairs_left: pairs_max, ..Self::default() }
    }

    /// Whether the task has been in a batch, or there is no time for another one.
    pub(crate) fn knows(&self, queued: Queued) -> bool {
        self.pairs_left == 0 || self.groups.contains_key(&queued)
    }

    /// How many shapes a batch may have, with so many workers.
    pub(crate) fn shapes_max(&self, workers: usize) -> usize {
        self.pairs_left / workers.max(1)
    }

    /// Where the flow wants an element of the task, if there is room still.
    pub(crate) fn advice(&mut self, book: &Book, wish: &Wish<'_>) -> Option<Slot> {
        let group = (*self.groups.get(&wish.queued)?)?;
        let places = &mut self.places[group];
        while let Some((slot, left)) = places.last_mut() {
            let slot = *slot;
            *left -= 1;
            if *left == 0 {
                places.pop();
            }
            if book.fleet.is_ready(slot) && book.fleet.has_room(slot, wish) {
                return Some(slot);
            }
        }
        None
    }

    /// Places a batch.
    pub(crate) fn place(&mut self, book: &mut Book, batch: Batch, crowding: &Crowding<'_>) {
        let first = self.places.len();
        let members = batch.members.iter().map(|(queued, group)| (*queued, group.map(|group| first + group)));
        self.groups.extend(members);
        self.places.resize_with(first + batch.alike.len(), Vec::new);
        // What asks for the same, all of it, goes where one after the other would go as well.
        if batch.alike.len() < 2 {
            return;
        }
        let workers = Workers::of(book, &batch);
        self.pairs_left = self.pairs_left.saturating_sub(workers.slots.len() * batch.alike.len());
        // A legal problem by the bounds of a decision; if it were not, tasks would go one by one.
        let Ok(problem) = workers.problem(book, &batch, crowding) else { return };
        let carried = std::mem::take(&mut book.carried).moved(&workers.epochs, &batch);
        let solved = match &carried {
            Some(start) => flow::resolve(&problem, start),
            None => flow::solve(&problem),
        };
        for placement in &solved.solution.placements {
            self.places[first + placement.group].push((workers.slots[placement.worker], placement.tasks));
        }
        let mut shapes: Vec<_> = batch.by_shape.into_iter().collect();
        shapes.sort_unstable_by_key(|(_, group)| *group);
        let shapes = shapes.into_iter().map(|(shape, _)| shape).collect();
        book.carried = Carried { start: solved.start, shapes, epochs: workers.epochs };
    }
}

impl Carried {
    /// The same, by the positions of another batch; none if they have no worker in common.
    fn moved(self, epochs: &[Epoch], batch: &Batch) -> Option<Start> {
        let by_epoch: BTreeMap<Epoch, usize> = epochs.iter().copied().zip(0..).collect();
        let worker = |from: usize| by_epoch.get(self.epochs.get(from)?).copied();
        let group = |from: usize| batch.by_shape.get(self.shapes.get(from)?).copied();
        let known = (0..self.epochs.len()).any(|from| worker(from).is_some());
        known.then(|| self.start.moved(epochs.len(), group, worker))
    }
}

/// The workers of a batch: those that have room for the smallest of its tasks.
struct Workers {
    slots: Vec<Slot>,
    epochs: Vec<Epoch>,
    sides: Vec<flow::Worker>,
    offerers: Vec<Offerer>,
}

impl Workers {
    fn of(book: &Book, batch: &Batch) -> Self {
        let smallest = batch.alike.iter().map(|alike| alike.entry.wanted).reduce(|a, b| a.smaller(&b));
        let (smallest, mean) = (smallest.unwrap_or_default(), batch.mean());
        let able = book.fleet.ready().filter(|slot| smallest.fits(&book.fleet.member(*slot).room));
        let slots: Vec<Slot> = able.take(WORKERS_MAX).collect();
        let part = (SLOTS_PART * batch.elements).div_ceil(slots.len().max(1) as u64).max(SLOTS_MIN);
        let mut workers = Self { slots, epochs: Vec::new(), sides: Vec::new(), offerers: Vec::new() };
        for slot in &workers.slots {
            let member = book.fleet.member(*slot);
            let offerer = Offerer::of(member);
            workers.epochs.push(member.worker.epoch);
            workers.sides.push(flow::Worker {
                slots: open(member).min(fits(&mean, &member.room).max(1)).min(part) as u16,
                step: offerer.scale.load(&mean) as u32,
            });
            workers.offerers.push(offerer);
        }
        workers
    }

    fn problem(&self, book: &Book, batch: &Batch, crowding: &Crowding<'_>) -> Result<Problem, ProblemError> {
        let mut problem = Problem::new(self.sides.clone())?;
        problem.reserve(batch.alike.len(), batch.alike.len() * self.slots.len());
        let last = batch.alike.len() as u64;
        for (nth, alike) in (0..).zip(&batch.alike) {
            let wish = Wish::new(alike.queued, &alike.entry, crowding);
            let unplaced = (u64::from(COST_MAX) * (1 + last - nth)).min(UNPLACED_MAX);
            let group = Group { tasks: alike.elements as u32, unplaced };
            let suits = |at: u16| wish.is_plain() || book.fleet.has_room(self.slots[usize::from(at)], &wish);
            let offers = (0..=u16::MAX).zip(&self.offerers).filter_map(|(at, offerer)| {
                let offer = offerer.offer(&wish, alike.elements)?;
                suits(at).then_some(Offer { worker: at, ..offer })
            });
            problem.add(group, offers)?;
        }
        Ok(problem)
    }
}

/// What is asked of a worker for every offer, in one place.
struct Offerer {
    room: Room,
    used: Vector,
    scale: Scale,
}

impl Offerer {
    fn of(member: &Member) -> Self {
        Self { room: member.room_now(), used: member.size.minus(&member.room), scale: Scale::of(member) }
    }

    /// What it offers to tasks that ask for the same, if it has room for one, as far as the index knows. Whose offer it
    /// is is left open.
    #[inline]
    fn offer(&self, wish: &Wish<'_>, elements: u64) -> Option<Offer> {
        if !may_go(&self.room, wish) {
            return None;
        }
        let fits = if elements == 1 { 1 } else { fits(&wish.wanted, &self.room.free).min(elements) };
        let unmet = wish.needs.unmet(self.room.traits);
        let load = self.scale.load(&self.used.plus(&wish.wanted));
        Some(Offer { worker: 0, fits: fits.min(u16::MAX.into()) as u16, cost: unmet * POINT + load as u32 })
    }
}

/// Attempts that the worker may have besides.
fn open(member: &Member) -> u64 {
    (ATTEMPTS_PER_WORKER_MAX as u64).saturating_sub(member.attempts.into())
}

/// How many of it there is room for; at least every other number if it asks for nothing.
fn fits(wanted: &Vector, room: &Vector) -> u64 {
    let lanes = wanted.lanes().iter().zip(room.lanes());
    lanes.filter_map(|(wanted, room)| room.checked_div(*wanted)).min().unwrap_or(u64::MAX)
}

/// Makes loads of amounts without a division: by so many bits narrower, a kind of resource costs so much a unit.
#[derive(Clone, Copy, Debug)]
struct Scale([(u32, u64); LANES]);

/// Amounts keep so many bits.
const NARROW_BITS: u32 = 24;
const UNIT_BITS: u32 = 32;

impl Scale {
    fn of(member: &Member) -> Self {
        Self(member.size.lanes().map(|size| {
            let shift = (u64::BITS - size.leading_zeros()).saturating_sub(NARROW_BITS);
            (shift, (FULL << UNIT_BITS).checked_div(size >> shift).unwrap_or(0))
        }))
    }

    /// The largest share of any kind, at most [`FULL`].
    #[inline]
    fn load(&self, amount: &Vector) -> u64 {
        let mut load = 0;
        for (amount, (shift, unit)) in amount.lanes().iter().zip(&self.0) {
            load = load.max((amount >> shift).saturating_mul(*unit) >> UNIT_BITS);
        }
        load.min(FULL)
    }
}
