//! Tasks in an order in which each comes after those that it needs.

use std::collections::{BTreeSet, HashMap};

use quorate_types::TaskList;

/// Positions of the tasks; those that are free to come in any order keep theirs. Needs of a validated job have no
/// cycle; what had one would be left out.
pub fn in_order_of_needs(tasks: &TaskList) -> Vec<usize> {
    let positions: HashMap<&str, usize> = tasks.iter().enumerate().map(|(at, task)| (task.name.as_str(), at)).collect();
    let mut dependents = vec![Vec::new(); tasks.len()];
    let mut open = vec![0_usize; tasks.len()];
    for (at, task) in tasks.iter().enumerate() {
        let needed = task.needs.iter().filter_map(|need| positions.get(need.task()?.as_str()));
        for needed in needed {
            dependents[*needed].push(at);
            open[at] += 1;
        }
    }
    let mut free: BTreeSet<usize> = (0..tasks.len()).filter(|at| open[*at] == 0).collect();
    let mut order = Vec::with_capacity(tasks.len());
    while let Some(at) = free.pop_first() {
        order.push(at);
        for dependent in &dependents[at] {
            open[*dependent] -= 1;
            if open[*dependent] == 0 {
                free.insert(*dependent);
            }
        }
    }
    order
}
