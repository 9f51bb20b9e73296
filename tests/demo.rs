//! `quorate demo`: the first thing a newcomer runs.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::process::{self, clean};
use crate::support::{cli, note, sys, turn};

/// The bound of contract.md is a minute on a free machine; this one may be busy.
const WITHIN: Duration = Duration::from_secs(90);

#[tokio::test]
async fn the_demo_ends_well_and_says_what_it_did() {
    let _turn = turn().await;
    let temp = tempfile::tempdir().unwrap();
    let mut command = Command::new(process::quorate());
    clean(&mut command);
    command.arg("demo").env("TMPDIR", temp.path());
    let started = Instant::now();
    let ran = cli::run(command, "", WITHIN).await.exits(0);
    note(&format!("the demo took {:.1} s", started.elapsed().as_secs_f64()));
    assert!(ran.stdout.contains("Every task succeeded exactly once"), "{ran:?}");
    let said = format!("{}{}", ran.stdout, ran.stderr);
    for step in ["starting 3 replicas", "submitted job", "killing the leader", "leads now", "digest"] {
        assert!(said.contains(step), "the demo did not say {step:?}: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    let left: Vec<_> =
        sys::processes().into_iter().filter(|seen| seen.command.contains(temp.path().to_str().unwrap())).collect();
    assert!(left.is_empty(), "the demo left processes: {left:?}");
    let files: Vec<_> = std::fs::read_dir(temp.path()).unwrap().flatten().map(|file| file.path()).collect();
    assert!(files.is_empty(), "the demo left files: {files:?}");
}
