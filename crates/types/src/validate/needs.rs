//! What tasks need of each other: everything that is named is there, and nothing goes round in a circle.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::{Complaints, Shape};
use crate::job::TaskSpec;
use crate::name::Name;
use crate::need::Need;

impl Complaints {
    pub(super) fn check_needs(&mut self, tasks: &[TaskSpec], shape: Shape) {
        let mut positions: HashMap<&str, usize> = HashMap::with_capacity(tasks.len());
        for (at, task) in tasks.iter().enumerate() {
            if positions.insert(task.name.as_str(), at).is_some() {
                self.add(shape.place(at, "name"), format!("another task is called {:?} already", task.name.as_str()));
            }
        }
        let graph: Vec<Vec<(usize, usize)>> =
            (0..tasks.len()).map(|at| self.needs_of(at, shape, tasks, &positions)).collect();
        if self.0.is_empty()
            && let Some((at, nth)) = find_cycle(&graph)
        {
            let need = tasks[at].needs[nth].task().map_or("", Name::as_str);
            let names = format!("{:?} and {need:?}", tasks[at].name.as_str());
            self.add(shape.place(at, format_args!("needs/{nth}")), format!("{names} need each other in a cycle"));
        }
    }

    /// The tasks of the job that one needs, each with its place among the needs.
    fn needs_of(
        &mut self,
        at: usize,
        shape: Shape,
        tasks: &[TaskSpec],
        positions: &HashMap<&str, usize>,
    ) -> Vec<(usize, usize)> {
        let task = &tasks[at];
        let mut found: Vec<(usize, usize)> = Vec::with_capacity(task.needs.len());
        let (mut jobs, mut seen) = (BTreeSet::new(), HashSet::with_capacity(task.needs.len()));
        for (nth, need) in task.needs.iter().enumerate() {
            let place = || shape.place(at, format_args!("needs/{nth}"));
            let name = match need {
                Need::Task { task, .. } | Need::Each { task, .. } => task,
                Need::Job { .. } if shape == Shape::Extension => {
                    self.add(place(), "a new task can't wait for other jobs");
                    continue;
                }
                Need::Job { job, .. } => {
                    if !jobs.insert(job) {
                        self.add(place(), format!("job {job} is named twice"));
                    }
                    continue;
                }
            };
            if !seen.insert(name) {
                self.add(place(), format!("{:?} is named twice", name.as_str()));
                continue;
            }
            match positions.get(name.as_str()) {
                Some(other) if matches!(need, Need::Each { .. }) && tasks[*other].count != task.count => {
                    let (theirs, ours) = (tasks[*other].count, task.count);
                    self.add(
                        place(),
                        format!("each needs as many elements: {:?} has {theirs}, not {ours}", name.as_str()),
                    );
                }
                Some(other) => found.push((*other, nth)),
                None if shape == Shape::Extension => {}
                None => self.add(place(), format!("no task is called {:?}", name.as_str())),
            }
        }
        found
    }
}

/// An edge of a cycle as (task, position in its needs), by Kahn's topological sort: what is left
/// when no task without open needs is left contains a cycle.
fn find_cycle(needs: &[Vec<(usize, usize)>]) -> Option<(usize, usize)> {
    let mut open: Vec<usize> = needs.iter().map(Vec::len).collect();
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); needs.len()];
    for (at, of) in needs.iter().enumerate() {
        for (need, _) in of {
            dependents[*need].push(at);
        }
    }
    let mut ready: Vec<usize> = (0..needs.len()).filter(|at| open[*at] == 0).collect();
    while let Some(done) = ready.pop() {
        for dependent in &dependents[done] {
            open[*dependent] -= 1;
            if open[*dependent] == 0 {
                ready.push(*dependent);
            }
        }
    }
    // Every task that is left has a need that is left too: walking along them ends in a circle.
    let mut at = (0..needs.len()).find(|at| open[*at] > 0)?;
    for _ in 0..needs.len() {
        at = needs[at].iter().find(|(need, _)| open[*need] > 0)?.0;
    }
    needs[at].iter().find(|(need, _)| open[*need] > 0).map(|(_, nth)| (at, *nth))
}
