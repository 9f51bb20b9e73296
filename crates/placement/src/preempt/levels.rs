//! What workers would have free if the least important of what they run were ended: the least important level at which
//! a task would have room is found without a look at every worker.

use std::collections::{BTreeMap, BTreeSet};

use quorate_state::State;
use quorate_state::job::ElementKey;
use quorate_state::worker::Worker;
use quorate_types::status::WorkerState;
use quorate_types::{Epoch, Resources};

use crate::book::{Book, Room, Steps};

/// The rank of the most important attempt that would have to end, 0 if none, and the worker.
pub(super) type Level = (u64, Epoch);

/// In which order attempts end, the lowest rank first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ranking {
    /// The lowest priority.
    Priority,
    /// What is expected to end last; what nobody knows the end of is left out.
    End,
}

/// The levels of all workers that take new tasks. Brought up to date when they are asked for.
#[derive(Debug)]
pub(super) struct Levels {
    ranking: Ranking,
    steps: Steps<u64, Epoch>,
    /// Of these something changed since.
    stale: BTreeSet<Epoch>,
    /// All are to be looked at.
    anew: bool,
}

impl Ranking {
    fn of(self, state: &State, book: &Book, key: ElementKey) -> Option<u64> {
        match self {
            Self::Priority => state.job(key.job).map(|job| rank_of_priority(job.spec.priority)),
            Self::End => book.end_of(key).map(|end| rank_of_end(end.0)),
        }
    }
}

pub(super) fn rank_of_priority(priority: u8) -> u64 {
    1 + u64::from(priority)
}

pub(super) fn rank_of_end(end_ms: u64) -> u64 {
    u64::MAX - end_ms
}

impl Levels {
    pub(super) fn by(ranking: Ranking) -> Self {
        Self { ranking, steps: Steps::default(), stale: BTreeSet::new(), anew: true }
    }

    /// Something changed on the worker, or it went.
    pub(super) fn note(&mut self, epoch: Epoch) {
        if !self.anew {
            self.stale.insert(epoch);
        }
    }

    /// Something changed that is known of no worker.
    pub(super) fn note_all(&mut self) {
        (self.anew, self.stale) = (true, BTreeSet::new());
    }

    pub(super) fn settle(&mut self, state: &State, book: &Book) {
        if std::mem::take(&mut self.anew) {
            self.stale = self.steps.workers().chain(state.registrations().keys().copied()).collect();
        }
        for epoch in std::mem::take(&mut self.stale) {
            let worker = state.worker_of(epoch).filter(|worker| worker.state() == WorkerState::Ready);
            let levels = worker.map(|worker| self.levels_of(state, book, worker)).unwrap_or_default();
            let mut room = Resources::default();
            let rooms = levels.into_iter().map(|(rank, given_back)| {
                room.add(&given_back);
                (rank, Room { free: book.fleet.kinds.vector(&room), ..Room::default() })
            });
            self.steps.set(epoch, rooms);
        }
    }

    /// What the end of each level gives back; the lowest is what is free or ending anyway.
    fn levels_of(&self, state: &State, book: &Book, worker: &Worker) -> BTreeMap<u64, Resources> {
        let mut levels = BTreeMap::from([(0, worker.free())]);
        for (key, live) in worker.holders() {
            let spec = state.job(key.job).and_then(|job| job.task_spec(key.task));
            let rank = if live.stopping { Some(0) } else { self.ranking.of(state, book, *key) };
            if let (Some(spec), Some(rank)) = (spec, rank) {
                levels.entry(rank).or_default().add(&spec.resources);
            }
        }
        levels
    }

    /// The least important level behind `after`, or of all, at which there may be room.
    pub(super) fn first(&self, book: &Book, after: Option<&Level>, request: &Resources) -> Option<Level> {
        let wanted = book.fleet.kinds.vector(request);
        self.steps.first(after, |room| wanted.fits(&room.free))
    }
}
