//! Attempts that make room for others. Each is looked at again: it may have ended since.

use quorate_types::policy::{QueueOrder, Rebalance};

use super::State;
use crate::command::{Grounds, Preemption};
use crate::element::AfterStop;
use crate::job::ElementKey;
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
        let waits = by.is_placeable() && by.tasks().any(|(_, task, _)| task.has_pending());
        let policy = self.policy();
        match item.grounds {
            Grounds::LowerPriority => waits && by.spec.priority > victim.spec.priority,
            Grounds::LongerToGo => waits,
            // It may have had its turn by rules that hold no more.
            Grounds::TurnOver => waits && policy.queue == QueueOrder::RoundRobin,
            Grounds::Rebalance => {
                let movable = victim.task_spec(item.task).is_some_and(|task| task.movable);
                movable && item.by == item.job && policy.rebalance == Rebalance::On
            }
        }
    }
}

impl Change<'_> {
    /// Whether it is the attempt that runs, and was not ending already.
    fn preempt(&mut self, item: &Preemption) -> bool {
        let at = ElementKey { job: item.job, task: item.task, index: item.index };
        let live = self.cluster.epochs.get(&item.epoch).and_then(|name| self.cluster.workers.get(name));
        let live = live.and_then(|worker| worker.attempts.get(&at));
        if live.is_none_or(|live| live.number != item.attempt || live.stopping) {
            return false;
        }
        let by = item.by;
        let reason = match item.grounds {
            Grounds::LowerPriority => format!("preempted by job {by}, which has a higher priority"),
            Grounds::LongerToGo => format!("preempted by job {by}, which is shorter than what it has to go"),
            Grounds::TurnOver => format!("its turn is over: job {by} has the next one"),
            Grounds::Rebalance => "moved to even out the load".to_owned(),
        };
        self.stop_because(&at, AfterStop::Requeue, Some(&reason));
        true
    }
}
