//! Adds up what the scheduler does, version by version. Sans-IO: the time is given.

use quorate_state::State;
use quorate_state::worker::Worker;
use quorate_types::Timestamp;

use super::fleet::Fleet;
use super::follow::{Look, levels};
use super::kinds::{Kinds, Learned};
use super::scope::{Level, Scope};
use super::spaces::{Change, Spaces};

/// Measures from the first version that it is given.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) since: Timestamp,
    pub(super) now: Timestamp,
    seen: State,
    pub(super) kinds: Kinds,
    pub(super) cluster: Scope,
    pub(super) level: Level,
    pub(super) spaces: Spaces,
    pub(super) fleet: Fleet,
}

impl Meter {
    pub(super) fn new(now: Timestamp, state: &State) -> Self {
        let mut meter = Self {
            since: now,
            now,
            seen: state.clone(),
            kinds: Kinds::default(),
            cluster: Scope::new(now, now),
            level: Level::default(),
            spaces: Spaces::default(),
            fleet: Fleet::new(now),
        };
        for worker in state.workers() {
            meter.kinds.learn(&worker.capacity);
        }
        meter.recount();
        meter.spaces.measure_all(now, now);
        meter
    }

    /// Time passed; everything stayed as it was.
    pub(super) fn on_time(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        self.cluster.pass(self.now, &self.level);
        self.spaces.pass(self.now);
        self.fleet.pass(self.now);
    }

    /// By `now`, which is not before the version's own time, this is the state. One that is older than what is
    /// known says nothing.
    pub(super) fn on_version(&mut self, now: Timestamp, state: &State) {
        if state.index() <= self.seen.index() {
            return;
        }
        self.now = self.now.max(now);
        let seen = std::mem::replace(&mut self.seen, state.clone());
        self.learn_kinds(&seen, state);
        let look = Look { kinds: &self.kinds, since: self.since, now: self.now };
        let changes = look.changes(&seen, state);
        self.cluster.pass(self.now, &self.level);
        let mut all = Change::default();
        for (name, change) in &changes.spaces {
            self.spaces.change(name, change, self.since, self.now);
            all.more.add(&change.more);
            all.less.add(&change.less);
            all.besides.add(&change.besides);
        }
        self.level.add(&all.more);
        self.level.subtract(&all.less);
        self.cluster.note(self.now, &all.besides, &self.level);
        self.follow_workers(&seen, state);
        for (epoch, held) in &changes.workers {
            self.fleet.correct(*epoch, held, self.now);
        }
    }

    fn follow_workers(&mut self, seen: &State, state: &State) {
        for (old, new) in state.changed_workers(seen) {
            let lives = new.filter(|worker| worker.is_alive());
            if let Some(old) = old.filter(|old| lives.is_none_or(|lives| lives.epoch != old.epoch)) {
                // A record that is there was made when the registration ended, or when the next began.
                let ended = new.map_or(self.now, |new| new.since.min(self.now));
                self.fleet.end(old.epoch, ended, self.now);
            }
            if let Some(new) = lives {
                self.fleet.set(&self.kinds, new, self.now);
            }
        }
    }

    /// A kind that was not known counts in what is there already.
    fn learn_kinds(&mut self, seen: &State, state: &State) {
        let mut learned = Learned::Nothing;
        for (_, new) in state.changed_workers(seen) {
            let new: Option<&Worker> = new.map(AsRef::as_ref);
            if let Some(worker) = new
                && self.kinds.learn(&worker.capacity) == Learned::Kind
            {
                learned = Learned::Kind;
            }
        }
        if learned == Learned::Kind {
            self.on_time(self.now);
            let state = std::mem::replace(&mut self.seen, seen.clone());
            self.recount();
            self.seen = state;
        }
    }

    /// What waits, runs and is there in the version that was seen last.
    fn recount(&mut self) {
        let levels = levels(&self.kinds, &self.seen);
        self.level = Level::default();
        levels.values().for_each(|level| self.level.add(level));
        self.spaces.reset(levels);
        for worker in self.seen.workers().filter(|worker| worker.is_alive()) {
            self.fleet.set(&self.kinds, worker, self.now);
        }
    }
}
