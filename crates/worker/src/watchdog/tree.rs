//! Who descends from whom, as this process's /proc numbers them, and signals to all of an attempt: its process group,
//! and what has left that.

use std::collections::BTreeSet;
use std::fs;

use libc::pid_t;

use crate::sys;

/// How often to look for processes that were born while others were being stopped. Each time all that are known stand
/// still, so that only what was just being born can have been missed.
const STOP_PASSES_MAX: usize = 8;

/// Stops the process and all that descends from it.
pub(super) fn stop(leader: pid_t) {
    let mut stopped = BTreeSet::new();
    for _ in 0..STOP_PASSES_MAX {
        sys::signal_group(leader, libc::SIGSTOP);
        let born: Vec<pid_t> = family(leader).into_iter().filter(|pid| stopped.insert(*pid)).collect();
        if born.is_empty() {
            return;
        }
        for pid in born {
            sys::signal_process(pid, libc::SIGSTOP);
        }
    }
}

/// Sends a signal to the process and all that descends from it.
pub(super) fn signal(leader: pid_t, signal: i32) {
    sys::signal_group(leader, signal);
    for pid in family(leader) {
        sys::signal_process(pid, signal);
    }
}

/// The process and all that descends from it.
fn family(leader: pid_t) -> Vec<pid_t> {
    let mut found = vec![leader];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(children_of(parent));
        at += 1;
    }
    found
}

/// The children of this single-threaded process.
pub(super) fn own_children() -> Vec<pid_t> {
    listed("/proc/thread-self/children").unwrap_or_else(|| children_by_search(std::process::id()))
}

/// The children of all threads of a process.
fn children_of(parent: pid_t) -> Vec<pid_t> {
    let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let mut children = Vec::new();
    for thread in threads {
        let list = thread.path().join("children");
        match listed(list) {
            Some(pids) => children.extend(pids),
            None if thread.path().exists() => return children_by_search(parent.unsigned_abs()),
            // It has ended meanwhile.
            None => {}
        }
    }
    children
}

/// None on a kernel without CONFIG_PROC_CHILDREN.
fn listed(path: impl AsRef<std::path::Path>) -> Option<Vec<pid_t>> {
    let list = fs::read_to_string(path).ok()?;
    Some(list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect())
}

fn children_by_search(parent: u32) -> Vec<pid_t> {
    let parent = parent.to_string();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<pid_t>().ok());
    pids.filter(|pid| parent_of(*pid).as_deref() == Some(parent.as_str())).collect()
}

fn parent_of(pid: pid_t) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, also spaces and parentheses.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(1).map(str::to_owned)
}
