//! Whole files.

use std::io::Write;
use std::path::PathBuf;

use quorate_types::Span;

use super::*;
use crate::lab::machines::pool;

/// `None`, and a word about it, where the recorded data is not.
fn recorded(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    if !path.exists() {
        eprintln!("skipped: needs shared/data");
        return None;
    }
    Some(path)
}

fn numbers(workload: &Workload) -> Vec<u64> {
    workload.jobs().unwrap().map(|job| job.unwrap().id).collect()
}

fn written(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

const SMALL: &str =
    "; MaxProcs: 8\n\n3 9 0 5 4 -1 -1 4 10\n1 5 0 5 4 -1 -1 4 10\n2 5 0 5 9 -1 -1 9 10\n4 9 0 0 4 -1 -1 4 10\n";

#[test]
fn jobs_come_in_the_order_of_submission_and_giants_do_not() {
    let (_folder, path) = written("a.swf", SMALL);
    let workload = Workload::open(&path, Format::of(&path).unwrap(), &pool(8), None).unwrap();
    assert_eq!(numbers(&workload), [1, 3]);
    let survey = workload.survey();
    assert_eq!((survey.jobs, survey.lateness, survey.dropped.total()), (2, Span(4000), 2));
    assert_eq!((survey.dropped.too_large, survey.dropped.no_run_time), (1, 1));
    let all = Workload::open(&path, Format::Swf, &pool(9), Some(2)).unwrap();
    assert_eq!((numbers(&all), all.survey().jobs), (vec![1, 2], 2));
}

#[test]
fn errors_name_the_line() {
    let (_folder, path) = written("a.swf", "; comment\n1 5 0 5 4 -1 -1 4 10\n2 5 0 five\n");
    let error = Workload::open(&path, Format::Swf, &pool(8), None).unwrap_err().to_string();
    assert!(error.contains("a.swf: line 3: a job has 18 fields"), "{error}");
    let error = Workload::open(Path::new("/nonexistent.swf"), Format::Swf, &pool(8), None).unwrap_err();
    assert!(error.to_string().starts_with("open /nonexistent.swf"), "{error}");
    let (_folder, path) = written("a.swf", "; nothing\n");
    let error = Workload::open(&path, Format::Swf, &pool(8), None).unwrap_err().to_string();
    assert!(error.contains("no job that could run"), "{error}");
    assert!(Format::of(Path::new("a.csv")).is_err());
}

#[test]
fn packed_files_and_torn_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.swf.gz");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(SMALL.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    std::fs::write(&path, &packed).unwrap();
    assert_eq!(numbers(&Workload::open(&path, Format::of(&path).unwrap(), &pool(8), None).unwrap()), [1, 3]);
    std::fs::write(&path, &packed[..packed.len() - 9]).unwrap();
    let error = Workload::open(&path, Format::Swf, &pool(8), None).unwrap_err().to_string();
    assert!(error.starts_with("read "), "{error}");
}

#[test]
fn a_published_schedule_is_read_in_the_order_of_submission() {
    let Some(path) = recorded("swf/KTH-SP2.easy.swf.gz") else { return };
    assert_eq!(swf::Header::read(&path).unwrap().processors, Some(100));
    let workload = Workload::open(&path, Format::of(&path).unwrap(), &pool(100), None).unwrap();
    assert_eq!((workload.survey().jobs, workload.survey().dropped.total()), (28_481, 0));
    let jobs: Vec<Job> = workload.jobs().unwrap().map(Result::unwrap).collect();
    assert!(jobs.is_sorted_by_key(|job| (job.submitted, job.id)));
    assert_eq!(jobs.len(), 28_481);
}

#[test]
fn where_nobody_requested_a_time_the_run_time_stands_for_it() {
    let Some(path) = recorded("swf/lublin_256.swf.gz") else { return };
    assert_eq!(swf::Header::read(&path).unwrap().processors, Some(256));
    let workload = Workload::open(&path, Format::Swf, &pool(256), None).unwrap();
    assert!(workload.survey().requests_are_run_times);
    assert_eq!((workload.survey().jobs, workload.jobs().unwrap().count()), (10_000, 10_000));
}

#[test]
fn recorded_workflows_are_read() {
    for (file, tasks, edges) in [
        ("workflows/montage-chameleon-2mass-005d-001.json.gz", 58, 114),
        ("workflows/1000genome-chameleon-22ch-250k-001.json.gz", 902, 1166),
    ] {
        let Some(path) = recorded(file) else { return };
        let workload = Workload::open(&path, Format::of(&path).unwrap(), &pool(64), None).unwrap();
        let jobs: Vec<Job> = workload.jobs().unwrap().map(Result::unwrap).collect();
        assert_eq!((jobs.len(), jobs.iter().map(|job| job.needs.len()).sum::<usize>()), (tasks, edges), "{file}");
    }
}
