//! A job as large as one may be. In a file of its own, since it looks at the memory of the process.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::sync::Arc;

use quorate_state::command::{Assignment, Command, Entry, Proposal};
use quorate_types::job::JobRequest;
use quorate_types::limits::{EDGES_PER_JOB_MAX, TASKS_PER_JOB_MAX};
use quorate_types::session::{Happening, Report};
use quorate_types::status::Ending;
use quorate_types::{AttemptNumber, JobId, LogIndex, TaskIndex};
use support::{Cluster, finished, name};

/// The largest graph that may be: each task needs the ten before it.
fn largest() -> String {
    let tasks = (0..TASKS_PER_JOB_MAX).map(|at| {
        let needs: Vec<String> = (at.saturating_sub(10)..at).map(|need| format!(r#""t{need}""#)).collect();
        format!(r#"{{"name":"t{at}","command":["x"],"needs":[{}]}}"#, needs.join(","))
    });
    format!(r#"{{"tasks":[{}]}}"#, tasks.collect::<Vec<_>>().join(","))
}

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

#[test]
fn a_hundred_thousand_tasks_and_a_million_needs_are_one_job() {
    let before = resident_mib();
    let json = largest();
    let request: JobRequest = serde_json::from_str(&json).unwrap();
    let spec = Arc::new(request.validate().unwrap());
    let edges: usize = spec.tasks.iter().map(|task| task.needs.len()).sum();
    assert!((EDGES_PER_JOB_MAX - 100..=EDGES_PER_JOB_MAX).contains(&edges), "{edges}");
    let mut cluster = Cluster::default();
    let epoch = cluster.ready_worker("w", 100);
    drop(json);
    let mut state = cluster.state.clone();
    let entry = Entry { time: cluster.now, proposals: vec![Proposal { origin: None, command: Command::Submit(spec) }] };
    state.apply(LogIndex(cluster.state.index().0 + 1), &entry);
    let bytes = state.totals().spec_bytes >> 20;
    let grown = resident_mib().saturating_sub(before);
    assert!((80..200).contains(&bytes), "it counts for {bytes} MiB");
    // What reading it took and gave back counts as well.
    assert!(grown < 3 * bytes, "it counts for {bytes} MiB and takes {grown}");
    // Were an end to cost as much as the job has tasks, this would take minutes.
    cluster.state = state;
    let id = JobId(1);
    for task in 0..2_000 {
        let item = Assignment { job: id, task, index: TaskIndex(0), attempt: AttemptNumber(1), epoch, behind: None };
        let index = LogIndex(cluster.state.index().0 + 1);
        let proposal = |command| Proposal { origin: None, command };
        let assign = proposal(Command::Assign { items: vec![item] });
        let key = support::key(1, task, 0, 1, index.0);
        let what = Happening::Finished(Box::new(finished(Ending::Exited(0))));
        let reports = vec![Report { key, what }];
        let end = proposal(Command::Report { worker: name("w"), epoch, reports });
        let entry = Entry { time: cluster.now, proposals: vec![assign, end] };
        // A version that readers hold makes every change copy what it touches.
        let _held = cluster.state.clone();
        cluster.state.apply(index, &entry);
    }
    assert_eq!(cluster.state.job(id).unwrap().header.counts.succeeded, 2_000);
}
