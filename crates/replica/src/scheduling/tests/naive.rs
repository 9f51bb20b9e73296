//! The same numbers from a look at every version, all of it.

use std::collections::{BTreeMap, BTreeSet};

use quorate_state::State;
use quorate_types::status::TaskState;
use quorate_types::{Epoch, Fence, JobId, Name, Resources, Timestamp};

use super::world::elements;

/// By kind of resource.
type Amounts = BTreeMap<String, f64>;

/// What one version held, until the next.
struct Moment {
    at: Timestamp,
    /// By namespace, and by "" of all.
    queued: BTreeMap<String, u64>,
    running: BTreeMap<String, u64>,
    held: BTreeMap<String, Amounts>,
    /// What those that queue ask for.
    asked: BTreeMap<String, Amounts>,
    /// Used, and there.
    workers: BTreeMap<Epoch, (Amounts, Amounts)>,
}

struct Ended {
    at: Timestamp,
    namespace: Name,
    succeeded: bool,
    completion_ms: f64,
    wait_ms: f64,
    run_ms: f64,
}

pub(super) struct Naive {
    moments: Vec<Moment>,
    ended: Vec<Ended>,
    known: BTreeSet<(JobId, Fence)>,
    end: Timestamp,
}

#[derive(Debug, Default)]
pub(super) struct Expected {
    pub(super) succeeded: u64,
    pub(super) failed: u64,
    pub(super) completion_s: Option<f64>,
    pub(super) wait_s: Option<f64>,
    pub(super) slowdown: Option<f64>,
    pub(super) queued: f64,
    pub(super) queued_max: u64,
    pub(super) running: f64,
    pub(super) load: Option<f64>,
    pub(super) fairness: Option<f64>,
    pub(super) utilisation: BTreeMap<String, f64>,
    pub(super) degree: BTreeMap<String, f64>,
}

const KINDS: [&str; 3] = ["cpu", "memory", "gpu"];

fn amounts(resources: &Resources) -> Amounts {
    let gpu = resources.other(&Name::new("gpu").unwrap());
    let all = [resources.cpu_millis, resources.memory_bytes, gpu];
    KINDS.into_iter().zip(all).map(|(kind, amount)| (kind.to_owned(), amount as f64)).collect()
}

fn mean(values: impl Iterator<Item = f64> + Clone) -> Option<f64> {
    let count = values.clone().count();
    (count > 0).then(|| values.sum::<f64>() / count as f64)
}

