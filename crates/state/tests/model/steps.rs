//! Random steps, each made a command of what the model knows at that moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use quorate_state::archive::{self, JobRecord, Recalled};
use quorate_state::command::{Again, Assignment, Command, Grounds, Preemption, Registration, RetryScope};
use quorate_state::outcome::{ArchiveKey, ArchiveOp};
use quorate_types::extension::Addition;
use quorate_types::gate::Claimant;
use quorate_types::policy::{PolicyChange, QueueOrder, Rebalance};
use quorate_types::session::{AttemptKey, Finished, Happening, Report};
use quorate_types::status::{Ending, TaskState};
use quorate_types::{
    AttemptNumber, Epoch, Fence, JobId, JobSpec, Name, NamespaceRules, Reclaim, ReplicaId, Resources, Span, Taint,
    TaskIndex, Timestamp,
};

use crate::machine::Model;
use crate::plan::{self, ExtensionPlan, JobPlan, ServicePlan};
use crate::workers::Worker;

#[derive(Clone, Debug)]
pub enum Step {
    Submit(JobPlan),
    /// The same job again, or nearly the same under its idempotency key.
    Again(u8, bool),
    /// Pending elements, to workers in turn.
    Place {
        from: u8,
        most: u8,
    },
    Misplace {
        nth: u8,
        slip: Slip,
    },
    Report {
        nth: u8,
        what: u8,
        slip: Slip,
    },
    /// The end of an attempt that adds tasks to its job: most often a success.
    Extend {
        nth: u8,
        what: u8,
        slip: Slip,
        plan: ExtensionPlan,
    },
    /// Everything that runs on a worker, in one command.
    ReportAll {
        worker: u8,
        what: u8,
    },
    Register {
        worker: u8,
        how: u8,
        cpu: u8,
    },
    Worker {
        worker: u8,
        what: u8,
        stale: bool,
    },
    RetryArchived {
        nth: u8,
        what: u8,
    },
    Control {
        job: u8,
        what: u8,
        task: u8,
    },
    Reassign {
        nth: u8,
        slip: Slip,
    },
    Pass(u64),
    /// Until something becomes due.
    Await,
    Tick {
        nth: u8,
        first: u8,
        len: u8,
    },
    RunNow(u8),
    /// Another quota and limit for a namespace, in half cores.
    Entitle {
        namespace: u8,
        quota: u8,
        limit: u8,
        kinds: u8,
    },
    SetTotal(u8),
    RemoveTotal,
    Lock {
        nth: u8,
        what: u8,
        slip: Slip,
    },
    Change(u8, Box<JobPlan>),
    Serve(ServicePlan),
    Update(u8, ServicePlan),
    /// To a definition that the service had before.
    GoBack(u8, u8),
    Taint {
        worker: u8,
        on: bool,
    },
}

/// What is wrong with a command.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Slip {
    None,
    Number,
    Epoch,
    Place,
    Old,
}

fn slip() -> impl Strategy<Value = Slip> {
    let slips = vec![Slip::Number, Slip::Epoch, Slip::Place, Slip::Old];
    prop_oneof![12 => Just(Slip::None), 1 => prop::sample::select(slips)]
}

