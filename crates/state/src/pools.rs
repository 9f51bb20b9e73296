//! What the cluster as a whole has a number of, licences say. How many there are an operator sets; each live attempt
//! holds what its task asks for. What is held is derived from the live attempts.

use std::collections::BTreeMap;

use imbl::OrdMap;
use quorate_types::gate::{ElementName, ResourceHolder, ResourceView};
use quorate_types::{Bug, Name, TaskSpec, is_planted};

use crate::job::{ElementKey, Job};
use crate::state::State;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Pools {
    pub(crate) totals: OrdMap<Name, u32>,
    /// Derived.
    held: OrdMap<Name, Held>,
}

/// What live attempts hold of a resource.
#[derive(Clone, Debug, Default, PartialEq)]
struct Held {
    amount: u64,
    by: OrdMap<ElementKey, u32>,
}

impl Pools {
    pub(crate) fn held(&self, name: &Name) -> u64 {
        self.held.get(name).map_or(0, |held| held.amount)
    }

    /// What new attempts may take.
    pub(crate) fn free(&self, name: &Name) -> u64 {
        if is_planted(Bug::ResourceOvercommitted) {
            return u64::MAX;
        }
        self.totals.get(name).map_or(0, |total| u64::from(*total).saturating_sub(self.held(name)))
    }

    /// Whether there is enough left for one more element of the task.
    pub(crate) fn has_room(&self, spec: &TaskSpec) -> bool {
        spec.cluster_resources.iter().all(|(name, amount)| u64::from(*amount) <= self.free(name))
    }

    /// The attempt holds what its task asks for from now on.
    pub(crate) fn take(&mut self, at: ElementKey, spec: &TaskSpec) {
        for (name, amount) in &spec.cluster_resources {
            let held = self.held.entry(name.clone()).or_default();
            held.amount += u64::from(*amount);
            held.by.insert(at, *amount);
        }
    }

    /// It holds nothing any more.
    pub(crate) fn release(&mut self, at: &ElementKey, spec: &TaskSpec) {
        for name in spec.cluster_resources.keys() {
            let Some(held) = self.held.get_mut(name) else { continue };
            held.amount -= held.by.remove(at).map_or(0, u64::from);
            if held.by.is_empty() {
                self.held.remove(name);
            }
        }
    }

    /// What is held, summed up from who holds it.
    pub(crate) fn sums(&self) -> BTreeMap<&Name, u64> {
        self.held.iter().map(|(name, held)| (name, held.by.values().map(|amount| u64::from(*amount)).sum())).collect()
    }
}

impl State {
    /// The counted resources of the cluster with a name behind `after`, each with the first `most` of its holders.
    pub fn resources<'a>(&'a self, after: Option<&Name>, most: usize) -> impl Iterator<Item = ResourceView> + 'a {
        let after = after.cloned();
        let names = self.cluster.pools.totals.keys();
        let behind = names.filter(move |name| after.as_ref().is_none_or(|after| *name > after));
        behind.filter_map(move |name| self.resource(name, most))
    }

    /// A counted resource of the cluster with the first `most` of its holders.
    pub fn resource(&self, name: &Name, most: usize) -> Option<ResourceView> {
        let pools = &self.cluster.pools;
        Some(ResourceView {
            name: name.clone(),
            total: *pools.totals.get(name)?,
            held: pools.held(name),
            waiting: self.queue().asking(name),
            holders: self.holders(name, most),
        })
    }

    /// How many there are of a counted resource, and how many are left.
    pub fn resource_room(&self, name: &Name) -> Option<(u64, u64)> {
        let total = self.cluster.pools.totals.get(name)?;
        Some((u64::from(*total), self.cluster.pools.free(name)))
    }

    /// Whether there are as many counted resources as in another version. Cheap where neither changed them.
    pub fn has_totals_of(&self, other: &Self) -> bool {
        let (own, others) = (&self.cluster.pools.totals, &other.cluster.pools.totals);
        own.ptr_eq(others) || own == others
    }

    /// The first that hold something of a resource.
    fn holders(&self, name: &Name, most: usize) -> Vec<ResourceHolder> {
        let by = self.cluster.pools.held.get(name).into_iter().flat_map(|held| &held.by);
        let holder = |(at, amount): (&ElementKey, &u32)| {
            Some(ResourceHolder { element: self.job(at.job)?.element_name(at)?, amount: *amount })
        };
        by.filter_map(holder).take(most).collect()
    }
}

impl Job {
    /// An element as users know it.
    pub fn element_name(&self, at: &ElementKey) -> Option<ElementName> {
        Some(ElementName { job: at.job, task: self.task_spec(at.task)?.name.clone(), index: at.index })
    }
}
