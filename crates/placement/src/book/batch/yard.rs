//! The workers that a batch may go to, in blocks of those that offer much the same: of one sort, as loaded, and at such
//! prices. What the best of a block could offer says whether it is worth a look.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Batch;
use super::offer::{FULL, Offerer, Scale, slots_max};
use crate::book::fleet::Slot;
use crate::book::vector::LANES;
use crate::book::{Book, Wish};
use crate::flow::{self, WORKERS_MAX};

/// Blocks at most (and one more for each sort of worker, where kinds have their own), and workers of a block at least.
pub(super) const BLOCKS_MAX: usize = 32;
pub(super) const BLOCK_MIN: usize = 64;
/// How many kinds of workers have blocks of their own, if each has so many workers in the mean.
const KINDS_MAX: usize = 128;
const KIND_MIN: usize = 8;
/// The order of workers is that of one number each: the sort, what a task costs there (in so many bits), the part of
/// the next step of load, and the position. Costs that take more bits are those of famine, and not told apart.
const COST_BITS: u32 = 31;
const PART_BITS: u32 = 8;
const AT_BITS: u32 = 16;
const COST_LAST: i64 = (1 << COST_BITS) - 1;
const _: () = assert!(KINDS_MAX * LANES <= 1 << (u64::BITS - COST_BITS - PART_BITS - AT_BITS));
const _: () = assert!(WORKERS_MAX <= 1 << AT_BITS);
/// For how many times the tasks there is room on the workers that are looked at first.
const SLACK: u64 = 2;

/// A worker with room for the smallest task.
pub(super) struct Able {
    pub(super) slot: Slot,
    pub(super) offerer: Offerer,
    pub(super) side: flow::Worker,
    /// What a task costs there at least: how loaded it is, in whole steps and the part of the next one.
    pub(super) load: (i64, u32),
    /// Of a seat, as far as is known.
    pub(super) price: i64,
    /// Where it stands in the problem, if some task has its offer.
    pub(super) position: Option<u16>,
    /// Workers of one sort that are as loaded offer much the same: they are of one kind, and short of the same.
    sort: u32,
}

impl Able {
    /// In the order of sorts, and then of what a task costs there.
    fn key(&self, at: usize, sorts: u32) -> u64 {
        let (sort, part) = (u64::from(self.sort & sorts), u64::from(self.load.1 >> (u32::BITS - PART_BITS)));
        let cost = self.cost().min(COST_LAST) as u64;
        ((sort << COST_BITS | cost) << PART_BITS | part) << AT_BITS | at as u64
    }

    /// What a task costs there at least, price included.
    pub(super) fn cost(&self) -> i64 {
        self.load.0 + self.price
    }
}

/// One that would offer as much as any of several workers, for as little.
#[derive(Clone, Copy)]
struct Best {
    offerer: Offerer,
    price: i64,
}

impl Best {
    /// What a task would cost there, price included, if there is room for it.
    #[inline]
    fn value(&self, wish: &Wish<'_>) -> Option<i64> {
        Some(i64::from(self.offerer.offer(wish, 1)?.cost) + self.price)
    }

    fn or(&self, other: &Self) -> Self {
        let offerer = self.offerer.joined(&other.offerer);
        Self { offerer, price: self.price.min(other.price) }
    }
}

pub(super) struct Block {
    /// In the order of blocks.
    pub(super) range: Range<usize>,
    /// Of the last of them.
    last_cost: i64,
    /// Of its workers.
    best: Best,
    /// How many blocks of its sort stand behind it.
    behind: usize,
    /// Of its workers and all of theirs.
    rest: Best,
}

pub(super) struct Yard {
    pub(super) able: Vec<Able>,
    /// By slot, where its worker stands in `able`.
    by_slot: Vec<Option<usize>>,
    kinds: usize,
    /// By block, positions in `able`.
    pub(super) order: Vec<usize>,
    pub(super) blocks: Vec<Block>,
    /// There are fewer slots than tasks.
    pub(super) is_short: bool,
}

