//! Successive shortest paths (Ahuja, Magnanti and Orlin, "Network Flows", section 9.7): one task after the other
//! takes the cheapest path of moves that ends in an empty slot or in the queue. Slow and simple: it knows
//! no prices, and looks at all moves each time.

use crate::flow::{Placement, Problem, Solution};

pub(super) fn solve(problem: &Problem) -> Solution {
    let mut placed = vec![vec![0; problem.workers().len()]; problem.groups().len()];
    for (group, of) in problem.groups().iter().enumerate() {
        for _ in 0..of.tasks {
            augment(problem, group, &mut placed);
        }
    }
    let placements = placed.iter().enumerate().flat_map(|(group, row)| {
        let row = row.iter().enumerate().filter(|(_, tasks)| **tasks > 0);
        row.map(move |(worker, tasks)| Placement { group, worker, tasks: *tasks })
    });
    Solution::of(problem, placements.collect())
}

/// How the cheapest path reaches a worker: from which group, at which cost so far.
#[derive(Clone, Copy)]
struct Reach {
    cost: i64,
    from: usize,
}

fn augment(problem: &Problem, source: usize, placed: &mut [Vec<u32>]) {
    let (groups, workers) = distances(problem, source, placed);
    let busy = |at: usize| placed.iter().map(|row| row[at]).sum::<u32>();
    let queue = groups.iter().enumerate().filter_map(|(group, reach)| {
        reach.map(|reach| (reach.cost + problem.groups()[group].unplaced as i64, None, group))
    });
    let slots = workers.iter().enumerate().filter_map(|(at, reach)| {
        let worker = problem.workers()[at];
        let open = busy(at) < worker.slots.into();
        reach.filter(|_| open).map(|reach| (reach.cost + i64::from(worker.step) * i64::from(busy(at)), Some(at), 0))
    });
    let (_, end, mut group) = queue.chain(slots).min().unwrap();
    let mut to = end;
    loop {
        if let Some(worker) = to {
            group = workers[worker].unwrap().from;
            placed[group][worker] += 1;
        }
        if group == source {
            return;
        }
        let worker = groups[group].unwrap().from;
        placed[group][worker] -= 1;
        to = Some(worker);
    }
}

/// Bellman and Ford: a task of a group may go to a worker that offers room, and one at a full or partly filled worker
/// may make place there.
fn distances(problem: &Problem, source: usize, placed: &[Vec<u32>]) -> (Vec<Option<Reach>>, Vec<Option<Reach>>) {
    let mut groups: Vec<Option<Reach>> = vec![None; problem.groups().len()];
    let mut workers: Vec<Option<Reach>> = vec![None; problem.workers().len()];
    groups[source] = Some(Reach { cost: 0, from: usize::MAX });
    loop {
        let mut changed = false;
        for group in 0..groups.len() {
            for offer in problem.offers(group) {
                let (at, cost) = (usize::from(offer.worker), i64::from(offer.cost));
                if placed[group][at] < offer.fits.into() {
                    changed |= shorten(groups[group], cost, group, &mut workers[at]);
                }
                if placed[group][at] > 0 {
                    changed |= shorten(workers[at], -cost, at, &mut groups[group]);
                }
            }
        }
        if !changed {
            return (groups, workers);
        }
    }
}

fn shorten(reach: Option<Reach>, more: i64, from: usize, to: &mut Option<Reach>) -> bool {
    let Some(cost) = reach.map(|reach| reach.cost + more) else { return false };
    let shorter = to.is_none_or(|to| cost < to.cost);
    if shorter {
        *to = Some(Reach { cost, from });
    }
    shorter
}
