//! Attempts that show that they are well: when their health command runs, and what comes of it.

use std::collections::{BTreeMap, BTreeSet};

use quorate_types::service::Health;
use quorate_types::session::{AttemptKey, Happening, Report};
use quorate_types::status::Ending;

use super::{Action, Phase, Table};
use crate::clock::Boottime;

#[derive(Debug, Default)]
pub(super) struct Checkups {
    all: BTreeMap<AttemptKey, Checkup>,
    due: BTreeSet<(Boottime, AttemptKey)>,
}

#[derive(Debug)]
struct Checkup {
    health: Health,
    started: Boottime,
    /// When the command runs next; none while it runs.
    next: Option<Boottime>,
    /// In a row.
    failures: u32,
    /// It has succeeded.
    well: bool,
}

impl Checkups {
    /// The first run is at once: nothing is gained by waiting.
    pub(super) fn begin(&mut self, key: AttemptKey, health: &Health, now: Boottime) {
        let health = health.clone();
        self.all.insert(key, Checkup { health, started: now, next: Some(now), failures: 0, well: false });
        self.due.insert((now, key));
    }

    pub(super) fn end(&mut self, key: &AttemptKey) {
        if let Some(next) = self.all.remove(key).and_then(|checkup| checkup.next) {
            self.due.remove(&(next, *key));
        }
    }

    pub(super) fn next(&self) -> Option<Boottime> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Runs the command again when its interval is over.
    fn repeat(&mut self, key: AttemptKey, now: Boottime) {
        if let Some(checkup) = self.all.get_mut(&key) {
            let next = now.plus(checkup.health.interval.as_duration());
            checkup.next = Some(next);
            self.due.insert((next, key));
        }
    }
}

impl Table {
    /// The health commands that are to run now. What stands still, or ends, is not asked.
    pub(super) fn due_checkups(&mut self, now: Boottime) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some((at, key)) = self.checkups.due.first().copied()
            && at <= now
        {
            self.checkups.due.pop_first();
            let running = self.attempts.get(&key).filter(|it| it.phase == Phase::Running && it.cause.is_none());
            let definition = running.and_then(|attempt| attempt.definition.clone());
            match definition.filter(|_| !self.frozen.contains(&key)) {
                Some(definition) => {
                    if let Some(checkup) = self.checkups.all.get_mut(&key) {
                        checkup.next = None;
                    }
                    actions.push(Action::Probe { key, definition });
                }
                None => self.checkups.repeat(key, now),
            }
        }
        actions
    }

    /// The health command of an attempt has ended.
    pub(crate) fn on_probed(&mut self, key: AttemptKey, well: bool, now: Boottime) -> Option<Action> {
        let stands_still = self.frozen.contains(&key);
        let checkup = self.checkups.all.get_mut(&key).filter(|checkup| checkup.next.is_none())?;
        let is_new = well && !checkup.well;
        let starts = !checkup.well && now.since(checkup.started) < checkup.health.start_period.as_duration();
        if well {
            (checkup.failures, checkup.well) = (0, true);
        } else if !starts && !stands_still {
            checkup.failures += 1;
        }
        let (failures, most) = (checkup.failures, checkup.health.failures);
        self.checkups.repeat(key, now);
        if is_new {
            self.outbox.push(Report { key, what: Happening::Healthy });
        }
        if failures >= most { self.end(key, Ending::Unhealthy(failures)) } else { None }
    }
}
