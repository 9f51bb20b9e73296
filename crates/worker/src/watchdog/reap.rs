//! The attempts that the watchdog has started, and how it makes sure that they end as a whole.
//!
//! An attempt's first process (its leader) leads a process group and adopts its orphaned descendants
//! (`PR_SET_CHILD_SUBREAPER`). So while it lives, everything it started is below it, and when it ends, what
//! left the group becomes the watchdog's child in that instant. Two rules follow. The group of a leader
//! that has ended is killed before the leader is reaped, so that the number can't belong to anybody
//! else. And a child of the watchdog that is no leader belongs to an attempt that has ended: it is killed.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use libc::pid_t;
use quorate_types::session::{AttemptKey, Motion};

use super::tree;
use super::wire::Event;
use crate::clock::Boottime;
use crate::sys::{self, Peek, Status};

/// How soon to look again whether a killed group is gone, should no SIGCHLD tell.
const RECHECK: Duration = Duration::from_millis(5);

/// What was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Who {
    Attempt(AttemptKey),
    /// What was run beside an attempt, to see whether it is well.
    Probe(AttemptKey),
}

#[derive(Debug)]
struct Live {
    pid: pid_t,
    started: Boottime,
    ordered: bool,
    kill_at: Option<Boottime>,
    /// Since when it stands still.
    frozen_at: Option<Boottime>,
    /// How long it has stood still before.
    frozen_for: Duration,
}

impl Live {
    fn go_on(&mut self, now: Boottime) {
        if let Some(since) = self.frozen_at.take() {
            self.frozen_for += now.since(since);
            tree::signal(self.pid, libc::SIGCONT);
        }
    }
}

/// Its leader has ended; the rest is going.
#[derive(Debug)]
struct Leaving {
    who: Who,
    group: pid_t,
    status: Status,
    ordered: bool,
    ran: Duration,
    /// Nobody is left in its group. From then on its number may belong to somebody else.
    group_gone: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Family {
    live: HashMap<Who, Live>,
    leaders: HashMap<pid_t, Who>,
    leaving: Vec<Leaving>,
    kills: BTreeSet<(Boottime, Who)>,
}

impl Family {
    pub(crate) fn is_empty(&self) -> bool {
        self.live.is_empty() && self.leaving.is_empty()
    }

    pub(crate) fn knows(&self, key: &AttemptKey) -> bool {
        self.is_there(Who::Attempt(*key))
    }

    /// Whether something can be run beside the attempt: it runs, and nothing is beside it.
    pub(crate) fn takes_probe(&self, key: &AttemptKey) -> bool {
        self.live.contains_key(&Who::Attempt(*key)) && !self.is_there(Who::Probe(*key))
    }

    fn is_there(&self, who: Who) -> bool {
        self.live.contains_key(&who) || self.leaving.iter().any(|leaving| leaving.who == who)
    }

    pub(crate) fn on_started(&mut self, key: AttemptKey, pid: pid_t, now: Boottime) {
        self.begin(Who::Attempt(key), pid, now);
    }

    /// Something runs beside the attempt, until then at the latest.
    pub(crate) fn on_probe_started(&mut self, key: AttemptKey, pid: pid_t, now: Boottime, until: Boottime) {
        let who = Who::Probe(key);
        self.begin(who, pid, now);
        if let Some(live) = self.live.get_mut(&who) {
            live.kill_at = Some(until);
            self.kills.insert((until, who));
        }
    }

    fn begin(&mut self, who: Who, pid: pid_t, now: Boottime) {
        self.leaders.insert(pid, who);
        self.live.insert(
            who,
            Live { pid, started: now, ordered: false, kill_at: None, frozen_at: None, frozen_for: Duration::ZERO },
        );
    }

