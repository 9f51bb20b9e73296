//! Recorded scientific workflows: WfFormat 1.5 of <https://wfcommons.org/format>.
//!
//! `workflow.specification.tasks[]` has names, parents and children, `workflow.execution.tasks[]` what
//! each of them took.

use std::collections::{BTreeSet, HashMap, HashSet};

use quorate_types::limits::{NAME_LEN_MAX, RESOURCE_UNITS_MAX, SPAN_MS_MAX};
use quorate_types::name::NameError;
use quorate_types::resources::parse_millis;
use quorate_types::{JobName, Name, Resources, Span, Timestamp};
use serde::Deserialize;

use crate::lab::job::Job;

/// Room for a suffix that makes a name unique.
const STEM_LEN_MAX: usize = NAME_LEN_MAX - 12;

/// Why a file is no workflow.
#[derive(Debug, thiserror::Error)]
pub enum WfError {
    #[error("not a workflow in WfFormat 1.5: {0}")]
    Format(#[from] serde_json::Error),
    #[error("the workflow has no tasks")]
    Empty,
    #[error("two tasks have the id {0:?}")]
    SameId(String),
    #[error("task {task:?} refers to {other:?}, which is not there")]
    Unknown { task: String, other: String },
    #[error("task {0:?} has no recorded run time")]
    NoRuntime(String),
    #[error("task {task:?} has a run time of {seconds} s")]
    Runtime { task: String, seconds: f64 },
    #[error("task {task:?} used {cores} cores")]
    Cores { task: String, cores: f64 },
    #[error("{0:?} {1}")]
    Name(String, NameError),
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    name: String,
    workflow: Recorded,
}

#[derive(Deserialize)]
struct Recorded {
    specification: Specification,
    execution: Execution,
}

#[derive(Deserialize)]
struct Specification {
    tasks: Vec<SpecifiedTask>,
}

#[derive(Deserialize)]
struct SpecifiedTask {
    id: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    parents: Vec<String>,
    #[serde(default)]
    children: Vec<String>,
}

#[derive(Deserialize)]
struct Execution {
    tasks: Vec<ExecutedTask>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecutedTask {
    id: String,
    runtime_in_seconds: f64,
    core_count: Option<f64>,
    memory_in_bytes: Option<f64>,
}

/// A recorded workflow, its names made legal and its edges resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Workflow {
    /// A legal name for a job.
    pub name: String,
    pub tasks: Vec<WorkflowTask>,
}

/// A task of a recorded workflow.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkflowTask {
    /// As the recording calls it.
    pub id: String,
    /// Legal, and unique in the workflow.
    pub name: String,
    /// Positions of the tasks that end before this one starts.
    pub needs: BTreeSet<usize>,
    /// How long it ran; finite and not negative.
    pub run_seconds: f64,
    /// Cores that it used, if that was recorded; more than 0.
    pub cores: Option<f64>,
    pub memory_bytes: Option<u64>,
}

impl Workflow {
    /// Reads a recording.
    ///
    /// # Errors
    /// When it is no workflow, or does not say of each task how long it ran.
    pub fn parse(text: &[u8]) -> Result<Self, WfError> {
        let document: Document = serde_json::from_slice(text)?;
        let specified = document.workflow.specification.tasks;
        if specified.is_empty() {
            return Err(WfError::Empty);
        }
        let names = names(&specified)?;
        let needs = needs(&specified, &names)?;
        let executed = document.workflow.execution.tasks.iter().map(|task| (task.id.as_str(), task));
        let executed: HashMap<&str, &ExecutedTask> = executed.collect();
        let mut tasks = Vec::with_capacity(specified.len());
        for ((task, name), needs) in specified.iter().zip(names.of_task).zip(needs) {
            let recorded = executed.get(task.id.as_str()).ok_or_else(|| WfError::NoRuntime(task.id.clone()))?;
            tasks.push(recorded.with(name, needs)?);
        }
        Ok(Self { name: sanitise(&document.name, "workflow"), tasks })
    }

    /// A job of the lab for each task, all submitted at 0.
    ///
    /// # Errors
    /// When a run time, or a number of cores, is more than a job may have.
    pub fn jobs(&self) -> Result<Vec<Job>, WfError> {
        let mut jobs = Vec::with_capacity(self.tasks.len());
        for (at, task) in self.tasks.iter().enumerate() {
            jobs.push(task.job(at, &self.name)?);
        }
        Ok(jobs)
    }
}

impl ExecutedTask {
    fn with(&self, name: String, needs: BTreeSet<usize>) -> Result<WorkflowTask, WfError> {
        let seconds = self.runtime_in_seconds;
        if !(seconds.is_finite() && seconds >= 0.0) {
            return Err(WfError::Runtime { task: self.id.clone(), seconds });
        }
        let memory = self.memory_in_bytes.filter(|bytes| *bytes >= 1.0);
        Ok(WorkflowTask {
            id: self.id.clone(),
            name,
            needs,
            run_seconds: seconds,
            cores: self.core_count.filter(|cores| *cores > 0.0),
            memory_bytes: memory.map(|bytes| bytes as u64),
        })
    }
}

