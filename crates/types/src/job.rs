//! What is submitted: the request as users write it, and the validated specification made of it.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::apart::Apart;
pub use crate::backoff::{Backoff, Factor};
use crate::constraint::{Condition, Preference, Spread, Toleration};
pub use crate::follow::FollowUp;
use crate::gang::GangRequest;
use crate::gate::{Rate, RateRequest};
use crate::limits::{
    ANTI_AFFINITY_MAX, COMMAND_ARGS_MAX, EDGES_PER_JOB_MAX, FOLLOW_UPS_MAX, LABEL_VALUE_BYTES_MAX, NAME_LEN_MAX,
    PREFERS_MAX, REQUIRES_MAX, SPREADS_MAX, TAINTS_MAX,
};
use crate::name::{JobName, Name};
use crate::need::{Need, On};
use crate::resources::Resources;
use crate::schedule::{ScheduleRequest, ScheduleSpec};
use crate::service::{HealthRequest, Kind, ServiceSpec, Share};
use crate::task_list::{self, TaskList};
use crate::time::Span;
use crate::when::When;
use crate::words;

/// Reads `T` from a JSON object only. Serde's derived structures accept arrays as well, which would turn a
/// malformed request into a job.
#[derive(Clone, Copy, Debug, Default)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MapOnly<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> de::Visitor<'de> for MapOnly<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(de::value::MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(MapOnly(PhantomData)).map(Self)
    }
}

/// A job as a user writes it. [`JobRequest::validate`](crate::validate) makes it a [`JobSpec`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobRequest {
    pub name: Option<JobName>,
    pub namespace: Option<Name>,
    pub priority: Option<u8>,
    pub labels: Option<BTreeMap<Name, String>>,
    pub idempotency_key: Option<String>,
    pub on_failure: Option<OnFailure>,
    #[serde(default, deserialize_with = "task_list::of_request")]
    pub tasks: Option<Vec<Object<TaskRequest>>>,
    /// Short for one task named `main`.
    #[serde(default, deserialize_with = "task_list::at_most::<_, _, COMMAND_ARGS_MAX>")]
    pub command: Option<Vec<String>>,
    pub start_after: Option<When>,
    pub deadline: Option<When>,
    pub expires: Option<When>,
    pub concurrency: Option<Object<ConcurrencyRequest>>,
    #[serde(default, deserialize_with = "task_list::at_most::<_, _, FOLLOW_UPS_MAX>")]
    pub then: Option<Vec<Object<FollowUpRequest>>>,
    pub preempt: Option<Preempt>,
    pub schedule: Option<Object<ScheduleRequest>>,
    /// Of the one task that `command` is short for.
    pub movable: Option<bool>,
    /// Of the one task that `command` is short for.
    pub count: Option<u32>,
    pub kind: Option<Kind>,
    pub max_unavailable: Option<Share>,
    pub health: Option<Object<HealthRequest>>,
}

/// A concurrency key as a user writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConcurrencyRequest {
    pub key: Name,
    pub limit: Option<u32>,
    pub when_full: Option<WhenFull>,
}

/// A job to submit after another, as a user writes it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FollowUpRequest {
    #[serde(default)]
    pub on: On,
    pub job: Box<Object<JobRequest>>,
}

