//! What namespaces are entitled to, and what they hold and are promised.
//!
//! What a namespace starts within its quota comes before what others would borrow (as the nominal quota of a cluster
//! queue in Kueue, and the guaranteed capacity of a queue in YARN's capacity scheduler); nothing starts beyond a limit.
//! Namespaces without a record are not in here: they have no limit, and all that they hold is borrowed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_state::queue::Queued;
use quorate_types::{Bug, Name, NamespaceRules, Reclaim, Resources, is_planted};

use super::vector::{Kinds, Vector};
use super::waiting::Layout;
use super::{Book, Facts};

/// Tasks of one namespace that are looked at for what it may take back in one round: more than one round ends
/// attempts for.
const RECLAIMERS_MAX: usize = 100;

/// Whose turn it is before all else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    /// It would be within the quota of its namespace.
    Covered,
    /// Others may have need of what it would take.
    Borrowing,
}

#[derive(Debug, Default)]
pub(crate) struct Spaces {
    known: BTreeMap<Name, Space>,
    /// To whom something was promised since the last word of what they hold.
    promised: BTreeSet<Name>,
    /// How many have a quota, and how many have a quota or a limit.
    quotas: usize,
    bounds: usize,
}

#[derive(Debug)]
struct Space {
    rules: Arc<NamespaceRules>,
    held: Resources,
    /// With what it was promised.
    taken: Resources,
}

impl Spaces {
    /// The record of a namespace, or that it has none any more.
    fn set(&mut self, name: &Name, rules: Option<&Arc<NamespaceRules>>, held: Resources) {
        self.promised.remove(name);
        let new = rules.map(|rules| Space { rules: rules.clone(), taken: held.clone(), held });
        let old = match new {
            Some(space) => {
                self.count(&space.rules, |n| n + 1);
                self.known.insert(name.clone(), space)
            }
            None => self.known.remove(name),
        };
        if let Some(old) = old {
            self.count(&old.rules, |n| n - 1);
        }
    }

    fn count(&mut self, rules: &NamespaceRules, change: impl Fn(usize) -> usize) {
        if !rules.quota.is_empty() {
            self.quotas = change(self.quotas);
        }
        if rules.bounds_starts() {
            self.bounds = change(self.bounds);
        }
    }

    /// Whether any namespace has a quota or a limit.
    pub(crate) fn bound_starts(&self) -> bool {
        self.bounds > 0
    }

    pub(crate) fn weight(&self, name: &Name) -> u64 {
        self.known.get(name).map_or(1, |space| u64::from(space.rules.weight))
    }

    /// How many such requests the namespace may start beside what it has and what is reserved.
    pub(crate) fn times(&self, name: &Name, request: &Resources, reserved: Option<&Resources>) -> u64 {
        let Some(space) = self.known.get(name).filter(|space| !space.rules.limit.is_empty()) else { return u64::MAX };
        if is_planted(Bug::LimitIgnored) {
            return u64::MAX;
        }
        match reserved {
            None => space.rules.limit.times(request, &space.taken),
            Some(reserved) => space.rules.limit.times(request, &sum(&space.taken, reserved)),
        }
    }

    /// Whether the limit is large enough for the request alone.
    pub(crate) fn could_hold(&self, name: &Name, request: &Resources) -> bool {
        self.known.get(name).is_none_or(|space| space.rules.limit.fits(request, &Resources::default()))
    }

    /// What the requests of the namespace that may start take at the most; none if there is no limit. Without anything
    /// reserved also what has to wait for others of the namespace to end is of interest.
    pub(crate) fn most(&self, name: &Name, reserved: Option<&Resources>, kinds: &Kinds) -> Option<Vector> {
        let space = self.known.get(name).filter(|space| !space.rules.limit.is_empty())?;
        let used = reserved.map_or_else(Resources::default, |reserved| sum(&space.taken, reserved));
        let lanes = space.rules.limit.kinds().filter_map(|(kind, limit)| {
            let left = limit.saturating_sub(used.amount(kind));
            Some((kinds.lane(kind)?, left))
        });
        Some(lanes.fold(Vector::UNBOUNDED, |most, (lane, left)| most.capped(lane, left)))
    }

    pub(crate) fn tier(&self, facts: &Facts) -> Tier {
        if self.quotas == 0 || self.covers(&facts.namespace, &facts.at_once(), &Resources::default()) {
            Tier::Covered
        } else {
            Tier::Borrowing
        }
    }

    pub(crate) fn have_quotas(&self) -> bool {
        self.quotas > 0
    }

    /// The best that any task of the namespace may have.
    pub(crate) fn best_tier(&self, name: &Name) -> Tier {
        let owns = || self.known.get(name).is_some_and(|space| !space.rules.quota.is_empty());
        if self.quotas == 0 || owns() { Tier::Covered } else { Tier::Borrowing }
    }

    /// Whether the request is within the quota, beside what the namespace has and what is kept for it.
    pub(crate) fn covers(&self, name: &Name, request: &Resources, kept: &Resources) -> bool {
        self.known.get(name).is_some_and(|space| space.rules.covers(request, &sum(&space.taken, kept)))
    }

