//! The bidder that wants slots to stay empty.

use super::groups::Choice;
use super::tournament::Tournament;
use crate::flow::problem::Worker;

#[derive(Debug)]
pub(super) struct Idle<'a> {
    workers: &'a [Worker],
    scale: i64,
    /// Seats it still wants.
    pub(super) free: u32,
    /// Seats it holds at each worker and, last, in the queue.
    held: Vec<u32>,
    values: Tournament,
}

impl<'a> Idle<'a> {
    /// Holds every slot, and nothing in the queue.
    pub(super) fn new(workers: &'a [Worker], scale: i64) -> Self {
        let held = workers.iter().map(|worker| worker.slots.into()).chain([0]).collect();
        Self { workers, scale, free: 0, held, values: Tournament::new(std::iter::empty()) }
    }

    pub(super) fn at(&self, place: usize) -> u32 {
        self.held[place]
    }

    pub(super) fn hold(&mut self, place: usize, seats: u32) {
        self.held[place] += seats;
        self.free -= seats;
    }

    pub(super) fn release(&mut self, place: usize, seats: u32) {
        self.held[place] -= seats;
        self.free += seats;
    }

    /// Reads all prices.
    pub(super) fn look(&mut self, prices: &[i64]) {
        self.values = Tournament::new((0..prices.len()).map(|place| self.value(prices[place], place)));
    }

    /// Reads one price, after a deal at that place.
    pub(super) fn look_at(&mut self, price: i64, place: usize) {
        self.values.set(place, self.value(price, place));
    }

    pub(super) fn choose(&self) -> Choice {
        let (place, value, second) = self.values.best_two();
        let seats = match self.workers.get(place) {
            None => u32::MAX,
            Some(worker) if worker.step == 0 => u32::from(worker.slots) - self.held[place],
            // The next slot is worth less.
            Some(_) => 1,
        };
        Choice { place, seats, value, second }
    }

    /// How many seats come at once: those that are worth the same.
    pub(super) fn lot(&self, place: usize) -> u32 {
        match self.workers.get(place) {
            Some(worker) if worker.step > 0 => self.held[place].min(1),
            Some(_) | None => self.held[place],
        }
    }

    /// What the seat of a place that is worth least to it costs, less what an empty slot saves there.
    pub(super) fn value_of_held(&self, price: i64, place: usize) -> i64 {
        price - self.workers.get(place).map_or(0, |worker| self.saves(worker, place))
    }

    /// What one more seat would cost, less what it saves.
    fn value(&self, price: i64, place: usize) -> i64 {
        match self.workers.get(place) {
            None => price,
            Some(worker) if self.held[place] == u32::from(worker.slots) => i64::MAX,
            Some(worker) => price - self.saves(worker, place) + i64::from(worker.step) * self.scale,
        }
    }

    /// The step that the next task would pay.
    fn saves(&self, worker: &Worker, place: usize) -> i64 {
        i64::from(worker.step) * i64::from(u32::from(worker.slots) - self.held[place]) * self.scale
    }
}
