//! One phase: everybody bids until everybody is seated within ε of the best.

use super::groups::{Bidder, Choice};
use super::idle::Idle;
use super::market::{Eviction, Market, Order};
use crate::flow::problem::{COST_MAX, Problem};
use crate::flow::solution::Placement;

#[derive(Debug)]
pub(super) struct Auction<'a> {
    problem: &'a Problem,
    scale: i64,
    epsilon: i64,
    /// No two seats differ more in what they cost anybody, prices apart.
    spread: i64,
    market: Market,
    groups: Vec<Bidder>,
    idle: Idle<'a>,
    /// Groups with tasks that have no seat.
    active: Vec<u32>,
    evictions: Vec<Eviction>,
    bids: u64,
}

impl<'a> Auction<'a> {
    /// `prices` of the workers' seats and, last, of the queue's, multiplied by `scale`.
    pub(super) fn new(problem: &'a Problem, scale: i64, prices: Vec<i64>) -> Self {
        Self {
            problem,
            scale,
            epsilon: 1,
            spread: spread(problem) * scale,
            market: Market::new(prices, std::iter::empty()),
            groups: problem.groups().iter().map(|group| Bidder::new(group.tasks)).collect(),
            idle: Idle::new(problem.workers(), scale),
            active: Vec::new(),
            evictions: Vec::new(),
            bids: 0,
        }
    }

    /// Seats tasks where they were, as far as this problem allows.
    pub(super) fn keep(&mut self, placement: Placement) {
        let Some(bidder) = self.groups.get_mut(placement.group) else { return };
        let place = placement.worker;
        let Some(offer) = self.problem.offer(placement.group, place) else { return };
        let open = u32::from(offer.fits) - bidder.at(place);
        let tasks = placement.tasks.min(open).min(bidder.free).min(self.idle.at(place));
        if tasks > 0 {
            bidder.hold(place, tasks);
            self.idle.release(place, tasks);
        }
    }

    /// A phase whose ε grows by `factor` each time that it took another `bids_max` bids. Answers the last ε.
    pub(super) fn first_phase(&mut self, epsilon: i64, bids_max: u64, factor: i64) -> i64 {
        self.open(epsilon);
        let mut limit = bids_max;
        while self.step() {
            if self.bids >= limit {
                limit *= 2;
                self.epsilon = self.epsilon.saturating_mul(factor).min(self.spread.max(1));
            }
        }
        self.epsilon
    }

    pub(super) fn phase(&mut self, epsilon: i64) {
        self.open(epsilon);
        while self.step() {}
    }

    pub(super) fn placements(&self) -> Vec<Placement> {
        let queue = self.queue();
        let placements = self.groups.iter().enumerate().flat_map(|(group, bidder)| {
            bidder.held().iter().map(move |(place, tasks)| Placement { group, worker: *place as usize, tasks: *tasks })
        });
        placements.filter(|placement| placement.worker < queue).collect()
    }

    pub(super) fn worker_prices(&self) -> Vec<i64> {
        let prices = self.market.prices();
        prices[..self.queue()].iter().map(|price| price - prices[self.queue()]).collect()
    }

    pub(super) fn bids(&self) -> u64 {
        self.bids
    }

    fn queue(&self) -> usize {
        self.problem.workers().len()
    }

    /// Lets everybody keep the seats that are within ε of the best at today's prices.
    fn open(&mut self, epsilon: i64) {
        self.epsilon = epsilon;
        self.market = Market::new(self.opening_prices(), self.problem.seats());
        self.active.clear();
        for group in 0..self.groups.len() {
            self.reseat_group(group);
            if self.groups[group].free > 0 {
                self.active.push(group as u32);
            }
        }
        self.reseat_idle();
        self.market.close_deals();
        self.idle.look(self.market.prices());
    }

    /// The prices of the last phase. The queue's may come down to the cheapest of what idleness could have
    /// instead: otherwise all that it holds there would be let go at once, and drive out tasks for nothing.
    fn opening_prices(&mut self) -> Vec<i64> {
        let mut prices = self.market.prices().to_vec();
        self.idle.look(&prices);
        let queue = self.queue();
        prices[queue] = prices[queue].min(self.idle.choose().value);
        prices
    }

