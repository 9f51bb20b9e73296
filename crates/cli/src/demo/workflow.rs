//! The demo's workflow, shaped like Montage, which makes mosaics of the sky: project the images, fit the
//! differences of neighbours, model and correct the background, and put the tiles together.

use std::path::Path;

use serde_json::{Value, json};

/// Named tasks of the workflow.
pub(super) const TASKS: usize = 40;
/// All executions that must happen, elements of the array one by one.
pub(super) const ELEMENTS: usize = TASKS - 1 + TILES;
/// Elements of the array task.
const TILES: usize = 8;
const IMAGES: usize = 12;

/// Appends `start` and `end` lines to the journal, each in one write, so that lines never mix.
const SCRIPT: &str = "echo \"start $QUORATE_TASK $QUORATE_INDEX $QUORATE_ATTEMPT\" >> \"$JOURNAL\"
sleep \"$1\"
echo \"end $QUORATE_TASK $QUORATE_INDEX $QUORATE_ATTEMPT\" >> \"$JOURNAL\"
echo \"$QUORATE_TASK done\"";

/// The job as the API takes it.
pub(super) fn build(journal: &Path) -> Value {
    let mut tasks = vec![task(journal, "header", 0.1, &[])];
    let projects = family(journal, &mut tasks, "project", 0.4, |_| vec!["header".into()]);
    let fits = family(journal, &mut tasks, "fit", 0.2, |nth| {
        vec![projects[nth].clone(), projects[(nth + 1) % IMAGES].clone()]
    });
    tasks.push(task(journal, "concat", 0.2, &fits));
    tasks.push(task(journal, "model", 0.5, &["concat".into()]));
    let backgrounds = corrections(journal, &mut tasks, &projects);
    let mut tiles = task(journal, "tile", 0.8, &backgrounds);
    tiles["count"] = TILES.into();
    tasks.push(tiles);
    tasks.push(task(journal, "mosaic", 0.4, &["tile".into()]));
    tasks.push(task(journal, "preview", 0.1, &["mosaic".into()]));
    json!({"name": "demo mosaic", "labels": {"demo": "yes"}, "tasks": tasks})
}

/// One task for each image.
fn family(
    journal: &Path,
    tasks: &mut Vec<Value>,
    stem: &str,
    seconds: f64,
    needs: impl Fn(usize) -> Vec<String>,
) -> Vec<String> {
    (0..IMAGES).map(|nth| push(journal, tasks, &format!("{stem}-{nth}"), seconds, &needs(nth))).collect()
}

/// The rest of the forty: each corrects the background of one image.
fn corrections(journal: &Path, tasks: &mut Vec<Value>, projects: &[String]) -> Vec<String> {
    let count = TASKS - tasks.len() - 3;
    let needs = |nth: usize| vec!["model".to_owned(), projects[nth % IMAGES].clone()];
    (0..count).map(|nth| push(journal, tasks, &format!("background-{nth}"), 0.6, &needs(nth))).collect()
}

fn push(journal: &Path, tasks: &mut Vec<Value>, name: &str, seconds: f64, needs: &[String]) -> String {
    tasks.push(task(journal, name, seconds, needs));
    name.to_owned()
}

fn task(journal: &Path, name: &str, seconds: f64, needs: &[String]) -> Value {
    json!({
        "name": name,
        "command": ["sh", "-c", SCRIPT, "demo", seconds.to_string()],
        "env": {"JOURNAL": journal.to_string_lossy()},
        "needs": needs,
        // An interrupted task would be run again and be found in the check: it must not fail the demo before.
        "retries": 2,
    })
}

#[cfg(test)]
mod tests {
    use quorate_types::job::JobRequest;

    use super::*;

    #[test]
    fn the_workflow_is_a_valid_job_of_the_promised_size() {
        let job = serde_json::from_value::<JobRequest>(build(Path::new("/tmp/j"))).unwrap().validate().unwrap();
        assert_eq!(job.tasks.len(), TASKS);
        assert_eq!(job.elements(), ELEMENTS as u64);
        let widest = job.tasks.iter().map(|task| task.needs.len()).max();
        assert!(widest >= Some(10), "a reduce");
    }
}
