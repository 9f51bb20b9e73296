//! Jobs that never end by themselves: services, of which so many elements are kept running, and system jobs, with one
//! element on each worker that matches.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::job::{JobSpec, TaskSpec};
use crate::limits::COMMAND_ARGS_MAX;
use crate::task_list;
use crate::time::Span;
use crate::words;

mod form;

words!(
    /// What becomes of a job whose tasks have ended.
    #[derive(Default)]
    Kind {
        /// It has ended.
        #[default]
        Batch = "batch",
        /// They are started again, `count` of them.
        Service = "service",
        /// The same, one on each worker that matches.
        System = "system",
    }
);

/// What makes a job one that never ends by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Not [`Kind::Batch`].
    pub kind: Kind,
    pub max_unavailable: Share,
    /// Position of the task that is the newest version.
    pub newest: u32,
    /// Of each task of the job, in their order.
    pub versions: Vec<Version>,
}

/// A version of a service is a task of its job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Counts the changes of the definition, from 1.
    pub number: u32,
    pub health: Option<Health>,
}

/// A number of elements, or a part of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    Count(u32),
    Percent(u8),
}

impl Default for Share {
    fn default() -> Self {
        Self::Count(1)
    }
}

impl Share {
    /// Of so many, at least one: a rollout that may touch nothing would never begin.
    pub fn of(self, all: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => (u64::from(all) * u64::from(percent) / 100) as u32,
        }
        .max(1)
    }
}

/// How a running attempt shows that it is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Run beside the attempt, in its folder and with its environment; it is well if that exits with 0. Without one it
    /// is well as long as it runs.
    pub command: Option<Vec<String>>,
    pub interval: Span,
    /// How long one run may take.
    pub timeout: Span,
    /// So many in a row end the attempt.
    pub failures: u32,
    /// Failures before the first success don't count for so long.
    pub start_period: Span,
    /// How long it must have been well before it counts.
    pub min_healthy: Span,
}

impl Health {
    /// About how many bytes it takes when encoded.
    pub fn weight(&self) -> usize {
        self.command.iter().flatten().map(String::len).sum::<usize>() + 64
    }
}

/// A health command as a user writes it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthRequest {
    #[serde(default, deserialize_with = "task_list::at_most::<_, _, COMMAND_ARGS_MAX>")]
    pub command: Option<Vec<String>>,
    pub interval: Option<Span>,
    pub timeout: Option<Span>,
    pub failures: Option<u32>,
    pub start_period: Option<Span>,
    pub min_healthy: Option<Span>,
}

impl ServiceSpec {
    pub fn newest_version(&self) -> Option<&Version> {
        self.versions.get(self.newest as usize)
    }
}

impl JobSpec {
    pub fn kind(&self) -> Kind {
        self.service.as_ref().map_or(Kind::Batch, |service| service.kind)
    }

    /// The tasks as their users know them: of a service, the newest version.
    pub fn shown_tasks(&self) -> Vec<&TaskSpec> {
        match &self.service {
            Some(service) => self.tasks.get(service.newest as usize).into_iter().collect(),
            None => self.tasks.iter().collect(),
        }
    }

    /// The task that stands for all of which a task is a version; itself if it is no version.
    pub fn family(&self, task: u32) -> u32 {
        if self.service.is_some() { 0 } else { task }
    }

    /// The health command of a task.
    pub fn health_of(&self, task: u32) -> Option<&Health> {
        self.service.as_ref()?.versions.get(task as usize)?.health.as_ref()
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// The same for encodings that are not for people.
#[derive(Serialize, Deserialize)]
enum Plain {
    Count(u32),
    Percent(u8),
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (*self, serializer.is_human_readable()) {
            (Self::Count(count), true) => serializer.serialize_u32(count),
            (Self::Percent(_), true) => serializer.collect_str(self),
            (Self::Count(count), false) => Plain::Count(count).serialize(serializer),
            (Self::Percent(percent), false) => Plain::Percent(percent).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrText;

        impl de::Visitor<'_> for NumberOrText {
            type Value = Share;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of elements, or a part of them such as \"25%\"")
            }

            fn visit_u64<E: de::Error>(self, count: u64) -> Result<Share, E> {
                u32::try_from(count).map(Share::Count).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Share, E> {
                let percent = text.strip_suffix('%').and_then(|number| number.parse().ok());
                let percent = percent.ok_or_else(|| E::custom(format!("{text:?} is no part such as \"25%\"")))?;
                Ok(Share::Percent(percent))
            }
        }

        if deserializer.is_human_readable() {
            return deserializer.deserialize_any(NumberOrText);
        }
        Plain::deserialize(deserializer).map(|plain| match plain {
            Plain::Count(count) => Self::Count(count),
            Plain::Percent(percent) => Self::Percent(percent),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_at_least_one() {
        let of = |text: &str, all| serde_json::from_str::<Share>(text).unwrap().of(all);
        assert_eq!([of("2", 9), of("\"25%\"", 9), of("\"25%\"", 3), of("\"100%\"", 3)], [2, 2, 1, 3]);
        for text in ["2", "\"25%\""] {
            assert_eq!(serde_json::to_string(&serde_json::from_str::<Share>(text).unwrap()).unwrap(), text);
        }
        for bad in ["-1", "\"x\"", "\"%\"", "\"300%\"", "0.5", "[]"] {
            assert!(serde_json::from_str::<Share>(bad).is_err(), "{bad}");
        }
    }
}
