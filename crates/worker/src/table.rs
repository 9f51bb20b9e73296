//! The attempts that are this worker's: what the cluster said, what became of it, and what is to be done.
//! No clock and no IO in here: inputs come with their time, and what is to be done is returned.
//!
//! What a replica pushes is declarative. A push that is older than the newest one is ignored, since all of
//! it is in the newer one. An attempt stays known until its end is committed; after that it is *settled*
//! until a push at least as new as that commit comes, so that a push on its way can't start it again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use quorate_types::inputs::Inputs;
use quorate_types::job::Driver;
use quorate_types::session::{AttemptKey, Definition, Happening, Order, Report, Work};
use quorate_types::status::Ending;
use quorate_types::{LogIndex, Span, TaskIndex};

use crate::clock::Boottime;
use crate::outbox::Outbox;
use crate::sys::Status;

pub(crate) use self::action::Action;
use self::attempt::{Attempt, Phase};
use self::health::Checkups;
use self::line::{Lined, Lines};

mod action;
mod attempt;
mod ending;
mod health;
mod line;
mod motion;
#[cfg(test)]
pub(crate) mod tests;
mod timers;

/// What an attempt has left in its folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Leftover {
    pub(crate) result: Option<String>,
    pub(crate) extension: Option<String>,
    pub(crate) stdout_tail: Vec<u8>,
    pub(crate) stderr_tail: Vec<u8>,
}

/// Bounds that the table keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) attempts: usize,
    pub(crate) grace: Duration,
}

/// A definition, and apart from it what is of no more use once an attempt has been prepared.
struct Defined {
    definition: Arc<Definition>,
    inputs: Option<Arc<Inputs>>,
}

impl From<Definition> for Defined {
    fn from(mut definition: Definition) -> Self {
        let inputs = definition.inputs.take().map(Arc::from);
        Self { definition: Arc::new(definition), inputs }
    }
}

#[derive(Debug)]
pub(crate) struct Table {
    bounds: Bounds,
    attempts: BTreeMap<AttemptKey, Attempt>,
    /// Attempts whose end was committed, at which index.
    settled: BTreeMap<AttemptKey, LogIndex>,
    timers: BTreeSet<(Boottime, AttemptKey)>,
    /// Attempts with a health command.
    checkups: Checkups,
    /// Attempts that stand still, or will once they run.
    frozen: BTreeSet<AttemptKey>,
    lines: Lines,
    /// Attempts that are no longer ours and whose processes are being killed, with those that they were behind.
    dying: BTreeMap<AttemptKey, Option<TaskIndex>>,
    /// The index of the newest push.
    pushed: LogIndex,
    /// The newest index in any message.
    seen: LogIndex,
    closing: bool,
    pub(crate) outbox: Outbox,
}

