//! How each job went, as lines of CSV in temporary files: a run may have more jobs than memory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};

use quorate_types::{JobName, Name};

use super::job::{Job, Machine, Record};
use super::metrics::{bounded_slowdown, run_ms, wait_ms};

/// The heading of [`StartTable`]'s lines.
pub const STARTS_HEADING: &str = "id,start";
/// The heading of [`JobTable`]'s lines.
pub const JOBS_HEADING: &str = "id,name,namespace,submitted,started,finished,wait,run,bounded_slowdown,cpu,memory,machine,\
    interrupted,lost";

/// Lines on their way into a temporary file. The first error is told at the end.
#[derive(Debug)]
struct Lines {
    file: BufWriter<File>,
    failed: Option<io::Error>,
}

impl Lines {
    fn new() -> io::Result<Self> {
        Ok(Self { file: BufWriter::new(tempfile::tempfile()?), failed: None })
    }

    fn write(&mut self, line: std::fmt::Arguments<'_>) {
        if self.failed.is_none() {
            self.failed = writeln!(self.file, "{line}").err();
        }
    }

    fn finish(self) -> io::Result<File> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let mut file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(file)
    }
}

/// Milliseconds as seconds: whole ones without a fraction.
pub(super) fn seconds(ms: u64) -> String {
    match ms % 1000 {
        0 => (ms / 1000).to_string(),
        rest => format!("{}.{rest:03}", ms / 1000),
    }
}

/// `id,start` of each job, in seconds of the trace, in the order in which they finished.
#[derive(Debug)]
pub(super) struct StartTable(Lines);

impl StartTable {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(Lines::new()?))
    }

    pub(super) fn observe(&mut self, record: &Record) {
        self.0.write(format_args!("{},{}", record.id, seconds(record.started.0)));
    }

    pub(super) fn finish(self) -> io::Result<File> {
        self.0.finish()
    }
}

/// All that is known of each job, in the order in which they finished.
#[derive(Debug)]
pub(super) struct JobTable {
    lines: Lines,
    machines: Vec<Name>,
    /// Of the jobs that have not finished.
    names: HashMap<u64, JobName>,
}

impl JobTable {
    pub(super) fn new(machines: &[Machine]) -> io::Result<Self> {
        let machines = machines.iter().map(|machine| machine.name.clone()).collect();
        Ok(Self { lines: Lines::new()?, machines, names: HashMap::new() })
    }

    pub(super) fn on_job(&mut self, job: &Job) {
        self.names.insert(job.id, job.name.clone());
    }

    pub(super) fn observe(&mut self, record: &Record) {
        let name = self.names.remove(&record.id);
        // Names hold neither commas nor quotes.
        self.lines.write(format_args!(
            "{},{},{},{},{},{},{},{},{:.6},{},{},{},{},{}",
            record.id,
            name.as_deref().unwrap_or_default(),
            record.namespace,
            seconds(record.submitted.0),
            seconds(record.started.0),
            seconds(record.finished.0),
            seconds(wait_ms(record)),
            seconds(run_ms(record)),
            bounded_slowdown(record),
            seconds(record.request.cpu_millis),
            record.request.memory_bytes,
            self.machines.get(record.machine as usize).map_or("", |name| name.as_str()),
            record.interrupted,
            seconds(record.lost.0),
        ));
    }

    pub(super) fn finish(self) -> io::Result<File> {
        self.lines.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_seconds_have_no_fraction() {
        for (ms, text) in [(0, "0"), (7000, "7"), (1_050, "1.050"), (999, "0.999")] {
            assert_eq!(seconds(ms), text);
        }
    }
}