pub fn step() -> impl Strategy<Value = Step> {
    let nth = any::<u8>;
    let slips = prop::sample::select(vec![Slip::Number, Slip::Epoch, Slip::Place, Slip::Old]);
    let pass = prop_oneof![3 => 0..90_000u64, 2 => 60_000..2_400_000u64, 1 => Just(7 * 24 * 3_600_000)];
    prop_oneof![
        10 => plan::job().prop_map(Step::Submit),
        1 => plan::scheduled_job().prop_map(Step::Submit),
        1 => (nth(), any::<bool>()).prop_map(|(nth, changed)| Step::Again(nth, changed)),
        20 => (nth(), 1..10u8).prop_map(|(from, most)| Step::Place { from, most }),
        2 => (nth(), slips).prop_map(|(nth, slip)| Step::Misplace { nth, slip }),
        20 => (nth(), nth(), slip()).prop_map(|(nth, what, slip)| Step::Report { nth, what, slip }),
        5 => (nth(), nth(), slip(), plan::extension()).prop_map(|(nth, what, slip, plan)| Step::Extend { nth, what, slip, plan }),
        12 => (nth(), nth()).prop_map(|(worker, what)| Step::ReportAll { worker, what }),
        4 => (nth(), nth(), 0..4u8).prop_map(|(worker, how, cpu)| Step::Register { worker, how, cpu }),
        6 => (nth(), nth(), prop::bool::weighted(0.15)).prop_map(|(worker, what, stale)| Step::Worker { worker, what, stale }),
        14 => (nth(), nth(), nth()).prop_map(|(job, what, task)| Step::Control { job, what, task }),
        6 => (nth(), nth()).prop_map(|(nth, what)| Step::RetryArchived { nth, what }),
        2 => (nth(), slip()).prop_map(|(nth, slip)| Step::Reassign { nth, slip }),
        2 => pass.prop_map(Step::Pass),
        5 => Just(Step::Await),
        6 => (nth(), nth(), 0..4u8).prop_map(|(nth, first, len)| Step::Tick { nth, first, len }),
        2 => nth().prop_map(Step::RunNow),
        4 => (nth(), 0..5u8, 0..8u8, nth()).prop_map(|(namespace, quota, limit, kinds)| Step::Entitle { namespace, quota, limit, kinds }),
        2 => (0..5u8).prop_map(Step::SetTotal),
        1 => Just(Step::RemoveTotal),
        8 => (nth(), nth(), slip()).prop_map(|(nth, what, slip)| Step::Lock { nth, what, slip }),
        1 => (nth(), plan::scheduled_job().boxed()).prop_map(|(nth, plan)| Step::Change(nth, Box::new(plan))),
        1 => (nth(), plan::job().boxed()).prop_map(|(nth, plan)| Step::Change(nth, Box::new(plan))),
        3 => plan::service().prop_map(Step::Serve),
        8 => (nth(), plan::service()).prop_map(|(nth, plan)| Step::Update(nth, plan)),
        3 => (nth(), nth()).prop_map(|(nth, version)| Step::GoBack(nth, version)),
        3 => (nth(), any::<bool>()).prop_map(|(worker, on)| Step::Taint { worker, on }),
    ]
}

/// What the driver remembers besides the model.
#[derive(Default)]
pub struct Memory {
    pub clock: Timestamp,
    pub specs: Vec<Arc<JobSpec>>,
    /// All attempts that there ever were, with their workers.
    pub attempts: Vec<(Name, Epoch, AttemptKey)>,
    pub instances: u64,
    /// What the archive has.
    pub archive: BTreeMap<ArchiveKey, Arc<[u8]>>,
}

const WORKERS: [&str; 3] = ["w0", "w1", "w2"];

pub fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// Mostly the newest: old ones are there to be refused.
fn pick<T: Clone>(items: &[T], nth: u8) -> Option<T> {
    let most = if nth >= 240 { items.len() } else { 10 };
    let back = usize::from(nth) % items.len().clamp(1, most.max(1));
    items.get(items.len().checked_sub(1 + back)?).cloned()
}

fn ending(what: u8) -> Ending {
    match what % 16 {
        0..=7 => Ending::Exited(0),
        8..=9 => Ending::Exited(1),
        10 => Ending::Exited(2),
        11 => Ending::Signalled(9),
        12 => Ending::TimedOut,
        13 => Ending::Unable("disk full".into()),
        14 => Ending::NotStarted("no such program".into()),
        _ => Ending::Stopped,
    }
}

fn happening(what: u8) -> Happening {
    match what {
        0..=63 => Happening::Started,
        64..=71 => Happening::Progress { millis: 500, message: "half".into() },
        72..=83 => Happening::Healthy,
        _ => Happening::Finished(Box::new(Finished {
            ending: ending(what),
            ran: Span(if what.is_multiple_of(3) { 1_200_000 } else { 10 }),
            result: what.is_multiple_of(2).then(|| format!("result {what}")),
            extension: None,
            stdout_tail: vec![b'x'; usize::from(what % 3)],
            stderr_tail: vec![],
        })),
    }
}

