//! Attempts that wait for others: they were assigned together and take turns on what one of them asks for.

use std::sync::Arc;
use std::time::Duration;

use quorate_types::inputs::Inputs;
use quorate_types::session::AttemptKey;
use quorate_types::status::Ending;
use quorate_types::{AttemptNumber, Bug, Fence, Span, TaskIndex, is_planted};

use super::{Action, Leftover, Phase, Table};
use crate::clock::Boottime;

/// How long the turn of one may take before the others are given back, to be placed elsewhere: the cluster puts only
/// tasks in line that are over in milliseconds.
const TURN_MAX: Duration = Duration::from_millis(100);

/// An attempt whose turn is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    key: AttemptKey,
    /// The first of its line.
    first: TaskIndex,
}

impl Table {
    pub(super) fn note_end(&mut self, key: AttemptKey, behind: Option<TaskIndex>) {
        self.ended.push(Ended { key, first: behind.unwrap_or(key.index) });
    }

    /// Puts the attempt in line if there is one that it has to wait for.
    pub(super) fn line_up(
        &mut self,
        key: AttemptKey,
        behind: Option<TaskIndex>,
        inputs: Vec<Arc<Inputs>>,
        now: Boottime,
    ) -> Lined {
        let before = behind.and_then(|first| self.before(&key, first));
        let Some(before) = before.filter(|_| !is_planted(Bug::LineIgnored)) else { return Lined::First(inputs) };
        let is_next = !matches!(self.attempts[&before].phase, Phase::InLine { .. });
        if let Some(attempt) = self.attempts.get_mut(&key) {
            attempt.phase = Phase::InLine { inputs };
        }
        if is_next {
            self.arm(key, now.plus(TURN_MAX));
        }
        Lined::Waits
    }

    /// Starts those whose turn has come.
    pub(super) fn take_turns(&mut self, now: Boottime) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some(Ended { key, first }) = self.ended.pop() {
            let next = self.waiting_after(&key, first).next();
            let Some(next) = next else { continue };
            if self.before(&next, first).is_some() {
                continue;
            }
            let following = self.waiting_after(&next, first).next();
            if let Some(following) = following {
                self.arm(following, now.plus(TURN_MAX));
            }
            actions.extend(self.begin(next));
        }
        actions
    }

    /// The turn before it took too long: gives back the attempt and those behind it, none of which has started.
    pub(super) fn give_back(&mut self, key: AttemptKey) {
        let Some(first) = self.attempts.get(&key).and_then(|attempt| attempt.behind) else { return };
        let line: Vec<_> = std::iter::once(key).chain(self.waiting_after(&key, first)).collect();
        for key in line {
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

    /// The last before it in its line that has not ended.
    fn before(&self, key: &AttemptKey, first: TaskIndex) -> Option<AttemptKey> {
        let from = AttemptKey { index: first, attempt: AttemptNumber(0), fence: Fence(0), ..*key };
        let all = self.attempts.range(from..*key).rev();
        let in_line =
            |other: &AttemptKey, behind| other.fence == key.fence && (other.index == first || behind == Some(first));
        let mut live = all.filter(|(other, it)| in_line(other, it.behind) && it.phase != Phase::Reported);
        live.next().map(|(other, _)| *other)
    }

    fn waiting_after(&self, key: &AttemptKey, first: TaskIndex) -> impl Iterator<Item = AttemptKey> + '_ {
        let (of, fence) = ((key.job, key.task), key.fence);
        let after = (std::ops::Bound::Excluded(*key), std::ops::Bound::Unbounded);
        let of_task = self.attempts.range(after).take_while(move |(other, _)| (other.job, other.task) == of);
        let waiting = of_task.filter(move |(other, it)| {
            other.fence == fence && it.behind == Some(first) && matches!(it.phase, Phase::InLine { .. })
        });
        waiting.map(|(other, _)| *other)
    }
}

/// What became of an attempt that may have to wait.
pub(super) enum Lined {
    Waits,
    /// It has nobody before it.
    First(Vec<Arc<Inputs>>),
}