    /// Asks the attempt to end, and kills it after `grace`.
    pub(crate) fn terminate(&mut self, key: AttemptKey, grace: Duration, now: Boottime) {
        let who = Who::Attempt(key);
        let Some(live) = self.live.get_mut(&who) else { return };
        live.ordered = true;
        sys::signal_group(live.pid, libc::SIGTERM);
        // A stopped process would not even notice.
        sys::signal_group(live.pid, libc::SIGCONT);
        live.go_on(now);
        if live.kill_at.is_none() {
            let at = now.plus(grace);
            live.kill_at = Some(at);
            self.kills.insert((at, who));
        }
    }

    /// Stops all processes of the attempt where they are, or lets them go on. One that is to end goes on.
    pub(crate) fn set_motion(&mut self, key: AttemptKey, motion: Motion, now: Boottime) {
        let Some(live) = self.live.get_mut(&Who::Attempt(key)) else { return };
        match motion {
            Motion::Frozen if !live.ordered && live.frozen_at.is_none() => {
                live.frozen_at = Some(now);
                tree::stop(live.pid);
            }
            Motion::Frozen => {}
            Motion::Going => live.go_on(now),
        }
    }

    pub(crate) fn kill(&mut self, key: AttemptKey) {
        self.kill_one(Who::Attempt(key));
    }

    fn kill_one(&mut self, who: Who) {
        let Some(live) = self.live.get_mut(&who) else { return };
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
        while let Some((at, who)) = self.kills.first().copied()
            && at <= now
        {
            self.kills.pop_first();
            self.kill_one(who);
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
        for leaving in &mut self.leaving {
            leaving.group_gone = leaving.group_gone || !sys::signal_group(leaving.group, libc::SIGKILL);
        }
        if orphans {
            return Vec::new();
        }
        // What ran beside an attempt goes before it: nothing of an attempt is there once its end is told.
        let mut gone: Vec<Event> = self.take_gone(|who| matches!(who, Who::Probe(_)));
        let probed: Vec<AttemptKey> = self.probes().collect();
        gone.extend(self.take_gone(|who| matches!(who, Who::Attempt(key) if !probed.contains(&key))));
        gone
    }

    fn take_gone(&mut self, wanted: impl Fn(Who) -> bool) -> Vec<Event> {
        let gone = self.leaving.extract_if(.., |leaving| leaving.group_gone && wanted(leaving.who));
        gone.map(|leaving| leaving.event()).collect()
    }

    fn probes(&self) -> impl Iterator<Item = AttemptKey> {
        let all = self.live.keys().copied().chain(self.leaving.iter().map(|leaving| leaving.who));
        all.filter_map(|who| match who {
            Who::Probe(key) => Some(key),
            Who::Attempt(_) => None,
        })
    }

    fn on_ended(&mut self, pid: pid_t, now: Boottime) {
        let Some(who) = self.leaders.remove(&pid) else {
            let _ = sys::reap(pid);
            return;
        };
        sys::signal_group(pid, libc::SIGKILL);
        // It can't fail for a child that was just seen; if it did, the worst that can be true is reported.
        let status = sys::reap(pid).unwrap_or(Status::Signalled(libc::SIGKILL));
        if let Some(live) = self.live.remove(&who) {
            if let Some(at) = live.kill_at {
                self.kills.remove(&(at, who));
            }
            let stood = live.frozen_for + live.frozen_at.map_or(Duration::ZERO, |since| now.since(since));
            let ran = now.since(live.started).saturating_sub(stood);
            let ordered = live.ordered;
            self.leaving.push(Leaving { who, group: pid, status, ordered, ran, group_gone: false });
        }
        if let Who::Attempt(key) = who {
            self.kill_one(Who::Probe(key));
        }
    }

    /// Kills children that are no leaders. Whether there were any.
    fn kill_orphans(&self) -> bool {
        let mut found = false;
        for pid in tree::own_children().into_iter().filter(|pid| !self.leaders.contains_key(pid)) {
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
        match self.who {
            Who::Attempt(key) => Event::Exited { key, status: self.status, ordered: self.ordered, ran_ms },
            Who::Probe(key) => Event::Probed { key, well: self.status == Status::Exited(0) && !self.ordered },
        }
    }
}