impl Naive {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { moments: Vec::new(), ended: Vec::new(), known: BTreeSet::new(), end: now }
    }

    pub(super) fn version(&mut self, at: Timestamp, state: &State) {
        let mut moment = Moment {
            at,
            queued: BTreeMap::new(),
            running: BTreeMap::new(),
            held: BTreeMap::new(),
            asked: BTreeMap::new(),
            workers: BTreeMap::new(),
        };
        for job in state.jobs() {
            for scope in ["", job.spec.namespace.as_str()] {
                for (_, task, spec) in job.tasks() {
                    let queued = if job.is_placeable() { task.pending().count() as u64 } else { 0 };
                    let running = task.elements().filter(|(_, element)| element.state.is_live()).count() as u64;
                    *moment.queued.entry(scope.to_owned()).or_default() += queued;
                    *moment.running.entry(scope.to_owned()).or_default() += running;
                    let held = moment.held.entry(scope.to_owned()).or_default();
                    let asked = moment.asked.entry(scope.to_owned()).or_default();
                    for (kind, amount) in amounts(&spec.resources) {
                        *asked.entry(kind.clone()).or_default() += amount * queued as f64;
                        *held.entry(kind).or_default() += amount * running as f64;
                    }
                }
            }
        }
        for worker in state.workers().filter(|worker| worker.is_alive()) {
            moment.workers.insert(worker.epoch, (amounts(&worker.used), amounts(&worker.capacity)));
        }
        self.moments.push(moment);
        self.note_ends(at, state);
    }

    fn note_ends(&mut self, at: Timestamp, state: &State) {
        for (job, element) in elements(state) {
            let Some(attempt) = element.current() else { continue };
            let is_end = matches!(element.state, TaskState::Succeeded | TaskState::Failed);
            // Elements that were assigned together have one fence: their index tells them apart.
            let key = (JobId(job.id().0 << 32 | u64::from(position(job, element))), attempt.fence);
            if !is_end || !self.known.insert(key) {
                continue;
            }
            let (finished, started) = (attempt.finished_at.unwrap(), attempt.started_at);
            let started = started.unwrap_or(finished);
            self.ended.push(Ended {
                at,
                namespace: job.spec.namespace.clone(),
                succeeded: element.state == TaskState::Succeeded,
                completion_ms: (finished.0 - job.header.submitted_at.0) as f64,
                wait_ms: (started.0 - job.header.submitted_at.0) as f64,
                run_ms: (finished.0 - started.0) as f64,
            });
        }
    }

    pub(super) fn end(&mut self, now: Timestamp) {
        self.end = now;
    }

    /// Each version with the milliseconds for which it held, from `from` on.
    fn spans(&self, from: Timestamp) -> impl Iterator<Item = (&Moment, f64)> {
        let ends = self.moments.iter().skip(1).map(|moment| moment.at).chain([self.end]);
        self.moments.iter().zip(ends).map(move |(moment, end)| (moment, end.since(moment.at.max(from)).0 as f64))
    }

    pub(super) fn window(&self, namespace: Option<&Name>, from: Timestamp) -> Expected {
        let scope = namespace.map_or("", Name::as_str);
        let ended: Vec<&Ended> = self
            .ended
            .iter()
            .filter(|ended| ended.at >= from && namespace.is_none_or(|name| *name == ended.namespace))
            .collect();
        let all = self.end.since(from).0 as f64;
        let over = |of: &dyn Fn(&Moment) -> f64| self.spans(from).map(|(it, ms)| of(it) * ms).sum::<f64>() / all;
        let level = |levels: &BTreeMap<String, u64>| levels.get(scope).copied().unwrap_or(0);
        // What was the level at the beginning, or came later.
        let seen = self.moments.iter().zip(self.spans(from)).filter(|(it, (_, ms))| *ms > 0.0 || it.at >= from);
        let slowdown = |it: &&Ended| ((it.wait_ms + it.run_ms) / it.run_ms.max(10_000.0)).max(1.0);
        let (utilisation, degree) = match namespace {
            None => self.of_workers(from),
            Some(_) => (self.of_namespace(scope, from), BTreeMap::new()),
        };
        Expected {
            succeeded: ended.iter().filter(|it| it.succeeded).count() as u64,
            failed: ended.iter().filter(|it| !it.succeeded).count() as u64,
            completion_s: mean(ended.iter().map(|it| it.completion_ms / 1000.0)),
            wait_s: mean(ended.iter().map(|it| it.wait_ms / 1000.0)),
            slowdown: mean(ended.iter().map(slowdown)),
            queued: over(&|it| level(&it.queued) as f64),
            queued_max: seen.map(|(it, _)| level(&it.queued)).max().unwrap_or(0),
            running: over(&|it| level(&it.running) as f64),
            load: {
                let workers = over(&|it| it.workers.len() as f64);
                let tasks = over(&|it| (level(&it.queued) + level(&it.running)) as f64);
                (workers > 0.0).then(|| tasks / workers)
            },
            fairness: namespace.map_or_else(|| self.fairness(from), |_| None),
            utilisation,
            degree,
        }
    }

    /// Jain's index of what namespaces got in parts of what is max-min fair: water is poured until all is given out.
    fn fairness(&self, from: Timestamp) -> Option<f64> {
        let sum = |of: &dyn Fn(&Moment) -> f64| self.spans(from).map(|(it, ms)| of(it) * ms).sum::<f64>();
        let of = |amounts: &BTreeMap<String, Amounts>, scope: &str, kind: &str| {
            amounts.get(scope).and_then(|amounts| amounts.get(kind)).copied().unwrap_or(0.0)
        };
        let dominant = |amount: &dyn Fn(&Moment, &str) -> f64| {
            let part = |kind: &&str| {
                let there = sum(&|it| it.workers.values().map(|(_, capacity)| capacity[*kind]).sum());
                if there > 0.0 { sum(&|it| amount(it, kind)) / there } else { 0.0 }
            };
            KINDS.iter().map(part).fold(0.0, f64::max)
        };
        let scopes: BTreeSet<&String> = self.moments.iter().flat_map(|it| it.queued.keys()).collect();
        let shares = scopes.into_iter().filter(|scope| !scope.is_empty()).map(|scope| {
            let got = dominant(&|it, kind| of(&it.held, scope, kind));
            (got, dominant(&|it, kind| of(&it.held, scope, kind) + of(&it.asked, scope, kind)))
        });
        let shares: Vec<(f64, f64)> = shares.filter(|(_, wanted)| *wanted > 0.0).collect();
        let given: f64 = shares.iter().map(|(got, _)| got).sum();
        let poured = |level: f64| shares.iter().map(|(_, wanted)| wanted.min(level)).sum::<f64>();
        let (mut low, mut high) = (0.0, shares.iter().map(|(_, wanted)| *wanted).fold(0.0, f64::max));
        for _ in 0..200 {
            let level = f64::midpoint(low, high);
            if poured(level) < given { low = level } else { high = level }
        }
        let each = shares.iter().map(|(got, wanted)| if given > 0.0 { got / wanted.min(high) } else { 0.0 });
        let (x, squares) = each.fold((0.0, 0.0), |(x, squares), one| (x + one, squares + one * one));
        (squares > 0.0).then(|| x * x / (shares.len() as f64 * squares))
    }

    fn of_namespace(&self, scope: &str, from: Timestamp) -> BTreeMap<String, f64> {
        let part = |kind: &&str| {
            let held = |it: &Moment| it.held.get(scope).and_then(|held| held.get(*kind)).copied().unwrap_or(0.0);
            let there = |it: &Moment| it.workers.values().map(|(_, capacity)| capacity[*kind]).sum::<f64>();
            let sum = |of: &dyn Fn(&Moment) -> f64| self.spans(from).map(|(it, ms)| of(it) * ms).sum::<f64>();
            let all = sum(&there);
            (all > 0.0).then(|| ((*kind).to_owned(), (sum(&held) / all).min(1.0)))
        };
        KINDS.iter().filter_map(part).collect()
    }

    fn of_workers(&self, from: Timestamp) -> (BTreeMap<String, f64>, BTreeMap<String, f64>) {
        let (mut utilisation, mut degree) = (BTreeMap::new(), BTreeMap::new());
        for kind in KINDS {
            let mut each: BTreeMap<Epoch, (f64, f64)> = BTreeMap::new();
            for (moment, ms) in self.spans(from) {
                for (epoch, (used, capacity)) in moment.workers.iter().filter(|(_, (_, all))| all[kind] > 0.0) {
                    let (alive, held) = each.entry(*epoch).or_default();
                    *alive += ms;
                    *held += used[kind] / capacity[kind] * ms;
                }
            }
            let alive: f64 = each.values().map(|(alive, _)| alive).sum();
            if alive == 0.0 {
                continue;
            }
            let mean = each.values().map(|(_, held)| held).sum::<f64>() / alive;
            let off = each.values().filter(|(alive, _)| *alive > 0.0).map(|(ms, held)| ms * (held / ms - mean).abs());
            utilisation.insert(kind.to_owned(), mean);
            degree.insert(kind.to_owned(), off.sum::<f64>() / alive);
        }
        (utilisation, degree)
    }
}

fn position(job: &quorate_state::job::Job, wanted: &quorate_state::element::Element) -> u32 {
    let mut elements = job.tasks().flat_map(|(_, task, _)| task.elements());
    elements.find(|(_, element)| std::ptr::eq(*element, wanted)).unwrap().0.0
}
