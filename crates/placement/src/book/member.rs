//! A worker, and what it runs.

use std::collections::BTreeMap;

use quorate_state::job::ElementKey;
use quorate_state::limits::ATTEMPTS_PER_WORKER_MAX;
use quorate_types::{Bug, Epoch, Labels, Name, Resources, Taint, Timestamp, is_planted};

use crate::book::Wish;
use crate::book::place::Preference;
use crate::book::traits::Bits;
use crate::book::treap::{Place, Treap};
use crate::book::vector::{Room, Sum, Vector};
use crate::book::zones::Seat;

/// A worker as it is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    pub epoch: Epoch,
    pub name: Name,
    pub labels: BTreeMap<Name, String>,
    /// What keeps tasks off that don't tolerate it.
    pub taints: Vec<Taint>,
    pub capacity: Resources,
    /// Whether it takes new tasks.
    pub ready: bool,
}

impl Worker {
    pub(crate) fn labels(&self) -> Labels<'_> {
        Labels { worker: &self.name, labels: &self.labels }
    }
}

/// A worker with what it runs and what was promised to it.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) worker: Worker,
    pub(crate) free: Resources,
    /// `free` and the capacity, as indexes compare them.
    pub(crate) room: Vector,
    pub(crate) size: Vector,
    pub(crate) attempts: u32,
    pub(crate) traits: Bits,
    /// When what runs here will end, with what it gives back.
    pub(crate) ends: Treap<(Timestamp, ElementKey), Sum>,
    /// When its next weighted turn comes.
    pub(crate) pass: u64,
    /// Where it stands among those that take new tasks, if it does.
    pub(crate) preference: Option<Preference>,
    pub(crate) place: Option<Place>,
    /// Where it stands by its free share, as of the last look.
    pub(crate) share: Option<u64>,
    /// Its free share may be another one by now.
    pub(crate) is_stale: bool,
    pub(crate) held: bool,
    /// Where tasks are spread over a label.
    pub(crate) seat: Option<Seat>,
}

impl Member {
    /// With nothing running.
    pub(crate) fn new(worker: Worker, size: Vector, traits: Bits, pass: u64) -> Self {
        Self {
            free: worker.capacity.clone(),
            room: size,
            size,
            attempts: 0,
            traits,
            ends: Treap::default(),
            pass,
            preference: None,
            place: None,
            share: None,
            is_stale: false,
            held: false,
            seat: None,
            worker,
        }
    }

    pub(crate) fn takes_tasks(&self) -> bool {
        self.worker.ready && !self.held
    }

    pub(crate) fn room_now(&self) -> Room {
        Room { free: self.room, attempts: self.attempts, traits: self.traits }
    }

    /// Whether it has room for the task now.
    pub(crate) fn has_room(&self, wish: &Wish<'_>) -> bool {
        let request = &wish.facts.request;
        may_go(&self.room_now(), wish)
            && (request.other_millis.is_empty() || request.fits(&self.free) || is_planted(Bug::CapacityIgnored))
            && wish.is_at_home(&self.worker)
    }
}

/// Whether a task may go to one of several workers, as far as their summary tells.
#[inline]
pub(crate) fn may_go(room: &Room, wish: &Wish<'_>) -> bool {
    (room.attempts as usize) < ATTEMPTS_PER_WORKER_MAX
        && wish.allows(room.traits)
        && (wish.wanted.fits(&room.free) || is_planted(Bug::CapacityIgnored))
}
