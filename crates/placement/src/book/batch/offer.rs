//! What a worker offers to tasks that ask for the same.

use quorate_state::limits::ATTEMPTS_PER_WORKER_MAX;

use crate::book::Wish;
use crate::book::member::{Member, may_go};
use crate::book::treap::Summary;
use crate::book::vector::{LANES, Room, Vector};
use crate::flow::{self, Offer};

/// A full worker, in steps of load: fine enough to tell workers apart by a part in a hundred, and coarse enough that
/// many cost the same, which leaves the solver less to find out.
pub(super) const FULL: u64 = 1 << 7;
/// What a point of preference weighs: more than any load, the task's own and that of those beside it.
const POINT: u32 = 2 * FULL as u32 + 1;
/// Slots that a worker has in a batch at least, if there is room for so many, and how many times its part of the batch:
/// what many prefer may take more than the others, and empty slots cost the solver time.
const SLOTS_MIN: u64 = 16;
const SLOTS_PART: u64 = 4;

/// What is asked of a worker for every offer, in one place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offerer {
    room: Room,
    used: Vector,
    size: Vector,
    scale: Scale,
}

impl Offerer {
    /// With the scale of its size.
    pub(super) fn of(member: &Member, scale: Scale) -> Self {
        let used = member.size.minus(&member.room);
        Self { room: member.room_now(), used, size: member.size, scale }
    }

    /// One that offers as much as any of them, for as little.
    pub(super) fn best_of<'a>(mut all: impl Iterator<Item = &'a Self>) -> Option<Self> {
        let mut best = *all.next()?;
        all.for_each(|one| best.join(one));
        Some(Self { scale: Scale::of(&best.size), ..best })
    }

    /// The same of two.
    pub(super) fn joined(mut self, other: &Self) -> Self {
        self.join(other);
        Self { scale: Scale::of(&self.size), ..self }
    }

    fn join(&mut self, other: &Self) {
        self.room.join(&other.room);
        self.used = self.used.smaller(&other.used);
        self.size = self.size.larger(&other.size);
    }

    /// Of which kind of resource most is used.
    pub(super) fn fullest(&self) -> usize {
        self.scale.fullest(&self.used)
    }

    /// How loaded it is: whole steps, and the part of the next one.
    pub(super) fn load(&self) -> (i64, u32) {
        let load = self.scale.exactly(&self.used).min(FULL << UNIT_BITS);
        ((load >> UNIT_BITS) as i64, load as u32)
    }

    /// What it offers to tasks that ask for the same, if it has room for one, as far as the index knows. Whose offer it
    /// is is left open.
    #[inline]
    pub(super) fn offer(&self, wish: &Wish<'_>, elements: u64) -> Option<Offer> {
        if !may_go(&self.room, wish) {
            return None;
        }
        let fits = if elements == 1 { 1 } else { fits(&wish.wanted, &self.room.free).min(elements) };
        let unmet = wish.needs.unmet(self.room.traits);
        let load = self.scale.load(&self.used.plus(&wish.wanted));
        Some(Offer { worker: 0, fits: fits.min(u16::MAX.into()) as u16, cost: unmet * POINT + load as u32 })
    }

    /// What it is in a batch the mean task of which wants so much, and in which no worker gets more than so many.
    pub(super) fn side(&self, mean: &Vector, slots_max: u64) -> flow::Worker {
        let open = (ATTEMPTS_PER_WORKER_MAX as u64).saturating_sub(self.room.attempts.into());
        flow::Worker {
            slots: open.min(fits(mean, &self.room.free).max(1)).min(slots_max).min(u16::MAX.into()) as u16,
            step: self.scale.load(mean) as u32,
        }
    }
}

/// Slots that a worker has at most in a batch of so many elements for so many workers.
pub(super) fn slots_max(elements: u64, workers: usize) -> u64 {
    (SLOTS_PART * elements).div_ceil(workers.max(1) as u64).max(SLOTS_MIN)
}

/// How many of it there is room for; at least every other number if it asks for nothing.
fn fits(wanted: &Vector, room: &Vector) -> u64 {
    let lanes = wanted.lanes().iter().zip(room.lanes());
    lanes.filter_map(|(wanted, room)| room.checked_div(*wanted)).min().unwrap_or(u64::MAX)
}

/// Makes loads of amounts without a division: by so many bits narrower, a kind of resource costs so much a unit. The
/// larger of two sizes never makes the larger load of the same amount.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale([(u32, u64); LANES]);

/// Amounts keep so many bits.
const NARROW_BITS: u32 = 24;
const UNIT_BITS: u32 = 32;

impl Scale {
    pub(super) fn of(size: &Vector) -> Self {
        Self(size.lanes().map(|size| {
            let shift = (u64::BITS - size.leading_zeros()).saturating_sub(NARROW_BITS);
            (shift, (FULL << UNIT_BITS).checked_div(size >> shift).unwrap_or(0))
        }))
    }

    /// The largest share of any kind, at most [`FULL`].
    #[inline]
    fn load(&self, amount: &Vector) -> u64 {
        (self.exactly(amount) >> UNIT_BITS).min(FULL)
    }

    /// The same in parts of a step.
    #[inline]
    fn exactly(&self, amount: &Vector) -> u64 {
        self.shares(amount).fold(0, u64::max)
    }

    /// Of which kind the share is largest.
    fn fullest(&self, amount: &Vector) -> usize {
        self.shares(amount).enumerate().max_by_key(|(_, share)| *share).map_or(0, |(lane, _)| lane)
    }

    #[inline]
    fn shares(&self, amount: &Vector) -> impl Iterator<Item = u64> {
        amount.lanes().iter().zip(&self.0).map(|(amount, (shift, unit))| (amount >> shift).saturating_mul(*unit))
    }
}
