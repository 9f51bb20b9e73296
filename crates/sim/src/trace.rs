//! What happened, line by line: the same seed writes the same lines.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use xxhash_rust::xxh3::Xxh3;

/// How many of the last lines are kept for a failure's story.
const KEPT_MAX: usize = 400;

pub(crate) struct Trace {
    now: Duration,
    hash: Xxh3,
    lines: u64,
    last: VecDeque<String>,
}

impl Trace {
    pub(crate) fn new() -> Self {
        Self { now: Duration::ZERO, hash: Xxh3::new(), lines: 0, last: VecDeque::new() }
    }

    pub(crate) fn set_now(&mut self, now: Duration) {
        self.now = now;
    }

    pub(crate) fn line(&mut self, what: fmt::Arguments<'_>) {
        let line = format!("{:>10.3} {what}", self.now.as_secs_f64());
        self.hash.update(line.as_bytes());
        self.lines += 1;
        if self.last.len() == KEPT_MAX {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// Stands for all lines so far.
    pub(crate) fn digest(&self) -> u64 {
        self.hash.digest()
    }

    pub(crate) fn lines(&self) -> u64 {
        self.lines
    }

    pub(crate) fn into_last(self) -> Vec<String> {
        self.last.into()
    }
}
