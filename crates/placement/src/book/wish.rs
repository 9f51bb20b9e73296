//! What an element asks of a worker.

use quorate_state::queue::Queued;

use super::crowd::Crowding;
use super::traits::{Bits, Needs};
use super::vector::Vector;
use super::{Entry, Facts, Worker};

/// A task that is to be placed, as placement sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish<'a> {
    pub(crate) queued: Queued,
    pub(crate) facts: &'a Facts,
    pub(crate) wanted: Vector,
    pub(crate) needs: &'a Needs,
    /// One of these it is to be besides what is required, if there are any.
    preferred: &'a [Bits],
    crowding: &'a Crowding<'a>,
}

impl<'a> Wish<'a> {
    pub(crate) fn new(queued: Queued, entry: &'a Entry, crowding: &'a Crowding<'a>) -> Self {
        let Entry { facts, wanted, needs, .. } = entry;
        Self { queued, facts, wanted: *wanted, needs, preferred: &[], crowding }
    }

    /// The same for workers that are one of these besides.
    pub(crate) fn preferring(&self, sets: &'a [Bits]) -> Self {
        Self { preferred: sets, ..*self }
    }

    /// Whether a worker with these traits will do, as far as the index knows; or some of those who have them together.
    #[inline]
    pub(crate) fn allows(&self, traits: Bits) -> bool {
        self.needs.required.is_within(traits)
            && (self.preferred.is_empty() || self.preferred.iter().any(|set| set.is_within(traits)))
    }

    /// Whether the index knows all that the task asks for.
    pub(crate) fn is_plain(&self) -> bool {
        !self.needs.beyond
            && self.facts.request.other_millis.is_empty()
            && self.facts.constraints.as_ref().is_none_or(|constraints| !constraints.are_social())
    }

    /// Whether the worker is what the task requires beyond what the index knows, and no element of the task, or of
    /// those that must be apart from it, is in the way.
    pub(crate) fn is_at_home(&self, worker: &Worker) -> bool {
        let is_suited = !self.needs.beyond
            || match &self.facts.constraints {
                Some(constraints) => constraints.are_met_by(worker.labels(), &worker.taints),
                None => worker.taints.is_empty(),
            };
        is_suited && !self.crowding.is_crowded(self.facts.kin.unwrap_or(self.queued), self.facts, worker)
    }
}
