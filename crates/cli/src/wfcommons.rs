//! Recorded scientific workflows as jobs: WfFormat 1.5 of <https://wfcommons.org/format>.
//!
//! `workflow.specification.tasks[]` has names, parents and children, `workflow.execution.tasks[]` what
//! each of them took. A task of the job sleeps, or uses the CPU, for the recorded time × scale.

use std::collections::{BTreeSet, HashMap, HashSet};

use quorate_types::limits::{NAME_LEN_MAX, SPAN_MS_MAX};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Room for a suffix that makes a name unique.
const STEM_LEN_MAX: usize = NAME_LEN_MAX - 12;
/// Uses one core for `$1` seconds: an endless loop that `timeout` ends, which is the success. It stays in
/// the foreground group, so that a cancelled task ends as a whole.
const BURN_SCRIPT: &str = "timeout --foreground \"$1\" sh -c 'while :; do :; done'; test $? -eq 124";

/// How a recording becomes a job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conversion {
    pub(crate) time_scale: f64,
    pub(crate) burn: bool,
    /// Instead of the recorded cores.
    pub(crate) cores_millis: Option<u64>,
}

/// Why a file is no workflow.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WfError {
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
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    name: String,
    workflow: Workflow,
}

#[derive(Deserialize)]
struct Workflow {
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

/// Makes a job, as the API takes it, of a recorded workflow.
pub(crate) fn convert(text: &[u8], conversion: &Conversion) -> Result<Value, WfError> {
    let document: Document = serde_json::from_slice(text)?;
    let specified = document.workflow.specification.tasks;
    if specified.is_empty() {
        return Err(WfError::Empty);
    }
    let names = names(&specified)?;
    let needs = needs(&specified, &names)?;
    let mut executed: HashMap<&str, &ExecutedTask> = HashMap::new();
    for task in &document.workflow.execution.tasks {
        executed.insert(&task.id, task);
    }
    let mut tasks = Vec::with_capacity(specified.len());
    for (at, task) in specified.iter().enumerate() {
        let recorded = executed.get(task.id.as_str()).ok_or_else(|| WfError::NoRuntime(task.id.clone()))?;
        let needs: Vec<&str> = needs[at].iter().map(|need| names.of_task[*need].as_str()).collect();
        tasks.push(convert_task(&names.of_task[at], recorded, &needs, conversion)?);
    }
    let name = sanitise(&document.name, "workflow");
    Ok(json!({"name": name, "labels": {"format": "wfcommons"}, "tasks": tasks}))
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

fn convert_task(
    name: &str,
    recorded: &ExecutedTask,
    needs: &[&str],
    conversion: &Conversion,
) -> Result<Value, WfError> {
    let seconds = recorded.runtime_in_seconds * conversion.time_scale;
    if !(seconds.is_finite() && seconds >= 0.0 && seconds * 1000.0 <= SPAN_MS_MAX as f64) {
        return Err(WfError::Runtime { task: recorded.id.clone(), seconds: recorded.runtime_in_seconds });
    }
    let mut task = Map::new();
    task.insert("name".into(), name.into());
    task.insert("command".into(), command(seconds, conversion.burn));
    task.insert("needs".into(), needs.into());
    // Whole milliseconds of a bounded number of seconds.
    let expected_ms = (seconds * 1000.0).ceil() as u64;
    if expected_ms > 0 {
        task.insert("expected".into(), format!("{expected_ms}ms").into());
    }
    let cores = conversion.cores_millis.map(|millis| millis as f64 / 1000.0).or(recorded.core_count);
    let mut resources = Map::new();
    if let Some(cores) = cores.filter(|cores| *cores > 0.0) {
        resources.insert("cpu".into(), json!(cores));
    }
    if let Some(bytes) = recorded.memory_in_bytes.filter(|bytes| *bytes >= 1.0) {
        resources.insert("memory".into(), json!(bytes as u64));
    }
    if !resources.is_empty() {
        task.insert("resources".into(), resources.into());
    }
    Ok(task.into())
}

fn command(seconds: f64, burn: bool) -> Value {
    // `timeout 0` would mean no limit at all.
    match (burn, seconds >= 0.001) {
        (_, false) => json!(["true"]),
        (true, true) => json!(["sh", "-c", BURN_SCRIPT, "burn", format!("{seconds:.3}")]),
        (false, true) => json!(["sleep", format!("{seconds:.3}")]),
    }
}

/// A legal name: what is not allowed becomes `_`, what is too long is cut.
fn sanitise(text: &str, fallback: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '_' };
    let name: String = text.chars().map(legal).take(STEM_LEN_MAX).collect();
    if name.chars().all(|c| matches!(c, '.' | '_')) { fallback.to_owned() } else { name }
}

#[cfg(test)]
mod fuzz_tests;

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::path::Path;
    use std::process::Command;
    use std::time::{Duration, Instant};

