//! Successive shortest paths with prices: Jonker and Volgenant, "A shortest augmenting path algorithm for dense and
//! sparse linear assignment problems" (1987), for places with several seats and bidders with several tasks.
//!
//! Tasks look for seats at *places*: the workers, and the *queue*, which has a seat for every task and costs what it
//! costs to stay unplaced. A bidder called *idle* wants as many seats as all workers have slots; what it gets stays
//! empty. So there are as many seats as bidders want, and every seat finds a holder.
//!
//! Every place has a price. What holds throughout: whoever has a seat has none that costs it more, price included, than
//! a seat that it could have instead. Who has none takes the cheapest chain of moves that ends in an empty seat, and
//! the prices along it rise as far as that remains true. When all are seated the solution is optimal, and the prices
//! prove it.
//!
//! All numbers are whole costs, so that nothing is rounded, and any prices are good to begin with: those of an earlier
//! solution leave only what has changed to be done. From scratch they come from a sample: of every so many tasks one,
//! with as many slots less. What is scarce is so in the sample as well, and there it takes a fraction of the paths to
//! find out; without it, tasks that all like the same workers raise prices unit by unit, and look at each other's
//! tenants every time.

mod alike;
mod search;
mod seats;
mod shortlist;

use std::cmp::Reverse;

use super::problem::Problem;
use super::solution::{Placement, Solution};
use search::Search;
use seats::Seats;

/// Of so many tasks one is in the sample.
const SAMPLE: u32 = 8;
/// Fewer tasks are not worth one.
const SAMPLED_MIN: u32 = 256;
/// A solution is gone on from unless more than one task in so many lost its place, or had none.
const KEPT_MIN: u32 = 2;

/// Where a solver begins: the end of an earlier solution.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The price of a seat at each worker above that of the queue, in units of cost.
    prices: Vec<i64>,
    /// With those in the queue, which is behind the last worker.
    placements: Vec<Placement>,
}

impl Start {
    /// Follows groups and workers to their positions in another problem, which has `workers` of them. What
    /// has none there is forgotten; workers that are new are taken for free of charge.
    pub fn moved(
        &self,
        workers: usize,
        group: impl Fn(usize) -> Option<usize>,
        worker: impl Fn(usize) -> Option<usize>,
    ) -> Self {
        let mut prices = vec![0; workers];
        for (from, price) in self.prices.iter().enumerate() {
            if let Some(place) = worker(from).and_then(|to| prices.get_mut(to)) {
                *place = *price;
            }
        }
        let queue = self.prices.len();
        let placements = self.placements.iter().filter_map(|placement| {
            let worker = if placement.worker == queue { Some(workers) } else { worker(placement.worker) };
            Some(Placement { group: group(placement.group)?, worker: worker?, ..*placement })
        });
        Self { prices, placements: placements.collect() }
    }

    /// Of the workers, above that of the queue. With one of them empty its price may be below zero, and might as well
    /// be zero: nobody has to pay it.
    pub(crate) fn prices(&self) -> &[i64] {
        &self.prices
    }

    /// Who goes where, and who waits: those are behind the last worker.
    pub(crate) fn placements(&self) -> &[Placement] {
        &self.placements
    }
}

/// A solution, what proves it, and where the next one may begin.
#[derive(Clone, Debug)]
pub struct Solved {
    pub solution: Solution,
    pub start: Start,
    /// What the dearest place of each group's tasks costs, its price included; none if it has no tasks. An offer that
    /// the problem left out would change nothing if it cost no less, with the worker's price, or with none if the
    /// worker was left out too: Volgenant, "Linear and semi-assignment problems: a core oriented approach" (1996).
    pub(crate) dearest: Vec<Option<i64>>,
    /// How many rows of offers were read to find paths.
    pub rows: u64,
}

/// Solves a problem from scratch.
pub fn solve(problem: &Problem) -> Solved {
    let (prices, rows) = guess(problem);
    let mut seats = Seats::new(problem, prices);
    seats.settle();
    finish(problem, seats, rows)
}

/// Solves a problem that differs little from one that is solved. The cost is the same as from scratch; where
/// several solutions cost the same, it may be another one.
pub fn resolve(problem: &Problem, start: &Start) -> Solved {
    let seats = seated(problem, start);
    let tasks_free: u32 = (0..problem.groups().len()).map(|group| seats.free(group)).sum();
    if tasks_free > problem.tasks() / KEPT_MIN {
        return solve(problem);
    }
    finish(problem, seats, 0)
}

/// Solves a problem that is the solved one but for more offers and more workers: its prices are good, however many
/// tasks have a better place now.
pub(crate) fn widen(problem: &Problem, start: &Start) -> Solved {
    finish(problem, seated(problem, start), 0)
}

fn seated<'a>(problem: &'a Problem, start: &Start) -> Seats<'a> {
    let mut prices = start.prices.clone();
    prices.resize(problem.workers().len(), 0);
    let mut seats = Seats::new(problem, prices);
    for placement in &start.placements {
        seats.keep(*placement);
    }
    seats.settle();
    seats
}

/// What seats cost in a smaller problem of the same kind, and how many rows were read for that.
fn guess(problem: &Problem) -> (Vec<i64>, u64) {
    if problem.tasks() < SAMPLED_MIN {
        return (vec![0; problem.workers().len()], 0);
    }
    let Solved { start, rows, .. } = solve(&problem.sample(SAMPLE));
    (start.prices, rows)
}

fn finish(problem: &Problem, mut seats: Seats<'_>, rows: u64) -> Solved {
    let mut search = Search::new(problem);
    // Who pays most for waiting comes first: otherwise those that come later would turn out the others one by one.
    let mut order: Vec<usize> = (0..problem.groups().len()).collect();
    order.sort_by_key(|group| Reverse(problem.groups()[*group].unplaced));
    for bidder in order.into_iter().chain([seats.idle()]) {
        while seats.free(bidder) > 0 {
            let path = search.run(&mut seats, bidder);
            seats.walk(&path);
        }
    }
    let placements = seats.placements();
    let placed = placements.iter().filter(|placement| placement.worker < problem.workers().len()).copied();
    let solution = Solution::of(problem, placed.collect());
    let start = Start { prices: seats.worker_prices(), placements };
    Solved { solution, start, dearest: seats.dearest(), rows: rows + search.rows() }
}
