//! How far something is: a bar on a terminal, now and then a line elsewhere.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use quorate_types::api::TaskCounts;

/// Lines in a log file should not come faster than this.
const LINE_EVERY: Duration = Duration::from_secs(5);
const TEMPLATE: &str = "{prefix} [{bar:32}] {pos}/{len} {msg}";

/// Progress of one job on standard error.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    label: String,
    line_at: Option<Instant>,
    shown: Option<TaskCounts>,
}

impl Progress {
    pub(crate) fn new(label: impl Into<String>) -> Self {
        let label = label.into();
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.set_style(style.progress_chars("=> "));
            bar.set_prefix(label.clone());
            bar
        });
        Self { bar, label, line_at: None, shown: None }
    }

    /// Whether someone watches, so that frequent updates are worth their requests.
    pub(crate) fn is_live(&self) -> bool {
        self.bar.is_some()
    }

    pub(crate) fn update(&mut self, counts: &TaskCounts) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(counts.total.max(1));
                bar.set_position(counts.finished());
                bar.set_message(words(counts));
            }
            None => self.line(counts),
        }
    }

    fn line(&mut self, counts: &TaskCounts) {
        let due = self.line_at.is_none_or(|at| at.elapsed() >= LINE_EVERY);
        if due && self.shown != Some(*counts) {
            super::note(format!("{}: {}/{} {}", self.label, counts.finished(), counts.total, words(counts)));
            self.line_at = Some(Instant::now());
            self.shown = Some(*counts);
        }
    }

    /// Says something without disturbing the bar.
    pub(crate) fn suspend(&self, say: impl FnOnce()) {
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }

    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn words(counts: &TaskCounts) -> String {
    let parts = [
        (counts.live(), "running"),
        (counts.pending, "pending"),
        (counts.waiting, "waiting"),
        (counts.failed, "failed"),
        (counts.cancelled, "cancelled"),
    ];
    let words: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_there_is_is_mentioned() {
        let counts = TaskCounts { total: 9, running: 2, assigned: 1, succeeded: 5, failed: 1, ..TaskCounts::default() };
        assert_eq!(words(&counts), "3 running, 1 failed");
    }
}
