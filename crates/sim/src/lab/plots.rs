//! What the report draws of one run, collected job by job in bounded memory.

use quorate_types::Timestamp;

use super::distribution::Distribution;
use super::gantt::{Gantt, Window};
use super::job::Record;
use super::metrics::{bounded_slowdown, wait_ms};
use super::series::Series;

#[derive(Clone, Debug)]
pub(super) struct Plots {
    /// Cores that are used.
    pub(super) cores: Series,
    /// Jobs that wait.
    pub(super) queued: Series,
    pub(super) waits: Distribution,
    pub(super) slowdowns: Distribution,
    pub(super) gantt: Gantt,
}

impl Plots {
    pub(super) fn new(window: Window, begin: Timestamp) -> Self {
        Self {
            cores: Series::new(begin),
            queued: Series::new(begin),
            waits: Distribution::new(),
            slowdowns: Distribution::new(),
            gantt: Gantt::new(window),
        }
    }

    pub(super) fn observe(&mut self, record: &Record) {
        let cores = record.request.cpu_millis as f64 / 1000.0;
        self.cores.change(record.started, cores);
        self.cores.change(record.finished, -cores);
        self.queued.change(record.submitted, 1.0);
        self.queued.change(record.started, -1.0);
        self.waits.add(wait_ms(record));
        self.slowdowns.add((bounded_slowdown(record) * 1000.0).round() as u64);
        self.gantt.observe(record);
    }
}
