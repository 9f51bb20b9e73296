//! The workers that a batch may go to, in blocks of those that offer much the same: of one sort, as loaded, and at such
//! prices. What the best of a block could offer says whether it is worth a look.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Batch;
use super::offer::{FULL, Offerer, Scale, slots_max};
use crate::book::Book;
use crate::book::fleet::Slot;
use crate::book::vector::LANES;
use crate::flow::{self, WORKERS_MAX};

/// Blocks at most (and one more for each sort of worker, where kinds have their own), and workers of a block at least.
pub(super) const BLOCKS_MAX: usize = 32;
pub(super) const BLOCK_MIN: usize = 64;
/// How many kinds of workers have blocks of their own, if each has so many workers in the mean.
const KINDS_MAX: usize = 128;
const KIND_MIN: usize = 8;
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
    /// In the order of sorts, and then of what a task costs there, price included.
    fn key(&self, sorts: u32) -> u64 {
        let (whole, part) = self.load;
        // Prices beyond any cost are those of famine: what is so dear is not told apart.
        let cost = u32::try_from(whole + self.price).unwrap_or(u32::MAX);
        u64::from(self.sort & sorts) << 48 | u64::from(cost) << 16 | u64::from(part >> 16)
    }
}

pub(super) struct Block {
    /// In the order of blocks.
    pub(super) range: Range<usize>,
    pub(super) best: Offerer,
    /// The least price.
    pub(super) price: i64,
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
        let mut keys: Vec<(u64, usize)> = able.iter().enumerate().map(|(at, able)| (able.key(sorts), at)).collect();
        keys.sort_unstable();
        self.order.clear();
        self.order.extend(keys.into_iter().map(|(_, at)| at));
        let of_block = able.len().div_ceil(BLOCKS_MAX).max(BLOCK_MIN);
        self.blocks.clear();
        let mut start = 0;
        for of_sort in self.order.chunk_by(|a, b| able[*a].sort & sorts == able[*b].sort & sorts) {
            for some in of_sort.chunks(of_block) {
                let range = start..start + some.len();
                start = range.end;
                let price = some.iter().map(|at| able[*at].price).min().unwrap_or(0);
                let best = Offerer::best_of(some.iter().map(|at| &able[*at].offerer));
                self.blocks.extend(best.map(|best| Block { range, best, price }));
            }
        }
    }
}
