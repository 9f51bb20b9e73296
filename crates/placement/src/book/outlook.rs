//! What explanations ask a book: where a task stands and why, what is left over, and what is kept for whom.

use quorate_state::queue::Queued;
use quorate_types::explain::{Expected, ExpectedSource};
use quorate_types::policy::Backfill;
use quorate_types::{Epoch, Name, Resources, Timestamp};

use super::{Book, Crowding, Facts, Surroundings, Wish, Worker, place};
use crate::book::fleet::Slot;
use crate::book::queue::{self, multifactor};

/// A worker that a decision keeps for a task that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) epoch: Epoch,
    pub(crate) queued: Queued,
    /// When the task starts there, if that is known.
    pub(crate) at: Option<Timestamp>,
}

impl Book {
    /// The rank of a task in its line.
    pub(crate) fn rank_of(&self, facts: &Facts) -> u64 {
        queue::rank(self.policy.queue, facts, self.fleet.size_of(&self.fleet.kinds.vector(&facts.request)))
    }

    /// How long a task is expected to run, and who says so.
    pub(crate) fn expected(&self, facts: &Facts) -> Option<Expected> {
        let span = self.estimator.expected(facts)?;
        let source = match facts.expected {
            Some(_) => ExpectedSource::Specification,
            None if self.estimator.knows(facts) => ExpectedSource::Learned,
            None => ExpectedSource::Timeout,
        };
        Some(Expected { span, source })
    }

    /// Brings what namespaces use up to date.
    pub(crate) fn settle_use(&mut self, now: Timestamp) {
        self.usage.advance(now);
        self.usage.settle();
    }

    /// What the namespace uses, in 1/2³⁰ of the cluster.
    pub(crate) fn share_of(&self, namespace: &Name) -> u64 {
        self.usage.share(namespace, &self.fleet.capacity())
    }

    /// How much later the namespace's tasks count as submitted under `multifactor`; `all` is the sum of the shares of
    /// the namespaces that wait, and `weights` that of their weights.
    pub(crate) fn penalty_of(&self, namespace: &Name, all: u128, weights: u64) -> u64 {
        multifactor::penalty(self, namespace, all, weights)
    }

    pub(crate) fn worker_of(&self, epoch: Epoch) -> Option<&Worker> {
        self.fleet.slot(epoch).map(|slot| &self.fleet.member(slot).worker)
    }

    /// What a worker has left after what the last decision gave away.
    pub(crate) fn left_on(&self, epoch: Epoch) -> Option<&Resources> {
        self.fleet.slot(epoch).map(|slot| &self.fleet.member(slot).free)
    }

    /// How many elements of a gang would find a place now, each where the policy wants it; all if it is starting.
    pub(crate) fn fit_of_gang(&mut self, queued: Queued, around: &dyn Surroundings) -> u64 {
        let Some(gang) = self.waiting.entry(queued).and_then(|entry| entry.gang.clone()) else { return 0 };
        let mut crowding = Crowding::new(around);
        let mut placed = Vec::new();
        for mate in gang.iter() {
            for _ in 0..mate.count {
                let wish = Wish::new(mate.queued, &mate.entry, &crowding);
                let chosen = place::choose(&self.fleet, &wish, &mut self.memory, &mut place::Hopes::default());
                let Some(slot) = chosen else { break };
                crowding.add(mate.queued, &mate.entry.facts, &self.fleet.member(slot).worker);
                self.fleet.take(slot, &mate.entry.facts.request, &mate.entry.wanted);
                placed.push((slot, &mate.entry.facts.request));
            }
        }
        placed.iter().for_each(|(slot, request)| self.fleet.give_back(*slot, request));
        placed.len() as u64
    }

    /// Notes that a decision keeps the worker for the task.
    pub(crate) fn keep(&mut self, slot: Slot, queued: Queued, at: Option<Timestamp>) {
        let epoch = self.fleet.member(slot).worker.epoch;
        self.kept.push(Kept { epoch, queued, at });
    }

    /// What the last decision kept for whom, for each task in the order in which its elements start.
    pub(crate) fn kept(&self) -> Vec<Kept> {
        if self.policy.backfill != Backfill::Conservative {
            return self.kept.clone();
        }
        let reserved = |(queued, reservations): (&Queued, &std::collections::VecDeque<_>)| {
            let queued = *queued;
            let each = reservations.iter().map(move |reservation: &super::backfill::conservative::Reservation| {
                let at = (reservation.start != Timestamp(u64::MAX)).then_some(reservation.start);
                Kept { epoch: reservation.epoch, queued, at }
            });
            each.collect::<Vec<_>>()
        };
        self.reservations.iter().flat_map(reserved).collect()
    }
}
