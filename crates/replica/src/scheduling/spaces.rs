//! The namespaces: what waits and runs of each, and the sums of as many as there is room for.

use std::collections::BTreeMap;

use quorate_types::{Name, Timestamp};

use super::scope::{Level, Scope, Tally};
use crate::limits::SCHEDULING_NAMESPACES_MAX;

#[derive(Debug, Default)]
pub(super) struct Spaces {
    by_name: BTreeMap<Name, Space>,
    measured: usize,
    /// When one was last not measured, or not any more.
    missed: Option<Timestamp>,
}

/// One with neither is forgotten.
#[derive(Debug, Default)]
struct Space {
    level: Level,
    scope: Option<Box<Scope>>,
}

/// What happened in a namespace between two versions.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    pub(super) less: Level,
    pub(super) more: Level,
    pub(super) besides: Tally,
}

impl Spaces {
    /// The levels of everything, anew.
    pub(super) fn reset(&mut self, levels: BTreeMap<Name, Level>) {
        self.by_name.retain(|_, space| {
            space.level = Level::default();
            space.scope.is_some()
        });
        for (name, level) in levels {
            self.by_name.entry(name).or_default().level = level;
        }
    }

    /// Measures those that have tasks, as far as there is room.
    pub(super) fn measure_all(&mut self, since: Timestamp, now: Timestamp) {
        let names: Vec<Name> = self.by_name.keys().cloned().collect();
        names.iter().for_each(|name| self.measure(name, since, now));
    }

    pub(super) fn change(&mut self, name: &Name, change: &Change, since: Timestamp, now: Timestamp) {
        self.measure(name, since, now);
        let space = self.by_name.entry(name.clone()).or_default();
        if let Some(scope) = &mut space.scope {
            scope.pass(now, &space.level);
        }
        space.level.add(&change.more);
        space.level.subtract(&change.less);
        match &mut space.scope {
            Some(scope) => scope.note(now, &change.besides, &space.level),
            None if space.level == Level::default() => drop(self.by_name.remove(name)),
            None => {}
        }
    }

    pub(super) fn pass(&mut self, now: Timestamp) {
        for space in self.by_name.values_mut() {
            if let Some(scope) = &mut space.scope {
                scope.pass(now, &space.level);
            }
        }
    }

    /// From when on a namespace is measured that has no sums: what it had may have been forgotten.
    pub(super) fn since_of_others(&self, since: Timestamp) -> Timestamp {
        self.missed.map_or(since, |missed| missed.max(since))
    }

    pub(super) fn level(&self, name: &Name) -> Level {
        self.by_name.get(name).map(|space| space.level).unwrap_or_default()
    }

    pub(super) fn scope(&self, name: &Name) -> Option<&Scope> {
        self.by_name.get(name)?.scope.as_deref()
    }

    pub(super) fn scopes(&self) -> impl Iterator<Item = (&Name, &Scope)> {
        self.by_name.iter().filter_map(|(name, space)| Some((name, space.scope.as_deref()?)))
    }

    /// Gives it sums, in the place of the one that has been idle for longest if need be.
    fn measure(&mut self, name: &Name, since: Timestamp, now: Timestamp) {
        if self.scope(name).is_some() {
            return;
        }
        if self.measured >= SCHEDULING_NAMESPACES_MAX {
            self.missed = Some(now);
            let idle = self.by_name.iter().filter(|(_, space)| space.level == Level::default());
            let oldest = idle.filter_map(|(name, space)| Some((space.scope.as_ref()?.changed, name))).min();
            let Some((_, oldest)) = oldest else { return };
            let oldest = oldest.clone();
            self.by_name.remove(&oldest);
            self.measured -= 1;
        }
        let since = self.since_of_others(since);
        let space = self.by_name.entry(name.clone()).or_default();
        space.scope = Some(Box::new(Scope::new(since, now)));
        self.measured += 1;
    }
}
