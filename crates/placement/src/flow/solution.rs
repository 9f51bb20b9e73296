//! What a solver answers.

use super::problem::Problem;

/// Tasks of one group on one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    pub group: usize,
    pub worker: usize,
    pub tasks: u32,
}

/// Who goes where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solution {
    /// By group, then by worker.
    pub placements: Vec<Placement>,
    /// Of all placements and of the tasks that are left over.
    pub cost: u64,
    /// Tasks that are left over.
    pub unplaced: u32,
}

impl Solution {
    /// Adds up what `placements` cost.
    ///
    /// # Panics
    /// If they exceed what a worker or an offer has room for, which would be a solver's bug.
    pub(super) fn of(problem: &Problem, placements: Vec<Placement>) -> Self {
        let mut busy = vec![0_u32; problem.workers().len()];
        let mut left: Vec<u32> = problem.groups().iter().map(|group| group.tasks).collect();
        let mut cost = 0;
        for placement in &placements {
            let offer = problem.offer(placement.group, placement.worker);
            let fits = offer.map_or(0, |offer| u32::from(offer.fits));
            assert!(placement.tasks <= fits, "{placement:?} is more than the {fits} that fit");
            cost += offer.map_or(0, |offer| u64::from(offer.cost)) * u64::from(placement.tasks);
            busy[placement.worker] += placement.tasks;
            left[placement.group] -= placement.tasks;
        }
        for (worker, busy) in problem.workers().iter().zip(busy) {
            assert!(busy <= worker.slots.into(), "{busy} tasks in {} slots", worker.slots);
            cost += u64::from(worker.step) * (u64::from(busy) * u64::from(busy.saturating_sub(1)) / 2);
        }
        let unplaced = left.iter().sum();
        cost += problem.groups().iter().zip(left).map(|(group, left)| group.unplaced * u64::from(left)).sum::<u64>();
        Self { placements, cost, unplaced }
    }
}
