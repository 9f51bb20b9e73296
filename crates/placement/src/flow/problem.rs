//! What is to be solved: groups of like tasks, workers with slots, and what each pairing costs.

use std::ops::Range;

/// The largest cost of one task on one worker. A million steps tell apart whatever a policy weighs, and
/// with [`UNPLACED_MAX`] it keeps every price of the solver below 2⁶³.
pub const COST_MAX: u32 = 1 << 20;
/// The largest cost of leaving a task unplaced: [`COST_MAX`] on each of 65,536 workers.
pub const UNPLACED_MAX: u64 = 1 << 36;
/// Workers of one problem: an offer names its worker in two bytes, so that ten million stay at 80 MB.
pub const WORKERS_MAX: usize = 1 << 16;
/// Tasks of one problem, all groups together.
pub const TASKS_MAX: u32 = 1 << 24;

/// Tasks that are alike: the same offers, the same cost of waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    pub tasks: u32,
    /// What it costs to leave one of them unplaced.
    pub unplaced: u64,
}

/// A worker's room in this problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Tasks of any group that it can take.
    pub slots: u16,
    /// Its first task costs nothing more, each further one `step` more than the one before it. This spreads
    /// load; zero lets a worker fill up.
    pub step: u32,
}

/// What one worker offers to one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// The worker's position in [`Problem::new`].
    pub worker: u16,
    /// Tasks of this group that it can take.
    pub fits: u16,
    /// The cost of each.
    pub cost: u32,
}

/// Why something can't be part of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProblemError {
    #[error("{0} workers are more than {WORKERS_MAX}")]
    Workers(usize),
    #[error("all tasks together are more than {TASKS_MAX}")]
    Tasks,
    #[error("a cost of {0} is more than {COST_MAX}")]
    Cost(u64),
    #[error("{0} for a task without a place is more than {UNPLACED_MAX}")]
    Unplaced(u64),
    #[error("an offer of worker {0}, which is not there")]
    Stranger(u16),
    #[error("offers of worker {0} and then of worker {1}: they must ascend")]
    Order(u16, u16),
}

/// A batch of tasks and the workers that could take them.
#[derive(Clone, Debug, Default)]
pub struct Problem {
    workers: Vec<Worker>,
    groups: Vec<Group>,
    offers: Vec<Offer>,
    /// Where the offers to each group end.
    ends: Vec<usize>,
    tasks: u32,
}

impl Problem {
    pub fn new(workers: Vec<Worker>) -> Result<Self, ProblemError> {
        if workers.len() > WORKERS_MAX {
            return Err(ProblemError::Workers(workers.len()));
        }
        let last_slot = |worker: &Worker| u64::from(worker.step) * u64::from(worker.slots);
        match workers.iter().map(last_slot).find(|cost| *cost > u64::from(COST_MAX)) {
            Some(cost) => Err(ProblemError::Cost(cost)),
            None => Ok(Self { workers, ..Self::default() }),
        }
    }

    /// Makes room for so many groups and offers at once: growing step by step would copy all of it several times.
    pub fn reserve(&mut self, groups: usize, offers: usize) {
        self.groups.reserve(groups);
        self.ends.reserve(groups);
        self.offers.reserve(offers);
    }

    /// Adds a group with its offers, in ascending order of workers, and answers its position. Workers that are
    /// left out don't take tasks of it. On an error the problem is as it was.
    pub fn add(&mut self, group: Group, offers: impl IntoIterator<Item = Offer>) -> Result<usize, ProblemError> {
        if group.unplaced > UNPLACED_MAX {
            return Err(ProblemError::Unplaced(group.unplaced));
        }
        let tasks = self.tasks.checked_add(group.tasks).filter(|tasks| *tasks <= TASKS_MAX);
        let tasks = tasks.ok_or(ProblemError::Tasks)?;
        let start = self.offers.len();
        if let Err(error) = self.add_offers(offers) {
            self.offers.truncate(start);
            return Err(error);
        }
        self.tasks = tasks;
        self.groups.push(group);
        self.ends.push(self.offers.len());
        Ok(self.groups.len() - 1)
    }

    fn add_offers(&mut self, offers: impl IntoIterator<Item = Offer>) -> Result<(), ProblemError> {
        let mut before = None;
        for mut offer in offers {
            let Some(worker) = self.workers.get(usize::from(offer.worker)) else {
                return Err(ProblemError::Stranger(offer.worker));
            };
            if let Some(before) = before.filter(|before| *before >= offer.worker) {
                return Err(ProblemError::Order(before, offer.worker));
            }
            before = Some(offer.worker);
            if offer.cost > COST_MAX {
                return Err(ProblemError::Cost(offer.cost.into()));
            }
            offer.fits = offer.fits.min(worker.slots);
            if offer.fits > 0 {
                self.offers.push(offer);
            }
        }
        Ok(())
    }

    pub fn workers(&self) -> &[Worker] {
        &self.workers
    }

    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The offers to a group, in the order of workers.
    pub fn offers(&self, group: usize) -> &[Offer] {
        &self.offers[self.row(group)]
    }

    /// What a worker offers to a group, if anything. The position after the last worker has no offers.
    pub(super) fn offer(&self, group: usize, worker: usize) -> Option<&Offer> {
        let offers = self.offers(group);
        // Where every worker has an offer, they stand at their own positions.
        if let Some(offer) = offers.get(worker).filter(|offer| usize::from(offer.worker) == worker) {
            return Some(offer);
        }
        let at = offers.binary_search_by_key(&worker, |offer| offer.worker.into()).ok()?;
        Some(&offers[at])
    }

    /// Tasks of all groups.
    pub fn tasks(&self) -> u32 {
        self.tasks
    }

    /// A smaller problem of the same kind: of every `one_in` tasks one, and of as many slots, but for one that a worker
    /// keeps; the steps are as much higher.
    pub(super) fn sample(&self, one_in: u32) -> Self {
        let some = |seen: &mut u32, of: u32| {
            let before = *seen / one_in;
            *seen += of;
            *seen / one_in - before
        };
        let mut slots_seen = 0;
        let worker = |worker: &Worker| Worker {
            slots: (some(&mut slots_seen, worker.slots.into()) as u16).max(worker.slots.min(1)),
            step: worker.step.saturating_mul(one_in),
        };
        let mut sample = Self { workers: self.workers.iter().map(worker).collect(), ..Self::default() };
        sample.reserve(self.groups.len() / one_in as usize, self.offers.len() / one_in as usize);
        let mut tasks_seen = one_in / 2;
        for (at, group) in self.groups.iter().enumerate() {
            let tasks = some(&mut tasks_seen, group.tasks);
            if tasks > 0 {
                sample.tasks += tasks;
                sample.groups.push(Group { tasks, ..*group });
                sample.offers.extend_from_slice(self.offers(at));
                sample.ends.push(sample.offers.len());
            }
        }
        sample
    }

    fn row(&self, group: usize) -> Range<usize> {
        let start = if group == 0 { 0 } else { self.ends[group - 1] };
        start..self.ends[group]
    }
}
