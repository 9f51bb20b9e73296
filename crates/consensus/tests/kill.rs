//! Killed with SIGKILL in the middle of writes, opened again: everything that was acknowledged is there.
//!
//! The test starts its own binary as a child, which runs a cluster of one and prints what is acknowledged.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod harness;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command as Process, Stdio};

use harness::{Replica, job_of, submit};
use quorate_consensus::{Options, Start, start};
use quorate_types::JobId;

const FOLDER: &str = "QUORATE_TEST_KILL_FOLDER";
const ROUNDS: usize = 4;
const ACKNOWLEDGED: usize = 60;

fn options(dir: &Path) -> Options {
    let mut replica = Replica::new(1);
    let members = BTreeMap::from([(replica.id, harness::addresses(replica.address))]);
    let mut options = replica.options(Start::Bootstrap(members), harness::small_limits(), None);
    options.dir = dir.to_owned();
    options
}

/// Not a test by itself: it runs for ever if it is told a folder, and else not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(dir) = std::env::var_os(FOLDER) else { return };
    let handle = start(options(Path::new(&dir))).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let handle = handle.clone();
        tasks.spawn(async move {
            loop {
                let committed = handle.propose(submit(writer * 9000)).await.unwrap();
                let mut out = std::io::stderr().lock();
                writeln!(out, "acknowledged {}", job_of(&committed.outcome)).unwrap();
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = Vec::new();
    for round in 0..ROUNDS {
        acknowledged.extend(write_and_kill(dir.path()));
        assert!(acknowledged.len() >= ACKNOWLEDGED * (round + 1));
        let handle = start(options(dir.path())).await.unwrap();
        let version = handle.read_barrier().await.unwrap();
        for job in &acknowledged {
            assert!(version.state.knows_job(*job), "job {job} was acknowledged and is gone after kill {round}");
        }
        handle.shutdown().await;
    }
}

fn write_and_kill(dir: &Path) -> Vec<JobId> {
    let mut child = Process::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(FOLDER, dir)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines().map(|line| line.unwrap());
    let mut seen = Vec::new();
    for line in lines {
        let Some(job) = line.strip_prefix("acknowledged ") else { continue };
        // The kill may cut a line short: only a number that ends its line counts, and all but the last do.
        seen.push(JobId(job.parse().unwrap()));
        if seen.len() == ACKNOWLEDGED {
            child.kill().unwrap();
            break;
        }
    }
    child.wait().unwrap();
    seen
}
