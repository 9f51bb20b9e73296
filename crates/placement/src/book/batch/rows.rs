//! The offers of the workers to the tasks of a batch, as far as the solver needs them: from each task's point of view
//! the best few, and after each solution those that could have made it better, until there are none. What was never
//! read could not have changed the outcome. (Volgenant, "Linear and semi-assignment problems: a core oriented
//! approach", 1996.) So a task costs what its few offers cost, and not one look at each worker.
//!
//! Among blocks of workers that offer the same chance decides: if all tasks read the same ones, they would be in each
//! other's way.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::yard::{BLOCK_MIN, BLOCKS_MAX, Yard};
use super::{Alike, Batch, Carried, Shape};
use crate::book::fleet::Slot;
use crate::book::treap::scatter;
use crate::book::{Book, Crowding, Wish};
use crate::flow::{self, COST_MAX, Group, Offer, Problem, ProblemError, Solved, UNPLACED_MAX};

/// Offers to a shape in the beginning, at least, and for each of its elements.
const FIRST_MIN: u64 = 8;
const FIRST_EACH: u64 = 2;
/// A block gives at most one in so many of the offers that are read at once, if there are so many blocks. What is best
/// for one shape is so for most others, and if all read it, and nothing else, it would not do for them.
const SPREAD: usize = 8;
/// How many times as many offers are read as usual for a shape some tasks of which found no place.
const FAMINE: usize = 7;
/// Of so many workers of a block that are passed over, one counts as a look.
const PASSED: usize = 16;
/// How many looks it counts for each worker that there is a yard, and that it is put in another order.
const YARD_LOOKS: usize = 2;

/// How many shapes there may be, with so many workers and looks: each looks at the blocks twice at least.
pub(super) fn shapes_max(looks: usize, workers: usize) -> usize {
    let each = 2 * workers.div_ceil(BLOCK_MIN).min(BLOCKS_MAX) + FIRST_MIN as usize;
    looks.saturating_sub(2 * YARD_LOOKS * workers) / each
}

/// What asks for the same.
struct Row<'a> {
    wish: Wish<'a>,
    elements: u64,
    unplaced: u64,
    /// What was read, in the order of workers.
    offers: Vec<Offer>,
}

/// What came of looking for offers that were not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Read {
    Nothing,
    Better,
    /// To tasks that had no place.
    Missing,
}

