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
//!
//! Layout: `offer` (what a worker offers), `yard` (workers in blocks of like ones), `rows` (which offers are read).

mod offer;
mod rows;
mod yard;

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_state::queue::Queued;
use quorate_types::{Epoch, Resources};

use super::{Book, Crowding, Entry, Wish};
use crate::book::facts::Constraints;
use crate::book::fleet::{Fleet, Slot};
use crate::book::vector::Vector;
use crate::flow::Start;
use rows::Rows;

/// What asks for the same of the same workers.
type Shape = (Option<Arc<Constraints>>, Resources);

/// What one batch leaves to the next.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    start: Start,
    shapes: Vec<Shape>,
    /// By position, who it was and where.
    workers: Vec<(Slot, Epoch)>,
}

/// The batches of one decision.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    /// Of each task that was looked at, its group.
    groups: BTreeMap<Queued, Option<usize>>,
    /// Where tasks of each group may go, and how many.
    places: Vec<Vec<(Slot, u32)>>,
    /// How often offers of workers to a shape may still be looked at.
    looks_left: usize,
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
    pub(crate) fn new(looks_max: usize) -> Self {
        Self { looks_left: looks_max, ..Self::default() }
    }

    /// Whether the task has been in a batch, or there is no time for another one.
    pub(crate) fn knows(&self, queued: Queued) -> bool {
        self.looks_left == 0 || self.groups.contains_key(&queued)
    }

    /// How many shapes a batch may have, with so many workers.
    pub(crate) fn shapes_max(&self, workers: usize) -> usize {
        rows::shapes_max(self.looks_left, workers)
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
    pub(crate) fn place(&mut self, book: &mut Book, batch: &Batch, crowding: &Crowding<'_>) {
        let first = self.places.len();
        let members = batch.members.iter().map(|(queued, group)| (*queued, group.map(|group| first + group)));
        self.groups.extend(members);
        self.places.resize_with(first + batch.alike.len(), Vec::new);
        // What asks for the same, all of it, goes where one after the other would go as well.
        if batch.alike.len() < 2 {
            return;
        }
        let carried = std::mem::take(&mut book.carried);
        let mut rows = Rows::new(book, batch, crowding, self.looks_left);
        let solved = rows.solve(&carried, &batch.by_shape);
        self.looks_left = rows.looks_left();
        // A legal problem by the bounds of a decision; if it were not, tasks would go one by one.
        let Ok(solved) = solved else { return };
        let workers: Vec<Slot> = rows.workers().collect();
        for placement in &solved.solution.placements {
            self.places[first + placement.group].push((workers[placement.worker], placement.tasks));
        }
        book.carried = Carried::of(solved.start, &rows, book, batch);
    }
}

impl Carried {
    fn of(start: Start, rows: &Rows<'_>, book: &Book, batch: &Batch) -> Self {
        let workers = rows.workers().map(|slot| (slot, book.fleet.member(slot).worker.epoch)).collect();
        let mut shapes: Vec<_> = batch.by_shape.iter().collect();
        shapes.sort_unstable_by_key(|(_, group)| **group);
        let shapes = shapes.into_iter().map(|(shape, _)| shape.clone()).collect();
        Self { start, shapes, workers }
    }

    /// Where a worker is, unless another one has taken its place. Who is gone is in no yard.
    fn slot(&self, position: usize, fleet: &Fleet) -> Option<Slot> {
        let (slot, epoch) = self.workers.get(position)?;
        (fleet.member(*slot).worker.epoch == *epoch).then_some(*slot)
    }

    /// Has the offers read that it begins with.
    fn keep(&self, rows: &mut Rows<'_>, fleet: &Fleet, shapes: &BTreeMap<Shape, usize>) {
        let groups: Vec<Option<usize>> = self.shapes.iter().map(|shape| shapes.get(shape).copied()).collect();
        for placement in self.start.placements() {
            let slot = self.slot(placement.worker, fleet);
            if let Some((slot, group)) = slot.zip(groups[placement.group]) {
                rows.keep(group, slot);
            }
        }
    }

    /// The same, by the positions of another batch; none if they have no worker in common.
    fn moved(&self, rows: &Rows<'_>, fleet: &Fleet, shapes: &BTreeMap<Shape, usize>) -> Option<Start> {
        let worker = |from: usize| rows.position(self.slot(from, fleet)?);
        let group = |from: usize| shapes.get(self.shapes.get(from)?).copied();
        let known = (0..self.workers.len()).any(|from| worker(from).is_some());
        known.then(|| self.start.moved(rows.workers().count(), group, worker))
    }
}

#[cfg(test)]
mod tests;
