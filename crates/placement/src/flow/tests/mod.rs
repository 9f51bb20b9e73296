//! The auction against successive shortest paths and brute force.

mod brute;
mod paths;

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
        prop_assert_eq!(paths::solve(&problem).cost, least);
    }

    #[test]
    fn both_solvers_agree(shape in shape(12, 12, 8, 50)) {
        let problem = problem(&shape);
        let (solved, other) = (solve(&problem).solution, paths::solve(&problem));
        prop_assert_eq!(solved.cost, other.cost);
    }

    #[test]
    fn as_many_as_possible_are_placed_when_waiting_costs_most(shape in shape(6, 6, 4, 50)) {
        let mut shape = shape;
        shape.1.iter_mut().for_each(|group| group.1 = 1_000_000);
        let most = problem(&shape);
        // The same without any other cost: what is least is the number left over.
        shape.0.iter_mut().for_each(|worker| worker.1 = 0);
        shape.1.iter_mut().for_each(|group| { group.1 = 1; group.2.iter_mut().for_each(|offer| offer.0 = 0); });
        prop_assert_eq!(u64::from(solve(&most).solution.unplaced), paths::solve(&problem(&shape)).cost);
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

#[test]
fn the_same_problem_again_takes_few_bids() {
    let mut problem = Problem::new(vec![Worker { slots: 3, step: 0 }; 20]).unwrap();
    for group in 0..50_u32 {
        let offers = (0..20_u16).map(|worker| Offer { worker, fits: 1, cost: group * u32::from(worker) % 17 });
        problem.add(Group { tasks: 1, unplaced: 1_000 }, offers).unwrap();
    }
    let solved = solve(&problem);
    assert_eq!(solve(&problem).solution, solved.solution);
    let again = resolve(&problem, &solved.start);
    assert_eq!(again.solution.cost, solved.solution.cost);
    assert!(again.bids < solved.bids / 4, "{} of {}", again.bids, solved.bids);
}
