//! Locks: only a live attempt with its very fence may ask for one or give it back, so that one that was given up and
//! does not know it yet changes nothing.

use quorate_types::gate::Claimant;
use quorate_types::limits::LOCK_WAIT_MS_MAX;
use quorate_types::{Name, Span};

use super::Result;
use crate::job::ElementKey;
use crate::locks::{Claim, LockKey};
use crate::outcome::{Applied, Rejection};
use crate::state::State;

impl State {
    pub(super) fn acquire_lock(&mut self, lock: &Name, by: &Claimant, wait: Span, out: &mut Applied) -> Result {
        let (key, claim) = self.claim(lock, by)?;
        self.cluster.acquire(key, claim, Span(wait.0.min(LOCK_WAIT_MS_MAX)), out)
    }

    pub(super) fn give_back_lock(&mut self, lock: &Name, by: &Claimant, out: &mut Applied) -> Result {
        let (key, claim) = self.claim(lock, by)?;
        self.cluster.release_lock(&key, &claim.at, out)
    }

    fn claim(&self, lock: &Name, by: &Claimant) -> std::result::Result<(LockKey, Claim), Rejection> {
        let Claimant { job: id, task: name, index, fence } = by;
        let gone = || Rejection::NotLive { job: *id, task: name.clone(), index: *index, fence: *fence };
        let job = self.job(*id).ok_or_else(gone)?;
        let task = job.place_of(name, *index).ok_or_else(gone)?;
        let attempt = job.task(task).and_then(|task| task.element(*index)?.current());
        let live = attempt.filter(|attempt| attempt.fence == *fence && attempt.state.is_live()).ok_or_else(gone)?;
        let claim = Claim {
            at: ElementKey { job: *id, task, index: *index },
            task: name.clone(),
            attempt: live.number,
            fence: *fence,
            worker: live.worker.clone(),
        };
        Ok((LockKey { namespace: job.spec.namespace.clone(), name: lock.clone() }, claim))
    }
}