impl WorkflowTask {
    fn job(&self, at: usize, workflow: &str) -> Result<Job, WfError> {
        let run_ms = (self.run_seconds * 1000.0).round();
        if run_ms > SPAN_MS_MAX as f64 {
            return Err(WfError::Runtime { task: self.id.clone(), seconds: self.run_seconds });
        }
        let cores = self.cores.unwrap_or(1.0);
        let cpu_millis = parse_millis(cores).map_err(|_| WfError::Cores { task: self.id.clone(), cores })?;
        let memory_bytes = self.memory_bytes.unwrap_or(0).min(RESOURCE_UNITS_MAX);
        let request = Resources::new(cpu_millis, memory_bytes);
        // Nothing takes no time at all, and a job without run time would be no job.
        let run = Span((run_ms as u64).max(1));
        Ok(Job {
            owner: Name::new(workflow).map_err(|error| WfError::Name(workflow.to_owned(), error))?,
            name: JobName::new(&self.name).map_err(|error| WfError::Name(self.name.clone(), error))?,
            needs: self.needs.iter().map(|need| *need as u64 + 1).collect(),
            ..Job::new(at as u64 + 1, Timestamp(0), run, request)
        })
    }
}

struct Names {
    /// The name of each task, by position.
    of_task: Vec<String>,
    position: HashMap<String, usize>,
}

/// Legal and unique names, as close to the recorded ones as can be.
fn names(tasks: &[SpecifiedTask]) -> Result<Names, WfError> {
    let mut names = Names { of_task: Vec::with_capacity(tasks.len()), position: HashMap::with_capacity(tasks.len()) };
    let mut taken = HashSet::with_capacity(tasks.len());
    // The last suffix of each stem: thousands of tasks may share one.
    let mut suffixes: HashMap<String, usize> = HashMap::new();
    for (at, task) in tasks.iter().enumerate() {
        if names.position.insert(task.id.clone(), at).is_some() {
            return Err(WfError::SameId(task.id.clone()));
        }
        let stem = sanitise(task.name.as_deref().unwrap_or(&task.id), "task");
        let suffix = suffixes.entry(stem.clone()).or_insert(1);
        let mut name = stem.clone();
        while !taken.insert(name.clone()) {
            *suffix += 1;
            name = format!("{stem}-{suffix}");
        }
        names.of_task.push(name);
    }
    Ok(names)
}

/// Each task's needs by position; recordings name an edge at one end or at both.
fn needs(tasks: &[SpecifiedTask], names: &Names) -> Result<Vec<BTreeSet<usize>>, WfError> {
    let find = |task: &SpecifiedTask, other: &String| {
        let unknown = || WfError::Unknown { task: task.id.clone(), other: other.clone() };
        names.position.get(other).copied().ok_or_else(unknown)
    };
    let mut needs = vec![BTreeSet::new(); tasks.len()];
    for (at, task) in tasks.iter().enumerate() {
        for parent in &task.parents {
            needs[at].insert(find(task, parent)?);
        }
        for child in &task.children {
            needs[find(task, child)?].insert(at);
        }
    }
    Ok(needs)
}

/// A legal name: what is not allowed becomes `_`, what is too long is cut.
fn sanitise(text: &str, fallback: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '_' };
    let name: String = text.chars().map(legal).take(STEM_LEN_MAX).collect();
    if name.chars().all(|c| matches!(c, '.' | '_')) { fallback.to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(specified: &str, executed: &str) -> String {
        format!(r#"{{"workflow":{{"specification":{{"tasks":{specified}}},"execution":{{"tasks":{executed}}}}}}}"#)
    }

    #[test]
    fn what_is_no_workflow_is_refused_with_the_reason() {
        let run = r#"[{"id":"a","runtimeInSeconds":1}]"#;
        for (text, reason) in [
            ("{}".to_owned(), "WfFormat"),
            (document("[]", "[]"), "no tasks"),
            (document(r#"[{"id":"a"}]"#, "[]"), "run time"),
            (document(r#"[{"id":"a"},{"id":"a"}]"#, run), "two tasks"),
            (document(r#"[{"id":"a","parents":["b"]}]"#, run), "not there"),
            (document(r#"[{"id":"a"}]"#, r#"[{"id":"a","runtimeInSeconds":-1}]"#), "run time of -1 s"),
        ] {
            let error = Workflow::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn tasks_become_jobs_with_their_needs() {
        let specified = r#"[{"id":"a","children":["b"]},{"id":"b","parents":["a"]}]"#;
        let executed =
            r#"[{"id":"a","runtimeInSeconds":1.5,"coreCount":2,"memoryInBytes":9},{"id":"b","runtimeInSeconds":0}]"#;
        let jobs = Workflow::parse(document(specified, executed).as_bytes()).unwrap().jobs().unwrap();
        assert_eq!((jobs[0].run, &jobs[0].request), (Span(1500), &Resources::new(2000, 9)));
        assert_eq!((jobs[1].run, &jobs[1].needs), (Span(1), &vec![jobs[0].id]));
    }

    #[test]
    fn names_become_legal() {
        assert_eq!(sanitise("a b/c:ü", "x"), "a_b_c__");
        assert_eq!(sanitise("..", "x"), "x");
        assert_eq!(sanitise("", "x"), "x");
        assert_eq!(sanitise(&"n".repeat(500), "x").len(), STEM_LEN_MAX);
    }
}
