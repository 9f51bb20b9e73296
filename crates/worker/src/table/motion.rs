//! Attempts that stand still, and go on.

use std::collections::BTreeSet;

use quorate_types::session::{AttemptKey, Motion};

use super::{Action, Phase, Table};
use crate::clock::Boottime;

impl Table {
    /// Stops an attempt where it is, or lets it go on; meanwhile its time does not pass.
    pub(super) fn set_motion(&mut self, key: AttemptKey, motion: Motion, now: Boottime) -> Option<Action> {
        let changed = match motion {
            Motion::Frozen => self.frozen.insert(key),
            Motion::Going => self.frozen.remove(&key),
        };
        let attempt = self.attempts.get_mut(&key).filter(|attempt| changed && attempt.phase == Phase::Running)?;
        match motion {
            Motion::Frozen => {
                let timer = attempt.timer.take();
                attempt.left = timer.map(|at| at.since(now));
                self.disarm(key, timer);
                self.checkups.freeze(key, now);
            }
            Motion::Going => {
                attempt.timer = attempt.left.take().map(|left| now.plus(left));
                self.timers.extend(attempt.timer.map(|at| (at, key)));
                self.checkups.thaw(key, now);
            }
        }
        Some(Action::Move { key, motion })
    }

    /// What is not said to stand still goes on.
    pub(super) fn thaw_all_but(&mut self, said: &[(AttemptKey, Motion)], now: Boottime) -> Vec<Action> {
        let still: BTreeSet<_> = said.iter().map(|(key, _)| *key).collect();
        let going: Vec<_> = self.frozen.difference(&still).copied().collect();
        going.into_iter().filter_map(|key| self.set_motion(key, Motion::Going, now)).collect()
    }

    /// Freezes what was to stand still before it ran.
    pub(super) fn freeze_belated(&mut self, key: AttemptKey, now: Boottime) -> Option<Action> {
        if self.frozen.remove(&key) { self.set_motion(key, Motion::Frozen, now) } else { None }
    }
}