impl Memory {
    /// The command of a step; `None` if there is nothing that it could be about.
    pub fn command(&mut self, step: &Step, model: &Model) -> Option<Command> {
        match step {
            Step::Submit(plan) => {
                let spec = plan.spec(model.last_job);
                self.specs.push(spec.clone());
                Some(Command::Submit(spec))
            }
            Step::Again(nth, changed) => {
                let known: Vec<_> = self.specs.iter().filter(|spec| spec.idempotency_key.is_some()).cloned().collect();
                let mut spec = pick(&known, *nth)?;
                if *changed {
                    Arc::make_mut(&mut spec).priority += 1;
                }
                Some(Command::Submit(spec))
            }
            Step::Place { from, most } => place(model, *from, *most),
            Step::Misplace { nth, slip } => Some(misplace(model, *nth, *slip)),
            Step::Report { nth, what, slip } => self.report(model, *nth, *what, *slip),
            Step::Extend { nth, what, slip, plan } => self.extend(model, *nth, *what, *slip, plan),
            Step::ReportAll { worker, what } => {
                let worker = worker_of(model, *worker)?;
                let live = self.attempts.iter().filter(|(_, epoch, key)| *epoch == worker.epoch && is_live(model, key));
                // Each something else, most of them ends.
                let whats = (0..).map(|nth: u8| happening(what.wrapping_add(nth.wrapping_mul(37)).max(nth % 3 * 90)));
                let reports = live.zip(whats).map(|((.., key), what)| Report { key: *key, what }).collect();
                Some(Command::Report { worker: worker.name, epoch: worker.epoch, reports })
            }
            Step::Register { worker, how, cpu } => Some(self.register(model, *worker, *how, *cpu)),
            Step::Worker { worker, what, stale } => Some(on_worker(model, *worker, *what, *stale)),
            Step::Control { job, what, task } => Some(control(model, *job, *what, *task)),
            Step::RetryArchived { nth, what } => self.retry_archived(model, *nth, *what),
            Step::Reassign { nth, slip } => {
                let (.., key) = pick(&self.known(model, *slip), *nth)?;
                let task = name_of(model, &key);
                let index = TaskIndex(if *slip == Slip::Place { 99 } else { key.index.0 });
                Some(Command::Reassign { job: key.job, task, index })
            }
            Step::Pass(ms) => {
                self.clock = self.clock.plus(Span(*ms));
                Some(Command::Advance)
            }
            Step::Await => {
                self.clock = self.clock.max(model.due().into_iter().min()?.0);
                Some(Command::Advance)
            }
            Step::Tick { nth, first, len } => {
                let schedule = pick(&schedules(model), *nth)?;
                let first = Timestamp(self.clock.0 / 60_000 * 60_000 + u64::from(first % 4) * 60_000);
                let ticks: Vec<Timestamp> = (0..*len).map(|n| first.plus(Span(u64::from(n) * 60_000))).collect();
                let through = ticks.last().copied().unwrap_or(first);
                Some(Command::Tick { schedule, ticks, through })
            }
            Step::Entitle { namespace, quota, limit, kinds } => Some(entitle(*namespace, *quota, *limit, *kinds)),
            Step::SetTotal(total) => Some(Command::SetResource { name: name("m"), total: u32::from(*total) }),
            Step::RemoveTotal => Some(Command::RemoveResource { name: name("m") }),
            Step::Lock { nth, what, slip } => self.lock(model, *nth, *what, *slip),
            Step::RunNow(nth) => Some(Command::RunNow { schedule: pick(&schedules(model), *nth)? }),
            Step::Serve(_) | Step::Update(..) | Step::GoBack(..) | Step::Taint { .. } => on_service(model, step),
            Step::Change(nth, plan) => {
                let spec = plan.spec(model.last_job);
                Some(Command::ChangeSchedule { schedule: pick(&schedules(model), *nth)?, spec })
            }
        }
    }

