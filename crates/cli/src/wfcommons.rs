//! Recorded scientific workflows as jobs: WfFormat 1.5 of <https://wfcommons.org/format>.
//!
//! The lab reads them. A task of the job sleeps, or uses the CPU, for the recorded time × scale.

use quorate_sim::lab::input::wfformat::{WfError, Workflow, WorkflowTask};
use quorate_types::limits::SPAN_MS_MAX;
use serde_json::{Map, Value, json};

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

/// Makes a job, as the API takes it, of a recorded workflow.
pub(crate) fn convert(text: &[u8], conversion: &Conversion) -> Result<Value, WfError> {
    let workflow = Workflow::parse(text)?;
    let mut tasks = Vec::with_capacity(workflow.tasks.len());
    for task in &workflow.tasks {
        let needs: Vec<&str> = task.needs.iter().map(|need| workflow.tasks[*need].name.as_str()).collect();
        tasks.push(convert_task(task, &needs, conversion)?);
    }
    Ok(json!({"name": workflow.name, "labels": {"format": "wfcommons"}, "tasks": tasks}))
}

fn convert_task(recorded: &WorkflowTask, needs: &[&str], conversion: &Conversion) -> Result<Value, WfError> {
    let seconds = recorded.run_seconds * conversion.time_scale;
    if !(seconds.is_finite() && seconds * 1000.0 <= SPAN_MS_MAX as f64) {
        return Err(WfError::Runtime { task: recorded.id.clone(), seconds: recorded.run_seconds });
    }
    let mut task = Map::new();
    task.insert("name".into(), recorded.name.as_str().into());
    task.insert("command".into(), command(seconds, conversion.burn));
    task.insert("needs".into(), needs.into());
    // Whole milliseconds of a bounded number of seconds.
    let expected_ms = (seconds * 1000.0).ceil() as u64;
    if expected_ms > 0 {
        task.insert("expected".into(), format!("{expected_ms}ms").into());
    }
    let cores = conversion.cores_millis.map(|millis| millis as f64 / 1000.0).or(recorded.cores);
    let mut resources = Map::new();
    if let Some(cores) = cores.filter(|cores| *cores > 0.0) {
        resources.insert("cpu".into(), json!(cores));
    }
    if let Some(bytes) = recorded.memory_bytes {
        resources.insert("memory".into(), json!(bytes));
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
