//! In which order a decision comes to the tasks that wait, and how far.

use std::collections::BTreeMap;

use quorate_state::queue::Queued;

use super::Pass;
use crate::book::queue::turns::Turns;
use crate::book::vector::Least;
use crate::book::walk::Walk;

/// Places of the queue's index that are looked at for a task that may still start: about a millisecond.
const FUTILE_LOOKS_MAX: usize = 10_000;

impl Pass<'_> {
    /// The next task in order of which `may` holds.
    pub(crate) fn next(&mut self, mut may: impl FnMut(&Least) -> bool) -> Option<Queued> {
        let (blocked, around) = (self.blocked, self.crowding.around);
        let may = |least: &Least| !least.shapes.are_all_in(blocked) && may(least);
        self.walk.next(self.book, |queued| around.pending(queued), may)
    }

    /// Whether nothing that comes later could start on the workers that are not held. Looked at now and then: what it
    /// costs is soon less than what it saves.
    pub(crate) fn is_futile(&self) -> bool {
        if self.keeps_for_all || !self.misses.is_power_of_two() {
            return false;
        }
        let (most, mut looks) = (self.book.fleet.most_room().map(|room| room.free), 0);
        let may = |least: &Least| {
            looks += 1;
            // Nobody knows what is behind.
            looks > FUTILE_LOOKS_MAX
                || !least.shapes.are_all_in(self.blocked) && most.is_some_and(|most| least.request.fits(&most))
        };
        let mut found = false;
        self.walk.ahead(self.book, may, |_| {
            found = true;
            false
        });
        !found
    }

    /// From here on tasks come by their expected time, from the shortest that waits.
    pub(crate) fn walk_shortest(&mut self) {
        let mut placed = BTreeMap::new();
        self.decision.starts.iter().for_each(|start| *placed.entry(start.queued).or_default() += 1);
        self.walk = if self.book.spaces.bound_starts() {
            Walk::turns(Turns::shortest(self.book, placed))
        } else {
            Walk::shortest(placed)
        };
    }
}
