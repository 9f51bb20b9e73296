//! An auction with ε-scaling: Bertsekas, "The auction algorithm: a distributed relaxation method for the
//! assignment problem" (1988), for transportation problems as in Bertsekas and Castañon (1989).
//!
//! Tasks bid for seats at *places*: the workers, and the *queue*, which has a seat for every task and costs
//! what it costs to stay unplaced. A bidder called [`idle`] wants as many seats as all workers have slots; what
//! it gets stays empty. So there are as many seats as bidders want, every seat finds a holder, and no price has to
//! fall again.
//!
//! Costs are multiplied by more than the number of places. Each bidder ends within ε of its best seat; a
//! cycle of moves visits a place once at most, so with ε = 1 no cycle gains a whole unit of cost: the result is
//! optimal. Phases with larger ε before that settle the prices roughly. The first one begins with what the
//! caller thinks right and is widened when it takes too many bids, so that neither scarcity nor a bad start
//! makes bidders outbid each other in tiny steps.

mod groups;
mod idle;
mod market;
mod phase;
mod tournament;

use super::problem::Problem;
use super::solution::{Placement, Solution};
use phase::Auction;

/// How much finer each phase is than the one before.
const REFINEMENT: i64 = 5;

/// Where an auction begins: the end of an earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// The price of a seat at each worker above that of the queue, in units of cost.
    prices: Vec<i64>,
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
        let placements = self.placements.iter().filter_map(|placement| {
            let (group, worker) = (group(placement.group)?, worker(placement.worker)?);
            Some(Placement { group, worker, ..*placement })
        });
        Self { prices, placements: placements.collect() }
    }
}

/// A solution, and where the next auction may begin.
#[derive(Clone, Debug)]
pub struct Solved {
    pub solution: Solution,
    pub start: Start,
    /// How many bids it took.
    pub bids: u64,
}

/// Solves a problem from scratch.
pub fn solve(problem: &Problem) -> Solved {
    let costs = (0..problem.groups().len()).flat_map(|group| problem.offers(group)).map(|offer| offer.cost);
    let epsilon = i64::from(costs.max().unwrap_or(0)) * scale(problem) / REFINEMENT;
    let mut auction = Auction::new(problem, scale(problem), first_prices(problem));
    finish(problem, &mut auction, epsilon.max(1))
}

/// Solves a problem that differs little from one that is solved. The cost is the same as from scratch; where
/// several solutions cost the same, it may be another one.
pub fn resolve(problem: &Problem, start: &Start) -> Solved {
    let scale = scale(problem);
    let mut prices: Vec<i64> = start.prices.clone();
    prices.resize(problem.workers().len(), 0);
    prices.push(0);
    let mut auction = Auction::new(problem, scale, prices);
    for placement in &start.placements {
        auction.keep(*placement);
    }
    finish(problem, &mut auction, 1)
}

fn finish(problem: &Problem, auction: &mut Auction<'_>, mut epsilon: i64) -> Solved {
    let bids_max = 4 * (problem.groups().len() + problem.workers().len()) as u64;
    epsilon = auction.first_phase(epsilon, bids_max, REFINEMENT * REFINEMENT);
    while epsilon > 1 {
        epsilon = (epsilon / REFINEMENT).max(1);
        auction.phase(epsilon);
    }
    let solution = Solution::of(problem, auction.placements());
    let start = Start { prices: auction.worker_prices(), placements: solution.placements.clone() };
    Solved { solution, start, bids: auction.bids() }
}

fn scale(problem: &Problem) -> i64 {
    problem.workers().len() as i64 + 2
}

/// Nothing costs anything; but where there are more tasks than slots, the queue is as much cheaper as the
/// first task that will not get a slot would pay.
fn first_prices(problem: &Problem) -> Vec<i64> {
    let mut prices = vec![0; problem.workers().len() + 1];
    let mut slots: u64 = problem.workers().iter().map(|worker| u64::from(worker.slots)).sum();
    let mut groups: Vec<_> = problem.groups().iter().map(|group| (group.unplaced, u64::from(group.tasks))).collect();
    groups.sort_unstable_by(|a, b| b.cmp(a));
    for (unplaced, tasks) in groups {
        if tasks > slots {
            prices[problem.workers().len()] = -(unplaced as i64 * scale(problem));
            break;
        }
        slots -= tasks;
    }
    prices
}
