//! Attempts that show that they are well: when their health command runs, and what comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

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
    /// What it stood still since then is added.
    started: Boottime,
    /// When the command runs next, or time alone tells; none while it runs, and while the attempt stands still.
    next: Option<Boottime>,
    still: Option<Still>,
    /// In a row.
    failures: u32,
    /// It has succeeded once.
    was_well: bool,
    /// Since when it is well, until that is told.
    well_since: Option<Boottime>,
    /// It has been well for long enough.
    told: bool,
}

/// An attempt that stands still.
#[derive(Debug)]
struct Still {
    since: Boottime,
    /// What was left until the command ran next.
    left: Option<Duration>,
}

impl Checkup {
    /// When it will have been well for long enough, if it stays so.
    fn settled_at(&self) -> Option<Boottime> {
        self.well_since.filter(|_| !self.told).map(|since| since.plus(self.health.min_healthy.as_duration()))
    }
}

impl Checkups {
    /// The first run is at once: nothing is gained by waiting. Without a command it is well from now on.
    pub(super) fn begin(&mut self, key: AttemptKey, health: &Health, now: Boottime) {
        let well_since = health.command.is_none().then_some(now);
        let (health, was_well) = (health.clone(), well_since.is_some());
        let mut checkup =
            Checkup { health, started: now, next: None, still: None, failures: 0, was_well, well_since, told: false };
        let first = checkup.settled_at().unwrap_or(now);
        checkup.next = Some(first);
        self.all.insert(key, checkup);
        self.due.insert((first, key));
    }

    pub(super) fn end(&mut self, key: &AttemptKey) {
        if let Some(next) = self.all.remove(key).and_then(|checkup| checkup.next) {
            self.due.remove(&(next, *key));
        }
    }

    pub(super) fn next(&self) -> Option<Boottime> {
        self.due.first().map(|(at, _)| *at)
    }

    /// The attempt stands still, and no time passes for it.
    pub(super) fn freeze(&mut self, key: AttemptKey, now: Boottime) {
        if let Some(checkup) = self.all.get_mut(&key) {
            let next = checkup.next.take();
            checkup.still = Some(Still { since: now, left: next.map(|at| at.since(now)) });
            next.map(|at| self.due.remove(&(at, key)));
        }
    }

    pub(super) fn thaw(&mut self, key: AttemptKey, now: Boottime) {
        let Some(checkup) = self.all.get_mut(&key) else { return };
        let Some(Still { since, left }) = checkup.still.take() else { return };
        let stood = now.since(since);
        checkup.started = checkup.started.plus(stood);
        checkup.well_since = checkup.well_since.map(|since| since.plus(stood));
        checkup.next = left.map(|left| now.plus(left));
        self.due.extend(checkup.next.map(|at| (at, key)));
    }

    /// Runs the command again when its interval is over, or when that can say that it has been well for long enough.
    fn repeat(&mut self, key: AttemptKey, now: Boottime) {
        if let Some(checkup) = self.all.get_mut(&key) {
            let next = now.plus(checkup.health.interval.as_duration());
            let next = checkup.settled_at().filter(|at| *at > now).map_or(next, |at| at.min(next));
            if let Some(still) = &mut checkup.still {
                still.left = Some(next.since(now));
                return;
            }
            checkup.next = Some(next);
            self.due.insert((next, key));
        }
    }
}

impl Table {
    /// The health commands that are to run now, where there are any. What ends is not asked.
    pub(super) fn due_checkups(&mut self, now: Boottime) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some((at, key)) = self.checkups.due.first().copied()
            && at <= now
        {
            self.checkups.due.pop_first();
            let running = self.attempts.get(&key).filter(|it| it.phase == Phase::Running && it.cause.is_none());
            let definition = running.and_then(|attempt| attempt.definition.clone());
            let Some(definition) = definition else {
                self.checkups.repeat(key, now);
                continue;
            };
            if let Some(checkup) = self.checkups.all.get_mut(&key) {
                checkup.next = None;
            }
            if definition.health.as_ref().is_some_and(|health| health.command.is_some()) {
                actions.push(Action::Probe { key, definition });
            } else {
                self.checkups.end(&key);
                self.outbox.push(Report { key, what: Happening::Healthy });
            }
        }
        actions
    }

    /// The health command of an attempt has ended.
    pub(crate) fn on_probed(&mut self, key: AttemptKey, well: bool, now: Boottime) -> Option<Action> {
        let checkup = self.checkups.all.get_mut(&key).filter(|checkup| checkup.next.is_none())?;
        let its_now = checkup.still.as_ref().map_or(now, |still| still.since);
        let starts = !checkup.was_well && its_now.since(checkup.started) < checkup.health.start_period.as_duration();
        if well {
            (checkup.failures, checkup.was_well) = (0, true);
            checkup.well_since.get_or_insert(its_now);
        } else if checkup.still.is_none() {
            checkup.failures += u32::from(!starts);
            checkup.well_since = None;
        }
        let is_new = checkup.settled_at().is_some_and(|at| at <= its_now);
        checkup.told |= is_new;
        let (failures, most) = (checkup.failures, checkup.health.failures);
        self.checkups.repeat(key, now);
        if is_new {
            self.outbox.push(Report { key, what: Happening::Healthy });
        }
        if failures >= most { self.end(key, Ending::Unhealthy(failures)) } else { None }
    }
}