    fn reseat_group(&mut self, group: usize) {
        let (problem, scale, prices) = (self.problem, self.scale, self.market.prices());
        let bidder = &mut self.groups[group];
        let worst = bidder.held().iter().map(|(place, _)| value(problem, group, *place as usize, scale, prices)).max();
        let Some(worst) = worst else { return };
        let mut limit = bidder.at_least(problem, group, prices, scale).saturating_add(self.epsilon);
        if worst > limit {
            limit = bidder.choose(problem, group, prices, scale).value + self.epsilon;
        }
        for (place, tasks) in bidder.held().to_vec() {
            if value(problem, group, place as usize, scale, self.market.prices()) > limit {
                bidder.release(place as usize, tasks);
            } else {
                self.market.seat(place as usize, group as u32, tasks);
            }
        }
    }

    fn reseat_idle(&mut self) {
        self.idle.look(self.market.prices());
        let limit = self.idle.choose().value + self.epsilon;
        for place in 0..=self.queue() {
            let price = self.market.prices()[place];
            while self.idle.at(place) > 0 && self.idle.value_of_held(price, place) > limit {
                self.idle.release(place, self.idle.lot(place));
            }
            self.market.seat(place, self.groups.len() as u32, self.idle.at(place));
        }
    }

    /// Lets one bidder bid. `false`: everybody is seated.
    fn step(&mut self) -> bool {
        let (bidder, choice, wanted) = match self.active.last() {
            Some(group) => {
                let bidder = &mut self.groups[*group as usize];
                let choice = bidder.choose(self.problem, *group as usize, self.market.prices(), self.scale);
                (*group, choice, bidder.free)
            }
            None if self.idle.free > 0 => (self.groups.len() as u32, self.idle.choose(), self.idle.free),
            None => return false,
        };
        self.bid(bidder, choice, wanted.min(choice.seats));
        true
    }

    /// Bids as much as makes the best choice ε worse than the second best. Who has no other choice raises the
    /// price by no more than anybody else could, so that prices stay far from overflow.
    fn bid(&mut self, bidder: u32, choice: Choice, wanted: u32) {
        self.bids += 1;
        let raise = choice.second.saturating_sub(choice.value).min(self.spread);
        let limit = self.market.prices()[choice.place] + raise;
        let order = Order { place: choice.place, bidder, wanted, limit, bid: limit + self.epsilon };
        let mut evictions = std::mem::take(&mut self.evictions);
        let bought = self.market.buy(order, &mut evictions);
        match self.groups.get_mut(bidder as usize) {
            Some(group) => {
                group.hold(choice.place, bought);
                if group.free == 0 {
                    self.active.pop();
                }
            }
            None => self.idle.hold(choice.place, bought),
        }
        for eviction in evictions.drain(..) {
            self.evict(eviction, choice.place);
        }
        self.evictions = evictions;
        self.idle.look_at(self.market.prices()[choice.place], choice.place);
    }

    fn evict(&mut self, eviction: Eviction, place: usize) {
        match self.groups.get_mut(eviction.bidder as usize) {
            Some(group) => {
                if group.free == 0 {
                    self.active.push(eviction.bidder);
                }
                group.release(place, eviction.seats);
            }
            None => self.idle.release(place, eviction.seats),
        }
    }
}

/// What a task of `group` pays for a seat it holds: its cost there and the price.
fn value(problem: &Problem, group: usize, place: usize, scale: i64, prices: &[i64]) -> i64 {
    let cost = match problem.offer(group, place) {
        Some(offer) => i64::from(offer.cost),
        None => problem.groups()[group].unplaced as i64,
    };
    cost * scale + prices[place]
}

fn spread(problem: &Problem) -> i64 {
    let unplaced = problem.groups().iter().map(|group| group.unplaced).max();
    unplaced.unwrap_or(0) as i64 + i64::from(COST_MAX)
}