    use flate2::read::GzDecoder;
    use quorate_types::JobSpec;
    use quorate_types::job::JobRequest;

    use super::*;

    const SLEEP: Conversion = Conversion { time_scale: 0.05, burn: false, cores_millis: None };
    const SMALL: &[u8] = include_bytes!("../tests/data/small-workflow.json");

    fn need(task: &str) -> quorate_types::Need {
        quorate_types::Name::new(task).unwrap().into()
    }

    fn job(text: &[u8], conversion: &Conversion) -> JobSpec {
        let job = convert(text, conversion).unwrap();
        serde_json::from_value::<JobRequest>(job).unwrap().validate().unwrap()
    }

    #[test]
    fn a_small_workflow_becomes_a_job() {
        let job = job(SMALL, &Conversion { time_scale: 0.5, ..SLEEP });
        assert_eq!(job.name.as_str(), "small_workflow");
        let task = |name: &str| &job.tasks[job.position(name).unwrap() as usize];
        assert_eq!(task("split_a").command, ["sleep", "1.000"]);
        assert_eq!(task("split_a").expected.unwrap().0, 1000);
        assert_eq!((task("split_a").resources.cpu_millis, task("split_a").resources.memory_bytes), (2000, 1_048_576));
        // The name is there twice, and the edge only at the parent's end.
        assert_eq!(task("split_a-2").needs, [need("split_a")]);
        assert_eq!(task("merge").needs, [need("split_a"), need("split_a-2")]);
        assert_eq!(task("merge").command, ["true"]);
    }

    #[test]
    fn cores_can_be_overridden() {
        let job = job(SMALL, &Conversion { cores_millis: Some(500), ..SLEEP });
        assert!(job.tasks.iter().all(|task| task.resources.cpu_millis == 500));
    }

    #[test]
    fn burning_takes_as_long_as_it_should_and_succeeds() {
        let command = command(0.2, true);
        let words: Vec<&str> = command.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
        let started = Instant::now();
        assert!(Command::new(words[0]).args(&words[1..]).status().unwrap().success());
        assert!(started.elapsed() >= Duration::from_millis(190));
    }

    #[test]
    fn what_is_no_workflow_is_refused_with_the_reason() {
        let tasks = |specified: &str, executed: &str| {
            format!(r#"{{"workflow":{{"specification":{{"tasks":{specified}}},"execution":{{"tasks":{executed}}}}}}}"#)
        };
        let run = r#"[{"id":"a","runtimeInSeconds":1}]"#;
        for (text, reason) in [
            ("{}".to_owned(), "WfFormat"),
            (tasks("[]", "[]"), "no tasks"),
            (tasks(r#"[{"id":"a"}]"#, "[]"), "run time"),
            (tasks(r#"[{"id":"a"},{"id":"a"}]"#, run), "two tasks"),
            (tasks(r#"[{"id":"a","parents":["b"]}]"#, run), "not there"),
            (tasks(r#"[{"id":"a"}]"#, r#"[{"id":"a","runtimeInSeconds":-1}]"#), "run time of -1 s"),
        ] {
            let error = convert(text.as_bytes(), &SLEEP).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn names_become_legal() {
        assert_eq!(sanitise("a b/c:ü", "x"), "a_b_c__");
        assert_eq!(sanitise("..", "x"), "x");
        assert_eq!(sanitise("", "x"), "x");
        assert_eq!(sanitise(&"n".repeat(500), "x").len(), STEM_LEN_MAX);
    }

    #[test]
    fn recorded_workflows_become_valid_jobs() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/workflows");
        if !folder.is_dir() {
            eprintln!("skipped: needs shared/data");
            return;
        }
        for (file, tasks, edges) in [
            ("montage-chameleon-2mass-005d-001.json.gz", 58, 114),
            ("epigenomics-chameleon-ilmn-2seq-100k-001.json.gz", 263, 324),
            ("1000genome-chameleon-22ch-250k-001.json.gz", 902, 1166),
        ] {
            let mut text = Vec::new();
            GzDecoder::new(File::open(folder.join(file)).unwrap()).read_to_end(&mut text).unwrap();
            for burn in [false, true] {
                let job = job(&text, &Conversion { burn, ..SLEEP });
                let found: usize = job.tasks.iter().map(|task| task.needs.len()).sum();
                assert_eq!((job.tasks.len(), found), (tasks, edges), "{file}");
            }
        }
    }
}
