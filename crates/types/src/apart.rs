//! What a task must not share a worker with: tasks of its job, and other jobs by their labels.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::job::JobSpec;
use crate::limits::LABEL_VALUE_BYTES_MAX;
use crate::name::Name;
use crate::service::Kind;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Apart {
    /// A task of the same job; itself if no two of its elements may share one.
    Task(Name),
    /// Other jobs of the namespace that have this label.
    Jobs(JobLabel),
}

/// A label of a job with its value: `app=web`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct JobLabel {
    pub label: Name,
    pub value: String,
}

impl Apart {
    pub const fn task(&self) -> Option<&Name> {
        if let Self::Task(task) = self { Some(task) } else { None }
    }

    pub const fn jobs(&self) -> Option<&JobLabel> {
        if let Self::Jobs(label) = self { Some(label) } else { None }
    }
}

impl fmt::Display for JobLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.label, self.value)
    }
}

impl FromStr for JobLabel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((label, value)) = text.split_once('=') else {
            return Err(format!("{text:?} is no label with its value, such as app=web"));
        };
        if value.len() > LABEL_VALUE_BYTES_MAX {
            return Err(format!("the value of a label has at most {LABEL_VALUE_BYTES_MAX} bytes"));
        }
        let label = Name::new(label).map_err(|error| format!("the label {label:?} {error}"))?;
        Ok(Self { label, value: value.to_owned() })
    }
}

impl Serialize for JobLabel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.collect_str(self);
        }
        (&self.label, &self.value).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for JobLabel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(de::Error::custom);
        }
        let (label, value) = Deserialize::deserialize(deserializer)?;
        Ok(Self { label, value })
    }
}

/// The long spelling.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Long {
    label: JobLabel,
}

/// The same for encodings that are not for people.
#[derive(Serialize, Deserialize)]
enum Plain {
    Task(Name),
    Jobs(JobLabel),
}

impl Serialize for Apart {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.clone(), serializer.is_human_readable()) {
            (Self::Task(task), true) => task.serialize(serializer),
            (Self::Jobs(label), true) => Long { label }.serialize(serializer),
            (Self::Task(task), false) => Plain::Task(task).serialize(serializer),
            (Self::Jobs(label), false) => Plain::Jobs(label).serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Apart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrObject;

        impl<'de> de::Visitor<'de> for NameOrObject {
            type Value = Apart;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a task's name, or an object with the label of other jobs")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Apart, E> {
                Name::new(text).map(Apart::Task).map_err(E::custom)
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Apart, A::Error> {
                Long::deserialize(de::value::MapAccessDeserializer::new(map)).map(|long| Apart::Jobs(long.label))
            }
        }

        if deserializer.is_human_readable() {
            return deserializer.deserialize_any(NameOrObject);
        }
        Plain::deserialize(deserializer).map(|plain| match plain {
            Plain::Task(task) => Self::Task(task),
            Plain::Jobs(label) => Self::Jobs(label),
        })
    }
}

impl JobSpec {
    /// The tasks that must not share a worker with one, by position, whichever of them says so.
    pub fn apart(&self) -> BTreeMap<u32, BTreeSet<u32>> {
        let mut apart: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        if self.kind() == Kind::System {
            // One on each worker, of whatever version.
            let all: BTreeSet<u32> = (0..self.tasks.len() as u32).collect();
            return all.iter().map(|at| (*at, all.clone())).collect();
        }
        if self.tasks.iter().flat_map(|task| &task.anti_affinity).all(|one| one.task().is_none()) {
            return apart;
        }
        let positions: BTreeMap<&Name, u32> = self.tasks.iter().map(|task| &task.name).zip(0..).collect();
        let versions = (self.kind() == Kind::Service).then_some(0..self.tasks.len() as u32);
        for (at, task) in (0u32..).zip(&self.tasks) {
            let named = task.anti_affinity.iter().filter_map(|one| positions.get(one.task()?).copied());
            // All versions of a service have the name of its one task.
            for other in named.flat_map(|other| versions.clone().unwrap_or(other..other + 1)) {
                apart.entry(at).or_default().insert(other);
                apart.entry(other).or_default().insert(at);
            }
        }
        apart
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_read_back_as_they_were_written() {
        for text in [r#""store""#, r#"{"label":"app=web"}"#, r#"{"label":"app="}"#, r#"{"label":"url=a=b, c"}"#] {
            let apart: Apart = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&apart).unwrap(), text);
        }
        for bad in ["{}", "3", "[]", r#"{"label":"app"}"#, r#"{"label":"=x"}"#, r#"{"label":"a=b","x":1}"#, r#""a b""#]
        {
            assert!(serde_json::from_str::<Apart>(bad).is_err(), "{bad}");
        }
        let long = format!(r#"{{"label":"a={}"}}"#, "x".repeat(LABEL_VALUE_BYTES_MAX + 1));
        assert!(serde_json::from_str::<Apart>(&long).is_err());
    }
}
