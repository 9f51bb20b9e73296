//! What a replay makes of the cluster: machines, what runs on them, and what waits.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use quorate_sim::lab::input::in_order_of_needs;
use quorate_sim::lab::{Company, Constraints, Job, Kin, Machine, Scene, Underway};
use quorate_types::api::{JobView, TaskView};
use quorate_types::job::{JobSpec, TaskSpec};
use quorate_types::status::{TaskState, WorkerState};
use quorate_types::{JobId, Labels, Name, Need, Resources, Span, Timestamp};

use super::read::{Live, LiveJob, owner};
use crate::args::MachineArgs;
use crate::commands::simulate::machines;
use crate::exit::Failure;

/// Ids in the needs of all that waits: each element of an array needs every element of another.
const LIVE_NEEDS_MAX: usize = 10_000_000;
/// How long a task takes of which nothing is known.
pub(super) const ASSUMED: Span = Span::from_secs(600);

/// What will be replayed.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) scene: Scene,
    pub(super) machines: Vec<Machine>,
    pub(super) waiting: Vec<Job>,
    /// `JOB/TASK/INDEX` of each job of the replay, from 1 on.
    pub(super) labels: Vec<String>,
    /// To which of the cluster's jobs each belongs, in the same order.
    pub(super) owners: Vec<JobId>,
    /// The names of the cluster's jobs.
    pub(super) names: BTreeMap<JobId, String>,
    /// Elements that would wait for ever, of each task of each job.
    pub(super) never: BTreeMap<(JobId, Name), u64>,
    /// Jobs of the replay that run now and would start again, since their worker is lost.
    pub(super) again: HashSet<u64>,
    assumed: (u64, Span),
    paused: usize,
}

/// Where the elements of the tasks of a job are, by task: their ids, or none where they have ended.
type Elements = BTreeMap<Name, Vec<Option<u64>>>;

impl Plan {
    /// `assume`: how long a task takes of which nothing is known.
    pub(super) fn of(live: &Live, args: &MachineArgs, assume: Option<Span>) -> Result<Self, Failure> {
        let (machines, closed) = stage(live, args)?;
        let plan = Self {
            scene: Scene { now: live.now, closed, rules: live.rules.clone(), ..Scene::default() },
            machines,
            waiting: Vec::new(),
            labels: Vec::new(),
            owners: Vec::new(),
            names: BTreeMap::new(),
            never: BTreeMap::new(),
            again: HashSet::new(),
            assumed: (0, assume.unwrap_or(ASSUMED)),
            paused: live.paused,
        };
        let positions = (0_u32..).zip(&plan.machines).map(|(at, machine)| (machine.name.clone(), at)).collect();
        let mut builder = Builder {
            live,
            plan,
            positions,
            stuck: HashSet::new(),
            later: BTreeMap::new(),
            jobs: BTreeMap::new(),
            needs: 0,
        };
        live.jobs.iter().try_for_each(|job| builder.add(job))?;
        Ok(builder.plan)
    }

    /// What a reader of the figures should know.
    pub(super) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let (assumed, span) = self.assumed;
        if assumed > 0 {
            notes.push(format!("{assumed} tasks of which nothing is known count as {span}: --assume says otherwise"));
        }
        if self.paused > 0 {
            notes.push(format!("left out: {} paused jobs", self.paused));
        }
        notes
    }

    /// What a report says above its figures.
    pub(super) fn words(&self) -> Vec<String> {
        let head =
            format!("{} tasks run, {} wait, at {}", self.scene.running.len(), self.waiting.len(), self.scene.now);
        [vec![head], self.notes()].concat()
    }
}

/// The workers with what is added, without what is lost; and which of them take nothing new.
fn stage(live: &Live, args: &MachineArgs) -> Result<(Vec<Machine>, BTreeSet<u32>), Failure> {
    let there = live.workers.iter().filter(|worker| matches!(worker.state, WorkerState::Ready | WorkerState::Draining));
    let there: Vec<Machine> = there.map(machines::of_worker).collect();
    if let Some(name) = args.drain.iter().find(|name| there.iter().all(|machine| machine.name != **name)) {
        return Err(Failure::Usage(format!("--drain {name}: there is no such worker")));
    }
    let machines = machines::changed(there, &MachineArgs { drain: Vec::new(), ..args.clone() })?;
    let draining = live.workers.iter().filter(|worker| worker.state == WorkerState::Draining).map(|w| &w.name);
    let draining: BTreeSet<&Name> = draining.chain(&args.drain).collect();
    let closed = (0_u32..).zip(&machines).filter(|(_, machine)| draining.contains(&machine.name));
    let closed = closed.map(|(at, _)| at).collect();
    Ok((machines, closed))
}

