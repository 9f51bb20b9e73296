//! What time alone brings.

use quorate_types::session::AttemptKey;
use quorate_types::status::Ending;

use super::{Action, Phase, Table};
use crate::clock::Boottime;

impl Table {
    /// Starts the attempts whose turn has come, and ends those whose time is up.
    pub(crate) fn on_time(&mut self, now: Boottime) -> Vec<Action> {
        let mut actions = self.take_turns();
        while let Some((at, key)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.pop_first();
            let Some(attempt) = self.attempts.get_mut(&key) else { continue };
            attempt.timer = None;
            match attempt.phase {
                Phase::InLine { .. } => self.give_back(key),
                _ => actions.extend(self.end(key, Ending::TimedOut)),
            }
        }
        actions.extend(self.due_checkups(now));
        actions
    }

    pub(crate) fn next_time(&self) -> Option<Boottime> {
        self.timers.first().map(|(at, _)| *at).into_iter().chain(self.checkups.next()).min()
    }

    pub(super) fn arm(&mut self, key: AttemptKey, at: Boottime) {
        if let Some(attempt) = self.attempts.get_mut(&key) {
            let earlier = attempt.timer.replace(at);
            self.disarm(key, earlier);
            self.timers.insert((at, key));
        }
    }

    pub(super) fn disarm(&mut self, key: AttemptKey, timer: Option<Boottime>) {
        if let Some(at) = timer {
            self.timers.remove(&(at, key));
        }
    }
}
