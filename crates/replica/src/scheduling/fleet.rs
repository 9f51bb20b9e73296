//! The workers: how much of each is held, and how many there are.

use std::collections::{BTreeMap, BTreeSet};

use quorate_state::worker::Worker;
use quorate_types::scheduling::Window;
use quorate_types::{Epoch, Timestamp};

use super::kinds::{Kinds, Units, Work, add_all, add_work};
use super::ring::Rings;
use crate::limits::{SCHEDULING_KINDS_MAX, SCHEDULING_WORKERS_MAX};

/// Registrations, each measured by itself: one that ended counts for as long as it lived.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    members: BTreeMap<Epoch, Member>,
    /// Those that ended, oldest first.
    ended: BTreeSet<(Timestamp, Epoch)>,
    supply: Rings<Supply>,
    workers: u64,
    capacity: Units,
    since: Timestamp,
    /// Up to here the supply is in the sums.
    until: Timestamp,
}

#[derive(Debug)]
struct Member {
    capacity: Units,
    used: Units,
    life: Life,
    /// Up to here its use is in the sums.
    until: Timestamp,
    rings: Rings<Share>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Alive,
    Ended,
}

/// Of one worker: how long it lived, and which parts of it were held, times milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    alive_ms: f32,
    used: [f32; SCHEDULING_KINDS_MAX],
}

/// Of all: times milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Supply {
    pub(super) workers_ms: f64,
    pub(super) capacity: Work,
}

/// Of one kind of resource.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Balance {
    pub(super) utilisation: f64,
    pub(super) degree: f64,
}

impl Supply {
    fn add(&mut self, workers: f64, capacity: &Units, ms: f64) {
        self.workers_ms += workers * ms;
        add_work(&mut self.capacity, capacity, if workers < 0.0 { -ms } else { ms });
    }
}

impl Fleet {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { since: now, until: now, ..Self::default() }
    }

    pub(super) const fn workers(&self) -> u64 {
        self.workers
    }

    /// A worker as it is from now on; until now it was as it was said last.
    pub(super) fn set(&mut self, kinds: &Kinds, worker: &Worker, now: Timestamp) {
        self.pass_supply(now);
        // It lives for a moment already: what it held meanwhile is said by `correct`.
        let (is_known, since) = (self.members.contains_key(&worker.epoch), worker.since.max(self.since).min(now));
        let member = self.members.entry(worker.epoch).or_insert_with(|| Member {
            capacity: Units::default(),
            used: Units::default(),
            life: Life::Alive,
            until: since,
            rings: Rings::default(),
        });
        member.pass(now);
        each(&mut self.capacity, &member.capacity, u64::saturating_sub);
        member.capacity = kinds.units(&worker.capacity);
        member.used = kinds.units(&worker.used);
        each(&mut self.capacity, &member.capacity, u64::saturating_add);
        if !is_known {
            self.workers += 1;
            let capacity = member.capacity;
            self.supply.note(now, |supply| supply.add(1.0, &capacity, now.since(since).0 as f64));
        }
    }

    /// A registration was over at `at`.
    pub(super) fn end(&mut self, epoch: Epoch, at: Timestamp, now: Timestamp) {
        self.pass_supply(now);
        let Some(member) = self.members.get_mut(&epoch).filter(|member| member.life == Life::Alive) else { return };
        member.pass(now);
        member.life = Life::Ended;
        let (capacity, late_ms) = (member.capacity, now.since(at.max(self.since)).0 as f64);
        member.rings.note(now, |share| share.alive_ms -= late_ms as f32);
        self.supply.note(now, |supply| supply.add(-1.0, &capacity, late_ms));
        self.workers -= 1;
        each(&mut self.capacity, &member.capacity, u64::saturating_sub);
        self.ended.insert((now, epoch));
        while self.members.len() > SCHEDULING_WORKERS_MAX
            && let Some((_, oldest)) = self.ended.pop_first()
        {
            self.members.remove(&oldest);
        }
    }

    /// Attempts that began or ended since it was last said what is held: the difference, times milliseconds. Of one
    /// that has ended by now as well.
    pub(super) fn correct(&mut self, epoch: Epoch, held: &Work, now: Timestamp) {
        let Some(member) = self.members.get_mut(&epoch) else { return };
        let capacity = member.capacity;
        member.rings.note(now, |share| {
            for (used, (held, capacity)) in share.used.iter_mut().zip(held.iter().zip(capacity)) {
                *used += if capacity == 0 { 0.0 } else { (held / capacity as f64) as f32 };
            }
        });
    }

    pub(super) fn pass(&mut self, now: Timestamp) {
        self.pass_supply(now);
        self.members.values_mut().for_each(|member| member.pass(now));
    }

    fn pass_supply(&mut self, now: Timestamp) {
        let (workers, capacity) = (self.workers, self.capacity);
        self.supply.spread(self.until, now, |supply, ms| {
            supply.add(workers as f64, &capacity, ms as f64);
        });
        self.until = self.until.max(now);
    }

    pub(super) fn supply(&self, window: Window, now: Timestamp) -> Supply {
        let mut sum = Supply::default();
        for supply in self.supply.within(window, now) {
            sum.workers_ms += supply.workers_ms;
            add_all(&mut sum.capacity, &supply.capacity);
        }
        sum
    }

    /// Means over the workers, each weighing as long as it lived in the window: if all lived throughout, the plain
    /// ones. Workers without this kind of resource are left out; none if all are.
    pub(super) fn balance(&self, kind: usize, window: Window, now: Timestamp) -> Option<Balance> {
        let with_kind = self.members.values().filter(|member| member.capacity[kind] > 0);
        let each: Vec<(f64, f64)> = with_kind.filter_map(|member| member.utilisation(kind, window, now)).collect();
        let alive_ms: f64 = each.iter().map(|(alive_ms, _)| alive_ms).sum();
        if alive_ms <= 0.0 {
            return None;
        }
        let mean = |of: &dyn Fn(f64) -> f64| each.iter().map(|(alive, used)| alive * of(*used)).sum::<f64>() / alive_ms;
        let utilisation = mean(&|used| used);
        Some(Balance { utilisation, degree: mean(&|used| (used - utilisation).abs()) })
    }
}

impl Member {
    fn pass(&mut self, now: Timestamp) {
        let (used, capacity) = (self.used, self.capacity);
        if self.life == Life::Alive {
            self.rings.spread(self.until, now, |share, ms| {
                share.alive_ms += ms as f32;
                for (sum, (used, capacity)) in share.used.iter_mut().zip(used.iter().zip(capacity)) {
                    *sum += if capacity == 0 { 0.0 } else { (*used as f64 / capacity as f64 * ms as f64) as f32 };
                }
            });
        }
        self.until = self.until.max(now);
    }

    /// How long it lived, and how much of it was held.
    fn utilisation(&self, kind: usize, window: Window, now: Timestamp) -> Option<(f64, f64)> {
        let (mut alive_ms, mut used) = (0.0, 0.0);
        for share in self.rings.within(window, now) {
            alive_ms += f64::from(share.alive_ms);
            used += f64::from(share.used[kind]);
        }
        // What was corrected in the step after the one that it belongs to may be a little too much at the edge.
        (alive_ms > 0.0).then(|| (alive_ms, (used / alive_ms).clamp(0.0, 1.0)))
    }
}

fn each(sum: &mut Units, other: &Units, change: fn(u64, u64) -> u64) {
    sum.iter_mut().zip(other).for_each(|(sum, other)| *sum = change(*sum, *other));
}
