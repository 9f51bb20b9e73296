//! What workers would have free if the least important of what they run were ended: the least important level at which
//! a task would have room is found without a look at every worker.

use std::collections::{BTreeMap, BTreeSet};

use quorate_state::State;
use quorate_state::job::{ElementKey, Job};
use quorate_state::worker::Worker;
use quorate_types::status::WorkerState;
use quorate_types::{Epoch, Resources};

use super::LOOKS_MAX;
use crate::book::{Book, Room, Steps};

/// To look at an attempt takes as long as to pass so many places of the index.
const VISITS_PER_LOOK: usize = 16;

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
    fn of(self, job: &Job, book: &Book, key: ElementKey) -> Option<u64> {
        match self {
            Self::Priority => Some(rank_of_priority(job.spec.priority)),
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

    /// Whether they have been asked for.
    pub(super) fn is_followed(&self) -> bool {
        !self.anew
    }

    /// Brings them up to date; false if that takes more looks than there are left.
    pub(super) fn settle(&mut self, state: &State, book: &Book, looks: &mut usize) -> bool {
        if std::mem::take(&mut self.anew) {
            self.stale = state.registrations().keys().copied().collect();
        }
        while let Some(epoch) = self.stale.pop_first() {
            if *looks >= LOOKS_MAX {
                self.stale.insert(epoch);
                return false;
            }
            let worker = state.worker_of(epoch).filter(|worker| worker.state() == WorkerState::Ready);
            *looks += 1 + worker.map_or(0, |worker| worker.attempts.len());
            let levels = worker.map(|worker| self.levels_of(state, book, worker)).unwrap_or_default();
            let mut room = Resources::default();
            let rooms = levels.into_iter().map(|(rank, given_back)| {
                room.add(&given_back);
                (rank, Room { free: book.fleet.kinds.vector(&room), ..Room::default() })
            });
            self.steps.set(epoch, rooms);
        }
        true
    }

    /// What the end of each level gives back; the lowest is what is free or ending anyway. What is of one gang ends
    /// together.
    fn levels_of(&self, state: &State, book: &Book, worker: &Worker) -> BTreeMap<u64, Resources> {
        let mut levels = BTreeMap::from([(0, worker.free())]);
        let mut together: BTreeMap<ElementKey, (Option<u64>, Resources)> = BTreeMap::new();
        for (key, live) in worker.holders() {
            let Some(job) = state.job(key.job) else { continue };
            let Some(spec) = job.task_spec(key.task) else { continue };
            if live.stopping {
                levels.entry(0).or_default().add(&spec.resources);
                continue;
            }
            let rank = self.ranking.of(job, book, *key);
            let (least, all) = together.entry(job.tally_of(key)).or_default();
            *least = [*least, rank].into_iter().flatten().min();
            all.add(&spec.resources);
        }
        for (rank, all) in together.into_values() {
            rank.into_iter().for_each(|rank| levels.entry(rank).or_default().add(&all));
        }
        levels
    }

    /// The least important level behind `after`, or of all, at which there may be room.
    pub(super) fn first(
        &self,
        book: &Book,
        after: Option<&Level>,
        request: &Resources,
        looks: &mut usize,
    ) -> Option<Level> {
        let (wanted, mut visits) = (book.fleet.kinds.vector(request), 0);
        let found = self.steps.first(after, |room| {
            visits += 1;
            wanted.fits(&room.free)
        });
        *looks += visits / VISITS_PER_LOOK;
        found
    }
}
