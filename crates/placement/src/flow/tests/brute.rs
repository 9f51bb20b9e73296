//! Every way to place every task.

use crate::flow::Problem;

pub(super) fn least_cost(problem: &Problem) -> u64 {
    let groups = problem.groups().iter().enumerate();
    let tasks: Vec<usize> = groups.flat_map(|(at, group)| (0..group.tasks).map(move |_| at)).collect();
    let mut placed = vec![vec![0; problem.workers().len()]; problem.groups().len()];
    place_rest(problem, &tasks, &mut placed)
}

fn place_rest(problem: &Problem, tasks: &[usize], placed: &mut [Vec<u32>]) -> u64 {
    let Some((group, rest)) = tasks.split_first() else { return 0 };
    let mut least = problem.groups()[*group].unplaced + place_rest(problem, rest, placed);
    for offer in problem.offers(*group) {
        let at = usize::from(offer.worker);
        let worker = problem.workers()[at];
        let busy: u32 = placed.iter().map(|row| row[at]).sum();
        if busy < worker.slots.into() && placed[*group][at] < offer.fits.into() {
            placed[*group][at] += 1;
            let cost = u64::from(offer.cost) + u64::from(worker.step) * u64::from(busy);
            least = least.min(cost + place_rest(problem, rest, placed));
            placed[*group][at] -= 1;
        }
    }
    least
}
