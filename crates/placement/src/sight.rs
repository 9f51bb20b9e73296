//! What a decision asks of the state.

use quorate_state::State;
use quorate_state::company::Companies;
use quorate_state::queue::Queued;
use quorate_types::{Epoch, Name, Timestamp};

use crate::book::{Gate, GateRoom, Surroundings};

/// What the state says of tasks and workers beside the book.
pub(crate) struct Sight<'a>(pub(crate) &'a State);

impl Surroundings for Sight<'_> {
    fn pending(&self, queued: Queued) -> u64 {
        self.0.job(queued.job).map_or(0, |job| job.pending_len(queued.task))
    }

    fn room(&self, gate: &Gate, now: Timestamp) -> GateRoom {
        match gate {
            Gate::Resource { name, .. } => {
                let (total, left) = self.0.resource_room(name).unwrap_or_default();
                GateRoom { total, left, next: None }
            }
            Gate::Rate { namespace, rate } => {
                let room = self.0.rate_room(namespace, rate, now);
                GateRoom { total: u64::from(rate.limit), left: room.left, next: room.next }
            }
        }
    }

    fn crowd(&self, queued: Queued, label: &Name, value: &str) -> u32 {
        self.0.crowd(queued.job, queued.task, label, value)
    }

    fn family(&self, queued: Queued) -> Queued {
        self.0.job(queued.job).map_or(queued, |job| Queued { task: job.spec.family(queued.task), ..queued })
    }

    fn runs(&self, queued: Queued, epoch: Epoch) -> bool {
        self.0.worker_of(epoch).is_some_and(|worker| worker.runs(queued.job, queued.task))
    }

    fn companies(&self) -> Option<&Companies> {
        Some(self.0.companies())
    }
}
