//! Counted resources of the cluster: what an operator sets, and what a submission may ask for.

use std::collections::BTreeMap;

use quorate_types::limits::CLUSTER_RESOURCE_TOTAL_MAX;
use quorate_types::{JobSpec, Name};

use super::Result;
use crate::limits::CLUSTER_RESOURCES_MAX;
use crate::outcome::{Outcome, Rejection};
use crate::state::State;

impl State {
    /// A total that is lower than what is held takes nothing away: nothing more starts until there is room.
    pub(super) fn set_resource(&mut self, name: &Name, total: u32) -> Result {
        let totals = &mut self.cluster.pools.totals;
        if !totals.contains_key(name) && totals.len() >= CLUSTER_RESOURCES_MAX {
            return Err(Rejection::TooManyResources(CLUSTER_RESOURCES_MAX as u64));
        }
        totals.insert(name.clone(), total.min(CLUSTER_RESOURCE_TOTAL_MAX));
        Ok(Outcome::Done)
    }

    pub(super) fn remove_resource(&mut self, name: &Name) -> Result {
        if !self.cluster.pools.totals.contains_key(name) {
            return Err(Rejection::NoSuchResource(name.clone()));
        }
        match self.cluster.pools.held(name) {
            0 => drop(self.cluster.pools.totals.remove(name)),
            held => return Err(Rejection::ResourceHeld { name: name.clone(), held }),
        }
        Ok(Outcome::Done)
    }

    /// Nobody may ask for more than there is: it would wait for an operator.
    pub(super) fn check_resources(&self, spec: &JobSpec) -> std::result::Result<(), Rejection> {
        self.check_tasks(spec, "")?;
        let mut follow_ups = spec.then.iter().enumerate();
        follow_ups.try_for_each(|(nth, follow_up)| self.check_tasks(&follow_up.job, &format!("/then/{nth}/job")))
    }

    fn check_tasks(&self, spec: &JobSpec, within: &str) -> std::result::Result<(), Rejection> {
        // A gang needs what all of its elements ask for at once.
        let mut together: BTreeMap<(&Name, &Name), u32> = BTreeMap::new();
        for task in &spec.tasks {
            let Some(gang) = &task.gang else { continue };
            for (name, each) in &task.cluster_resources {
                let all = together.entry((gang, name)).or_default();
                *all = all.saturating_add(each.saturating_mul(task.count));
            }
        }
        for (at, task) in spec.tasks.iter().enumerate() {
            for (name, amount) in &task.cluster_resources {
                let all = task.gang.as_ref().and_then(|gang| together.get(&(gang, name)).copied());
                let (name, amount) = (name.clone(), all.unwrap_or(0).max(*amount));
                let pointer = || format!("{within}/tasks/{at}/cluster_resources/{name}");
                match self.cluster.pools.totals.get(&name).copied() {
                    None => return Err(Rejection::AsksForUnknown { pointer: pointer(), name }),
                    Some(total) if amount > total => {
                        return Err(Rejection::AsksForTooMuch { pointer: pointer(), name, amount, total });
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(())
    }
}
