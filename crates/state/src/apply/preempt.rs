//! Attempts that make room for others. Each is looked at again: it may have ended since.

use quorate_types::policy::{QueueOrder, Rebalance};
use quorate_types::status::StopReason;
use quorate_types::{Name, Reclaim, TaskSpec};

use super::State;
use crate::command::{Grounds, Preemption};
use crate::element::AfterStop;
use crate::job::{ElementKey, Job};
use crate::lifecycle::Change;
use crate::outcome::{Applied, Outcome};

impl State {
    pub(super) fn preempt(&mut self, items: &[Preemption], out: &mut Applied) -> Outcome {
        let mut stopped = 0;
        for item in items {
            let done = self.has_claim(item) && self.edit(item.job, out, |change| change.preempt(item)) == Some(true);
            stopped += u32::from(done);
        }
        Outcome::Preempted { stopped, stale: items.len() as u32 - stopped }
    }
}

impl State {
    /// Whether the job for which room is made still waits for some, and has the right to it; or what is moved may be.
    fn has_claim(&self, item: &Preemption) -> bool {
        let (Some(by), Some(victim)) = (self.job(item.by), self.job(item.job)) else { return false };
        let Some(ended) = victim.task_spec(item.task) else { return false };
        let mut waiting = self.queue().of_job(item.by);
        let own = by.spec.namespace == victim.spec.namespace;
        let covered = || self.is_covered(&victim.spec.namespace, &ended.resources);
        let policy = self.policy();
        // What is within a quota is ended for nobody else.
        match item.grounds {
            Grounds::LowerPriority if own || !covered() => {
                by.spec.priority > victim.spec.priority && waiting.next().is_some()
            }
            Grounds::LongerToGo if own || !covered() => waiting.next().is_some(),
            // It may have had its turn by rules that hold no more.
            Grounds::TurnOver if own || !covered() => {
                policy.queue == QueueOrder::RoundRobin && waiting.next().is_some()
            }
            Grounds::LowerPriority | Grounds::LongerToGo | Grounds::TurnOver => false,
            Grounds::Rebalance => {
                let on = policy.rebalance == Rebalance::On && item.by == item.job;
                on && ended.movable && self.could_start_again(victim, ended)
            }
            Grounds::Borrowed => {
                let reclaims = self.rules_of(&by.spec.namespace).is_some_and(|it| it.reclaim == Reclaim::Borrowed);
                let within = |spec: &TaskSpec| self.cluster.would_cover(&by.spec.namespace, &spec.resources);
                let mut waiting = waiting.filter_map(|queued| by.task_spec(queued.task));
                !own && reclaims && !covered() && waiting.any(within)
            }
        }
    }
}

impl State {
    /// Whether an attempt that ends now could start elsewhere as soon as it has, as far as that is not up to workers.
    pub fn could_start_again(&self, job: &Job, task: &TaskSpec) -> bool {
        let (pools, namespace) = (&self.cluster.pools, &job.spec.namespace);
        let is_left = |name: &Name| {
            self.cluster.pools.totals.get(name).is_some_and(|total| pools.held(name) <= u64::from(*total))
        };
        let within = || {
            let others =
                self.space(namespace).map(|space| space.held.clone().minus(&task.resources)).unwrap_or_default();
            self.rules_of(namespace).is_none_or(|rules| rules.limit.fits(&task.resources, &others))
        };
        job.is_placeable() && task.rate.is_none() && task.cluster_resources.keys().all(is_left) && within()
    }
}

impl Change<'_> {
    /// Whether it is the attempt that runs, and was not ending already.
    fn preempt(&mut self, item: &Preemption) -> bool {
        let at = ElementKey { job: item.job, task: item.task, index: item.index };
        let live = self.cluster.epochs.get(&item.epoch).and_then(|name| self.cluster.workers.get(name));
        let live = live.and_then(|worker| worker.attempts.get(&at));
        if live.is_none_or(|live| live.number != item.attempt || live.stopping || !live.holds) {
            return false;
        }
        let by = item.by;
        let reason = match item.grounds {
            Grounds::LowerPriority => StopReason::Priority(by),
            Grounds::LongerToGo => StopReason::Shorter(by),
            Grounds::Borrowed => StopReason::Reclaimed(by),
            Grounds::TurnOver => StopReason::TurnOver(by),
            Grounds::Rebalance => StopReason::Rebalanced,
        };
        self.stop(&at, AfterStop::Requeue, reason);
        true
    }
}
