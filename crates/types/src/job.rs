//! What is submitted: the request as users write it, and the validated specification made of it.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::name::{JobName, Name};
use crate::resources::Resources;
use crate::time::Span;

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
    pub tasks: Option<Vec<Object<TaskRequest>>>,
    /// Short for one task named `main`.
    pub command: Option<Vec<String>>,
}

/// A task as a user writes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRequest {
    pub name: Option<Name>,
    pub driver: Option<Driver>,
    pub command: Option<Vec<String>>,
    pub env: Option<BTreeMap<String, String>>,
    pub working_dir: Option<String>,
    pub stdin: Option<String>,
    pub count: Option<u32>,
    pub needs: Option<Vec<Name>>,
    pub resources: Option<Resources>,
    pub retries: Option<u32>,
    pub backoff: Option<Object<BackoffRequest>>,
    pub timeout: Option<Span>,
    pub grace: Option<Span>,
    pub expected: Option<Span>,
}

/// A backoff as a user writes it; what is left out keeps its default.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackoffRequest {
    pub initial: Option<Span>,
    pub factor: Option<Factor>,
    pub max: Option<Span>,
}

/// A valid job: everything a user may leave out is filled in, every name resolved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    pub name: JobName,
    pub namespace: Name,
    pub priority: u8,
    pub labels: BTreeMap<Name, String>,
    pub idempotency_key: Option<String>,
    pub on_failure: OnFailure,
    pub tasks: Vec<TaskSpec>,
}

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
    /// Names of tasks of this job, all elements of which must have succeeded before.
    pub needs: Vec<Name>,
    pub resources: Resources,
    /// How often a failed task is tried again.
    pub retries: u32,
    pub backoff: Backoff,
    /// How long one attempt may run.
    pub timeout: Option<Span>,
    /// How long a process has between TERM and KILL.
    pub grace: Span,
    /// How long the user expects it to run; policies may use it.
    pub expected: Option<Span>,
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

/// The wait before retry n: `initial` × `factor`ⁿ⁻¹, at most `max`, with up to a quarter of jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backoff {
    pub initial: Span,
    pub factor: Factor,
    pub max: Span,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Span::from_secs(1), factor: Factor { millis: 2000 }, max: Span::from_secs(300) }
    }
}

impl Backoff {
    /// The wait before retry `retry` (from 1), without jitter.
    pub fn wait(&self, retry: u32) -> Span {
        let mut wait_ms = self.initial.0.min(self.max.0);
        for _ in 1..retry {
            let longer = u128::from(wait_ms) * u128::from(self.factor.millis) / 1000;
            wait_ms = u64::try_from(longer).unwrap_or(u64::MAX).min(self.max.0);
            if wait_ms == self.max.0 || self.factor.millis <= 1000 {
                break;
            }
        }
        Span(wait_ms)
    }
}

/// A factor in thousandths inside, a number outside; decisions use no floating point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Factor {
    pub millis: u32,
}

impl Serialize for Factor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_f64(f64::from(self.millis) / 1000.0)
        } else {
            serializer.serialize_u32(self.millis)
        }
    }
}

impl<'de> Deserialize<'de> for Factor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return u32::deserialize(deserializer).map(|millis| Self { millis });
        }
        let number = f64::deserialize(deserializer)?;
        if !(1.0..=1000.0).contains(&number) {
            return Err(de::Error::custom(format!("{number} is not a factor from 1 to 1000")));
        }
        Ok(Self { millis: (number * 1000.0).round() as u32 })
    }
}

impl TaskSpec {
    /// About how many bytes it takes when encoded.
    pub fn weight(&self) -> usize {
        const REST: usize = 256;
        let texts = self.command.iter().chain(&self.stdin).chain(&self.working_dir).map(String::len);
        let env = self.env.iter().map(|(name, value)| name.len() + value.len());
        texts.sum::<usize>() + env.sum::<usize>() + REST
    }
}

impl JobSpec {
    /// All elements of all tasks.
    pub fn elements(&self) -> u64 {
        self.tasks.iter().map(|task| u64::from(task.count)).sum()
    }

    /// The position of the task called `name`.
    pub fn position(&self, name: &str) -> Option<u32> {
        self.tasks.iter().position(|task| task.name.as_str() == name).and_then(|at| u32::try_from(at).ok())
    }
}
