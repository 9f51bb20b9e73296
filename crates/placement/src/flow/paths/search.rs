//! The cheapest chain of moves that gives a bidder a seat, after Dijkstra: places in the order of what it costs to have
//! a seat there.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::alike;
use super::seats::{Bidder, Move, Place, Seats};
use super::shortlist::Shortlist;
use crate::flow::problem::Problem;

/// Nowhere: the bidder has no seat yet.
const OUTSIDE: Place = Place::MAX;

/// How a place is reached: who would come, and from where.
#[derive(Clone, Copy, Debug)]
struct Step {
    bidder: Bidder,
    from: Place,
}

/// The cheapest end that is known: a place with an empty seat, or with one of idle's, which would go where one is.
#[derive(Clone, Copy, Debug)]
struct End {
    cost: i64,
    place: Place,
}

/// A row of offers that is read up to its shortlist: what is behind that costs so much at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rest {
    least: i64,
    group: usize,
    from: Place,
    more: i64,
}

#[derive(Debug)]
pub(super) struct Search {
    shortlists: Vec<Shortlist>,
    /// Groups that cost the same everywhere but for a constant, and the cost of each one's first offer, if it has any:
    /// a row is far away in memory.
    classes: Vec<u32>,
    firsts: Vec<Option<u32>>,
    /// With which least addition the row of a class was read in this search, and which classes were.
    read: Vec<i64>,
    touched: Vec<u32>,
    idle_read: i64,
    rests: BinaryHeap<Reverse<Rest>>,
    /// What it costs to have a seat at each place, and how one comes there.
    costs: Vec<i64>,
    steps: Vec<Step>,
    least: i64,
    /// The places that are reached, in the order in which they are looked at, and behind them those that are not yet.
    places: Vec<Place>,
    /// Where idle would find an empty seat, and at which price.
    idle_to: Option<(i64, Place)>,
    end: End,
    /// Places that a row must not change, with their costs.
    closed: Vec<(Place, i64)>,
    rows: u64,
}

impl Search {
    pub(super) fn new(problem: &Problem) -> Self {
        let places = problem.workers().len() + 1;
        let (classes, count) = alike::classes(problem);
        Self {
            shortlists: vec![Shortlist::default(); problem.groups().len()],
            classes,
            firsts: (0..problem.groups().len()).map(|group| Some(problem.offers(group).first()?.cost)).collect(),
            read: vec![i64::MAX; count],
            touched: Vec::new(),
            idle_read: i64::MAX,
            rests: BinaryHeap::new(),
            costs: vec![i64::MAX; places],
            steps: vec![Step { bidder: 0, from: OUTSIDE }; places],
            least: i64::MAX,
            places: Vec::new(),
            idle_to: None,
            end: End { cost: i64::MAX, place: OUTSIDE },
            closed: Vec::new(),
            rows: 0,
        }
    }

    /// How many rows of offers were read.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Finds the path, and raises the prices of what is nearer than its end.
    pub(super) fn run(&mut self, seats: &mut Seats<'_>, bidder: Bidder) -> Vec<Move> {
        self.begin(seats);
        if bidder == seats.idle() {
            self.read_idle(seats, OUTSIDE, 0);
        } else {
            self.read(seats, bidder, OUTSIDE, 0, i64::MIN);
        }
        let looked_at = if self.end.cost > self.least { self.look_around(seats) } else { 0 };
        for place in &self.places[..looked_at] {
            seats.prices[*place as usize] += self.end.cost - self.costs[*place as usize];
        }
        self.path(seats, bidder)
    }

    fn begin(&mut self, seats: &Seats<'_>) {
        for place in self.places.drain(..) {
            self.costs[place as usize] = i64::MAX;
        }
        for class in self.touched.drain(..) {
            self.read[class as usize] = i64::MAX;
        }
        self.idle_read = i64::MAX;
        self.least = i64::MAX;
        self.rests.clear();
        self.end = End { cost: i64::MAX, place: OUTSIDE };
        let empty = seats.with_empty().filter_map(|place| Some((seats.idle_wants(place)?, place)));
        self.idle_to = empty.min();
    }

    /// Looks at places, the nearest first, until the end is near. Answers how many were looked at.
    fn look_around(&mut self, seats: &Seats<'_>) -> usize {
        let mut looked_at = 0;
        while looked_at < self.places.len() || !self.rests.is_empty() {
            let (cost, next) = self.nearest(looked_at);
            let rest = self.rests.peek().map(|rest| rest.0).filter(|rest| rest.least <= cost);
            if cost.min(rest.map_or(cost, |rest| rest.least)) >= self.end.cost {
                break;
            }
            if let Some(rest) = rest {
                self.rests.pop();
                self.read_rest(seats, rest);
                continue;
            }
            while looked_at < next && cost < self.end.cost {
                self.look_at(seats, self.places[looked_at], cost);
                looked_at += 1;
            }
        }
        looked_at
    }

    /// The least cost of what was not looked at yet. The places that have it stand in front from then on, up to the
    /// position that comes with it.
    fn nearest(&mut self, looked_at: usize) -> (i64, usize) {
        let (mut least, mut next) = (i64::MAX, looked_at);
        for at in looked_at..self.places.len() {
            let cost = self.costs[self.places[at] as usize];
            if cost > least {
                continue;
            }
            if cost < least {
                (least, next) = (cost, looked_at);
            }
            self.places.swap(at, next);
            next += 1;
        }
        (least, next)
    }

