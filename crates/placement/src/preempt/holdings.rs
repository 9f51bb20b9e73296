//! How many attempts tasks have, where they take turns.

use std::collections::BTreeMap;

use quorate_state::State;
use quorate_state::queue::Queued;
use quorate_types::policy::QueueOrder;

use super::Victim;
use crate::book::{Book, Decision};

/// How many attempts tasks have, those that are ending for others' turns left out and those that room is kept for
/// counted. A turn goes to a task that has fewer: elements of an array share its turns, and do not take them from a
/// task with as few.
#[derive(Debug)]
pub(super) struct Holdings {
    ending: BTreeMap<Queued, u64>,
    starting: BTreeMap<Queued, u64>,
}

impl Holdings {
    /// What ends for others is on the workers that are kept for those.
    pub(super) fn of(state: &State, book: &Book, decision: &Decision) -> Self {
        let (mut ending, mut starting) = (BTreeMap::new(), BTreeMap::new());
        if state.policy().queue == QueueOrder::RoundRobin {
            let kept = book.all_earmarks().into_iter().filter_map(|(epoch, _)| state.worker_of(epoch));
            let stopping = kept.flat_map(|worker| worker.holders()).filter(|(_, live)| live.stopping);
            decision.starts.iter().for_each(|start| *starting.entry(start.queued).or_default() += 1);
            stopping.for_each(|(key, _)| *ending.entry(Queued { job: key.job, task: key.task }).or_default() += 1);
        }
        Self { ending, starting }
    }

    pub(super) fn note(&mut self, victims: &[Victim]) {
        for Victim { item, .. } in victims {
            *self.ending.entry(Queued { job: item.job, task: item.task }).or_default() += 1;
        }
    }

    pub(super) fn of_task(&self, state: &State, book: &Book, queued: Queued) -> u64 {
        let live = state.job(queued.job).and_then(|job| job.task(queued.task)).map_or(0, |task| task.head.live);
        let of = |counts: &BTreeMap<Queued, u64>| counts.get(&queued).copied().unwrap_or(0);
        (u64::from(live) + of(&self.starting)).saturating_sub(of(&self.ending)) + book.earmarks_of(queued)
    }

    /// No more victims of one task than it has attempts beyond the claimant's.
    pub(super) fn spare(&self, state: &State, book: &Book, claimant: Queued, victims: &mut Vec<Victim>) {
        let own = self.of_task(state, book, claimant);
        let mut left: BTreeMap<Queued, u64> = BTreeMap::new();
        victims.retain(|Victim { item, .. }| {
            let task = Queued { job: item.job, task: item.task };
            let left = left.entry(task).or_insert_with(|| self.of_task(state, book, task).saturating_sub(own));
            let goes = *left > 0;
            *left = left.saturating_sub(1);
            goes
        });
    }
}
