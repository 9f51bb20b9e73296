//! What a job has gained while it ran: tasks, and the dependencies between them and the others. Derived from the
//! extensions, which are part of the state. One more costs what it brings, and a copy of each
//! old task that comes to need something of it, however large the job is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use imbl::{OrdMap, OrdSet, Vector};
use quorate_types::{JobSpec, Name, Need, NewTask, Span, TaskSpec};
use serde::{Deserialize, Serialize};

use crate::job::{Job, Task, TaskHead};
use crate::plan::{Edge, run_of};

/// What one attempt added to its job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Extended {
    /// The task whose success brought it.
    pub(crate) by: u32,
    pub(crate) tasks: Vec<NewTask>,
    /// What it takes, as counted against the limit.
    pub(crate) bytes: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Growth {
    /// As they came.
    extensions: Vector<Arc<Extended>>,
    /// From a task that is needed to one that needs it.
    dependents: OrdSet<(u32, Edge)>,
    /// From a task to one of whose elements its own wait one by one.
    each: OrdSet<(u32, Edge)>,
    feeding: OrdSet<u32>,
    /// How many tasks one needs as a whole, besides what it was submitted with.
    needs: OrdMap<u32, u32>,
    apart: OrdSet<(u32, u32)>,
    paths: OrdMap<u32, Span>,
    positions: OrdMap<Name, u32>,
    /// How many there are, those of the submission included.
    edges: usize,
    bytes: u64,
}

/// What there is at a position; all that comes of a task is in one range.
fn of<T: Copy + Ord>(set: &OrdSet<(u32, T)>, task: u32, least: T) -> impl Iterator<Item = T> {
    set.range((task, least)..).take_while(move |(at, _)| *at == task).map(|(_, found)| *found)
}

