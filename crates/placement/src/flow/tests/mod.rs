//! The solver against another one and brute force.

mod brute;
mod moves;
mod proof;

use proptest::prelude::*;

use super::*;

/// A problem in numbers: (slots, step) of workers; tasks, unplaced and (cost, fits) for each worker of groups.
type Shape = (Vec<(u16, u32)>, Vec<(u32, u64, Vec<(u32, u16)>)>);

fn shape(workers: usize, groups: usize, tasks: u32, costs: u32) -> impl Strategy<Value = Shape> {
    let worker = prop_oneof![(0..4_u16, Just(0)), (0..4_u16, 0..5_u32)];
    let workers = prop::collection::vec(worker, 1..=workers);
    workers.prop_flat_map(move |workers| {
        let offers = prop::collection::vec((0..costs, 0..3_u16), workers.len());
        // Half of the costs of waiting compete with the offers, the others come before everything.
        let unplaced = prop_oneof![0..2 * u64::from(costs), Just(1_000_000)];
        let groups = prop::collection::vec((0..=tasks, unplaced, offers), 0..=groups);
        (Just(workers), groups)
    })
}

fn problem((workers, groups): &Shape) -> Problem {
    let workers = workers.iter().map(|(slots, step)| Worker { slots: *slots, step: *step });
    let mut problem = Problem::new(workers.collect()).unwrap();
    for (tasks, unplaced, offers) in groups {
        let offer = |(at, (cost, fits)): (usize, &(u32, u16))| Offer { worker: at as u16, fits: *fits, cost: *cost };
        let group = Group { tasks: *tasks, unplaced: *unplaced };
        problem.add(group, offers.iter().enumerate().map(offer)).unwrap();
    }
    problem
}

proptest! {
    #[test]
    fn small_problems_are_solved_as_brute_force_does(shape in shape(3, 3, 2, 12)) {
        let problem = problem(&shape);
        let least = brute::least_cost(&problem);
        prop_assert_eq!(solve(&problem).solution.cost, least);
        prop_assert_eq!(moves::solve(&problem).cost, least);
    }

    #[test]
    fn both_solvers_agree(shape in shape(12, 12, 8, 50)) {
        let problem = problem(&shape);
        let (solved, other) = (solve(&problem).solution, moves::solve(&problem));
        prop_assert_eq!(solved.cost, other.cost);
    }

    /// What one has looked at, those that are like it don't look at again.
    #[test]
    fn both_solvers_agree_where_groups_cost_the_same_but_for_a_constant(shape in shape(6, 10, 6, 20)) {
        let mut shape = shape;
        let costs: Vec<u32> = shape.1.first().into_iter().flat_map(|group| &group.2).map(|(cost, _)| *cost).collect();
        for (nth, group) in shape.1.iter_mut().enumerate() {
            for ((cost, fits), like) in group.2.iter_mut().zip(&costs) {
                (*cost, *fits) = (like + nth as u32 % 3, 1 + *fits);
            }
        }
        let problem = problem(&shape);
        prop_assert_eq!(solve(&problem).solution.cost, moves::solve(&problem).cost);
    }

    #[test]
    fn as_many_as_possible_are_placed_when_waiting_costs_most(shape in shape(6, 6, 4, 50)) {
        let mut shape = shape;
        shape.1.iter_mut().for_each(|group| group.1 = 1_000_000);
        let most = problem(&shape);
        // The same without any other cost: what is least is the number left over.
        shape.0.iter_mut().for_each(|worker| worker.1 = 0);
        shape.1.iter_mut().for_each(|group| { group.1 = 1; group.2.iter_mut().for_each(|offer| offer.0 = 0); });
        prop_assert_eq!(u64::from(solve(&most).solution.unplaced), moves::solve(&problem(&shape)).cost);
    }

    #[test]
    fn going_on_costs_what_a_fresh_start_costs(shape in shape(8, 8, 6, 50), other in shape(8, 8, 6, 50), gone in 0..8_usize) {
        let before = solve(&problem(&shape));
        let shift = |at: usize| (at != gone).then(|| if at > gone { at - 1 } else { at });
        let after = problem(&other);
        let start = before.start.moved(after.workers().len(), shift, shift);
        prop_assert_eq!(resolve(&after, &start).solution.cost, solve(&after).solution.cost);
    }
}

/// Numbers that look random and are the same in every run (splitmix64).
fn scrambled(number: u64) -> u64 {
    let mut x = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Groups for half of which there is room, of what all of them like more or less: as many as are sampled. Of every
/// ten groups one depends on `version`.
fn crowded(groups: u64, workers: u16, version: u64) -> Problem {
    let random = |kind: u64, of: u64, below: u64| scrambled(kind << 32 | of) % below;
    let side = |worker: u16| Worker {
        slots: 8 + random(1, worker.into(), 9) as u16,
        step: random(2, worker.into(), 3) as u32,
    };
    let mut problem = Problem::new((0..workers).map(side).collect()).unwrap();
    for group in 0..groups {
        let seed = if group % 10 == 0 { group + version * groups } else { group };
        let offers = (0..workers).filter(|worker| random(seed, u64::from(*worker) + 50_000, 8) > 0).map(|worker| {
            let liked = random(3, worker.into(), 60) + random(seed + 4, worker.into(), 5);
            Offer { worker, fits: 1 + random(seed + 5, worker.into(), 2) as u16, cost: liked as u32 }
        });
        let unplaced = if random(6, seed, 4) == 0 { 70 } else { 1_000_000 - seed };
        problem.add(Group { tasks: 1 + random(7, seed, 3) as u32, unplaced }, offers).unwrap();
    }
    problem
}

#[test]
fn prices_prove_that_large_solutions_are_the_best() {
    for (groups, workers) in [(400, 30), (400, 120), (2_000, 90)] {
        let problem = crowded(groups, workers, 0);
        let solved = solve(&problem);
        proof::check(&problem, &solved);
        let after = crowded(groups, workers, 1);
        let start = solved.start.moved(workers.into(), |group| (group % 10 != 0).then_some(group), Some);
        let again = resolve(&after, &start);
        proof::check(&after, &again);
        assert_eq!(again.solution.cost, solve(&after).solution.cost, "{groups} on {workers}");
    }
}

/// What an earlier solution is good for: what has not changed is not looked for again.
#[test]
fn going_on_reads_little() {
    let (problem, after) = (crowded(2_000, 90, 0), crowded(2_000, 90, 1));
    let solved = solve(&problem);
    assert_eq!(solve(&problem).solution, solved.solution);
    let again = resolve(&problem, &solved.start);
    assert_eq!((again.solution.cost, again.rows), (solved.solution.cost, 0));
    let start = solved.start.moved(90, |group| (group % 10 != 0).then_some(group), Some);
    let (on, anew) = (resolve(&after, &start).rows, solve(&after).rows);
    assert!(on < anew / 3, "{on} rows instead of {anew}");
}