struct Builder<'a> {
    live: &'a Live,
    plan: Plan,
    /// Of the machines, by name.
    positions: BTreeMap<Name, u32>,
    /// What would wait for ever.
    stuck: HashSet<u64>,
    /// What begins to wait later, and when.
    later: BTreeMap<u64, Timestamp>,
    jobs: BTreeMap<JobId, Elements>,
    needs: usize,
}

/// Where all elements of a task may run, and under what they are counted.
struct Place {
    kin: Kin,
    constraints: Option<Arc<Constraints>>,
    company: Option<Arc<Company>>,
}

/// An element that is about to become a job of the replay.
#[derive(Clone, Copy)]
struct Element<'a> {
    job: &'a JobView,
    spec: &'a JobSpec,
    task: &'a TaskSpec,
    index: usize,
    /// Whether a worker that takes new tasks is large enough, and what the task requires, and so is the limit of its
    /// namespace.
    fits: bool,
    place: &'a Place,
    view: Option<&'a TaskView>,
}

impl Builder<'_> {
    fn add(&mut self, job: &LiveJob) -> Result<(), Failure> {
        let Some(spec) = job.view.spec.clone() else { return Ok(()) };
        let known: BTreeMap<(&Name, u32), &TaskView> =
            job.tasks.iter().map(|task| ((&task.task, task.index.0), task)).collect();
        self.plan.names.insert(job.view.id, job.view.name.to_string());
        self.jobs.insert(job.view.id, Elements::new());
        let apart = spec.apart();
        for at in in_order_of_needs(&spec.tasks) {
            let task = &spec.tasks[at];
            let apart = apart.get(&(at as u32)).into_iter().flatten().copied().collect();
            let kin = Kin { job: job.view.id.0, task: at as u32 };
            let company = Company::of(&spec, task).map(Arc::new);
            let place = &Place { kin, constraints: Constraints::of(task, apart), company };
            let rules = self.live.rules.get(&job.view.namespace);
            let may_start = rules.is_none_or(|rules| rules.limit.fits(&task.resources, &Resources::default()));
            let fits = may_start && self.fits_somewhere(task);
            let mut ids = Vec::new();
            for index in 0..task.count {
                let view = known.get(&(&task.name, index)).copied();
                let element = Element { job: &job.view, spec: &spec, task, index: index as usize, fits, place, view };
                let ended = view.is_some_and(|view| view.state.is_finished());
                ids.push(if ended { None } else { Some(self.element(element)?) });
            }
            if let Some(elements) = self.jobs.get_mut(&job.view.id) {
                elements.insert(task.name.clone(), ids);
            }
        }
        Ok(())
    }

    fn element(&mut self, element: Element<'_>) -> Result<u64, Failure> {
        let id = self.plan.labels.len() as u64 + 1;
        let Element { job, task, index, .. } = element;
        self.plan.labels.push(format!("{}/{}/{index}", job.id, task.name));
        self.plan.owners.push(job.id);
        let run = self.takes(element);
        if let Some((machine, started)) = self.place(element) {
            self.underway(id, element, machine, started, run);
            return Ok(id);
        }
        if element.view.is_some_and(|view| matches!(view.state, TaskState::Assigned | TaskState::Running)) {
            self.plan.again.insert(id);
        }
        let needs = self.needs_of(element)?;
        if !element.fits || needs.iter().any(|need| self.stuck.contains(need)) {
            self.stuck.insert(id);
            *self.plan.never.entry((job.id, task.name.clone())).or_default() += 1;
            return Ok(id);
        }
        let submitted = self.since(element, &needs);
        if submitted > self.live.now {
            self.later.insert(id, submitted);
        }
        self.plan.waiting.push(Job { needs, submitted, ..replayed(id, element, run) });
        Ok(id)
    }

    /// On which machine it runs, and since when; none if it waits, or its worker is not there.
    fn place(&self, element: Element<'_>) -> Option<(u32, Timestamp)> {
        let view = element.view.filter(|view| matches!(view.state, TaskState::Assigned | TaskState::Running))?;
        let worker = view.worker.as_ref()?;
        let machine = *self.positions.get(worker)?;
        let started = view.attempts.last().and_then(|attempt| attempt.started_at).unwrap_or(self.live.now);
        Some((machine, started.min(self.live.now)))
    }

    fn underway(&mut self, id: u64, element: Element<'_>, machine: u32, started: Timestamp, run: Span) {
        let elapsed = self.live.now.since(started);
        let run = if elapsed < run { run } else { longer(elapsed, element.task.timeout) };
        let job = Job { submitted: element.job.submitted_at.min(started), ..replayed(id, element, run) };
        self.plan.scene.running.push(Underway { job, machine, started });
    }

    /// How long it takes by the best that is known: what its user expects, what was learned of its like, its timeout.
    fn takes(&mut self, element: Element<'_>) -> Span {
        let Element { job, task, .. } = element;
        let known = task.expected.or_else(|| self.live.learned.of(job, &task.name)).or(task.timeout);
        let known = known.unwrap_or_else(|| {
            self.plan.assumed.0 += 1;
            self.plan.assumed.1
        });
        Span(task.timeout.map_or(known, |timeout| known.min(timeout)).0.max(1))
    }

    fn fits_somewhere(&self, task: &TaskSpec) -> bool {
        let open = (0_u32..).zip(&self.plan.machines).filter(|(at, _)| !self.plan.scene.closed.contains(at));
        open.map(|(_, machine)| machine).any(|machine| {
            let labels = Labels { worker: &machine.name, labels: &machine.labels };
            task.resources.fits(&machine.capacity)
                && task.suits(labels, &machine.taints)
                && task.spread.iter().all(|spread| labels.get(&spread.label).is_some())
        })
    }

    /// Since when it waits, or when it will begin to: not before what it needs, which must be known by then.
    fn since(&self, element: Element<'_>, needs: &[u64]) -> Timestamp {
        let submitted = element.job.submitted_at;
        let start = element.spec.start_after.map(|when| when.resolve(submitted));
        let start = start.filter(|start| *start > self.live.now).unwrap_or(submitted);
        needs.iter().filter_map(|need| self.later.get(need)).fold(start, |start, later| start.max(*later))
    }

    fn needs_of(&mut self, element: Element<'_>) -> Result<Vec<u64>, Failure> {
        let own = self.jobs.get(&element.job.id);
        let mut ids: Vec<u64> = Vec::new();
        for need in &element.task.needs {
            match need {
                Need::Task { task, .. } => {
                    ids.extend(own.and_then(|own| own.get(task)).into_iter().flatten().flatten())
                }
                Need::Each { task, .. } => {
                    ids.extend(own.and_then(|own| own.get(task)?.get(element.index).copied().flatten()));
                }
                Need::Job { job, .. } => {
                    ids.extend(self.jobs.get(job).into_iter().flat_map(BTreeMap::values).flatten().flatten());
                }
            }
        }
        self.needs += ids.len();
        if self.needs > LIVE_NEEDS_MAX {
            return Err(Failure::Usage(format!(
                "--now: tasks that wait need more than {LIVE_NEEDS_MAX} others in all"
            )));
        }
        Ok(ids)
    }
}

/// What has run for longer than was known runs as long again, but not beyond its timeout: as placement expects it.
fn longer(elapsed: Span, timeout: Option<Span>) -> Span {
    let again = Span(elapsed.0.saturating_mul(2).max(1));
    let soon = Span(elapsed.0 + 1_000);
    timeout.map_or(again, |timeout| again.min(timeout.max(soon)))
}

fn replayed(id: u64, element: Element<'_>, run: Span) -> Job {
    let Element { job, spec, task, place, .. } = element;
    Job {
        limit: Some(run),
        priority: spec.priority,
        namespace: job.namespace.clone(),
        owner: owner(job),
        name: job.name.clone(),
        constraints: place.constraints.clone(),
        company: place.company.clone(),
        kin: place.kin,
        ..Job::new(id, job.submitted_at, run, task.resources.clone())
    }
}
