//! The gang that waits for its formation, for whoever makes room there.

use std::sync::Arc;

use quorate_state::queue::Queued;
use quorate_types::Epoch;
use quorate_types::job::Preempt;

use super::waiting::Mate;
use super::{Book, Formation, Station};

/// A gang, and where it is to go.
#[derive(Debug)]
pub(crate) struct Forming {
    pub(crate) gang: Arc<[Mate]>,
    pub(crate) formation: Formation,
}

impl Book {
    /// The gang whose formation is kept since the last decision, if it may end others.
    pub(crate) fn preempting_gang(&self) -> Option<Forming> {
        let formation = self.formation.as_ref()?;
        let entry = self.waiting.entry(formation.queued).filter(|entry| entry.facts.preempts == Preempt::Lower)?;
        let is_kept = self.kept.iter().any(|kept| kept.queued == formation.queued);
        let gang = entry.gang.clone().filter(|_| is_kept)?;
        Some(Forming { gang, formation: formation.clone() })
    }

    /// Others have been asked to end so that the gang can start there.
    pub(crate) fn claim(&mut self, queued: Queued, places: Vec<Station>) {
        self.formation = Some(Formation { queued, places, start: None, claimed: true });
        self.changed = true;
    }

    /// The gang gets another formation.
    pub(crate) fn unclaim(&mut self) {
        self.formation = None;
        self.changed = true;
    }

    /// Whether others were asked to end on the worker for a gang that this task does not stand for.
    pub(crate) fn is_claimed_from(&self, epoch: Epoch, queued: Queued) -> bool {
        let claimed = self.formation.as_ref().filter(|formation| formation.claimed && formation.queued != queued);
        claimed.is_some_and(|formation| formation.places.iter().any(|station| station.epoch == epoch))
    }

    /// The tasks of a gang with their positions, those with the largest elements first.
    pub(crate) fn largest_first<'a>(&self, gang: &'a [Mate]) -> Vec<(usize, &'a Mate)> {
        let mut mates: Vec<(usize, &Mate)> = gang.iter().enumerate().collect();
        mates.sort_by_key(|(at, mate)| (u64::MAX - self.fleet.size_of(&mate.entry.wanted), *at));
        mates
    }
}