impl Table {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            attempts: BTreeMap::new(),
            settled: BTreeMap::new(),
            timers: BTreeSet::new(),
            checkups: Checkups::default(),
            frozen: BTreeSet::new(),
            lines: Lines::default(),
            dying: BTreeMap::new(),
            pushed: LogIndex(0),
            seen: LogIndex(0),
            closing: false,
            outbox: Outbox::default(),
        }
    }

    /// The newest index that this registration has seen.
    pub(crate) fn seen(&self) -> LogIndex {
        self.seen
    }

    /// Whether everything that was started has ended and is in the outbox.
    pub(crate) fn is_idle(&self) -> bool {
        self.attempts.values().all(|attempt| attempt.phase == Phase::Reported)
    }

    pub(crate) fn knows(&self, key: &AttemptKey) -> bool {
        self.attempts.contains_key(key)
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = AttemptKey> {
        self.attempts.iter().filter(|(_, attempt)| attempt.phase == Phase::Running).map(|(key, _)| *key)
    }

    /// The registration is over and so is everything of it; its processes are ended otherwise.
    pub(crate) fn reset(&mut self) {
        self.attempts.clear();
        self.settled.clear();
        self.timers.clear();
        self.frozen.clear();
        self.lines = Lines::default();
        self.dying.clear();
        self.checkups = Checkups::default();
        self.outbox.clear();
        (self.pushed, self.seen) = (LogIndex(0), LogIndex(0));
    }

    /// The whole truth at `index`: what is not in it must end, and what it does not say to stand still goes on.
    pub(crate) fn on_assigned(
        &mut self,
        index: LogIndex,
        all: &[AttemptKey],
        work: Work,
        now: Boottime,
    ) -> Vec<Action> {
        if !self.accepts(index) {
            return Vec::new();
        }
        let ours: BTreeSet<_> = all.iter().copied().collect();
        let gone: BTreeSet<_> = self.attempts.keys().filter(|key| !ours.contains(key)).copied().collect();
        let mut actions: Vec<_> = gone.iter().filter_map(|key| self.drop_attempt(key)).collect();
        self.outbox.forget(&gone);
        actions.extend(self.thaw_all_but(&work.motion, now));
        self.take_work(work, now, &mut actions);
        actions
    }

    /// What changed up to `index`.
    pub(crate) fn on_changed(&mut self, index: LogIndex, work: Work, now: Boottime) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.accepts(index) {
            self.take_work(work, now, &mut actions);
        }
        actions
    }

    fn accepts(&mut self, index: LogIndex) -> bool {
        if index < self.pushed {
            tracing::warn!(%index, newest = %self.pushed, "ignored assignments that are older than others seen");
            return false;
        }
        self.pushed = index;
        self.seen = self.seen.max(index);
        true
    }

    fn take_work(&mut self, work: Work, now: Boottime, actions: &mut Vec<Action>) {
        let definitions: Vec<_> = work.definitions.into_iter().map(Defined::from).collect();
        let stop: BTreeSet<_> = work.stop.iter().copied().collect();
        for Order { key, definition, behind, inputs } in work.start {
            if !stop.contains(&key) && !self.closing && !self.knows(&key) && !self.settled.contains_key(&key) {
                let defined = usize::try_from(definition).ok().and_then(|at| definitions.get(at));
                actions.extend(self.start(key, behind, defined, inputs.map(Arc::from), now));
            }
        }
        for (key, motion) in work.motion {
            actions.extend(self.set_motion(key, motion, now));
        }
        for key in work.stop {
            actions.extend(self.stop(key));
        }
        // Pushes older than this one are refused, so what was committed up to here can't come again.
        let pushed = self.pushed;
        self.settled.retain(|_, committed| *committed > pushed);
    }

    fn start(
        &mut self,
        key: AttemptKey,
        behind: Option<TaskIndex>,
        defined: Option<&Defined>,
        own: Option<Arc<Inputs>>,
        now: Boottime,
    ) -> Option<Action> {
        let refusal = match defined {
            None => Some("the replica sent no definition of the task"),
            Some(_) if self.attempts.len() >= self.bounds.attempts => Some("the worker has too many attempts at once"),
            Some(_) => None,
        };
        let definition = defined.map(|defined| Arc::clone(&defined.definition));
        self.attempts.insert(key, Attempt { behind, ..Attempt::new(definition.clone()) });
        if let Some(why) = refusal {
            self.report_end(key, Ending::NotStarted(why.to_owned()), Span(0), Leftover::default());
            return None;
        }
        let inputs = defined.and_then(|defined| defined.inputs.clone()).into_iter().chain(own).collect();
        match self.line_up(key, behind, inputs, now) {
            Lined::Waits => None,
            Lined::First(inputs) => self.run(key, definition?, inputs),
        }
    }

    /// Its turn has come.
    fn run(&mut self, key: AttemptKey, definition: Arc<Definition>, inputs: Vec<Arc<Inputs>>) -> Option<Action> {
        if definition.spec.driver == Driver::Noop {
            self.report_end(key, Ending::Exited(0), Span(0), Leftover::default());
            return None;
        }
        Some(Action::Prepare { key, definition, inputs })
    }

    fn stop(&mut self, key: AttemptKey) -> Option<Action> {
        if self.settled.contains_key(&key) {
            return None;
        }
        if !self.knows(&key) {
            self.attempts.insert(key, Attempt::new(None));
            self.report_end(key, Ending::Stopped, Span(0), Leftover::default());
            return None;
        }
        self.end(key, Ending::Stopped)
    }

    /// Makes a known attempt end for `cause`, unless it is ending for another.
    fn end(&mut self, key: AttemptKey, cause: Ending) -> Option<Action> {
        let attempt = self.attempts.get_mut(&key)?;
        if attempt.cause.is_some() {
            return None;
        }
        let grace = attempt.definition.as_ref().map_or(Duration::ZERO, |d| d.spec.grace.as_duration());
        let grace = grace.min(self.bounds.grace);
        match attempt.phase {
            Phase::InLine { .. } => {
                self.report_end(key, cause, Span(0), Leftover::default());
                None
            }
            Phase::Preparing => {
                attempt.cause = Some(cause);
                None
            }
            Phase::Spawning | Phase::Running => {
                let kill = cause == Ending::OutputLimit;
                attempt.cause = Some(cause);
                Some(if kill { Action::Kill { key } } else { Action::Terminate { key, grace } })
            }
            Phase::Collecting { .. } | Phase::Reported => None,
        }
    }

    fn drop_attempt(&mut self, key: &AttemptKey) -> Option<Action> {
        self.frozen.remove(key);
        self.checkups.end(key);
        let attempt = self.attempts.remove(key)?;
        self.disarm(*key, attempt.timer);
        match attempt.phase {
            Phase::Spawning | Phase::Running => {
                self.dying.insert(*key, attempt.behind);
                Some(Action::Kill { key: *key })
            }
            // What it left is discarded when its preparation or collection comes back.
            Phase::InLine { .. } | Phase::Preparing | Phase::Collecting { .. } | Phase::Reported => {
                self.note_end(*key, attempt.behind);
                None
            }
        }
    }

    pub(crate) fn on_prepared(&mut self, key: AttemptKey, outcome: Result<(), String>) -> Option<Action> {
        let Some(attempt) = self.attempts.get_mut(&key) else { return Some(Action::Discard { key }) };
        let ending = match (attempt.cause.clone(), outcome) {
            (Some(cause), _) => cause,
            (None, Err(detail)) => Ending::Unable(detail),
            (None, Ok(())) => {
                attempt.phase = Phase::Spawning;
                return Some(Action::Spawn { key });
            }
        };
        self.report_end(key, ending, Span(0), Leftover::default());
        Some(Action::Discard { key })
    }

    pub(crate) fn on_spawned(&mut self, key: AttemptKey, now: Boottime) -> Option<Action> {
        let attempt = self.attempts.get_mut(&key)?;
        attempt.phase = Phase::Running;
        let definition = attempt.definition.clone();
        if let Some(timeout) = definition.as_ref().and_then(|d| d.spec.timeout) {
            self.arm(key, now.plus(timeout.as_duration()));
        }
        if let Some(health) = definition.as_ref().and_then(|d| d.health.as_deref()) {
            self.checkups.begin(key, health, now);
        }
        self.outbox.push(Report { key, what: Happening::Started });
        self.freeze_belated(key, now)
    }

    /// `why` tells whether it is the task's fault.
    pub(crate) fn on_not_started(&mut self, key: AttemptKey, why: Ending) -> Action {
        if let Some(attempt) = self.attempts.get(&key) {
            let ending = attempt.cause.clone().unwrap_or(why);
            self.report_end(key, ending, Span(0), Leftover::default());
        }
        self.bury(key);
        Action::Discard { key }
    }

    /// Nothing is left of an attempt that was being killed.
    fn bury(&mut self, key: AttemptKey) {
        if let Some(behind) = self.dying.remove(&key) {
            self.note_end(key, behind);
        }
    }

    /// It has ended with all of its processes. `ordered`: it had been signalled by us before.
    pub(crate) fn on_exited(&mut self, key: AttemptKey, status: Status, ordered: bool, ran: Span) -> Action {
        self.bury(key);
        let Some(attempt) = self.attempts.get_mut(&key) else { return Action::Discard { key } };
        let ending = match (&attempt.cause, status) {
            (Some(cause), _) if ordered => cause.clone(),
            (_, Status::Exited(code)) => Ending::Exited(code),
            (_, Status::Signalled(signal)) => Ending::Signalled(signal),
        };
        attempt.phase = Phase::Collecting { ending, ran };
        self.checkups.end(&key);
        let timer = attempt.timer.take();
        self.disarm(key, timer);
        Action::Collect { key }
    }

    pub(crate) fn on_collected(&mut self, key: AttemptKey, leftover: Leftover) {
        let phase = self.attempts.get(&key).map(|attempt| attempt.phase.clone());
        if let Some(Phase::Collecting { ending, ran }) = phase {
            self.report_end(key, ending, ran, leftover);
        }
    }

    pub(crate) fn on_progress(&mut self, key: AttemptKey, millis: u16, message: String) {
        if self.attempts.get(&key).is_some_and(|attempt| attempt.phase == Phase::Running) {
            self.outbox.push(Report { key, what: Happening::Progress { millis, message } });
        }
    }

    pub(crate) fn on_output_limit(&mut self, key: AttemptKey) -> Option<Action> {
        self.end(key, Ending::OutputLimit)
    }

    /// All reports up to `seq` are committed, the last at `index`.
    pub(crate) fn on_reports_committed(&mut self, seq: u64, index: LogIndex) {
        self.seen = self.seen.max(index);
        for key in self.outbox.on_committed(seq) {
            self.attempts.remove(&key);
            self.frozen.remove(&key);
            self.checkups.end(&key);
            if index > self.pushed {
                self.settled.insert(key, index);
            }
        }
    }

    /// The worker leaves: everything ends within `grace`, and nothing starts any more.
    pub(crate) fn close(&mut self, grace: Duration) -> Vec<Action> {
        self.closing = true;
        self.bounds.grace = self.bounds.grace.min(grace);
        let keys: Vec<_> = self.attempts.keys().copied().collect();
        keys.into_iter().filter_map(|key| self.end(key, Ending::Stopped)).collect()
    }
}