pub(super) struct Rows<'a> {
    book: &'a Book,
    rows: Vec<Row<'a>>,
    yard: Yard,
    /// The workers of the problem: where they stand in the yard, and what they are.
    known: Vec<usize>,
    sides: Vec<flow::Worker>,
    /// How many looks there may be yet.
    looks_left: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn new(book: &'a Book, batch: &'a Batch, crowding: &'a Crowding<'a>, looks_left: usize) -> Self {
        let last = batch.alike.len() as u64;
        let row = |(nth, alike): (u64, &'a Alike)| Row {
            wish: Wish::new(alike.queued, &alike.entry, crowding),
            elements: alike.elements,
            unplaced: (u64::from(COST_MAX) * (1 + last - nth)).min(UNPLACED_MAX),
            offers: Vec::new(),
        };
        let yard = Yard::of(book, batch);
        Self {
            book,
            rows: (0..).zip(&batch.alike).map(row).collect(),
            looks_left: looks_left.saturating_sub(YARD_LOOKS * yard.able.len()),
            yard,
            known: Vec::new(),
            sides: Vec::new(),
        }
    }

    /// Solves the batch.
    pub(super) fn solve(&mut self, carried: &Carried, shapes: &BTreeMap<Shape, usize>) -> Result<Solved, ProblemError> {
        let fleet = &self.book.fleet;
        carried.keep(self, fleet, shapes);
        self.widen(None);
        let problem = self.problem()?;
        let mut solved = match carried.moved(self, fleet, shapes) {
            Some(start) => flow::resolve(&problem, &start),
            None => flow::solve(&problem),
        };
        loop {
            solved = match self.widen(Some(&solved)) {
                Read::Nothing => return Ok(solved),
                Read::Better => flow::widen(&self.problem()?, &solved.start.moved(self.known.len(), Some, Some)),
                // Where offers were too few, prices are those of famine.
                Read::Missing => flow::solve(&self.problem()?),
            };
        }
    }

    fn problem(&self) -> Result<Problem, ProblemError> {
        let mut problem = Problem::new(self.sides.clone())?;
        problem.reserve(self.rows.len(), self.rows.iter().map(|row| row.offers.len()).sum());
        for row in &self.rows {
            let group = Group { tasks: row.elements as u32, unplaced: row.unplaced };
            problem.add(group, row.offers.iter().copied())?;
        }
        Ok(problem)
    }

    pub(super) fn looks_left(&self) -> usize {
        self.looks_left
    }

    /// The workers of the problem.
    pub(super) fn workers(&self) -> impl Iterator<Item = Slot> {
        self.known.iter().map(|at| self.yard.able[*at].slot)
    }

    /// Where a worker stands in the problem, if it is in it.
    pub(super) fn position(&self, slot: Slot) -> Option<usize> {
        self.yard.able[self.yard.find(slot)?].position.map(usize::from)
    }

    /// Reads the offer of a worker to a shape.
    pub(super) fn keep(&mut self, nth: usize, slot: Slot) {
        let Some(at) = self.yard.find(slot) else { return };
        let offer = self.offer(nth, at).map(|offer| Offer { worker: self.know(at), ..offer });
        let offers = &mut self.rows[nth].offers;
        if let Some((offer, Err(missing))) =
            offer.map(|offer| (offer, offers.binary_search_by_key(&offer.worker, |offer| offer.worker)))
        {
            offers.insert(missing, offer);
        }
    }

    /// Reads for each shape some offers that would make the solution better; without one, those that look best. Whether
    /// there were any. Where no looks are left it ends as well, with a solution that is not proven.
    fn widen(&mut self, solved: Option<&Solved>) -> Read {
        if let Some(solved) = solved {
            // Without tasks a worker may have a price below zero; nothing changes if it is zero.
            let price = |position: u16| solved.start.prices()[usize::from(position)].max(0);
            self.yard.reprice(|able| able.position.map_or(0, price));
            self.looks_left = self.looks_left.saturating_sub(YARD_LOOKS * self.yard.able.len());
        }
        let mut found = Read::Nothing;
        for nth in 0..self.rows.len() {
            let below = solved.map_or(Some(i64::MAX), |solved| solved.dearest[nth]);
            let Some(below) = below.filter(|_| self.looks_left > 0) else { continue };
            let has_unplaced = solved.is_some() && below >= self.rows[nth].unplaced as i64;
            let times = match (has_unplaced, solved) {
                (true, _) => FAMINE,
                (false, None) if self.yard.is_short => usize::MAX,
                (false, _) => 1,
            };
            if self.read(nth, below, times) {
                found = found.max(if has_unplaced { Read::Missing } else { Read::Better });
            }
        }
        found
    }

    /// Reads some offers to a shape that cost less than `below`, price included; so many times as many as usual.
    /// Whether there were any.
    fn read(&mut self, nth: usize, below: i64, times: usize) -> bool {
        let row = &mut self.rows[nth];
        let mut offers = std::mem::take(&mut row.offers);
        let known = offers.len();
        let more = (FIRST_EACH * row.elements).max(FIRST_MIN).max(known as u64) as usize;
        let until = known.saturating_add(more.saturating_mul(times));
        offers.reserve(more.min(self.yard.able.len() - known));
        let (worth, looks) = self.yard.worth(&row.wish, below);
        let by_chance = |(value, at): (i64, usize)| Reverse((value, scatter((nth << 32 | at) as u64), at));
        let mut blocks: BinaryHeap<_> = worth.into_iter().map(by_chance).collect();
        self.looks_left = self.looks_left.saturating_sub(looks);
        let of_block = (until - known).div_ceil(SPREAD.min(blocks.len()).max(1));
        while let Some(Reverse((_, chance, block))) = blocks.pop().filter(|_| offers.len() < until) {
            let range = self.yard.cheaper(block, below);
            let first = range.start + chance as usize % range.len().max(1);
            let most = until.min(offers.len() + of_block);
            self.looks_left = self.looks_left.saturating_sub(range.len() / PASSED);
            for nth_able in (first..range.end).chain(range.start..first) {
                let at = self.yard.order[nth_able];
                let able = &self.yard.able[at];
                if able.cost() >= below {
                    continue;
                }
                let is_known = able.position.is_some_and(|position| {
                    offers[..known].binary_search_by_key(&position, |offer| offer.worker).is_ok()
                });
                if is_known {
                    continue;
                }
                self.looks_left = self.looks_left.saturating_sub(1);
                let price = able.price;
                let offer = self.offer(nth, at);
                if let Some(offer) = offer.filter(|offer| i64::from(offer.cost) + price < below) {
                    offers.push(Offer { worker: self.know(at), ..offer });
                    if offers.len() == most {
                        break;
                    }
                }
            }
        }
        offers.sort_unstable_by_key(|offer| offer.worker);
        let found = offers.len() > known;
        self.rows[nth].offers = offers;
        found
    }

    /// What the worker offers to a shape.
    fn offer(&self, nth: usize, at: usize) -> Option<Offer> {
        let (row, able) = (&self.rows[nth], &self.yard.able[at]);
        let offer = able.offerer.offer(&row.wish, row.elements)?;
        (row.wish.is_plain() || self.book.fleet.has_room(able.slot, &row.wish)).then_some(offer)
    }

    /// Takes the worker into the problem, if it is not there yet, and says where it is.
    fn know(&mut self, at: usize) -> u16 {
        let able = &mut self.yard.able[at];
        *able.position.get_or_insert_with(|| {
            self.known.push(at);
            self.sides.push(able.side);
            (self.known.len() - 1) as u16
        })
    }

    /// All that all workers offer.
    #[cfg(test)]
    pub(super) fn everything(&mut self) -> Result<Problem, ProblemError> {
        for nth in 0..self.rows.len() {
            self.read(nth, i64::MAX, usize::MAX);
        }
        self.problem()
    }
}
