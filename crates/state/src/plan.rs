//! The dependencies between a job's tasks, by position. Derived, and shared by all versions of a job; by all
//! jobs without any.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use quorate_types::{JobSpec, Name, Need, On, Span, TaskSpec};

use crate::gang::Gang;

#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Empty if no task needs another.
    needs: Vec<u32>,
    dependents: Vec<Vec<Edge>>,
    /// What the elements of a task wait for one by one.
    each: BTreeMap<u32, Vec<Edge>>,
    /// The tasks whose elements others wait for one by one.
    feeding: BTreeSet<u32>,
    /// The tasks that must not share a worker with one.
    apart: BTreeMap<u32, BTreeSet<u32>>,
    /// By each of its tasks.
    gangs: BTreeMap<u32, Arc<Gang>>,
    /// How long each task and the longest chain behind it will run.
    paths: Vec<Span>,
    /// The positions of all tasks, in the order of their names.
    by_name: Vec<u32>,
}

/// What stands for a run time that nobody knows: enough for the longer of two unknown chains to count as longer.
const UNKNOWN_RUN: Span = Span::from_secs(1);

/// From one task to another, with the end that the one must have for the other to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) task: u32,
    pub(crate) on: On,
    /// Element by element.
    pub(crate) each: bool,
}

static INDEPENDENT: LazyLock<Arc<Plan>> = LazyLock::new(Arc::default);

impl Plan {
    pub(crate) fn of(spec: &JobSpec) -> Arc<Self> {
        let needs = spec.tasks.iter().flat_map(|task| &task.needs).any(|need| need.task().is_some());
        let apart = |task: &TaskSpec| task.anti_affinity.iter().any(|one| one.task().is_some());
        match needs || spec.tasks.iter().any(|task| apart(task) || task.gang.is_some()) {
            false => INDEPENDENT.clone(),
            true => Arc::new(Self::new(spec)),
        }
    }

    /// How many tasks it needs as a whole.
    pub(crate) fn needs(&self, task: u32) -> u32 {
        self.needs.get(task as usize).copied().unwrap_or(0)
    }

    /// The tasks that need it.
    pub(crate) fn dependents(&self, task: u32) -> &[Edge] {
        self.dependents.get(task as usize).map_or(&[], Vec::as_slice)
    }

    /// The tasks whose elements it needs one by one.
    pub(crate) fn each(&self, task: u32) -> &[Edge] {
        self.each.get(&task).map_or(&[], Vec::as_slice)
    }

    /// Whether others wait for its elements one by one.
    pub(crate) fn feeds_elements(&self, task: u32) -> bool {
        self.feeding.contains(&task)
    }

    /// The tasks that must not share a worker with it, whichever of them says so.
    pub(crate) fn apart(&self, task: u32) -> impl Iterator<Item = u32> {
        self.apart.get(&task).into_iter().flatten().copied()
    }

    /// The gang that the task belongs to.
    pub(crate) fn gang(&self, task: u32) -> Option<&Arc<Gang>> {
        self.gangs.get(&task)
    }

    /// How long a task and the longest chain of tasks that wait for it, each for the one before, will run. Elements
    /// of one task count as running at once.
    pub(crate) fn path(&self, spec: &JobSpec, task: u32) -> Span {
        self.paths.get(task as usize).copied().unwrap_or_else(|| spec.tasks.get(task as usize).map_or(Span(0), run_of))
    }

    /// Where a task is that another one needs.
    pub(crate) fn position(&self, spec: &JobSpec, name: &Name) -> Option<u32> {
        let name_at = |at: &u32| spec.tasks.get(*at as usize).map(|task| &task.name);
        let found = self.by_name.binary_search_by(|at| name_at(at).cmp(&Some(name))).ok()?;
        self.by_name.get(found).copied()
    }

    fn new(spec: &JobSpec) -> Self {
        let positions: BTreeMap<&str, u32> = spec.tasks.iter().map(|task| task.name.as_str()).zip(0..).collect();
        let len = spec.tasks.len();
        let mut plan = Self { needs: vec![0; len], dependents: vec![Vec::new(); len], ..Self::default() };
        plan.by_name = positions.values().copied().collect();
        for (at, task) in (0u32..).zip(&spec.tasks) {
            for need in &task.needs {
                let Some(found) = need.task().and_then(|name| positions.get(name.as_str())) else { continue };
                let each = matches!(need, Need::Each { .. });
                plan.dependents[*found as usize].push(Edge { task: at, on: need.on(), each });
                if each {
                    plan.feeding.insert(*found);
                    plan.each.entry(at).or_default().push(Edge { task: *found, on: need.on(), each });
                } else {
                    plan.needs[at as usize] += 1;
                }
            }
        }
        plan.apart = spec.apart();
        plan.gangs = Gang::all_of(spec);
        plan.paths = plan.longest_paths(spec);
        plan
    }

    /// Backwards from the tasks for which nobody waits, each when all behind it are known (Kahn 1962). What stands in
    /// a cycle, which no valid job has, would keep its own time.
    fn longest_paths(&self, spec: &JobSpec) -> Vec<Span> {
        let mut before = vec![Vec::new(); spec.tasks.len()];
        let mut open: Vec<usize> = self.dependents.iter().map(Vec::len).collect();
        for (at, edges) in self.dependents.iter().enumerate() {
            edges.iter().for_each(|edge| before[edge.task as usize].push(at));
        }
        let mut paths: Vec<Span> = spec.tasks.iter().map(run_of).collect();
        let mut longest = paths.clone();
        let mut known: Vec<usize> = (0..open.len()).filter(|at| open[*at] == 0).collect();
        while let Some(at) = known.pop() {
            paths[at] = longest[at];
            for needed in &before[at] {
                let through = Span(run_of(&spec.tasks[*needed]).0.saturating_add(paths[at].0));
                longest[*needed] = longest[*needed].max(through);
                open[*needed] -= 1;
                if open[*needed] == 0 {
                    known.push(*needed);
                }
            }
        }
        paths
    }
}

/// What is expected, else the limit.
fn run_of(task: &TaskSpec) -> Span {
    task.expected.or(task.timeout).unwrap_or(UNKNOWN_RUN)
}
