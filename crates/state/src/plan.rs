//! The dependencies between a job's tasks, by position. Derived, and shared by all versions of a job; by all small
//! jobs without any. What a job gains while it runs is beside it, in `growth`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use quorate_types::service::Kind;
use quorate_types::{JobSpec, Name, Need, On, Span, TaskSpec};

use crate::gang::Gang;
use crate::growth::Growth;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    submitted: Arc<Submitted>,
    growth: Option<Arc<Growth>>,
}

/// The dependencies as they were submitted.
#[derive(Debug, Default)]
struct Submitted {
    /// Empty if no task needs another.
    needs: Vec<u32>,
    /// Of all tasks, in the order of the tasks that are needed.
    dependents: Vec<Edge>,
    /// Where those of each task begin; and the end.
    starts: Vec<u32>,
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
    names: Names,
}

/// Where which task is: the positions in the order of a hash of the names, since a job may have a million needs to
/// look up, and texts are far apart in memory. Names of one hash stand in their own order, so that no choice of names
/// makes it slow. Empty if they are few.
#[derive(Debug, Default)]
struct Names(Vec<(u32, u32)>);

/// Names are sought one by one among so few tasks.
const FEW: usize = 8;

/// What stands for a run time that nobody knows: enough for the longer of two unknown chains to count as longer.
pub(crate) const UNKNOWN_RUN: Span = Span::from_secs(1);

/// From one task to another, with the end that the one must have for the other to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Edge {
    pub(crate) task: u32,
    pub(crate) on: On,
    /// Element by element.
    pub(crate) each: bool,
}

impl Edge {
    /// The first one in order.
    pub(crate) const LEAST: Self = Self { task: 0, on: On::Success, each: false };
}

static INDEPENDENT: LazyLock<Arc<Submitted>> = LazyLock::new(Arc::default);

impl Plan {
    /// Of a job as it was submitted.
    pub(crate) fn of(spec: &JobSpec) -> Self {
        let needs = spec.tasks.iter().flat_map(|task| &task.needs).any(|need| need.task().is_some());
        let apart = |task: &TaskSpec| task.anti_affinity.iter().any(|one| one.task().is_some());
        let related =
            needs || spec.kind() == Kind::System || spec.tasks.iter().any(|task| apart(task) || task.gang.is_some());
        let submitted = match related {
            true => Arc::new(Submitted::of(spec)),
            false if spec.tasks.len() > FEW => Arc::new(Submitted { names: Names::of(spec), ..Submitted::default() }),
            false => INDEPENDENT.clone(),
        };
        Self { submitted, growth: None }
    }

    pub(crate) fn growth(&self) -> Option<&Growth> {
        self.growth.as_deref()
    }

    pub(crate) fn growth_mut(&mut self) -> &mut Growth {
        Arc::make_mut(self.growth.get_or_insert_default())
    }

    /// Without what was gained.
    pub(crate) fn submitted(&self) -> Self {
        Self { submitted: self.submitted.clone(), growth: None }
    }

    /// How many tasks it needs as a whole.
    pub(crate) fn needs(&self, task: u32) -> u32 {
        let gained = self.growth.as_ref().map_or(0, |growth| growth.needs(task));
        self.submitted.needs.get(task as usize).copied().unwrap_or(0) + gained
    }

    /// The tasks that need it.
    pub(crate) fn dependents(&self, task: u32) -> impl Iterator<Item = Edge> {
        let gained = self.growth.as_ref().into_iter().flat_map(move |growth| growth.dependents(task));
        self.submitted.dependents(task).iter().copied().chain(gained)
    }

    /// The tasks whose elements it needs one by one.
    pub(crate) fn each(&self, task: u32) -> impl Iterator<Item = Edge> {
        let submitted = self.submitted.each.get(&task).into_iter().flatten().copied();
        submitted.chain(self.growth.as_ref().into_iter().flat_map(move |growth| growth.each(task)))
    }

    /// Whether others wait for its elements one by one.
    pub(crate) fn feeds_elements(&self, task: u32) -> bool {
        self.submitted.feeding.contains(&task) || self.growth.as_ref().is_some_and(|growth| growth.feeds_elements(task))
    }

    /// The tasks that must not share a worker with it, whichever of them says so.
    pub(crate) fn apart(&self, task: u32) -> impl Iterator<Item = u32> {
        let submitted = self.submitted.apart.get(&task).into_iter().flatten().copied();
        submitted.chain(self.growth.as_ref().into_iter().flat_map(move |growth| growth.apart(task)))
    }

    /// The gang that the task belongs to.
    pub(crate) fn gang(&self, task: u32) -> Option<&Arc<Gang>> {
        self.submitted.gangs.get(&task)
    }

    /// How long a task and the longest chain of tasks that wait for it, each for the one before, will run. Elements
    /// of one task count as running at once.
    pub(crate) fn path(&self, spec: &JobSpec, task: u32) -> Span {
        let submitted = self.submitted.paths.get(task as usize).copied();
        let known = submitted.or_else(|| self.growth.as_ref()?.path(task));
        known.unwrap_or_else(|| spec.tasks.get(task as usize).map_or(Span(0), run_of))
    }