    /// An attempt asks for a lock, or gives it back.
    fn lock(&self, model: &Model, nth: u8, what: u8, slip: Slip) -> Option<Command> {
        let (.., mut key) = pick(&self.known(model, slip), nth)?;
        if slip == Slip::Place {
            key.fence.0 -= 1;
        }
        let task = name_of(model, &key);
        let by = Claimant { job: key.job, task, index: key.index, fence: key.fence };
        let lock = name(["x", "y"][usize::from(what % 2)]);
        Some(match what / 2 % 4 {
            0 => Command::ReleaseLock { lock, by },
            1 => Command::AcquireLock { lock, by, wait: Span(0) },
            _ => Command::AcquireLock { lock, by, wait: Span(u64::from(what) * 200) },
        })
    }

    /// The attempts that live, or all.
    fn known(&self, model: &Model, slip: Slip) -> Vec<(Name, Epoch, AttemptKey)> {
        let known = self.attempts.iter().filter(|(.., key)| slip == Slip::Old || is_live(model, key));
        known.cloned().collect()
    }

    fn report(&self, model: &Model, nth: u8, what: u8, slip: Slip) -> Option<Command> {
        let (worker, mut epoch, mut key) = pick(&self.known(model, slip), nth)?;
        match slip {
            Slip::None | Slip::Old => {}
            Slip::Number => key.attempt.0 += 1,
            Slip::Epoch => epoch.0 = (epoch.0 % (model.last_epoch + 1)) + 1,
            Slip::Place => key.fence.0 -= 1,
        }
        Some(Command::Report { worker, epoch, reports: vec![Report { key, what: happening(what) }] })
    }

    fn extend(&self, model: &Model, nth: u8, what: u8, slip: Slip, plan: &ExtensionPlan) -> Option<Command> {
        let mut report = self.report(model, nth, if what < 190 { 96 } else { what }, slip)?;
        let Command::Report { reports, .. } = &mut report else { return None };
        let Report { key, what: Happening::Finished(finished) } = &mut reports[0] else { return None };
        let tasks = &model.jobs.get(&key.job)?.spec.tasks;
        let tasks: Vec<(String, u32)> = tasks.iter().map(|task| (task.name.to_string(), task.count)).collect();
        finished.extension = Some(Box::new(Addition::Checked(plan.extension(&tasks)?)));
        Some(report)
    }

    fn register(&mut self, model: &Model, worker: u8, how: u8, cpu: u8) -> Command {
        let worker = name(WORKERS[usize::from(worker) % WORKERS.len()]);
        let present = model.workers.get(&worker).map(|worker| worker.instance);
        self.instances += 1;
        // Most would take over; one in six says the same again, and one comes in addition.
        let (instance, replaces) = match how % 6 {
            0 => (present.unwrap_or(self.instances), None),
            1 => (self.instances, None),
            _ => (self.instances, present),
        };
        let mut capacity = Resources::new(1000 + u64::from(cpu) * 1000, 1 << 30);
        capacity.other_millis = BTreeMap::from([(name("licence"), 2000)]);
        Command::Register(Box::new(Registration {
            name: worker,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            host: "h".into(),
            capacity,
            instance,
            replaces,
            replica: ReplicaId(1),
            lease_ttl: Span(10_000),
        }))
    }
}

fn name_of(model: &Model, key: &AttemptKey) -> Name {
    let known = model.jobs.get(&key.job).and_then(|job| job.spec.tasks.get(key.task as usize));
    known.map_or_else(|| name("a"), |task| task.name.clone())
}

fn is_live(model: &Model, key: &AttemptKey) -> bool {
    let task = model.jobs.get(&key.job).and_then(|job| job.tasks.get(key.task as usize));
    let attempt = task.and_then(|task| task.get(key.index.0 as usize)).and_then(|element| element.attempts.last());
    attempt.is_some_and(|attempt| attempt.fence == key.fence && attempt.state.is_live())
}

