//! The attempts that the watchdog has started, and how it makes sure that they end as a whole.
//!
//! An attempt's first process (its leader) leads a process group and adopts its orphaned descendants
//! (`PR_SET_CHILD_SUBREAPER`). So while it lives, everything it started is below it, and when it ends, what
//! left the group becomes the watchdog's child in that instant. Two rules follow. The group of a leader
//! that has ended is killed before the leader is reaped, so that the number can't belong to anybody
//! else. And a child of the watchdog that is no leader belongs to an attempt that has ended: it is killed.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::time::Duration;

use libc::pid_t;
use quorate_types::session::AttemptKey;

use super::wire::Event;
use crate::clock::Boottime;
use crate::sys::{self, Peek, Status};

/// How soon to look again whether a killed group is gone, should no SIGCHLD tell.
const RECHECK: Duration = Duration::from_millis(5);

#[derive(Debug)]
struct Live {
    pid: pid_t,
    started: Boottime,
    ordered: bool,
    kill_at: Option<Boottime>,
}

/// Its leader has ended; the rest is going.
#[derive(Debug)]
struct Leaving {
    key: AttemptKey,
    group: pid_t,
    status: Status,
    ordered: bool,
    ran: Duration,
    /// Nobody is left in its group. From then on its number may belong to somebody else.
    group_gone: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Family {
    live: HashMap<AttemptKey, Live>,
    leaders: HashMap<pid_t, AttemptKey>,
    leaving: Vec<Leaving>,
    kills: BTreeSet<(Boottime, AttemptKey)>,
}

impl Family {
    pub(crate) fn is_empty(&self) -> bool {
        self.live.is_empty() && self.leaving.is_empty()
    }

    pub(crate) fn knows(&self, key: &AttemptKey) -> bool {
        self.live.contains_key(key) || self.leaving.iter().any(|leaving| leaving.key == *key)
    }

    pub(crate) fn on_started(&mut self, key: AttemptKey, pid: pid_t, now: Boottime) {
        self.leaders.insert(pid, key);
        self.live.insert(key, Live { pid, started: now, ordered: false, kill_at: None });
    }

    /// Asks the attempt to end, and kills it after `grace`.
    pub(crate) fn terminate(&mut self, key: AttemptKey, grace: Duration, now: Boottime) {
        let Some(live) = self.live.get_mut(&key) else { return };
        live.ordered = true;
        sys::signal_group(live.pid, libc::SIGTERM);
        // A stopped process would not even notice.
        sys::signal_group(live.pid, libc::SIGCONT);
        if live.kill_at.is_none() {
            let at = now.plus(grace);
            live.kill_at = Some(at);
            self.kills.insert((at, key));
        }
    }

    pub(crate) fn kill(&mut self, key: AttemptKey) {
        let Some(live) = self.live.get_mut(&key) else { return };
        live.ordered = true;
        sys::signal_group(live.pid, libc::SIGKILL);
    }

    pub(crate) fn kill_all(&mut self) {
        for live in self.live.values_mut() {
            live.ordered = true;
            sys::signal_group(live.pid, libc::SIGKILL);
        }
    }

    /// Kills those whose grace is over.
    pub(crate) fn on_time(&mut self, now: Boottime) {
        while let Some((at, key)) = self.kills.first().copied()
            && at <= now
        {
            self.kills.pop_first();
            self.kill(key);
        }
    }

    /// When [`Self::on_time`] or [`Self::reap`] has something to do again.
    pub(crate) fn next_time(&self, now: Boottime) -> Option<Boottime> {
        let recheck = (!self.leaving.is_empty()).then(|| now.plus(RECHECK));
        self.kills.first().map(|(at, _)| *at).into_iter().chain(recheck).min()
    }

    /// Reaps what has ended and returns the attempts that are gone with all of their processes.
    pub(crate) fn reap(&mut self, now: Boottime) -> Vec<Event> {
        let childless = loop {
            match sys::peek_ended() {
                Peek::Ended(pid) => self.on_ended(pid, now),
                Peek::AllRun => break false,
                Peek::NoChildren => break true,
            }
        };
        if self.leaving.is_empty() {
            return Vec::new();
        }
        let orphans = !childless && self.kill_orphans();
        let mut gone = Vec::new();
        self.leaving.retain_mut(|leaving| {
            leaving.group_gone = leaving.group_gone || !sys::signal_group(leaving.group, libc::SIGKILL);
            if orphans || !leaving.group_gone {
                return true;
            }
            gone.push(leaving.event());
            false
        });
        gone
    }

    fn on_ended(&mut self, pid: pid_t, now: Boottime) {
        let Some(key) = self.leaders.remove(&pid) else {
            let _ = sys::reap(pid);
            return;
        };
        sys::signal_group(pid, libc::SIGKILL);
        // It can't fail for a child that was just seen; if it did, the worst that can be true is reported.
        let status = sys::reap(pid).unwrap_or(Status::Signalled(libc::SIGKILL));
        if let Some(live) = self.live.remove(&key) {
            if let Some(at) = live.kill_at {
                self.kills.remove(&(at, key));
            }
            let ran = now.since(live.started);
            let ordered = live.ordered;
            self.leaving.push(Leaving { key, group: pid, status, ordered, ran, group_gone: false });
        }
    }

    /// Kills children that are no leaders. Whether there were any.
    fn kill_orphans(&self) -> bool {
        let mut found = false;
        for pid in children().into_iter().filter(|pid| !self.leaders.contains_key(pid)) {
            found = true;
            sys::signal_group(pid, libc::SIGKILL);
            sys::signal_process(pid, libc::SIGKILL);
        }
        found
    }
}

impl Leaving {
    fn event(&self) -> Event {
        let ran_ms = u64::try_from(self.ran.as_millis()).unwrap_or(u64::MAX);
        Event::Exited { key: self.key, status: self.status, ordered: self.ordered, ran_ms }
    }
}

/// The children of this single-threaded process, as its own /proc numbers them.
fn children() -> Vec<pid_t> {
    match fs::read_to_string("/proc/thread-self/children") {
        Ok(list) => list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect(),
        // A kernel without CONFIG_PROC_CHILDREN.
        Err(_) => children_by_search(),
    }
}

fn children_by_search() -> Vec<pid_t> {
    let own = std::process::id().to_string();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<pid_t>().ok());
    pids.filter(|pid| parent_of(*pid).as_deref() == Some(own.as_str())).collect()
}

fn parent_of(pid: pid_t) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, also spaces and parentheses.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(1).map(str::to_owned)
}