    /// Where a task is.
    pub(crate) fn position(&self, spec: &JobSpec, name: &Name) -> Option<u32> {
        self.submitted.names.find(spec, name).or_else(|| self.growth.as_ref()?.position(name))
    }
}

impl Names {
    fn of(spec: &JobSpec) -> Self {
        let hashed = spec.tasks.iter().map(|task| hash(&task.name)).zip(0..);
        let mut names: Vec<(u32, u32)> = hashed.collect();
        names.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| name_at(spec, a.1).cmp(&name_at(spec, b.1))));
        Self(names)
    }

    fn find(&self, spec: &JobSpec, name: &Name) -> Option<u32> {
        if self.0.is_empty() {
            let few = (0..).zip(spec.tasks.iter().take(FEW));
            return few.into_iter().find(|(_, task)| task.name == *name).map(|(at, _)| at);
        }
        let wanted = hash(name);
        let order = |(hash, at): &(u32, u32)| hash.cmp(&wanted).then_with(|| name_at(spec, *at).cmp(&Some(name)));
        let found = self.0.binary_search_by(order).ok()?;
        self.0.get(found).map(|(_, at)| *at)
    }
}

fn name_at(spec: &JobSpec, at: u32) -> Option<&Name> {
    spec.tasks.get(at as usize).map(|task| &task.name)
}

fn hash(name: &Name) -> u32 {
    (xxhash_rust::xxh3::xxh3_64(name.as_bytes()) >> 32) as u32
}

impl Submitted {
    fn dependents(&self, task: u32) -> &[Edge] {
        let at = task as usize;
        let bounds = self.starts.get(at).zip(self.starts.get(at + 1));
        bounds.map_or(&[], |(from, to)| &self.dependents[*from as usize..*to as usize])
    }

    fn of(spec: &JobSpec) -> Self {
        let len = spec.tasks.len();
        let mut plan = Self { needs: vec![0; len], names: Names::of(spec), ..Self::default() };
        let mut edges: Vec<(u32, Edge)> = Vec::new();
        for (at, task) in (0u32..).zip(&spec.tasks) {
            for need in &task.needs {
                let Some(found) = need.task().and_then(|name| plan.names.find(spec, name)) else { continue };
                let each = matches!(need, Need::Each { .. });
                edges.push((found, Edge { task: at, on: need.on(), each }));
                if each {
                    plan.feeding.insert(found);
                    plan.each.entry(at).or_default().push(Edge { task: found, on: need.on(), each });
                } else {
                    plan.needs[at as usize] += 1;
                }
            }
        }
        plan.group(&edges);
        plan.apart = spec.apart();
        plan.gangs = Gang::all_of(spec);
        let run = |at: u32| spec.tasks.get(at as usize).map_or(Span(0), run_of);
        plan.paths = longest_paths(len as u32, |at| plan.dependents(at).iter().copied(), run);
        plan
    }

    /// Orders edges by the task that is needed: a million of them, of which each has its place known from counting.
    fn group(&mut self, edges: &[(u32, Edge)]) {
        let Some((_, some)) = edges.first() else { return };
        let mut starts = vec![0; self.needs.len() + 1];
        edges.iter().for_each(|(needed, _)| starts[*needed as usize + 1] += 1);
        (1..starts.len()).for_each(|at| starts[at] += starts[at - 1]);
        let mut next = starts.clone();
        self.dependents = vec![*some; edges.len()];
        for (needed, edge) in edges {
            let place = &mut next[*needed as usize];
            self.dependents[*place as usize] = *edge;
            *place += 1;
        }
        self.starts = starts;
    }
}

/// How long each task and the longest chain behind it will run. Backwards from the tasks for which nobody waits, each
/// when all behind it are known (Kahn 1962). What stands in a cycle, which no valid job has, would keep its own time.
pub(crate) fn longest_paths<D: Iterator<Item = Edge>>(
    tasks: u32,
    dependents: impl Fn(u32) -> D,
    run: impl Fn(u32) -> Span,
) -> Vec<Span> {
    let (mut before, mut open) = (vec![Vec::new(); tasks as usize], vec![0_usize; tasks as usize]);
    for at in 0..tasks {
        for edge in dependents(at) {
            before[edge.task as usize].push(at as usize);
            open[at as usize] += 1;
        }
    }
    let own: Vec<Span> = (0..tasks).map(run).collect();
    let (mut paths, mut longest) = (own.clone(), own.clone());
    let mut known: Vec<usize> = (0..open.len()).filter(|at| open[*at] == 0).collect();
    while let Some(at) = known.pop() {
        paths[at] = longest[at];
        for needed in &before[at] {
            longest[*needed] = longest[*needed].max(Span(own[*needed].0.saturating_add(paths[at].0)));
            open[*needed] -= 1;
            if open[*needed] == 0 {
                known.push(*needed);
            }
        }
    }
    paths
}

/// What is expected, else the limit.
pub(crate) fn run_of(task: &TaskSpec) -> Span {
    task.expected.or(task.timeout).unwrap_or(UNKNOWN_RUN)
}