fn worker_of(model: &Model, nth: u8) -> Option<Worker> {
    model.workers.get(&name(WORKERS[usize::from(nth) % WORKERS.len()])).cloned()
}

fn schedules(model: &Model) -> Vec<JobId> {
    let known = model.jobs.values().filter(|job| job.is_schedule()).map(|job| job.id);
    // Now and then a job that is none, or that nobody knows.
    std::iter::once(JobId(model.last_job)).chain(known).collect()
}

/// What has to do with services, and with where system jobs run.
fn on_service(model: &Model, step: &Step) -> Option<Command> {
    Some(match step {
        Step::Serve(plan) => Command::Submit(plan.spec()),
        Step::Update(nth, plan) => Command::ChangeService { service: pick(&services(model), *nth)?, spec: plan.spec() },
        Step::GoBack(nth, version) => {
            let service = pick(&services(model), *nth)?;
            Command::ChangeService { service, spec: plan::earlier(&model.jobs.get(&service)?.spec, *version)? }
        }
        Step::Taint { worker, on } => {
            let worker = name(WORKERS[usize::from(*worker) % WORKERS.len()]);
            let taints = on.then(|| Taint { key: name("maintenance"), value: None }).into_iter().collect();
            Command::Taint { worker, taints }
        }
        _ => return None,
    })
}

/// The same of services.
fn services(model: &Model) -> Vec<JobId> {
    let known = model.jobs.values().filter(|job| job.is_service()).map(|job| job.id);
    std::iter::once(JobId(model.last_job)).chain(known).collect()
}

/// What could be placed now.
pub fn pending(model: &Model) -> Vec<Assignment> {
    let mut items = Vec::new();
    for job in model.jobs.values() {
        for task in 0..job.tasks.len() {
            items.extend(job.pending(task).into_iter().map(|at| Assignment {
                job: job.id,
                task: task as u32,
                index: TaskIndex(at as u32),
                attempt: AttemptNumber(job.next_number(task, at)),
                epoch: Epoch(0),
                behind: None,
            }));
        }
    }
    items
}

/// The same, with all of a gang together.
fn units(model: &Model) -> Vec<Vec<Assignment>> {
    let mut units: Vec<Vec<Assignment>> = Vec::new();
    let mut gangs: BTreeMap<(JobId, Name), usize> = BTreeMap::new();
    for item in pending(model) {
        let gang = &model.jobs[&item.job].spec.tasks[item.task as usize].gang;
        let next = units.len();
        let at = gang.as_ref().map_or(next, |name| *gangs.entry((item.job, name.clone())).or_insert(next));
        if at == next {
            units.push(Vec::new());
        }
        units[at].push(item);
    }
    units
}

fn place(model: &Model, from: u8, most: u8) -> Option<Command> {
    let workers: Vec<&Worker> = model.workers.values().filter(|worker| worker.is_alive()).collect();
    let mut units = units(model);
    let first = usize::from(from) % units.len().max(1);
    units.rotate_left(first);
    units.truncate(usize::from(most));
    let mut items = units.concat();
    for (nth, item) in items.iter_mut().enumerate() {
        item.epoch = workers.get((nth + usize::from(from)) % workers.len().max(1))?.epoch;
    }
    if from % 2 == 1 {
        line_up(&mut items);
    }
    Some(Command::Assign { items })
}

/// Puts elements of one task in line, now and then where there is none.
fn line_up(items: &mut [Assignment]) {
    for chunk in items.chunks_mut(4) {
        let Some((head, line)) = chunk.split_first_mut() else { continue };
        for item in line.iter_mut().filter(|item| (item.job, item.task) == (head.job, head.task)) {
            (item.behind, item.epoch) = (Some(head.index), head.epoch);
        }
    }
}

