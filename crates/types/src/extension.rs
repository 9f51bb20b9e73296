//! What a running task adds to its own job: more tasks, which exist if and only if its success is accepted.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::job::{Object, TaskRequest, TaskSpec};
use crate::limits::{EXTENSION_BYTES_MAX, REASON_BYTES_MAX};
use crate::name::Name;
use crate::need::Need;
use crate::problem::FieldError;
use crate::status::Ending;
use crate::validate;

/// Valid by itself; whether the job can take it is for the state to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    pub tasks: Vec<NewTask>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTask {
    pub spec: Arc<TaskSpec>,
    /// Tasks of the job that get to need it.
    pub before: Vec<Need>,
}

/// What an attempt leaves for its job when it succeeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Addition {
    /// As the task wrote it: what a worker reports.
    Text(String),
    /// As a replica has checked it: what stands in the log.
    Checked(Extension),
}

impl Addition {
    /// About how many bytes it takes when encoded.
    pub fn weight(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Checked(extension) => extension.weight(),
        }
    }
}

impl Extension {
    /// Reads tasks, either as an array or each on a line of its own. Places in complaints begin with the number of
    /// the task, from 0.
    ///
    /// # Errors
    /// What is wrong with it, in the order of the text.
    pub fn read(text: &str) -> Result<Self, Vec<FieldError>> {
        if text.len() > EXTENSION_BYTES_MAX {
            return Err(vec![FieldError::new("", format!("more than {EXTENSION_BYTES_MAX} bytes"))]);
        }
        let is_array = text.trim_start().starts_with('[');
        let requests: Vec<Object<TaskRequest>> = if is_array {
            serde_json::from_str(text).map_err(|error| vec![FieldError::new("", error.to_string())])?
        } else {
            let lines = serde_json::Deserializer::from_str(text).into_iter();
            let read = lines.enumerate().map(|(at, line)| {
                line.map_err(|error: serde_json::Error| vec![FieldError::new(format!("/{at}"), error.to_string())])
            });
            read.collect::<Result<_, _>>()?
        };
        let (tasks, before): (Vec<TaskSpec>, Vec<Vec<Need>>) = validate::added_tasks(requests)?.into_iter().unzip();
        check_before(&tasks, &before)?;
        if let Some(at) = tasks.iter().position(|task| task.gang.is_some()) {
            return Err(vec![FieldError::new(format!("/{at}/gang"), "a gang is submitted with its job")]);
        }
        let added = tasks.into_iter().zip(before);
        Ok(Self { tasks: added.map(|(spec, before)| NewTask { spec: Arc::new(spec), before }).collect() })
    }

    /// All elements of all tasks.
    pub fn elements(&self) -> u64 {
        self.tasks.iter().map(|task| u64::from(task.spec.count)).sum()
    }

    /// All that its tasks need, and all that gets to need them.
    pub fn edges(&self) -> usize {
        self.tasks.iter().map(|task| task.spec.needs.len() + task.before.len()).sum()
    }

    fn weight(&self) -> usize {
        let names = |needs: &[Need]| needs.iter().filter_map(Need::task).map(|name| name.len() + 2).sum::<usize>();
        self.tasks.iter().map(|task| task.spec.weight() + names(&task.spec.needs) + names(&task.before)).sum()
    }
}

/// What comes after a new task is an old one, and the whole of it.
fn check_before(tasks: &[TaskSpec], before: &[Vec<Need>]) -> Result<(), Vec<FieldError>> {
    let new: HashMap<&Name, usize> = tasks.iter().map(|task| &task.name).zip(0..).collect();
    for (at, needs) in before.iter().enumerate() {
        let mut seen = BTreeSet::new();
        for (nth, need) in needs.iter().enumerate() {
            let detail = match need {
                Need::Task { task, .. } if new.contains_key(task) => "is new too: let it need this one",
                Need::Task { task, .. } if !seen.insert(task) => "is named twice",
                Need::Task { .. } => continue,
                Need::Each { .. } | Need::Job { .. } => "must be a task of the job, and need this one as a whole",
            };
            return Err(vec![FieldError::new(format!("/{at}/before/{nth}"), detail)]);
        }
    }
    Ok(())
}

impl Ending {
    /// How an attempt ended whose extension can't be: the first complaint says why.
    pub fn not_extended(complaints: &[FieldError]) -> Self {
        let mut why = complaints.first().map_or_else(String::new, |first| match first.pointer.as_str() {
            "" => first.detail.clone(),
            pointer => format!("{pointer}: {}", first.detail),
        });
        why.truncate(why.floor_char_boundary(REASON_BYTES_MAX));
        Self::NotExtended(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_and_lines_say_the_same() {
        let tasks = [r#"{"name":"a","command":["x"]}"#, r#"{"name":"b","command":["y"],"needs":["a"],"before":["z"]}"#];
        let array = Extension::read(&format!(" [{}]", tasks.join(","))).unwrap();
        assert_eq!(Extension::read(&(tasks.join("\n") + "\n")), Ok(array.clone()));
        assert_eq!((array.tasks.len(), array.elements(), array.edges()), (2, 2, 2));
        assert_eq!(Extension::read(""), Ok(Extension::default()));
    }

    #[test]
    fn each_complaint_names_its_place() {
        let cases = [
            (r#"[{"command":["x"]}]"#, "/0/name"),
            (r#"{"name":"a","command":[]}"#, "/0/command"),
            (r#"{"name":"a","command":["x"]} {"name":"a","command":["x"]}"#, "/1/name"),
            (r#"{"name":"a","command":["x"]} 7"#, "/1"),
            (r#"{"name":"a","command":["x"],"needs":[{"job":7}]}"#, "/0/needs/0"),
            (r#"{"name":"a","command":["x"],"needs":["b","b"]}"#, "/0/needs/1"),
            (r#"{"name":"a","command":["x"],"before":["a"]}"#, "/0/before/0"),
            (r#"{"name":"a","command":["x"],"gang":true}"#, "/0/gang"),
            (r#"{"name":"a","command":["x"],"before":["b","b"]}"#, "/0/before/1"),
            (r#"{"name":"a","command":["x"],"before":[{"task":"b","each":true}]}"#, "/0/before/0"),
            (
                r#"[{"name":"a","command":["x"],"needs":["b"]},{"name":"b","command":["x"],"needs":["a"]}]"#,
                "/0/needs/0",
            ),
            (r#"[{"name":"a","command":["x"],"nmae":1}]"#, ""),
        ];
        for (text, pointer) in cases {
            let complaints = Extension::read(text).expect_err(text);
            assert_eq!(complaints[0].pointer, pointer, "{text}: {complaints:?}");
        }
        let long = format!(r#"{{"name":"a","command":["{}"]}}"#, "x".repeat(EXTENSION_BYTES_MAX));
        assert!(Ending::not_extended(&Extension::read(&long).unwrap_err()).to_string().contains("more than"));
    }
}
