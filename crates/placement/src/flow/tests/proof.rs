//! That a solution is the best there is, from its prices: complementary slackness (Ahuja, Magnanti and Orlin,
//! "Network Flows", section 9.4). What is checked does not depend on how the solution was found.

use crate::flow::{Problem, Solved};

pub(super) fn check(problem: &Problem, solved: &Solved) {
    let prices = solved.start.prices();
    let mut busy = vec![0_i64; problem.workers().len()];
    let mut placed = vec![vec![0_u32; problem.workers().len()]; problem.groups().len()];
    for placement in &solved.solution.placements {
        busy[placement.worker] += i64::from(placement.tasks);
        placed[placement.group][placement.worker] += placement.tasks;
    }
    // A slot costs what it is worth: no less than what was paid for the last one that is used, no more than the next.
    for (at, worker) in problem.workers().iter().enumerate() {
        let step = i64::from(worker.step);
        assert!(busy[at] == 0 || prices[at] >= step * (busy[at] - 1), "worker {at} is too cheap");
        assert!(busy[at] == i64::from(worker.slots) || prices[at] <= step * busy[at], "worker {at} is too dear");
    }
    // Nobody would have it cheaper elsewhere.
    for (group, of) in problem.groups().iter().enumerate() {
        let waits = placed[group].iter().sum::<u32>() < of.tasks;
        let (mut worst, mut best) = (if waits { of.unplaced as i64 } else { i64::MIN }, of.unplaced as i64);
        for offer in problem.offers(group) {
            let at = usize::from(offer.worker);
            let value = i64::from(offer.cost) + prices[at];
            if placed[group][at] > 0 {
                worst = worst.max(value);
            }
            if placed[group][at] < offer.fits.into() {
                best = best.min(value);
            }
        }
        assert!(worst <= best, "group {group} pays {worst} where it could pay {best}");
    }
}