/// A decision that was made on another version of the state.
fn misplace(model: &Model, nth: u8, slip: Slip) -> Command {
    let epoch = worker_of(model, nth).map_or(Epoch(9), |worker| worker.epoch);
    let mut item = pick(&pending(model), nth).unwrap_or(Assignment {
        job: JobId(u64::from(nth % 8)),
        task: u32::from(nth % 3),
        index: TaskIndex(0),
        attempt: AttemptNumber(1),
        epoch,
        behind: None,
    });
    item.epoch = epoch;
    match slip {
        Slip::Number => item.attempt.0 += 1,
        Slip::Epoch => item.epoch.0 = item.epoch.0.saturating_sub(1),
        Slip::Place => (item.task, item.index.0) = (u32::from(nth % 5), u32::from(nth / 5 % 5)),
        // Something else of the job, whatever its state.
        Slip::Old | Slip::None => {
            let job = model.jobs.values().rev().nth(usize::from(nth % 6));
            let any = job.and_then(|job| Some((job, job.elements().nth(usize::from(nth / 6 % 6))?)));
            if let Some((job, (task, at, _))) = any.filter(|(.., (.., e))| e.state != TaskState::Pending) {
                (item.job, item.task, item.index.0) = (job.id, task as u32, at as u32);
                item.attempt.0 = job.next_number(task, at);
            }
        }
    }
    Command::Assign { items: vec![item] }
}

fn on_worker(model: &Model, nth: u8, what: u8, stale: bool) -> Command {
    let worker = name(WORKERS[usize::from(nth) % WORKERS.len()]);
    let mut epoch = model.workers.get(&worker).map_or(Epoch(0), |worker| worker.epoch);
    if stale {
        epoch.0 = epoch.0.saturating_sub(1);
    }
    match what % 15 {
        11 => {
            // Each of four policies in its turn.
            let queue = if nth.is_multiple_of(2) { QueueOrder::RoundRobin } else { QueueOrder::Priority };
            let rebalance = if nth % 4 < 2 { Rebalance::On } else { Rebalance::Off };
            let (queue, rebalance) = (Some(queue), Some(rebalance));
            Command::ChangePolicy(PolicyChange { queue, rebalance, ..PolicyChange::default() })
        }
        12..=13 => Command::Preempt { items: preemptions(model, epoch, nth) },
        0..=1 => Command::Expire { worker, epoch },
        2 => Command::End { worker, epoch },
        3 => Command::Drain { worker },
        4 => Command::DrainBy { worker, within: Span(u64::from(nth) * 3_000) },
        5..=8 => Command::Undrain { worker },
        9..=10 => Command::Remove { worker },
        _ => Command::Attach { worker, epoch, replica: ReplicaId(u64::from(nth % 3) + 1) },
    }
}

/// Attempts of one registration, some of them twice, and one number too high.
fn preemptions(model: &Model, epoch: Epoch, nth: u8) -> Vec<Preemption> {
    let by = model.jobs.values().rev().nth(usize::from(nth % 4)).map_or(JobId(1), |job| job.id);
    let all = [Grounds::LowerPriority, Grounds::LongerToGo, Grounds::Borrowed, Grounds::TurnOver, Grounds::Rebalance];
    let grounds = all[usize::from(nth / 4 % 5)];
    let live = model.live_on(epoch).into_iter().zip(0_u8..).filter(|(_, at)| nth.wrapping_add(*at) % 3 > 0);
    let each = live.map(|((job, task, at), _)| {
        let number = model.jobs[&job].tasks[task][at].attempts.last().unwrap().number;
        Preemption {
            job,
            task: task as u32,
            index: TaskIndex(at as u32),
            attempt: AttemptNumber(number + u32::from(nth.is_multiple_of(7))),
            epoch,
            by: if grounds == Grounds::Rebalance { job } else { by },
            grounds,
        }
    });
    let once: Vec<Preemption> = each.collect();
    once.iter().chain(once.iter().filter(|_| nth.is_multiple_of(2))).copied().collect()
}

