//! Attempts that wait for others: they were assigned together and take turns on what one of them asks for.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use quorate_types::inputs::Inputs;
use quorate_types::session::AttemptKey;
use quorate_types::status::Ending;
use quorate_types::{AttemptNumber, Bug, Fence, JobId, Span, TaskIndex, is_planted};

use super::{Action, Leftover, Phase, Table};
use crate::clock::Boottime;

/// How long an attempt waits in line at most; then it is given back, to be placed elsewhere. The cluster makes lines of
/// ten milliseconds of work.
const LINE_WAIT: Duration = Duration::from_millis(100);

/// What was assigned behind one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    job: JobId,
    task: u32,
    fence: Fence,
    first: TaskIndex,
}

#[derive(Debug)]
struct Line {
    /// Whose turn it is.
    turn: AttemptKey,
    waiting: VecDeque<AttemptKey>,
    /// When those that still wait are given back.
    until: Boottime,
}

/// The lines of which somebody has not ended.
#[derive(Debug, Default)]
pub(super) struct Lines {
    by_name: BTreeMap<Name, Line>,
    /// Those whose turn was over and has been followed by no other's yet.
    ended: Vec<(Name, AttemptKey)>,
}

/// What became of an attempt that may have to wait.
pub(super) enum Lined {
    Waits,
    /// It has nobody before it.
    First(Vec<Arc<Inputs>>),
}

impl Name {
    fn of(key: &AttemptKey, behind: Option<TaskIndex>) -> Self {
        Self { job: key.job, task: key.task, fence: key.fence, first: behind.unwrap_or(key.index) }
    }
}

impl Table {
    /// Puts the attempt in line if there is one that it has to wait for.
    pub(super) fn line_up(
        &mut self,
        key: AttemptKey,
        behind: Option<TaskIndex>,
        inputs: Vec<Arc<Inputs>>,
        now: Boottime,
    ) -> Lined {
        if behind.is_none() || is_planted(Bug::LineIgnored) {
            return Lined::First(inputs);
        }
        let name = Name::of(&key, behind);
        if !self.lines.by_name.contains_key(&name) {
            let turn = self.first_of(&name).unwrap_or(key);
            let line = Line { turn, waiting: VecDeque::new(), until: now.plus(LINE_WAIT) };
            self.lines.by_name.insert(name, line);
            if turn == key {
                return Lined::First(inputs);
            }
        }
        if let Some(attempt) = self.attempts.get_mut(&key) {
            attempt.phase = Phase::InLine { inputs };
        }
        let Some(line) = self.lines.by_name.get_mut(&name) else { return Lined::Waits };
        line.waiting.push_back(key);
        let (until, is_next) = (line.until, line.waiting.len() == 1);
        if is_next {
            self.arm(key, until);
        }
        Lined::Waits
    }

    /// The attempt behind which the others were assigned, if it has not ended.
    fn first_of(&self, name: &Name) -> Option<AttemptKey> {
        let Name { job, task, fence, first: index } = *name;
        let from = AttemptKey { job, task, index, attempt: AttemptNumber(0), fence: Fence(0) };
        let to = AttemptKey { attempt: AttemptNumber(u32::MAX), fence: Fence(u64::MAX), ..from };
        let mut live = self.attempts.range(from..=to).filter(|(_, attempt)| attempt.phase != Phase::Reported);
        live.find(|(key, _)| key.fence == fence).map(|(key, _)| *key)
    }

    /// The attempt has ended, and no process of it is left; or it has left its line.
    pub(super) fn note_end(&mut self, key: AttemptKey, behind: Option<TaskIndex>) {
        let name = Name::of(&key, behind);
        let Some(line) = self.lines.by_name.get_mut(&name) else { return };
        if line.turn == key {
            self.lines.ended.push((name, key));
            return;
        }
        let was_next = line.waiting.front() == Some(&key);
        line.waiting.retain(|waiting| *waiting != key);
        let (next, until) = (line.waiting.front().copied(), line.until);
        if let Some(next) = next.filter(|_| was_next) {
            self.arm(next, until);
        }
    }

    /// Starts those whose turn has come.
    pub(super) fn take_turns(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some((name, ended)) = self.lines.ended.pop() {
            let Some(line) = self.lines.by_name.get_mut(&name).filter(|line| line.turn == ended) else { continue };
            let Some(next) = line.waiting.pop_front() else {
                self.lines.by_name.remove(&name);
                continue;
            };
            line.turn = next;
            let (following, until) = (line.waiting.front().copied(), line.until);
            if let Some(following) = following {
                self.arm(following, until);
            }
            actions.extend(self.begin(next));
        }
        actions
    }

    /// Its line took too long: gives back the attempt and those behind it, none of which has started.
    pub(super) fn give_back(&mut self, key: AttemptKey) {
        let behind = self.attempts.get(&key).and_then(|attempt| attempt.behind);
        let line = self.lines.by_name.get_mut(&Name::of(&key, behind));
        for key in line.map(|line| std::mem::take(&mut line.waiting)).unwrap_or_default() {
            self.report_end(key, Ending::Stopped, Span(0), Leftover::default());
        }
    }

    fn begin(&mut self, key: AttemptKey) -> Option<Action> {
        let attempt = self.attempts.get_mut(&key)?;
        let timer = attempt.timer.take();
        let Phase::InLine { inputs } = std::mem::replace(&mut attempt.phase, Phase::Preparing) else { return None };
        let definition = attempt.definition.clone()?;
        self.disarm(key, timer);
        self.run(key, definition, inputs)
    }
}