impl Growth {
    pub(crate) fn extensions(&self) -> impl Iterator<Item = &Arc<Extended>> {
        self.extensions.iter()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn edges(&self) -> usize {
        self.edges
    }

    pub(crate) fn needs(&self, task: u32) -> u32 {
        self.needs.get(&task).copied().unwrap_or(0)
    }

    pub(crate) fn dependents(&self, task: u32) -> impl Iterator<Item = Edge> {
        of(&self.dependents, task, Edge::LEAST)
    }

    pub(crate) fn each(&self, task: u32) -> impl Iterator<Item = Edge> {
        of(&self.each, task, Edge::LEAST)
    }

    pub(crate) fn feeds_elements(&self, task: u32) -> bool {
        self.feeding.contains(&task)
    }

    pub(crate) fn apart(&self, task: u32) -> impl Iterator<Item = u32> {
        of(&self.apart, task, 0)
    }

    pub(crate) fn path(&self, task: u32) -> Option<Span> {
        self.paths.get(&task).copied()
    }

    pub(crate) fn position(&self, name: &Name) -> Option<u32> {
        self.positions.get(name).copied()
    }

    /// `edges`: how many the job had when it was submitted.
    pub(crate) fn begin(&mut self, edges: usize) {
        if self.extensions.is_empty() {
            self.edges = edges;
        }
    }

    /// Takes up tasks, of which the first one is at `from`. `known` tells where the others are, and how long the chains
    /// behind them run.
    pub(crate) fn add(
        &mut self,
        from: u32,
        extended: Arc<Extended>,
        known: impl Fn(&Name) -> Option<u32>,
        path: impl Fn(u32) -> Span,
    ) {
        for (at, new) in (from..).zip(&extended.tasks) {
            self.positions.insert(new.spec.name.clone(), at);
            self.edges += new.spec.needs.len() + new.before.len();
        }
        let mut behind: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for (at, new) in (from..).zip(&extended.tasks) {
            let find = |name: &Name| self.positions.get(name).copied().or_else(|| known(name));
            let needed = new.spec.needs.iter().filter_map(|need| Some((find(need.task()?)?, need)));
            let needed: Vec<(u32, &Need)> = needed.collect();
            let before = new.before.iter().filter_map(|need| Some((find(need.task()?)?, need)));
            let before: Vec<(u32, &Need)> = before.collect();
            let apart = new.spec.anti_affinity.iter().filter_map(|one| find(one.task()?));
            let apart: Vec<u32> = apart.collect();
            for (other, need) in needed {
                self.link(other, at, need);
                behind.entry(other).or_default().insert(at);
            }
            for (other, need) in before {
                self.link(at, other, need);
                behind.entry(at).or_default().insert(other);
            }
            for other in apart {
                self.apart.insert((at, other));
                self.apart.insert((other, at));
            }
        }
        self.note_paths(from, &extended.tasks, &behind, path);
        // From a damaged record it may be anything.
        self.bytes = self.bytes.saturating_add(extended.bytes);
        self.extensions.push_back(extended);
    }

    fn link(&mut self, needed: u32, needing: u32, need: &Need) {
        let (on, each) = (need.on(), matches!(need, Need::Each { .. }));
        self.dependents.insert((needed, Edge { task: needing, on, each }));
        if each {
            self.each.insert((needing, Edge { task: needed, on, each }));
            self.feeding.insert(needed);
        } else {
            *self.needs.entry(needing).or_default() += 1;
        }
    }

    /// The chains behind the new tasks. Those behind the old ones stay as they were: to follow them all would cost as
    /// much as the job is large, for what is a hint to a policy.
    fn note_paths(
        &mut self,
        from: u32,
        tasks: &[NewTask],
        behind: &BTreeMap<u32, BTreeSet<u32>>,
        path: impl Fn(u32) -> Span,
    ) {
        let end = from + tasks.len() as u32;
        // Each when all behind it are known.
        let mut open: Vec<(u32, bool)> = (from..end).map(|at| (at, false)).collect();
        let mut seen = BTreeSet::new();
        while let Some((at, ready)) = open.pop() {
            if self.paths.contains_key(&at) {
                continue;
            }
            let next = behind.get(&at).into_iter().flatten().copied();
            if !ready && seen.insert(at) {
                open.push((at, true));
                open.extend(next.filter(|next| (from..end).contains(next)).map(|next| (next, false)));
                continue;
            }
            let longest = next.map(|next| self.paths.get(&next).copied().unwrap_or_else(|| path(next))).max();
            let own: &TaskSpec = &tasks[(at - from) as usize].spec;
            self.paths.insert(at, Span(run_of(own).0.saturating_add(longest.unwrap_or_default().0)));
        }
    }
}

impl Job {
    /// Takes up more tasks, after all others. Sums are the caller's.
    pub(crate) fn gain(&mut self, extended: &Arc<Extended>) {
        let (from, submitted) = (self.tasks.len(), self.plan.clone());
        let earlier = self.spec.clone();
        if submitted.growth().is_none() {
            self.plan.growth_mut().begin(earlier.tasks.edges());
        }
        self.plan.growth_mut().add(
            from,
            extended.clone(),
            |name| submitted.position(&earlier, name),
            |task| submitted.path(&earlier, task),
        );
        let spec = Arc::make_mut(&mut self.spec);
        for (at, new) in (from..).zip(&extended.tasks) {
            spec.tasks.push(new.spec.clone());
            self.tasks.push(Task { head: TaskHead::new(&new.spec, self.plan.needs(at)), ..Task::default() });
        }
        for new in &extended.tasks {
            for need in &new.before {
                let Some(at) = need.task().and_then(|name| submitted.position(&earlier, name)) else { continue };
                spec.tasks.add_need(at as usize, Need::Task { task: new.spec.name.clone(), on: need.on() });
                if let Some(task) = self.tasks.get_mut(at) {
                    task.head.open_needs += 1;
                }
            }
        }
    }

    /// The specification without what it has gained.
    pub(crate) fn submitted_spec(&self) -> Arc<JobSpec> {
        match self.plan.growth() {
            Some(_) => Arc::new(JobSpec { tasks: self.spec.tasks.submitted(), ..JobSpec::clone(&self.spec) }),
            None => self.spec.clone(),
        }
    }

    /// Gives up what it has gained. Sums of elements are the caller's.
    pub(crate) fn give_up_gains(&mut self) {
        let Some(growth) = self.plan.growth() else { return };
        self.header.spec_bytes -= growth.bytes();
        let spec = Arc::make_mut(&mut self.spec);
        spec.tasks = spec.tasks.submitted();
        self.plan = self.plan.submitted();
        self.tasks.truncate(self.spec.tasks.len() as u32);
        self.header.counts.total = self.spec.elements();
    }
}
