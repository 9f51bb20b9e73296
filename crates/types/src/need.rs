//! What a task waits for: other tasks of its job, or other jobs, with the outcome that they must have.

use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::id::JobId;
use crate::name::Name;

/// One thing that must have come about before a task may start.
///
/// JSON: `"b"` is short for `{"task":"b","on":"success"}`; `{"task":"b","on":"failure"}`;
/// `{"task":"b","each":true}`; `{"job":17,"on":"finish"}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// All elements of a task of the same job.
    Task { task: Name, on: On },
    /// Only the element with the same index, of a task that has as many.
    Each { task: Name, on: On },
    /// Another job as a whole.
    Job { job: JobId, on: On },
}

/// Which end of what is needed lets the task go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum On {
    /// Everything succeeded.
    #[default]
    Success,
    /// It ended, and something failed.
    Failure,
    /// It ended, however.
    Finish,
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Succeeded,
    Failed,
    /// It was cancelled, or never came about.
    Cancelled,
}

impl On {
    /// Whether such an end is what was waited for.
    pub const fn is_met_by(self, end: End) -> bool {
        match (self, end) {
            (Self::Success, End::Succeeded) | (Self::Failure, End::Failed) | (Self::Finish, _) => true,
            (Self::Success, End::Failed | End::Cancelled) | (Self::Failure, End::Succeeded | End::Cancelled) => false,
        }
    }

    /// An end that is.
    pub const fn end(self) -> End {
        match self {
            Self::Success | Self::Finish => End::Succeeded,
            Self::Failure => End::Failed,
        }
    }
}

impl From<Name> for Need {
    /// The success of a task of the same job.
    fn from(task: Name) -> Self {
        Self::Task { task, on: On::Success }
    }
}

impl Need {
    pub const fn on(&self) -> On {
        match self {
            Self::Task { on, .. } | Self::Each { on, .. } | Self::Job { on, .. } => *on,
        }
    }

    pub(crate) const fn task_mut(&mut self) -> Option<&mut Name> {
        match self {
            Self::Task { task, .. } | Self::Each { task, .. } => Some(task),
            Self::Job { .. } => None,
        }
    }

    /// The task of the same job that is needed.
    pub const fn task(&self) -> Option<&Name> {
        match self {
            Self::Task { task, .. } | Self::Each { task, .. } => Some(task),
            Self::Job { .. } => None,
        }
    }
}

/// The long spelling.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Long {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    task: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    job: Option<JobId>,
    #[serde(default)]
    on: On,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    each: bool,
}

/// The same for encodings that are not for people.
#[derive(Serialize)]
#[serde(rename = "Plain")]
enum PlainRef<'a> {
    Task(&'a Name, On),
    Each(&'a Name, On),
    Job(JobId, On),
}

#[derive(Deserialize)]
enum Plain {
    Task(Name, On),
    Each(Name, On),
    Job(JobId, On),
}

impl Serialize for Need {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return match self {
                Self::Task { task, on } => PlainRef::Task(task, *on),
                Self::Each { task, on } => PlainRef::Each(task, *on),
                Self::Job { job, on } => PlainRef::Job(*job, *on),
            }
            .serialize(serializer);
        }
        match self {
            Self::Task { task, on: On::Success } => task.serialize(serializer),
            Self::Task { task, on } => {
                Long { task: Some(task.clone()), job: None, on: *on, each: false }.serialize(serializer)
            }
            Self::Each { task, on } => {
                Long { task: Some(task.clone()), job: None, on: *on, each: true }.serialize(serializer)
            }
            Self::Job { job, on } => Long { task: None, job: Some(*job), on: *on, each: false }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Need {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_any(NameOrObject(PhantomData));
        }
        Plain::deserialize(deserializer).map(|plain| match plain {
            Plain::Task(task, on) => Self::Task { task, on },
            Plain::Each(task, on) => Self::Each { task, on },
            Plain::Job(job, on) => Self::Job { job, on },
        })
    }
}

struct NameOrObject(PhantomData<Need>);

impl<'de> de::Visitor<'de> for NameOrObject {
    type Value = Need;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a task's name, or an object with task or job")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Need, E> {
        Ok(Need::Task { task: Name::new(text).map_err(E::custom)?, on: On::Success })
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Need, A::Error> {
        let Long { task, job, on, each } = Long::deserialize(de::value::MapAccessDeserializer::new(map))?;
        match (task, job) {
            (Some(task), None) if each => Ok(Need::Each { task, on }),
            (Some(task), None) => Ok(Need::Task { task, on }),
            (None, Some(job)) if !each => Ok(Need::Job { job, on }),
            (None, Some(_)) => Err(de::Error::custom("each is for tasks, not for jobs")),
            (Some(_), Some(_)) | (None, None) => Err(de::Error::custom("give either task or job")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_read_back_as_they_were_written() {
        let texts = [
            r#""b""#,
            r#"{"task":"b","on":"failure"}"#,
            r#"{"task":"b","on":"success","each":true}"#,
            r#"{"job":17,"on":"finish"}"#,
        ];
        for text in texts {
            let need: Need = serde_json::from_str(text).unwrap();
            assert_eq!(serde_json::to_string(&need).unwrap(), text);
        }
        let short: Need = serde_json::from_str(r#"{"task":"b"}"#).unwrap();
        assert_eq!(serde_json::to_string(&short).unwrap(), r#""b""#);
        for bad in ["{}", r#"{"task":"a","job":1}"#, r#"{"job":1,"each":true}"#, r#"{"task":"a","if":1}"#, "3", "[]"] {
            assert!(serde_json::from_str::<Need>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn conditions() {
        let met = |on: On| [End::Succeeded, End::Failed, End::Cancelled].map(|end| on.is_met_by(end));
        assert_eq!(met(On::Success), [true, false, false]);
        assert_eq!(met(On::Failure), [false, true, false]);
        assert_eq!(met(On::Finish), [true, true, true]);
    }
}