impl Yard {
    /// At the prices that there would be if the tasks of the batch, and as many more, were alike and filled the workers
    /// up to one level.
    pub(super) fn of(book: &Book, batch: &Batch) -> Self {
        let smallest = batch.alike.iter().map(|alike| alike.entry.wanted).reduce(|a, b| a.smaller(&b));
        let (smallest, mean) = (smallest.unwrap_or_default(), batch.mean());
        let has_room = |slot: &Slot| smallest.fits(&book.fleet.member(*slot).room);
        let slots: Vec<Slot> = book.fleet.ready().filter(has_room).take(WORKERS_MAX).collect();
        let (most, mut by_slot) = (slots_max(batch.elements, slots.len()), vec![None; book.fleet.slots() as usize]);
        // Workers of one size, of which the same is true.
        let mut kinds = BTreeMap::new();
        let able = slots.iter().enumerate().map(|(at, slot)| {
            by_slot[*slot as usize] = Some(at);
            let (member, next) = (book.fleet.member(*slot), kinds.len());
            let (kind, scale) =
                *kinds.entry((member.traits, member.size)).or_insert_with(|| (next, Scale::of(&member.size)));
            let offerer = Offerer::of(member, scale);
            let sort = (kind * LANES + offerer.fullest()) as u32;
            let (side, load) = (offerer.side(&mean, most), offerer.load());
            Able { slot: *slot, offerer, side, load, price: 0, position: None, sort }
        });
        let able: Vec<Able> = able.collect();
        let is_short = able.iter().map(|able| u64::from(able.side.slots)).sum::<u64>() < batch.elements;
        let (order, kinds) = (Vec::with_capacity(able.len()), kinds.len());
        let mut yard = Self { able, by_slot, kinds, order, blocks: Vec::new(), is_short };
        let level = yard.level(SLACK * batch.elements);
        yard.reprice(|able| (level - able.load.0).max(0));
        yard
    }

    /// The blocks in which something may cost less than `below`, with the least that it could; and how many looks that
    /// took.
    pub(super) fn worth(&self, wish: &Wish<'_>, below: i64) -> (Vec<(i64, usize)>, usize) {
        let (mut worth, mut looks, mut at) = (Vec::with_capacity(self.blocks.len()), 0, 0);
        let value = |best: &Best| best.value(wish).filter(|value| *value < below);
        while let Some(block) = self.blocks.get(at) {
            looks += 1;
            if block.behind > 0 && below < i64::MAX {
                if value(&block.rest).is_none() {
                    at += block.behind + 1;
                    continue;
                }
                looks += 1;
            }
            worth.extend(value(&block.best).map(|value| (value, at)));
            at += 1;
        }
        (worth, looks)
    }

    /// The workers of a block, by their place in the order, at which a task could cost less than `below`; and some more
    /// where costs are not told apart.
    pub(super) fn cheaper(&self, block: usize, below: i64) -> Range<usize> {
        let Block { range, last_cost, .. } = &self.blocks[block];
        if last_cost.min(&COST_LAST) < &below {
            return range.clone();
        }
        let cheaper = |at: &usize| self.able[*at].cost().min(COST_LAST) < below;
        range.start..range.start + self.order[range.clone()].partition_point(cheaper)
    }

    pub(super) fn find(&self, slot: Slot) -> Option<usize> {
        self.by_slot.get(slot as usize).copied().flatten()
    }

    /// Up to which load so many tasks fill the workers, the least loaded first.
    fn level(&self, tasks: u64) -> i64 {
        let room = |level: i64| {
            let below = |able: &Able| {
                let higher = u32::try_from(level - able.load.0).ok()?;
                let more = higher.checked_div(able.side.step).unwrap_or(u32::MAX);
                Some(u64::from(more.saturating_add(1).min(able.side.slots.into())))
            };
            self.able.iter().filter_map(below).sum::<u64>()
        };
        let (mut low, mut high) = (0, FULL as i64);
        while low < high {
            let middle = low.midpoint(high);
            if room(middle) >= tasks {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    /// Sets the prices, and puts those into one block that cost much the same with them.
    pub(super) fn reprice(&mut self, price: impl Fn(&Able) -> i64) {
        for able in &mut self.able {
            able.price = price(able);
        }
        let able = &self.able;
        let are_many = self.kinds > KINDS_MAX || self.kinds * KIND_MIN > able.len();
        let sorts = if are_many { 0 } else { u32::MAX };
        let mut keys: Vec<u64> = able.iter().enumerate().map(|(at, able)| able.key(at, sorts)).collect();
        keys.sort_unstable();
        self.order.clear();
        self.order.extend(keys.into_iter().map(|key| usize::from(key as u16)));
        let of_block = able.len().div_ceil(BLOCKS_MAX).max(BLOCK_MIN);
        self.blocks.clear();
        let mut start = 0;
        for of_sort in self.order.chunk_by(|a, b| able[*a].sort & sorts == able[*b].sort & sorts) {
            let first = self.blocks.len();
            for some in of_sort.chunks(of_block) {
                let range = start..start + some.len();
                start = range.end;
                let price = some.iter().map(|at| able[*at].price).min().unwrap_or(0);
                let last_cost = some.last().map_or(0, |at| able[*at].cost());
                if let Some(best) = Offerer::best_of(some.iter().map(|at| &able[*at].offerer)) {
                    let best = Best { offerer: best, price };
                    self.blocks.push(Block { range, last_cost, best, behind: 0, rest: best });
                }
            }
            for at in (first..self.blocks.len()).rev().skip(1) {
                let (rest, behind) = (self.blocks[at + 1].rest, self.blocks[at + 1].behind + 1);
                let block = &mut self.blocks[at];
                (block.rest, block.behind) = (block.best.or(&rest), behind);
            }
        }
    }
}