/// A task as a user writes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRequest {
    pub name: Option<Name>,
    pub driver: Option<Driver>,
    #[serde(default, deserialize_with = "task_list::at_most::<_, _, COMMAND_ARGS_MAX>")]
    pub command: Option<Vec<String>>,
    pub env: Option<BTreeMap<String, String>>,
    pub working_dir: Option<String>,
    pub stdin: Option<String>,
    pub count: Option<u32>,
    pub max_parallel: Option<u32>,
    #[serde(default, deserialize_with = "task_list::at_most::<_, _, EDGES_PER_JOB_MAX>")]
    pub needs: Option<Vec<Need>>,
    /// Tasks of its job that get to need it; of a task that a running one adds to its job.
    #[serde(default, deserialize_with = "task_list::at_most::<_, _, EDGES_PER_JOB_MAX>")]
    pub before: Option<Vec<Need>>,
    pub resources: Option<Resources>,
    pub retries: Option<u32>,
    pub retry_on: Option<Vec<u8>>,
    pub no_retry_on: Option<Vec<u8>>,
    pub losses: Option<u32>,
    pub backoff: Option<Object<BackoffRequest>>,
    pub timeout: Option<Span>,
    pub grace: Option<Span>,
    pub expected: Option<Span>,
    #[serde(default, deserialize_with = "task_list::at_most::<_, _, REQUIRES_MAX>")]
    pub requires: Option<Vec<Condition>>,
    #[serde(default, deserialize_with = "task_list::at_most::<_, _, PREFERS_MAX>")]
    pub prefers: Option<Vec<Preference>>,
    #[serde(default, deserialize_with = "task_list::at_most::<_, _, TAINTS_MAX>")]
    pub tolerations: Option<Vec<Toleration>>,
    #[serde(default, deserialize_with = "task_list::at_most::<_, _, SPREADS_MAX>")]
    pub spread: Option<Vec<Object<Spread>>>,
    #[serde(default, deserialize_with = "task_list::at_most::<_, _, ANTI_AFFINITY_MAX>")]
    pub anti_affinity: Option<Vec<Apart>>,
    pub key: Option<Name>,
    pub cluster_resources: Option<BTreeMap<Name, u32>>,
    pub rate: Option<Object<RateRequest>>,
    pub gang: Option<GangRequest>,
    pub movable: Option<bool>,
}

/// A backoff as a user writes it; what is left out keeps its default.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackoffRequest {
    pub initial: Option<Span>,
    pub factor: Option<Factor>,
    pub max: Option<Span>,
}

/// A valid job: everything a user may leave out is filled in, every name resolved. `service::form` encodes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobSpec {
    pub name: JobName,
    pub namespace: Name,
    pub priority: u8,
    pub labels: BTreeMap<Name, String>,
    pub idempotency_key: Option<String>,
    pub on_failure: OnFailure,
    pub tasks: TaskList,
    /// Nothing starts before.
    pub start_after: Option<When>,
    /// What has not finished by then fails.
    pub deadline: Option<When>,
    /// What has not started by then is cancelled.
    pub expires: Option<When>,
    pub concurrency: Option<Concurrency>,
    /// What is submitted once this job has finished.
    pub then: Vec<FollowUp>,
    /// The job itself never runs: each tick submits a run of it.
    pub schedule: Option<Box<ScheduleSpec>>,
    /// It never ends by itself: its elements are kept running. No job has both.
    pub service: Option<Box<ServiceSpec>>,
    /// What its tasks may end to have room.
    pub preempt: Preempt,
}

/// Jobs of a namespace that share a key run at most `limit` at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concurrency {
    pub key: Name,
    pub limit: u32,
    pub when_full: WhenFull,
}

/// What becomes of a job whose concurrency key is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenFull {
    #[default]
    Wait,
    /// The submission is refused.
    Reject,
    /// As many of the oldest holders as must make room, and all that wait, are cancelled; the job starts when
    /// their attempts have ended.
    Replace,
}

words!(
    /// What a job's tasks may end to have room.
    #[derive(Default)]
    Preempt {
        #[default]
        Never = "never",
        /// Attempts of jobs with a lower priority.
        Lower = "lower",
    }
);

