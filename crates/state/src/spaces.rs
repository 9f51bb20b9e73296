//! Namespaces: what each is entitled to, and what it holds. The latter is derived from its jobs and their live
//! attempts.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;
use imbl::ordmap::DiffItem;
use quorate_types::{Name, NamespaceRules, Resources};

use crate::state::{Cluster, State};

/// What a namespace has. Derived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Jobs in memory.
    pub jobs: u64,
    /// Elements that have not finished, with those of jobs that will follow its jobs.
    pub unfinished: u64,
    /// Live attempts.
    pub live: u64,
    /// What the live attempts hold together.
    pub held: Resources,
    /// The part of it that was told to stop.
    pub ending: Resources,
}

/// What changes in the sums of a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hold {
    Begins,
    /// It was told to stop, and holds on.
    Stopping,
    /// `stopping` if it was told to.
    Ends {
        stopping: bool,
    },
}

impl Space {
    pub(crate) fn note(&mut self, hold: Hold, resources: &Resources) {
        match hold {
            Hold::Begins => {
                self.live += 1;
                self.held.add(resources);
            }
            Hold::Stopping => self.ending.add(resources),
            Hold::Ends { stopping } => {
                self.live -= 1;
                self.held.subtract(resources);
                if stopping {
                    self.ending.subtract(resources);
                }
            }
        }
    }
}

impl Cluster {
    pub(crate) fn note_hold(&mut self, namespace: &Name, hold: Hold, resources: &Resources) {
        self.settle_past(namespace);
        if let Some(space) = self.spaces.get_mut(namespace) {
            space.note(hold, resources);
        }
    }

    /// So many elements more are unfinished.
    pub(crate) fn note_more_elements(&mut self, namespace: &Name, n: u64) {
        self.totals.unfinished_elements += n;
        if let Some(space) = self.spaces.get_mut(namespace) {
            space.unfinished += n;
        }
    }

    /// So many elements are not unfinished any more.
    pub(crate) fn note_finished_elements(&mut self, namespace: &Name, n: u64) {
        self.totals.unfinished_elements -= n;
        if let Some(space) = self.spaces.get_mut(namespace) {
            space.unfinished -= n;
        }
    }

    /// Whether the namespace stays within its limit with one more such attempt.
    pub(crate) fn is_within_limit(&self, namespace: &Name, request: &Resources) -> bool {
        let Some(rules) = self.rules.get(namespace) else { return true };
        self.spaces.get(namespace).is_none_or(|space| rules.limit.fits(request, &space.held))
    }

    /// Whether such an attempt more would be within the quota of the namespace.
    pub(crate) fn would_cover(&self, namespace: &Name, request: &Resources) -> bool {
        let Some(rules) = self.rules.get(namespace) else { return false };
        self.spaces.get(namespace).is_some_and(|space| rules.covers(request, &space.held))
    }
}

impl State {
    /// The record of a namespace, if it has one.
    pub fn rules_of(&self, namespace: &Name) -> Option<&Arc<NamespaceRules>> {
        self.cluster.rules.get(namespace)
    }

    /// All records, by name. A version in which none changed shares them with the one before.
    pub fn rules(&self) -> &OrdMap<Name, Arc<NamespaceRules>> {
        &self.cluster.rules
    }

    /// What a namespace has; none if it has no jobs in memory.
    pub fn space(&self, namespace: &Name) -> Option<&Space> {
        self.cluster.spaces.get(namespace)
    }

    /// The namespaces that have jobs in memory, by name.
    pub fn spaces(&self) -> &OrdMap<Name, Space> {
        &self.cluster.spaces
    }

    /// The names behind `after`, in order, of namespaces that have a record or jobs in memory; the first `most`.
    pub fn namespaces(&self, after: Option<&Name>, most: usize) -> Vec<Name> {
        let behind = (after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded);
        let recorded = self.cluster.rules.range::<_, Name>(behind).map(|(name, _)| name);
        let used = self.cluster.spaces.range::<_, Name>(behind).map(|(name, _)| name);
        let names: BTreeSet<&Name> = recorded.take(most).chain(used.take(most)).collect();
        names.into_iter().take(most).cloned().collect()
    }

    /// The namespaces whose jobs or attempts changed since an earlier version.
    pub fn changed_spaces<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = &'a Name> {
        changed(&earlier.cluster.spaces, &self.cluster.spaces)
    }

    /// Those whose records changed.
    pub fn changed_rules<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = &'a Name> {
        changed(&earlier.cluster.rules, &self.cluster.rules)
    }

    /// Whether a live attempt of the namespace is within its quota, as much as will be held when all that was told to
    /// stop has ended. Of what is not, others may have need.
    pub fn is_covered(&self, namespace: &Name, attempt: &Resources) -> bool {
        self.is_covered_without(namespace, attempt, &Resources::default())
    }

    /// The same when so much more will have ended.
    pub fn is_covered_without(&self, namespace: &Name, attempt: &Resources, ended: &Resources) -> bool {
        let (Some(rules), Some(space)) = (self.rules_of(namespace), self.space(namespace)) else { return false };
        let others = space.held.clone().minus(&space.ending).minus(ended).minus(attempt);
        rules.covers(attempt, &others)
    }
}

fn changed<'a, V: PartialEq>(old: &'a OrdMap<Name, V>, new: &'a OrdMap<Name, V>) -> impl Iterator<Item = &'a Name> {
    old.diff(new).map(|change| match change {
        DiffItem::Add(name, _) | DiffItem::Remove(name, _) | DiffItem::Update { new: (name, _), .. } => name,
    })
}