    pub(crate) fn promise(&mut self, name: &Name, request: &Resources) {
        if let Some(space) = self.known.get_mut(name) {
            space.taken.add(request);
            self.promised.insert(name.clone());
        }
    }

    /// What was promised last is not given after all.
    pub(crate) fn take_back(&mut self, name: &Name, request: &Resources) {
        if let Some(space) = self.known.get_mut(name) {
            space.taken.subtract(request);
        }
    }

    /// An attempt holds so much from now on, whether or not that was promised.
    pub(crate) fn begin(&mut self, name: &Name, request: &Resources) {
        if let Some(space) = self.known.get_mut(name) {
            space.held.add(request);
            self.promise(name, request);
        }
    }

    pub(crate) fn end(&mut self, name: &Name, request: &Resources) {
        if let Some(space) = self.known.get_mut(name) {
            space.held.subtract(request);
            space.taken.subtract(request);
        }
    }

    /// What was promised and is not held is free again.
    pub(crate) fn withdraw(&mut self) {
        for name in std::mem::take(&mut self.promised) {
            if let Some(space) = self.known.get_mut(&name) {
                space.taken = space.held.clone();
            }
        }
    }

    /// Those that take back what is theirs.
    fn reclaiming(&self) -> impl Iterator<Item = &Name> {
        let mine = |space: &&Space| space.rules.reclaim == Reclaim::Borrowed && !space.rules.quota.is_empty();
        self.known.iter().filter(move |(_, space)| mine(space)).map(|(name, _)| name)
    }
}

fn sum(a: &Resources, b: &Resources) -> Resources {
    let mut sum = a.clone();
    sum.add(b);
    sum
}

impl Book {
    /// What a namespace is entitled to, if anybody said so, and what it holds.
    pub fn entitle(&mut self, name: &Name, rules: Option<&Arc<NamespaceRules>>, held: Resources) {
        let bounded = self.spaces.bound_starts();
        self.spaces.set(name, rules, held);
        if bounded != self.spaces.bound_starts() {
            let layout = if bounded { Layout::OneLine } else { Layout::OfEachNamespace };
            self.waiting.arrange(layout, &self.fleet);
        }
        self.changed = true;
    }

    /// What a namespace holds, whatever it was promised.
    pub(crate) fn hold(&mut self, name: &Name, held: &Resources) {
        if let Some(space) = self.spaces.known.get_mut(name) {
            (space.held, space.taken) = (held.clone(), held.clone());
            self.spaces.promised.remove(name);
        }
    }

    /// The first tasks of those namespaces that may take back what they have lent, as far as they would be within their
    /// quota. None behind a task that waits for the limit: they would take what that waits for.
    pub(crate) fn reclaiming(&self) -> Vec<Queued> {
        let lines = self.spaces.reclaiming().filter_map(|name| self.waiting.lines().get(name));
        let firsts = lines.flat_map(|line| {
            let tasks = line.iter().take(RECLAIMERS_MAX).map(|(place, _)| place.1);
            tasks.take_while(|queued| !self.waits_for_limit(*queued))
        });
        firsts.filter(|queued| self.is_covered(*queued, &Resources::default()) && !self.is_gang(*queued)).collect()
    }

    /// Whether it stands for a gang, for which one worker is not enough.
    pub(crate) fn is_gang(&self, queued: Queued) -> bool {
        self.waiting.entry(queued).is_some_and(|entry| entry.gang.is_some())
    }

    /// Whether it waits for others of its namespace to end, since that holds as much as it may.
    pub(crate) fn waits_for_limit(&self, queued: Queued) -> bool {
        self.waiting.entry(queued).is_some_and(|entry| {
            let (namespace, request) = (&entry.facts.namespace, entry.facts.at_once());
            self.spaces.times(namespace, &request, None) == 0 && self.spaces.could_hold(namespace, &request)
        })
    }

    /// Whether anybody may end others to have room.
    pub(crate) fn has_claimants(&self) -> bool {
        self.waiting.preempting().next().is_some() || !self.reclaiming().is_empty() || self.preempting_gang().is_some()
    }

    /// Whether one more element of the task would be within the quota, beside what is kept for its namespace.
    pub(crate) fn is_covered(&self, queued: Queued, kept: &Resources) -> bool {
        let entry = self.waiting.entry(queued);
        entry.is_some_and(|entry| self.spaces.covers(&entry.facts.namespace, &entry.facts.request, kept))
    }

    /// What workers are kept for, of one namespace.
    pub(crate) fn kept_for(&self, namespace: &Name) -> Resources {
        let mut kept = Resources::default();
        for (_, earmark) in self.all_earmarks() {
            let Some(entry) = self.waiting.entry(earmark.queued) else { continue };
            if entry.facts.namespace == *namespace {
                (0..earmark.elements).for_each(|_| kept.add(&entry.facts.request));
            }
        }
        kept
    }
}