/// A valid task of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSpec {
    pub name: Name,
    pub driver: Driver,
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub working_dir: Option<String>,
    pub stdin: Option<String>,
    /// How many elements the task has; 1 for one that is no array.
    pub count: u32,
    /// How many elements may be live at a time.
    pub max_parallel: Option<u32>,
    /// What must have come about before.
    pub needs: Vec<Need>,
    pub resources: Resources,
    /// How often a failed task is tried again.
    pub retries: u32,
    /// Exit codes after which it is; all if there are none here.
    pub retry_on: Vec<u8>,
    /// Exit codes after which it is not.
    pub no_retry_on: Vec<u8>,
    /// Workers lost in a row, each with an attempt of the task, that make it poisonous: it fails.
    pub losses: u32,
    pub backoff: Backoff,
    /// How long one attempt may run.
    pub timeout: Option<Span>,
    /// How long a process has between TERM and KILL.
    pub grace: Span,
    /// How long the user expects it to run; policies may use it.
    pub expected: Option<Span>,
    /// What its worker must be.
    pub requires: Box<[Condition]>,
    /// What its worker should be, if it can be had now.
    pub prefers: Box<[Preference]>,
    /// Taints that don't keep it off a worker.
    pub tolerations: Box<[Toleration]>,
    /// How many of its elements may come together.
    pub spread: Box<[Spread]>,
    /// What must not share a worker with it, also where the other side does not say so.
    pub anti_affinity: Box<[Apart]>,
    /// What consistent hashing goes by, instead of its name.
    pub key: Option<Name>,
    /// What each live attempt holds of what the cluster as a whole has.
    pub cluster_resources: BTreeMap<Name, u32>,
    /// How many of its attempts, and of others with that key, may start in a time.
    pub rate: Option<Box<Rate>>,
    /// All elements of the tasks of the job that name this gang run at once, or none does.
    pub gang: Option<Name>,
    /// Its attempts may be ended and started elsewhere to even out the load.
    pub movable: bool,
}

/// What executes a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// A process group of its own.
    #[default]
    Process,
    /// Nothing is executed and success reported at once. For benchmarks.
    Noop,
}

/// What a failed task does to the rest of its job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// What has not started is cancelled.
    #[default]
    Cancel,
    /// What does not need the failed task goes on.
    Continue,
}

impl TaskSpec {
    /// Whether an attempt that ended so may be followed by another. What ended without an exit code may.
    pub fn may_retry(&self, exit_code: Option<i32>) -> bool {
        let Some(code) = exit_code.and_then(|code| u8::try_from(code).ok()) else { return true };
        !self.no_retry_on.contains(&code) && (self.retry_on.is_empty() || self.retry_on.contains(&code))
    }

    /// Whether every worker with room will do.
    pub fn is_unconstrained(&self) -> bool {
        let Self { requires, prefers, tolerations, spread, anti_affinity, .. } = self;
        requires.is_empty()
            && prefers.is_empty()
            && tolerations.is_empty()
            && spread.is_empty()
            && anti_affinity.is_empty()
    }

    /// Whether room on a worker is all that it needs to start.
    pub fn is_ungated(&self) -> bool {
        self.cluster_resources.is_empty() && self.rate.is_none()
    }

    /// About how many bytes it takes when encoded.
    pub fn weight(&self) -> usize {
        const REST: usize = 256;
        let texts = self.command.iter().chain(&self.stdin).chain(&self.working_dir).map(String::len);
        let env = self.env.iter().map(|(name, value)| name.len() + value.len());
        // A name, and a value that a toleration may have.
        const NAMED: usize = NAME_LEN_MAX + LABEL_VALUE_BYTES_MAX;
        let conditions = self.requires.iter().chain(self.prefers.iter().map(|preference| &preference.condition));
        let named = self.tolerations.len()
            + self.spread.len()
            + self.anti_affinity.len()
            + self.cluster_resources.len()
            + usize::from(self.rate.is_some())
            + self.gang.iter().len();
        let constraints = conditions.map(Condition::weight).sum::<usize>() + NAMED * named;
        texts.sum::<usize>() + env.sum::<usize>() + constraints + REST
    }
}

impl JobSpec {
    /// All elements of all tasks.
    pub fn elements(&self) -> u64 {
        self.tasks.iter().map(|task| u64::from(task.count)).sum()
    }

    /// All elements of the jobs that may follow.
    pub fn elements_to_follow(&self) -> u64 {
        self.then.iter().map(|follow_up| follow_up.job.elements()).sum()
    }

    /// The position of the task called `name`.
    pub fn position(&self, name: &str) -> Option<u32> {
        self.tasks.iter().position(|task| task.name.as_str() == name).and_then(|at| u32::try_from(at).ok())
    }
}
