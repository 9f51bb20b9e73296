//! Who sits where, and what a seat costs whom.

use std::collections::BTreeSet;

use crate::flow::problem::{Problem, Worker};
use crate::flow::solution::Placement;

/// The position of a worker, or behind them the queue.
pub(super) type Place = u32;
/// The position of a group, or behind them idle.
pub(super) type Bidder = usize;

/// One bidder's seats move: from a place, if it has them already, to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) bidder: Bidder,
    pub(super) from: Option<Place>,
    pub(super) to: Place,
}

/// Tasks of one group at one place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tenant {
    pub(super) group: u32,
    pub(super) tasks: u32,
    /// Of the offer.
    pub(super) cost: i64,
}

#[derive(Debug, Default)]
struct Seated {
    /// Tasks without a seat.
    free: u32,
    /// By place.
    held: Vec<Held>,
}

/// Tasks of a group at one place.
#[derive(Clone, Copy, Debug)]
struct Held {
    place: Place,
    tasks: u32,
    /// How many there may be.
    fits: u32,
    /// Of the offer.
    cost: i64,
}

#[derive(Debug)]
pub(super) struct Seats<'a> {
    pub(super) problem: &'a Problem,
    /// Of each place, the queue last.
    pub(super) prices: Vec<i64>,
    empty: Vec<u32>,
    with_empty: BTreeSet<Place>,
    /// At each place, by group.
    tenants: Vec<Vec<Tenant>>,
    groups: Vec<Seated>,
    idle_free: u32,
    idle_held: Vec<u32>,
}

impl<'a> Seats<'a> {
    /// With these prices of the workers' seats; idle has all of them.
    pub(super) fn new(problem: &'a Problem, mut prices: Vec<i64>) -> Self {
        let places = problem.workers().len() + 1;
        prices.push(0);
        let mut empty = vec![0; places];
        empty[places - 1] = problem.tasks();
        let group = |group: &crate::flow::Group| Seated { free: group.tasks, held: Vec::new() };
        Self {
            problem,
            prices,
            empty,
            with_empty: (problem.tasks() > 0).then_some((places - 1) as Place).into_iter().collect(),
            tenants: vec![Vec::new(); places],
            groups: problem.groups().iter().map(group).collect(),
            idle_free: 0,
            idle_held: problem.workers().iter().map(|worker| worker.slots.into()).chain([0]).collect(),
        }
    }

    pub(super) fn idle(&self) -> Bidder {
        self.groups.len()
    }

    pub(super) fn queue(&self) -> Place {
        (self.prices.len() - 1) as Place
    }

    pub(super) fn free(&self, bidder: Bidder) -> u32 {
        self.groups.get(bidder).map_or(self.idle_free, |group| group.free)
    }

    pub(super) fn empty(&self, place: Place) -> u32 {
        self.empty[place as usize]
    }

    /// The places with an empty seat.
    pub(super) fn with_empty(&self) -> impl Iterator<Item = Place> {
        self.with_empty.iter().copied()
    }

    pub(super) fn tenants(&self, place: Place) -> &[Tenant] {
        &self.tenants[place as usize]
    }

    /// Places where a group has all that it can have there.
    pub(super) fn closed_to(&self, group: usize) -> impl Iterator<Item = Place> {
        self.groups[group].held.iter().filter(|held| held.fits <= held.tasks).map(|held| held.place)
    }

    /// How many tasks of a group may have a seat at a place, and what that costs each.
    fn terms(&self, group: usize, place: Place) -> (u32, i64) {
        match self.problem.offer(group, place as usize) {
            Some(offer) => (offer.fits.into(), offer.cost.into()),
            None => (u32::MAX, self.problem.groups()[group].unplaced as i64),
        }
    }

    /// What the seat of idle's that is worth least to it costs there, less what an empty slot saves; none if it has
    /// none there.
    pub(super) fn idle_has(&self, place: Place) -> Option<i64> {
        let held = self.idle_held[place as usize];
        (held > 0).then(|| self.prices[place as usize] - self.saves(place, held))
    }