/// Each kind is named or not, for itself.
fn entitle(namespace: u8, quota: u8, limit: u8, kinds: u8) -> Command {
    let namespace = name(plan::NAMESPACES[usize::from(namespace) % plan::NAMESPACES.len()]);
    if kinds.is_multiple_of(8) {
        return Command::ResetNamespace { namespace };
    }
    let half_cores = |n: u8| u64::from(n) * 500;
    let named = |bit: u8, kind: &str, amount: u64| (kinds & bit > 0).then(|| (name(kind), amount));
    let rules = NamespaceRules {
        quota: named(1, "cpu", half_cores(quota)).into_iter().chain(named(2, "licence", 1_000)).collect(),
        limit: named(4, "cpu", half_cores(limit)).into_iter().chain(named(8, "licence", 2_000)).collect(),
        reclaim: if kinds & 16 > 0 { Reclaim::Never } else { Reclaim::Borrowed },
        ..NamespaceRules::default()
    };
    Command::SetNamespace { namespace, rules: Box::new(rules) }
}

impl Memory {
    /// What the archive did.
    pub fn follow(&mut self, ops: &[ArchiveOp]) {
        for op in ops {
            match op {
                ArchiveOp::Put { key, value } => drop(self.archive.insert(*key, value.clone())),
                ArchiveOp::Drop(job) => self.archive.retain(|key, _| key.job() != *job),
            }
        }
    }

    /// Now and then with another job's values, or one value too few.
    fn retry_archived(&self, model: &Model, nth: u8, what: u8) -> Option<Command> {
        let archived: Vec<JobId> = model.archive.keys().copied().collect();
        let job = pick(&archived, nth)?;
        let of = if what < 190 { job } else { pick(&archived, nth.wrapping_add(1))? };
        let value = self.archive.get(&ArchiveKey::Job(of))?.to_vec();
        let record: JobRecord = archive::decode(&value).unwrap();
        let mut blocks: Vec<Vec<u8>> = record.blocks().map(|key| self.archive[&key].to_vec()).collect();
        if what >= 230 {
            blocks.pop();
        }
        let again = match what % 4 {
            0 => Again::Scope(RetryScope::All),
            1 | 2 => Again::Scope(RetryScope::NotSucceeded),
            _ => Again::From(name(["a", "b", "c", "d", "e", "f", "g", "h"][usize::from(nth % 8)])),
        };
        Some(Command::RetryArchived { job, again, recalled: Box::new(Recalled { job: value, blocks }) })
    }
}

fn control(model: &Model, nth: u8, what: u8, task: u8) -> Command {
    let job = JobId((model.last_job + 1).saturating_sub(u64::from(nth % 10)));
    // A retry of what can be retried is worth more than a refusal.
    let finished: Vec<JobId> = model.jobs.values().filter(|job| job.finished.is_some()).map(|job| job.id).collect();
    let ended = pick(&finished, nth).filter(|_| task < 220).unwrap_or(job);
    match what % 20 {
        0..=3 => Command::Cancel { job },
        4 => Command::Pause { job },
        5 => Command::Freeze { job },
        6..=8 => Command::Resume { job },
        9..=10 => Command::Retry { job: ended, scope: RetryScope::All },
        11..=14 => Command::Retry { job: ended, scope: RetryScope::NotSucceeded },
        15..=18 => Command::RetryFrom {
            job: ended,
            task: name(["a", "b", "c", "d", "e", "f", "g", "h"][usize::from(task % 8)]),
        },
        _ => Command::Forget { job: ended },
    }
}

/// The keys of attempts that an entry started.
pub fn started(model: &Model) -> Vec<(Name, Epoch, AttemptKey)> {
    let mut keys = Vec::new();
    for job in model.jobs.values() {
        for (task, at, element) in job.elements() {
            let new = element.attempts.iter().filter(|attempt| attempt.fence == Fence(model.index));
            keys.extend(new.map(|attempt| {
                let (task, index, number) = (task as u32, TaskIndex(at as u32), AttemptNumber(attempt.number));
                let key = AttemptKey { job: job.id, task, index, attempt: number, fence: attempt.fence };
                (attempt.worker.clone(), attempt.epoch, key)
            }));
        }
    }
    keys
}