    /// Whoever has a seat at the place may go elsewhere.
    fn look_at(&mut self, seats: &Seats<'_>, place: Place, cost: i64) {
        if let Some(has) = seats.idle_has(place) {
            self.read_idle(seats, place, cost - has);
        }
        let price = seats.prices[place as usize];
        for tenant in seats.tenants(place) {
            if self.end.cost <= cost {
                return;
            }
            self.read(seats, tenant.group as usize, place, cost - tenant.cost - price, cost);
        }
    }

    /// What it costs if a task of the group goes to each of its places; `more` is what it has cost up to here. What
    /// costs more than `now` may come later.
    fn read(&mut self, seats: &Seats<'_>, group: usize, from: Place, more: i64, now: i64) {
        let (queue, step) = (seats.queue(), Step { bidder: group, from });
        let unplaced = seats.problem.groups()[group].unplaced as i64;
        self.reach(seats, queue, more + unplaced + seats.prices[queue as usize], step);
        let Some(first) = self.firsts[group] else { return };
        let (class, least) = (self.classes[group] as usize, more + i64::from(first));
        if self.read[class] <= least {
            return;
        }
        self.close(seats, group);
        // What was looked at is no news to anybody: but for that, the row is read for all of its class.
        if self.closed.iter().all(|(place, _)| *place == from) {
            self.read[class] = least;
            self.touched.push(class as u32);
        }
        let shortlist = std::mem::take(&mut self.shortlists[group]);
        for offer in shortlist.offers() {
            let at = usize::from(offer.worker);
            self.reach(seats, at as Place, more + i64::from(offer.cost) + seats.prices[at], step);
        }
        let least = more.saturating_add(shortlist.bound());
        self.shortlists[group] = shortlist;
        self.open();
        let rest = Rest { least, group, from, more };
        if least <= now {
            self.read_rest(seats, rest);
        } else if least < self.end.cost {
            self.rests.push(Reverse(rest));
        }
    }

    /// Reads a whole row, and makes its shortlist anew.
    fn read_rest(&mut self, seats: &Seats<'_>, rest: Rest) {
        let Rest { group, from, more, .. } = rest;
        self.rows += 1;
        self.close(seats, group);
        let mut shortlist = std::mem::take(&mut self.shortlists[group]);
        shortlist.fill(seats.problem.offers(group), |offer| {
            let at = usize::from(offer.worker);
            let value = i64::from(offer.cost) + seats.prices[at];
            if more + value < self.costs[at] {
                self.reach(seats, at as Place, more + value, Step { bidder: group, from });
            }
            value
        });
        self.shortlists[group] = shortlist;
        self.open();
    }

    /// Makes what the group can't have more of as cheap as nothing is, so that nothing improves on it.
    fn close(&mut self, seats: &Seats<'_>, group: usize) {
        for place in seats.closed_to(group) {
            self.closed.push((place, std::mem::replace(&mut self.costs[place as usize], i64::MIN)));
        }
    }

    fn open(&mut self) {
        for (place, cost) in self.closed.drain(..) {
            self.costs[place as usize] = cost;
        }
    }

    /// The same for idle.
    fn read_idle(&mut self, seats: &Seats<'_>, from: Place, more: i64) {
        if self.idle_read <= more {
            return;
        }
        self.idle_read = more;
        self.rows += 1;
        let step = Step { bidder: seats.idle(), from };
        for place in 0..=seats.queue() {
            if let Some(wants) = seats.idle_wants(place) {
                self.reach(seats, place, more + wants, step);
            }
        }
    }

    #[inline]
    fn reach(&mut self, seats: &Seats<'_>, place: Place, cost: i64, step: Step) {
        let at = place as usize;
        if cost >= self.costs[at] {
            return;
        }
        if self.costs[at] == i64::MAX {
            self.places.push(place);
        }
        (self.costs[at], self.steps[at]) = (cost, step);
        self.least = self.least.min(cost);
        // An empty seat ends the path, or one that idle leaves for the empty seat that is cheapest to it.
        let exit = match (seats.empty(place), self.idle_to) {
            (0, Some((wants, _))) => seats.idle_has(place).map(|has| wants - has),
            (0, None) => None,
            (_, _) => Some(0),
        };
        if let Some(end) = exit.map(|exit| cost + exit).filter(|end| *end < self.end.cost) {
            self.end = End { cost: end, place };
        }
    }

    /// From the bidder to the end.
    fn path(&self, seats: &Seats<'_>, bidder: Bidder) -> Vec<Move> {
        let (mut place, mut moves) = (self.end.place, Vec::new());
        if let Some((_, to)) = self.idle_to.filter(|_| seats.empty(place) == 0) {
            moves.push(Move { bidder: seats.idle(), from: Some(place), to });
        }
        loop {
            let Step { bidder: mover, from } = self.steps[place as usize];
            if from == OUTSIDE {
                moves.push(Move { bidder, from: None, to: place });
                moves.reverse();
                return moves;
            }
            moves.push(Move { bidder: mover, from: Some(from), to: place });
            place = from;
        }
    }
}
