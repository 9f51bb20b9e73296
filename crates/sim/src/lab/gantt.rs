//! Which jobs ran where within a window of time.

use quorate_types::{Span, Timestamp};

use super::job::{Machine, Record};
use super::metrics::wait_ms;

/// Bars of one chart: more are no longer told apart.
const BARS_MAX: usize = 3_000;
/// Rows of one chart; a row is some cores of a machine.
const ROWS_MAX: u64 = 256;

/// A part of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub from: Timestamp,
    pub length: Span,
}

impl Window {
    pub(super) const fn end(self) -> Timestamp {
        Timestamp(self.from.0.saturating_add(self.length.0))
    }
}

/// Collects what ran within a window.
#[derive(Clone, Debug)]
pub(super) struct Gantt {
    pub(super) window: Window,
    jobs: Vec<Piece>,
    /// There was more than can be shown.
    pub(super) is_cut: bool,
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    id: u64,
    wait_ms: u64,
    started: Timestamp,
    finished: Timestamp,
    cpu_millis: u64,
    machine: u32,
}

/// A job in a chart, on some rows that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bar {
    pub(super) id: u64,
    pub(super) wait_ms: u64,
    pub(super) started: Timestamp,
    pub(super) finished: Timestamp,
    pub(super) row: usize,
    pub(super) rows: usize,
}

/// How machines are cut into rows.
#[derive(Clone, Debug)]
pub(super) struct Rows {
    millis_per_row: u64,
    /// The first row of each machine, and the number of all rows.
    pub(super) first: Vec<usize>,
}

impl Rows {
    pub(super) fn of(machines: &[Machine]) -> Self {
        let all: u64 = machines.iter().map(|machine| machine.capacity.cpu_millis).sum();
        let millis_per_row = all.div_ceil(ROWS_MAX).max(1000);
        let mut first = vec![0];
        for machine in machines {
            let rows = machine.capacity.cpu_millis.div_ceil(millis_per_row).max(1) as usize;
            first.push(first[first.len() - 1] + rows);
        }
        Self { millis_per_row, first }
    }

    pub(super) fn count(&self) -> usize {
        self.first[self.first.len() - 1]
    }
}

impl Gantt {
    pub(super) fn new(window: Window) -> Self {
        Self { window, jobs: Vec::new(), is_cut: false }
    }

    pub(super) fn observe(&mut self, record: &Record) {
        if record.started >= self.window.end() || record.finished <= self.window.from {
            return;
        }
        if self.jobs.len() == BARS_MAX {
            self.is_cut = true;
            return;
        }
        self.jobs.push(Piece {
            id: record.id,
            wait_ms: wait_ms(record),
            started: record.started,
            finished: record.finished,
            cpu_millis: record.request.cpu_millis,
            machine: record.machine,
        });
    }

    /// Gives each job rows of its machine that are free from its start to its end. A job whose rows do not follow
    /// each other has several bars.
    pub(super) fn bars(&self, rows: &Rows) -> Vec<Bar> {
        let mut jobs = self.jobs.clone();
        jobs.sort_unstable_by_key(|job| (job.started, job.id));
        let mut free_at = vec![Timestamp(0); rows.count()];
        let mut bars = Vec::new();
        for job in jobs {
            let machine = job.machine as usize;
            let Some(range) = rows.first.get(machine).copied().zip(rows.first.get(machine + 1).copied()) else {
                continue;
            };
            // Cores in a row or two are drawn as one row: that a machine looks full before it is can't be helped.
            let wanted = (job.cpu_millis / rows.millis_per_row).max(1) as usize;
            let free = (range.0..range.1).filter(|row| free_at[*row] <= job.started);
            let taken: Vec<usize> = free.take(wanted).collect();
            for row in &taken {
                free_at[*row] = job.finished;
            }
            bars.extend(runs(&taken).map(|(row, rows)| Bar {
                id: job.id,
                wait_ms: job.wait_ms,
                started: job.started.max(self.window.from),
                finished: job.finished.min(self.window.end()),
                row,
                rows,
            }));
        }
        bars
    }
}

/// Stretches of rows without a gap: the first, and how many.
fn runs(rows: &[usize]) -> impl Iterator<Item = (usize, usize)> {
    rows.chunk_by(|a, b| a + 1 == *b).map(|run| (run[0], run.len()))
}

#[cfg(test)]
mod tests {
    use quorate_types::{Name, Resources};

    use super::*;
    use crate::lab::machines::pool;

    fn record(id: u64, started: u64, finished: u64, cores: u64) -> Record {
        Record {
            id,
            namespace: Name::new("default").unwrap(),
            submitted: Timestamp(0),
            started: Timestamp(started),
            finished: Timestamp(finished),
            request: Resources::new(cores * 1000, 0),
            machine: 0,
            interrupted: 0,
            lost: Span(0),
        }
    }

    #[test]
    fn jobs_take_free_rows_and_what_is_outside_is_cut_off() {
        let mut gantt = Gantt::new(Window { from: Timestamp(10), length: Span(20) });
        for record in [record(1, 0, 20, 1), record(2, 0, 40, 1), record(3, 20, 25, 2), record(4, 30, 50, 1)] {
            gantt.observe(&record);
        }
        let bars = gantt.bars(&Rows::of(&pool(3)));
        let found: Vec<_> = bars.iter().map(|bar| (bar.id, bar.started.0, bar.finished.0, bar.row, bar.rows)).collect();
        // Job 3 has the row that job 1 left and the one that nobody had.
        assert_eq!(found, [(1, 10, 20, 0, 1), (2, 10, 30, 1, 1), (3, 20, 25, 0, 1), (3, 20, 25, 2, 1)]);
        assert!(!gantt.is_cut);
    }

    #[test]
    fn large_machines_have_no_more_rows_than_can_be_seen() {
        assert_eq!(Rows::of(&pool(100)).count(), 100);
        assert_eq!(Rows::of(&pool(100_000)).count(), 256);
    }
}