    /// The same of one seat more; none if it has all.
    pub(super) fn idle_wants(&self, place: Place) -> Option<i64> {
        let held = self.idle_held[place as usize];
        let has_all = self.worker(place).is_some_and(|worker| held == u32::from(worker.slots));
        (!has_all).then(|| self.prices[place as usize] - self.saves(place, held + 1))
    }

    /// What the last of so many empty slots saves: the step that a task in it would pay.
    fn saves(&self, place: Place, held: u32) -> i64 {
        self.worker(place).map_or(0, |worker| i64::from(worker.step) * i64::from(u32::from(worker.slots) - held))
    }

    fn worker(&self, place: Place) -> Option<&'a Worker> {
        self.problem.workers().get(place as usize)
    }

    /// Seats tasks where they were, as far as this problem allows. What idle had there goes to the queue.
    pub(super) fn keep(&mut self, placement: Placement) {
        let Placement { group, worker, tasks } = placement;
        let (Some(seated), place) = (self.groups.get(group), worker as Place) else { return };
        let offer = self.problem.offer(group, worker);
        let at = self.at(group, place);
        let room = match offer {
            Some(offer) => self.idle_held[worker].min(u32::from(offer.fits) - at),
            None if place == self.queue() => u32::MAX,
            None => 0,
        };
        let tasks = tasks.min(seated.free).min(room);
        if tasks == 0 {
            return;
        }
        if place != self.queue() {
            let (idle, queue) = (self.idle(), self.queue());
            self.shift(Move { bidder: idle, from: Some(place), to: queue }, tasks);
        }
        self.take(group, place, tasks);
    }

    /// Takes away the seats whose holders could have better ones.
    pub(super) fn settle(&mut self) {
        for group in 0..self.groups.len() {
            let held = self.groups[group].held.iter();
            let Some(worst) = held.clone().map(|held| self.value(held)).max() else { continue };
            let best = self.best_below(group, worst);
            let dear: Vec<Held> = held.filter(|held| self.value(held) > best).copied().collect();
            dear.into_iter().for_each(|held| self.leave(group, held.place, held.tasks));
        }
        let places = 0..=self.queue();
        let Some(best) = places.clone().filter_map(|place| self.idle_wants(place)).min() else { return };
        for place in places {
            while self.idle_has(place).is_some_and(|value| value > best) {
                self.leave(self.idle(), place, self.lot(place, self.idle_held[place as usize]));
            }
        }
    }

    /// What a seat costs its holder.
    fn value(&self, held: &Held) -> i64 {
        held.cost + self.prices[held.place as usize]
    }

    /// The least that a seat that the group does not have would cost, if that is less.
    fn best_below(&self, group: usize, worst: i64) -> i64 {
        let closed: Vec<Place> = self.closed_to(group).collect();
        let unplaced = self.problem.groups()[group].unplaced as i64 + self.prices[self.queue() as usize];
        let mut best = worst.min(unplaced);
        for offer in self.problem.offers(group) {
            let value = i64::from(offer.cost) + self.prices[usize::from(offer.worker)];
            if value < best && !closed.contains(&offer.worker.into()) {
                best = value;
            }
        }
        best
    }

    /// How many of so many seats are worth the same to idle.
    fn lot(&self, place: Place, seats: u32) -> u32 {
        match self.worker(place) {
            Some(worker) if worker.step > 0 => seats.min(1),
            Some(_) | None => seats,
        }
    }

    /// Makes the moves of a path, the last of which ends in an empty seat, with as many seats as can go together.
    pub(super) fn walk(&mut self, path: &[Move]) {
        let Some((first, last)) = path.first().zip(path.last()) else { return };
        let most = self.free(first.bidder).min(self.empty(last.to));
        let seats = path.iter().map(|step| self.most(*step)).fold(most, u32::min);
        assert!(seats > 0, "a path is open: {path:?}");
        // From its end, so that every seat is empty when somebody takes it.
        path.iter().rev().for_each(|step| self.shift(*step, seats));
    }

    /// How many seats a move may take at once.
    fn most(&self, step: Move) -> u32 {
        let Move { bidder, from, to } = step;
        if bidder == self.idle() {
            let there =
                self.worker(to).map_or(u32::MAX, |worker| u32::from(worker.slots) - self.idle_held[to as usize]);
            let here = from.map_or(u32::MAX, |from| self.lot(from, self.idle_held[from as usize]));
            return here.min(self.lot(to, there));
        }
        let here = from.map_or(u32::MAX, |from| self.at(bidder, from));
        here.min(self.terms(bidder, to).0 - self.at(bidder, to))
    }

    fn at(&self, group: usize, place: Place) -> u32 {
        let held = &self.groups[group].held;
        held.binary_search_by_key(&place, |held| held.place).map_or(0, |found| held[found].tasks)
    }

    fn shift(&mut self, step: Move, seats: u32) {
        if let Some(from) = step.from {
            self.leave(step.bidder, from, seats);
        }
        self.take(step.bidder, step.to, seats);
    }

    fn take(&mut self, bidder: Bidder, place: Place, seats: u32) {
        let at = place as usize;
        self.empty[at] -= seats;
        if self.empty[at] == 0 {
            self.with_empty.remove(&place);
        }
        if bidder == self.idle() {
            self.idle_free -= seats;
            self.idle_held[at] += seats;
            return;
        }
        let (fits, cost) = self.terms(bidder, place);
        let group = &mut self.groups[bidder];
        group.free -= seats;
        match group.held.binary_search_by_key(&place, |held| held.place) {
            Ok(found) => group.held[found].tasks += seats,
            Err(missing) => group.held.insert(missing, Held { place, tasks: seats, fits, cost }),
        }
        let tenants = &mut self.tenants[at];
        match tenants.binary_search_by_key(&(bidder as u32), |tenant| tenant.group) {
            Ok(found) => tenants[found].tasks += seats,
            Err(missing) => tenants.insert(missing, Tenant { group: bidder as u32, tasks: seats, cost }),
        }
    }

    fn leave(&mut self, bidder: Bidder, place: Place, seats: u32) {
        let at = place as usize;
        if self.empty[at] == 0 && seats > 0 {
            self.with_empty.insert(place);
        }
        self.empty[at] += seats;
        if bidder == self.idle() {
            self.idle_free += seats;
            self.idle_held[at] -= seats;
            return;
        }
        let group = &mut self.groups[bidder];
        group.free += seats;
        let found = group.held.binary_search_by_key(&place, |held| held.place).expect("it leaves what it has");
        group.held[found].tasks -= seats;
        if group.held[found].tasks == 0 {
            group.held.remove(found);
        }
        let tenants = &mut self.tenants[at];
        let found = tenants.binary_search_by_key(&(bidder as u32), |tenant| tenant.group).expect("it sits there");
        tenants[found].tasks -= seats;
        if tenants[found].tasks == 0 {
            tenants.remove(found);
        }
    }

    /// Of all tasks that have a seat.
    pub(super) fn placements(&self) -> Vec<Placement> {
        let placements = self.groups.iter().enumerate().flat_map(|(group, seated)| {
            let placement = move |held: &Held| Placement { group, worker: held.place as usize, tasks: held.tasks };
            seated.held.iter().map(placement)
        });
        placements.collect()
    }

    /// What the dearest seat of each group costs above the price of the queue.
    pub(super) fn dearest(&self) -> Vec<Option<i64>> {
        let queue = self.prices[self.queue() as usize];
        let dearest = |group: &Seated| group.held.iter().map(|held| self.value(held) - queue).max();
        self.groups.iter().map(dearest).collect()
    }

    pub(super) fn worker_prices(&self) -> Vec<i64> {
        let queue = self.queue() as usize;
        self.prices[..queue].iter().map(|price| price - self.prices[queue]).collect()
    }
}
