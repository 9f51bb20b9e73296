//! What is asked for tasks that find no room: which worker has most free, and which will have room first. The indexes
//! for it are brought up to date when they are asked.

use quorate_types::Timestamp;

use super::{Fleet, Slot};
use crate::book::Wish;
use crate::book::member::Member;
use crate::book::place;
use crate::book::vector::{Room, Sum, Vector};

/// Ends that are looked at in vain, since something that the index does not know keeps the task off, before each worker
/// is looked at once instead: a worker may have a hundred of them.
const VAIN_LOOKS_MAX: usize = 64;
/// Workers that are looked at to find out whether only few could take a task: a fraction of a millisecond.
const ABLE_LOOKS_MAX: usize = 1_000;

impl Fleet {
    /// The worker that has the largest share free, of those that could ever take it.
    pub(crate) fn most_free(&mut self, wish: &Wish<'_>) -> Option<Slot> {
        self.settle();
        self.able_ones(wish).find(|slot| self.could_take(*slot, wish))
    }

    /// Those that could ever take the task; none if there are more than so many, or too many for which only a closer
    /// look tells.
    pub(crate) fn able(&mut self, wish: &Wish<'_>, most: usize, looks: &mut usize) -> Option<Vec<Slot>> {
        self.settle();
        let mut able = Vec::new();
        for (walked, slot) in self.able_ones(wish).enumerate() {
            if able.len() > most || walked >= ABLE_LOOKS_MAX {
                return None;
            }
            *looks += 1;
            able.extend(Some(slot).filter(|slot| self.could_take(*slot, wish)));
        }
        (able.len() <= most).then_some(able)
    }

    /// Those that could take it as far as the index knows, those with the largest share free first.
    fn able_ones(&self, wish: &Wish<'_>) -> impl Iterator<Item = Slot> {
        let may = |room: &Room| wish.wanted.fits(&room.free) && wish.allows(room.traits);
        let mut after = None;
        std::iter::from_fn(move || {
            after = Some(*self.by_share.first(after.as_ref(), may)?.0);
            after.map(|found| found.2)
        })
    }

    /// Of those that take new tasks the worker that will have room for the task first, and when; none if nobody knows.
    pub(crate) fn soonest(&mut self, wish: &Wish<'_>) -> Option<(Timestamp, Slot)> {
        self.settle();
        let openings = self.openings.as_ref()?;
        let may = |room: &Room| wish.wanted.fits(&room.free) && wish.allows(room.traits);
        let mut after = None;
        for _ in 0..VAIN_LOOKS_MAX {
            let found = openings.first(after.as_ref(), may)?;
            let (at, (_, slot)) = found;
            if self.could_take(slot, wish) {
                return Some((at, slot));
            }
            after = Some(found);
        }
        let able = self.ready().filter(|slot| self.could_take(*slot, wish)).map(|slot| self.member(slot).worker.epoch);
        let opening = |epoch| {
            let slot = self.slot(epoch)?;
            Some((self.member(slot).opening(&wish.wanted)?, epoch, slot))
        };
        able.filter_map(opening).min().map(|(at, _, slot)| (at, slot))
    }

    /// These indexes are behind.
    pub(super) fn note_change(&mut self, slot: Slot) {
        if !std::mem::replace(&mut self.members[slot as usize].is_stale, true) {
            self.stale.push(slot);
        }
    }

    fn settle(&mut self) {
        while let Some(slot) = self.stale.pop() {
            self.sync(slot);
        }
    }

    pub(super) fn sync(&mut self, slot: Slot) {
        let member = &mut self.members[slot as usize];
        member.is_stale = false;
        let new = member.preference.is_some().then(|| u64::MAX - place::free_share(member));
        if let Some(old) = std::mem::replace(&mut member.share, new) {
            self.by_share.remove(&(old, member.worker.epoch, slot));
        }
        if let Some(new) = new {
            let whole = Room { free: member.size, attempts: 0, traits: member.traits };
            self.by_share.insert((new, member.worker.epoch, slot), whole);
        }
        if let Some(openings) = &mut self.openings {
            let rooms = member.openings().map(|(at, free)| (at, Room { free, ..member.room_now() }));
            openings.set((member.worker.epoch, slot), rooms.take_while(|_| new.is_some()));
        }
    }
}

impl Member {
    /// What is free after each of the ends that are known, as long as nothing starts.
    pub(crate) fn openings(&self) -> impl Iterator<Item = (Timestamp, Vector)> {
        let known = self.ends.iter().take_while(|((end, _), _)| *end != Timestamp(u64::MAX));
        let mut known = known.map(|((end, _), given_back)| (*end, given_back.0)).peekable();
        let mut free = self.room;
        std::iter::from_fn(move || {
            let (end, given_back) = known.next()?;
            free = free.plus(&given_back);
            while let Some((_, given_back)) = known.next_if(|(next, _)| *next == end) {
                free = free.plus(&given_back);
            }
            Some((end, free))
        })
    }

    /// When so much will be free; none if nobody knows.
    pub(crate) fn opening(&self, wanted: &Vector) -> Option<Timestamp> {
        let ((at, _), _) = self.ends.first_prefix(Sum(self.room), |sum| wanted.fits(&sum.0))?;
        (*at != Timestamp(u64::MAX)).then_some(*at)
    }
}
