//! The buyers: groups of tasks, each with a short list of the offers that look best to it.

use crate::flow::problem::{Offer, Problem};

/// Offers that a group keeps in sight. Prices only rise, so that what is not on the list stays worse than
/// the list's bound, and the whole row is read again only when the list is used up.
const SHORTLIST: usize = 12;

#[derive(Debug, Default)]
pub(super) struct Bidder {
    /// Tasks without a place.
    pub(super) free: u32,
    /// Tasks at each place, by place.
    held: Vec<(u32, u32)>,
    short: Vec<Offer>,
    /// No open offer off the list is cheaper.
    bound: i64,
}

/// The best place for a task, and how much dearer the next best is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub(super) place: usize,
    pub(super) seats: u32,
    pub(super) value: i64,
    pub(super) second: i64,
}

impl Bidder {
    pub(super) fn new(tasks: u32) -> Self {
        Self { free: tasks, held: Vec::new(), short: Vec::new(), bound: i64::MIN }
    }

    /// Places with tasks of this group, and how many.
    pub(super) fn held(&self) -> &[(u32, u32)] {
        &self.held
    }

    pub(super) fn at(&self, place: usize) -> u32 {
        match self.held.binary_search_by_key(&(place as u32), |(at, _)| *at) {
            Ok(found) => self.held[found].1,
            Err(_) => 0,
        }
    }

    pub(super) fn hold(&mut self, place: usize, tasks: u32) {
        match self.held.binary_search_by_key(&(place as u32), |(at, _)| *at) {
            Ok(found) => self.held[found].1 += tasks,
            Err(at) => self.held.insert(at, (place as u32, tasks)),
        }
        self.free -= tasks;
    }

    pub(super) fn release(&mut self, place: usize, tasks: u32) {
        let found = self.held.binary_search_by_key(&(place as u32), |(at, _)| *at).expect("evicted from what is held");
        self.held[found].1 -= tasks;
        if self.held[found].1 == 0 {
            self.held.remove(found);
        }
        self.free += tasks;
        if !self.short.iter().any(|offer| usize::from(offer.worker) == place) {
            self.bound = i64::MIN;
        }
    }

    pub(super) fn choose(&mut self, problem: &Problem, group: usize, prices: &[i64], scale: i64) -> Choice {
        let mut choice = self.among_short(problem, group, prices, scale);
        if choice.value <= self.bound {
            choice.second = choice.second.min(self.bound);
            return choice;
        }
        self.scan(problem.offers(group), prices, scale);
        self.among_short(problem, group, prices, scale)
    }

    /// A bound below every open offer's value.
    pub(super) fn at_least(&self, problem: &Problem, group: usize, prices: &[i64], scale: i64) -> i64 {
        self.among_short(problem, group, prices, scale).value.min(self.bound)
    }

    fn among_short(&self, problem: &Problem, group: usize, prices: &[i64], scale: i64) -> Choice {
        let queue = problem.workers().len();
        let unplaced = problem.groups()[group].unplaced as i64 * scale + prices[queue];
        let mut choice = Choice { place: queue, seats: u32::MAX, value: unplaced, second: i64::MAX };
        for offer in &self.short {
            let place = usize::from(offer.worker);
            let value = i64::from(offer.cost) * scale + prices[place];
            if value >= choice.second {
                continue;
            }
            let seats = u32::from(offer.fits) - self.at(place);
            if seats == 0 {
                continue;
            }
            if (value, place) < (choice.value, choice.place) {
                choice = Choice { place, seats, value, second: choice.value };
            } else {
                choice.second = value;
            }
        }
        choice
    }

    fn scan(&mut self, offers: &[Offer], prices: &[i64], scale: i64) {
        let mut values = [i64::MAX; SHORTLIST + 1];
        let mut best = [Offer { worker: 0, fits: 0, cost: 0 }; SHORTLIST + 1];
        for offer in offers {
            let value = i64::from(offer.cost) * scale + prices[usize::from(offer.worker)];
            if value >= values[SHORTLIST]
                || (!self.held.is_empty() && self.at(offer.worker.into()) >= offer.fits.into())
            {
                continue;
            }
            let mut at = SHORTLIST;
            while at > 0 && values[at - 1] > value {
                values[at] = values[at - 1];
                best[at] = best[at - 1];
                at -= 1;
            }
            values[at] = value;
            best[at] = *offer;
        }
        let known = values.iter().take(SHORTLIST).filter(|value| **value < i64::MAX).count();
        self.short.clear();
        self.short.extend_from_slice(&best[..known]);
        self.bound = values[SHORTLIST];
    }
}
