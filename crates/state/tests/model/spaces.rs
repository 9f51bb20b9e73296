//! What namespaces are entitled to, found out by looking through all jobs.

use quorate_state::command::{Grounds, Preemption};
use quorate_state::outcome::Outcome;
use quorate_types::policy::{QueueOrder, Rebalance};
use quorate_types::status::TaskState;
use quorate_types::{Allowance, Name, NamespaceRules, Reclaim, Resources, TaskSpec};

use crate::job::{Element, Job};
use crate::machine::Model;

impl Model {
    pub fn set_namespace(&mut self, namespace: &Name, rules: &NamespaceRules) -> Outcome {
        self.rules.insert(namespace.clone(), rules.clone());
        Outcome::Done
    }

    pub fn reset_namespace(&mut self, namespace: &Name) -> Outcome {
        self.rules.remove(namespace);
        Outcome::Done
    }

    /// What the attempts of the namespace hold of which this holds.
    pub fn held(&self, namespace: &Name, which: impl Fn(&Element) -> bool) -> Resources {
        let mut held = Resources::default();
        for job in self.jobs.values().filter(|job| job.spec.namespace == *namespace) {
            let holders = job.holders().filter(|(.., element)| which(element));
            holders.for_each(|(task, ..)| held.add(&job.spec.tasks[task].resources));
        }
        held
    }

    pub fn is_within_limit(&self, namespace: &Name, request: &Resources) -> bool {
        let Some(rules) = self.rules.get(namespace) else { return true };
        exceeded(&rules.limit, request, &self.held(namespace, |_| true)).is_empty()
    }

    /// Whether nothing but a worker would be missing for an attempt that has just ended.
    fn could_start_again(&self, job: &Job, task: &TaskSpec) -> bool {
        let open = job.finished.is_none() && !job.paused && !job.cancelling && task.rate.is_none();
        let is_left = |name: &Name| self.totals.get(name).is_some_and(|total| self.held_of(name) <= u64::from(*total));
        let rest = self.held(&job.spec.namespace, |_| true).minus(&task.resources);
        let within = |rules: &NamespaceRules| exceeded(&rules.limit, &task.resources, &rest).is_empty();
        open && task.cluster_resources.keys().all(is_left) && self.rules.get(&job.spec.namespace).is_none_or(within)
    }

    /// Whether the one may end the other's attempt: none that is within a quota but for the same namespace, and for a
    /// quota only those that are beyond theirs.
    pub fn may_end(&self, item: &Preemption) -> Option<bool> {
        let (by, victim) = (self.jobs.get(&item.by)?, self.jobs.get(&item.job)?);
        // A gang waits as its first task.
        let stands = |task: &usize| by.gang(*task).is_none_or(|gang| gang[0] == *task);
        let all = (0..by.tasks.len()).filter(stands);
        let waiting = all.filter(|task| !by.pending(*task).is_empty()).collect::<Vec<_>>();
        let own = by.spec.namespace == victim.spec.namespace;
        let ended = &victim.spec.tasks.get(item.task as usize)?.resources;
        let stays = self.held(&victim.spec.namespace, |element| element.state != TaskState::Stopping);
        let within = self.rules.get(&victim.spec.namespace).is_some_and(|rules| {
            is_named(&rules.quota, ended) && exceeded(&rules.quota, ended, &stays.minus(ended)).is_empty()
        });
        Some(match item.grounds {
            Grounds::LowerPriority => {
                !waiting.is_empty() && (own || !within) && by.spec.priority > victim.spec.priority
            }
            Grounds::LongerToGo => !waiting.is_empty() && (own || !within),
            Grounds::TurnOver => self.policy.queue == QueueOrder::RoundRobin && !waiting.is_empty() && (own || !within),
            Grounds::Rebalance => {
                let task = &victim.spec.tasks[item.task as usize];
                let on = self.policy.rebalance == Rebalance::On && item.by == item.job;
                on && task.movable && self.could_start_again(victim, task)
            }
            Grounds::Borrowed => {
                let rules = self.rules.get(&by.spec.namespace).filter(|rules| rules.reclaim == Reclaim::Borrowed);
                let held = self.held(&by.spec.namespace, |_| true);
                let may = |task: &usize| {
                    let wanted = &by.spec.tasks[*task].resources;
                    rules.is_some_and(|it| is_named(&it.quota, wanted) && exceeded(&it.quota, wanted, &held).is_empty())
                };
                !own && !within && waiting.iter().any(may)
            }
        })
    }
}

/// The kinds in which the request and what is held are more than the allowance.
fn exceeded(allowance: &Allowance, request: &Resources, held: &Resources) -> Vec<Name> {
    let over = |(kind, most): (&Name, u64)| {
        let (asked, held) = (of(request, kind), of(held, kind));
        (asked > 0 && held + asked > most).then(|| kind.clone())
    };
    allowance.kinds().filter_map(over).collect()
}

fn is_named(allowance: &Allowance, request: &Resources) -> bool {
    allowance.kinds().any(|(kind, _)| of(request, kind) > 0)
}

fn of(resources: &Resources, kind: &Name) -> u64 {
    match kind.as_str() {
        "cpu" => resources.cpu_millis,
        "memory" => resources.memory_bytes,
        _ => resources.other_millis.get(kind).copied().unwrap_or(0),
    }
}
