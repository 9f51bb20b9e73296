//! Random jobs, as users write them.

use std::sync::Arc;

use proptest::prelude::*;
use quorate_types::job::JobRequest;
use quorate_types::{Extension, JobSpec};
use serde_json::{Map, Value, json};

#[derive(Clone, Debug)]
pub struct JobPlan {
    tasks: Vec<TaskPlan>,
    namespace: &'static str,
    priority: u8,
    continues: bool,
    /// `start_after`, `deadline`, `expires`.
    times: [Option<&'static str>; 3],
    key: Option<KeyPlan>,
    then: Vec<(&'static str, JobPlan)>,
    schedule: Option<SchedulePlan>,
    idempotency_key: Option<&'static str>,
}

#[derive(Clone, Debug)]
struct TaskPlan {
    count: u32,
    max_parallel: Option<u32>,
    retries: u32,
    codes: Value,
    losses: u32,
    backoff: &'static str,
    cpu: f64,
    licences: u32,
    cluster: u32,
    rate: Option<(u32, &'static str)>,
    gang: Option<GangPlan>,
    /// Of tasks before it.
    needs: Vec<NeedPlan>,
    /// So many jobs back, and the condition.
    job_need: Option<(u64, &'static str)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum GangPlan {
    Alone,
    /// With all others of the job that say so.
    Together,
}

#[derive(Clone, Debug)]
struct NeedPlan {
    task: usize,
    on: &'static str,
    each: bool,
}

#[derive(Clone, Debug)]
struct KeyPlan {
    key: &'static str,
    limit: u32,
    when_full: &'static str,
}

#[derive(Clone, Debug)]
struct SchedulePlan {
    overlap: &'static str,
    history: u32,
    paused: bool,
}

#[derive(Clone, Debug)]
pub struct ServicePlan {
    is_system: bool,
    name: &'static str,
    count: u32,
    max_unavailable: Value,
    command: &'static str,
    health: Option<Value>,
    cpu: f64,
    cluster: u32,
    losses: u32,
    backoff: &'static str,
    tolerates: bool,
    priority: u8,
}

/// Tasks that an attempt adds to its job.
#[derive(Clone, Debug)]
pub struct ExtensionPlan {
    tasks: Vec<GainPlan>,
    backwards: bool,
}

#[derive(Clone, Debug)]
struct GainPlan {
    name: usize,
    count: u32,
    cluster: u32,
    retries: u32,
    needs: Vec<NeedPlan>,
    before: Vec<(usize, &'static str)>,
}

pub const NAMESPACES: [&str; 2] = ["default", "other"];
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn on() -> impl Strategy<Value = &'static str> {
    prop_oneof![2 => Just("success"), 1 => Just("failure"), 1 => Just("finish")]
}

fn need() -> impl Strategy<Value = NeedPlan> {
    (0..3usize, on(), any::<bool>()).prop_map(|(task, on, each)| NeedPlan { task, on, each })
}

fn codes() -> impl Strategy<Value = Value> {
    let some =
        [json!({"retry_on": [1, 137]}), json!({"no_retry_on": [2, 137]}), json!({"retry_on": [3], "no_retry_on": [1]})];
    prop_oneof![2 => Just(json!({})), 1 => prop::sample::select(some.to_vec())]
}

fn task() -> impl Strategy<Value = TaskPlan> {
    let size = (prop_oneof![2 => Just(1u32), 3 => 2..4u32], prop::option::weighted(0.3, 1..3u32));
    let tries = (0..3u32, codes(), prop_oneof![1..4u32, Just(5)], prop::sample::select(vec!["1s", "10s", "20m"]));
    let resources = (prop::sample::select(vec![0.0, 0.5, 1.0, 2.0]), prop_oneof![4 => Just(0u32), 1 => 1..3u32]);
    let gates = (
        prop_oneof![4 => Just(0u32), 1 => 1..3u32],
        prop::option::weighted(0.2, (1..3u32, prop::sample::select(vec!["30s", "20m"]))),
    );
    let needs = (prop::collection::vec(need(), 0..3), prop::option::weighted(0.12, (0..5u64, on())));
    let gang = prop_oneof![8 => Just(None), 1 => Just(Some(GangPlan::Alone)), 2 => Just(Some(GangPlan::Together))];
    (size, tries, resources, gates, needs, gang).prop_map(|(size, tries, resources, gates, needs, gang)| TaskPlan {
        count: size.0,
        max_parallel: size.1,
        retries: tries.0,
        codes: tries.1,
        losses: tries.2,
        backoff: tries.3,
        cpu: resources.0,
        licences: resources.1,
        cluster: gates.0,
        rate: gates.1,
        gang,
        needs: needs.0,
        job_need: needs.1,
    })
}

fn times() -> impl Strategy<Value = [Option<&'static str>; 3]> {
    let absolute = "2023-11-14T22:30:00Z";
    let start = prop::option::weighted(0.2, prop::sample::select(vec!["1m", "20m", absolute]));
    let deadline = prop::option::weighted(0.2, prop::sample::select(vec!["30m", "2h", "2023-11-14T23:30:00Z"]));
    let expires = prop::option::weighted(0.2, prop::sample::select(vec!["25m", "30m", "3h"]));
    (start, deadline, expires).prop_map(|(start, deadline, expires)| [start, deadline, expires])
}

fn key() -> impl Strategy<Value = KeyPlan> {
    let when_full = prop_oneof![3 => Just("wait"), 1 => Just("reject"), 1 => Just("replace")];
    (prop::sample::select(vec!["k", "l"]), 1..3u32, when_full).prop_map(|(key, limit, when_full)| KeyPlan {
        key,
        limit,
        when_full,
    })
}

fn schedule() -> impl Strategy<Value = SchedulePlan> {
    let overlap = prop::sample::select(vec!["allow", "skip", "queue", "replace"]);
    (overlap, 0..4u32, prop::bool::weighted(0.1)).prop_map(|(overlap, history, paused)| SchedulePlan {
        overlap,
        history,
        paused,
    })
}

fn plain() -> impl Strategy<Value = JobPlan> {
    let tasks = prop::collection::vec(task(), 1..=NAMES.len());
    let namespace = prop_oneof![3 => Just(NAMESPACES[0]), 1 => Just(NAMESPACES[1])];
    let priority = prop_oneof![3 => Just(50u8), 1 => Just(70)];
    (tasks, namespace, priority, any::<bool>(), times(), prop::option::weighted(0.3, key())).prop_map(
        |(tasks, namespace, priority, continues, times, key)| JobPlan {
            tasks,
            namespace,
            priority,
            continues,
            times,
            key,
            then: Vec::new(),
            schedule: None,
            idempotency_key: None,
        },
    )
}

/// A job with follow-ups, a schedule or a key of its own, each now and then.
pub fn job() -> impl Strategy<Value = JobPlan> {
    let then = prop_oneof![4 => Just(vec![]).boxed(), 1 => prop::collection::vec((on(), plain()), 1..3).boxed()];
    let schedule = prop::option::weighted(0.12, schedule());
    let idempotency_key = prop::option::weighted(0.1, prop::sample::select(vec!["once", "twice"]));
    (plain(), then, schedule, idempotency_key).prop_map(|(plain, then, schedule, idempotency_key)| JobPlan {
        then,
        schedule,
        idempotency_key,
        ..plain
    })
}

/// A job with a schedule.
pub fn scheduled_job() -> impl Strategy<Value = JobPlan> {
    (job(), schedule()).prop_map(|(job, schedule)| JobPlan { schedule: Some(schedule), ..job })
}

/// Few definitions, so that versions come back.
pub fn service() -> impl Strategy<Value = ServicePlan> {
    let name = prop_oneof![15 => Just("a"), 1 => Just("b")];
    let share = prop::sample::select(vec![json!(1), json!(1), json!(2), json!("50%")]);
    let health = [json!({"command": ["well"]}), json!({"min_healthy": "1m"})];
    let health = prop::option::weighted(0.4, prop::sample::select(health.to_vec()));
    let command = prop::sample::select(vec!["x", "y", "z"]);
    let resources =
        (prop_oneof![4 => Just(0.5), 1 => Just(0.0), 1 => Just(3.0)], prop_oneof![8 => Just(0u32), 1 => Just(1)]);
    let tries = (prop_oneof![4 => Just(5u32), 1 => Just(2)], prop_oneof![4 => Just("10s"), 1 => Just("1s")]);
    let rest = (prop::bool::weighted(0.15), prop_oneof![6 => Just(50u8), 1 => Just(70)]);
    (prop::bool::weighted(0.35), name, 1..5u32, share, command, health, resources, tries, rest).prop_map(
        |(is_system, name, count, max_unavailable, command, health, resources, tries, rest)| ServicePlan {
            is_system,
            name,
            count,
            max_unavailable,
            command,
            health,
            cpu: resources.0,
            cluster: resources.1,
            losses: tries.0,
            backoff: tries.1,
            tolerates: rest.0,
            priority: rest.1,
        },
    )
}

impl ServicePlan {
    pub fn spec(&self) -> Arc<JobSpec> {
        let mut task = json!({
            "name": self.name, "command": [self.command], "resources": {"cpu": self.cpu}, "losses": self.losses,
            "backoff": {"initial": self.backoff, "factor": 2, "max": "20m"},
        });
        let fields = task.as_object_mut().unwrap();
        if !self.is_system {
            fields.insert("count".into(), json!(self.count));
        }
        if self.cluster > 0 {
            fields.insert("cluster_resources".into(), json!({"m": self.cluster}));
        }
        if self.tolerates {
            fields.insert("tolerations".into(), json!(["maintenance"]));
        }
        let kind = if self.is_system { "system" } else { "service" };
        let mut job = json!({
            "kind": kind, "priority": self.priority, "max_unavailable": self.max_unavailable, "tasks": [task],
        });
        let fields = job.as_object_mut().unwrap();
        fields.extend(self.health.iter().map(|health| ("health".to_owned(), health.clone())));
        valid(&job)
    }
}

/// One of the definitions that a service has or had.
pub fn earlier(spec: &JobSpec, nth: u8) -> Option<Arc<JobSpec>> {
    let mut service = spec.service.clone()?;
    let at = usize::from(nth) % spec.tasks.len();
    service.versions = vec![service.versions[at].clone()];
    service.versions[0].number = 1;
    service.newest = 0;
    Some(Arc::new(JobSpec { tasks: vec![spec.tasks[at].clone()].into(), service: Some(service), ..spec.clone() }))
}

fn valid(json: &Value) -> Arc<JobSpec> {
    let request: JobRequest = serde_json::from_value(json.clone()).unwrap_or_else(|e| panic!("{json}: {e}"));
    Arc::new(request.validate().unwrap_or_else(|e| panic!("{json}: {e:?}")))
}

pub fn extension() -> impl Strategy<Value = ExtensionPlan> {
    let needs = prop::collection::vec((0..12usize, on(), any::<bool>()), 0..3);
    let needs = needs.prop_map(|all| all.into_iter().map(|(task, on, each)| NeedPlan { task, on, each }).collect());
    let before = prop_oneof![2 => Just(vec![]).boxed(), 1 => prop::collection::vec((0..12usize, on()), 1..3).boxed()];
    // Now and then one that the job has.
    let name = prop_oneof![9 => 4..GAINED.len(), 1 => Just(0)];
    let cluster = prop_oneof![6 => Just(0u32), 1 => 1..3u32];
    let task =
        (name, 1..4u32, cluster, 0..2u32, needs, before).prop_map(|(name, count, cluster, retries, needs, before)| {
            GainPlan { name, count, cluster, retries, needs, before }
        });
    (prop::collection::vec(task, 0..4), any::<bool>()).prop_map(|(tasks, backwards)| ExtensionPlan { tasks, backwards })
}

const GAINED: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

impl ExtensionPlan {
    /// As it is for a job with tasks of these names and numbers of elements; none if no replica would take it.
    pub fn extension(&self, tasks: &[(String, u32)]) -> Option<Extension> {
        let mut known = tasks.to_vec();
        let mut all: Vec<Value> = Vec::new();
        for plan in &self.tasks {
            // One after the last is not there.
            let named = |nth: usize| known.get(nth % (known.len() + 1)).map_or(("z".to_owned(), 1), Clone::clone);
            let needs = plan.needs.iter().map(|need| {
                let (name, count) = named(need.task);
                json!({"task": name, "on": need.on, "each": need.each && (count == plan.count || plan.cluster > 0)})
            });
            let before = plan.before.iter().map(|(nth, on)| json!({"task": named(*nth).0, "on": on}));
            let mut task = json!({
                "name": GAINED[plan.name], "command": ["x"], "count": plan.count, "retries": plan.retries,
                "needs": needs.collect::<Vec<_>>(), "before": before.collect::<Vec<_>>(),
                "backoff": {"initial": "10s", "factor": 2, "max": "20m"},
            });
            if plan.cluster > 0 {
                task.as_object_mut().unwrap().insert("cluster_resources".into(), json!({"m": plan.cluster}));
            }
            all.push(task);
            known.push((GAINED[plan.name].to_owned(), plan.count));
        }
        if self.backwards {
            all.reverse();
        }
        Extension::read(&json!(all).to_string()).ok()
    }
}

impl JobPlan {
    /// The job as it is submitted after so many others.
    pub fn spec(&self, last_job: u64) -> Arc<JobSpec> {
        valid(&self.json(last_job))
    }

    fn json(&self, last_job: u64) -> Value {
        let tasks: Vec<Value> = (0..self.tasks.len()).map(|at| self.task(at, last_job)).collect();
        let mut job = json!({
            "namespace": self.namespace, "priority": self.priority, "tasks": tasks,
            "on_failure": if self.continues { "continue" } else { "cancel" },
        });
        let fields = job.as_object_mut().unwrap();
        for (name, time) in ["start_after", "deadline", "expires"].into_iter().zip(self.times) {
            // The runs of a schedule count from their own start.
            if let Some(time) = time.filter(|time| self.schedule.is_none() || !time.contains('-')) {
                fields.insert(name.into(), json!(time));
            }
        }
        if let Some(KeyPlan { key, limit, when_full }) = &self.key {
            fields.insert("concurrency".into(), json!({"key": key, "limit": limit, "when_full": when_full}));
        }
        if !self.then.is_empty() {
            let then: Vec<Value> =
                self.then.iter().map(|(on, job)| json!({"on": on, "job": job.follow_up(last_job)})).collect();
            fields.insert("then".into(), json!(then));
        }
        if let Some(SchedulePlan { overlap, history, paused }) = &self.schedule {
            let schedule = json!({"every": "1m", "overlap": overlap, "history": history, "paused": paused});
            fields.insert("schedule".into(), schedule);
        }
        if let Some(key) = self.idempotency_key {
            fields.insert("idempotency_key".into(), json!(key));
        }
        job
    }

    /// Nobody is there to be told when a follow-up is refused.
    fn follow_up(&self, last_job: u64) -> Value {
        let mut json = self.json(last_job);
        if let Some(when_full) = json.pointer_mut("/concurrency/when_full").filter(|when| *when == "reject") {
            *when_full = json!("wait");
        }
        json
    }

    /// What a task needs; those of one gang need the same.
    fn needs(&self, at: usize, last_job: u64) -> Vec<Value> {
        let together = |at: &usize| self.tasks[*at].gang == Some(GangPlan::Together);
        let at = (0..at).find(|first| together(&at) && together(first)).unwrap_or(at);
        let plan = &self.tasks[at];
        let mut needs: Vec<Value> = Vec::new();
        let mut seen = [false; NAMES.len()];
        for NeedPlan { task, on, each } in plan.needs.iter().filter(|_| at > 0) {
            let other = task % at;
            let each = *each && plan.gang.is_none() && self.tasks[other].count == plan.count;
            if !std::mem::replace(&mut seen[other], true) {
                needs.push(json!({"task": NAMES[other], "on": on, "each": each}));
            }
        }
        // Most are known; the one after the last is not.
        let needed = plan.job_need.map(|(back, on)| (last_job + 1 - back.min(last_job), on));
        needs.extend(needed.map(|(job, on)| json!({"job": job, "on": on})));
        needs
    }

    fn task(&self, at: usize, last_job: u64) -> Value {
        let plan = &self.tasks[at];
        let alone = plan.gang.is_none();
        let needs = self.needs(at, last_job);
        let mut task = json!({
            "name": NAMES[at], "command": ["x"], "count": plan.count, "retries": plan.retries, "losses": plan.losses,
            "backoff": {"initial": plan.backoff, "factor": 2, "max": "20m"}, "needs": needs,
            "resources": {"cpu": plan.cpu, "licence": plan.licences}, "movable": alone && plan.retries > 0,
        });
        let fields: &mut Map<String, Value> = task.as_object_mut().unwrap();
        fields.extend(plan.max_parallel.filter(|_| alone).map(|most| ("max_parallel".to_owned(), json!(most))));
        if plan.cluster > 0 {
            fields.insert("cluster_resources".into(), json!({"m": plan.cluster}));
        }
        let rate = plan.rate.filter(|_| alone).map(|(limit, per)| json!({"key": "r", "limit": limit, "per": per}));
        fields.extend(rate.map(|rate| ("rate".to_owned(), rate)));
        let gang = plan.gang.map(|gang| if gang == GangPlan::Together { json!("g") } else { json!(true) });
        fields.extend(gang.map(|gang| ("gang".to_owned(), gang)));
        fields.extend(plan.codes.as_object().unwrap().clone());
        task
    }
}
