//! The Standard Workload Format: Chapin et al., "Benchmarks and Standards for the Evaluation of Parallel Job
//! Schedulers" (JSSPP 1999), <https://www.cs.huji.ac.il/labs/parallel/workload/swf.html>.
//!
//! A line is a job of 18 numbers, -1 for what is unknown; a line that begins with `;` is a comment. Times are in
//! seconds from the beginning of the log.

use std::path::Path;
use std::str::FromStr;

use quorate_types::{Resources, Span, Timestamp};

use super::error::{InputError, LineError};
use super::lines::Lines;
use super::{Entry, Reason};
use crate::lab::job::Job;

/// The last field that is needed.
const FIELDS_MIN: usize = 9;
/// What a field may be at most, so that milliseconds of it stay far from overflow.
const NUMBER_MAX: f64 = 1e12;

/// What the requested time of a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Requests {
    /// Field 9; a job without it is dropped.
    Required,
    /// The run time: for traces in which nobody requested anything, such as those of models.
    RunTime,
}

/// What the comments at the beginning say of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `MaxProcs`, or else `MaxNodes`.
    pub processors: Option<u64>,
}

impl Header {
    /// Reads the comments at the beginning of a trace.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn read(path: &Path) -> Result<Self, InputError> {
        let mut lines = Lines::open(path)?;
        let (mut processors, mut nodes) = (None, None);
        while let Some(comment) = lines.next()?.and_then(|line| line.strip_prefix(b";")) {
            processors = processors.or(value(comment, "MaxProcs"));
            nodes = nodes.or(value(comment, "MaxNodes"));
        }
        Ok(Self { processors: processors.or(nodes) })
    }
}

/// The positive number of `NAME: number`; some traces say more after it.
fn value(comment: &[u8], name: &str) -> Option<u64> {
    let text = std::str::from_utf8(comment).ok()?;
    let (key, value) = text.split_once(':')?;
    let number = value.split_whitespace().next()?.parse().ok()?;
    (key.trim().eq_ignore_ascii_case(name) && number > 0).then_some(number)
}

/// The records of a trace.
#[derive(Debug)]
pub(super) struct SwfJobs {
    lines: Lines,
    requests: Requests,
}

impl SwfJobs {
    pub(super) fn new(lines: Lines, requests: Requests) -> Self {
        Self { lines, requests }
    }
}

impl Iterator for SwfJobs {
    type Item = Result<Entry, InputError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = match self.lines.next() {
                Ok(line) => line?,
                Err(error) => return Some(Err(error)),
            };
            if line.starts_with(b";") {
                continue;
            }
            let parsed = Record::parse(line);
            return Some(match parsed {
                Ok(record) => Ok(record.clean(self.requests)),
                Err(error) => Err(self.lines.wrong(error)),
            });
        }
    }
}

/// What is used of a line. Times in milliseconds; `None` for what is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    number: u64,
    submit_ms: u64,
    run_ms: Option<u64>,
    processors: Option<u64>,
    requested_ms: Option<u64>,
    user: Option<u64>,
    executable: Option<u64>,
}

impl Record {
    fn parse(line: &[u8]) -> Result<Self, LineError> {
        let text = String::from_utf8_lossy(line);
        // Of a record with more fields than the format knows, the first ones still mean the same.
        let mut fields = [""; 18];
        let mut found = 0;
        for (field, text) in fields.iter_mut().zip(text.split_ascii_whitespace()) {
            *field = text;
            found += 1;
        }
        if found < FIELDS_MIN {
            return Err(LineError::TooFewFields { found });
        }
        let field = |number: usize, name: &'static str| number_in(fields[number - 1], number, name);
        let required = |number, name| field(number, name)?.ok_or(LineError::MissingField { number, name });
        let allocated = whole(field(5, "processors")?);
        let asked = whole(field(8, "requested processors")?);
        Ok(Self {
            number: required(1, "job number")? as u64,
            submit_ms: (required(2, "submit time")? * 1000.0).round() as u64,
            run_ms: milliseconds(field(4, "run time")?),
            processors: allocated.or(asked),
            requested_ms: milliseconds(field(9, "requested time")?),
            user: whole(field(12, "user")?),
            executable: whole(field(14, "executable")?),
        })
    }

    /// The cleaning rules: dropped is what has no run time, processors or requested time; a job runs at most the
    /// time that was requested for it.
    fn clean(self, requests: Requests) -> Entry {
        let requested_ms = match requests {
            Requests::Required => self.requested_ms,
            Requests::RunTime => self.requested_ms.or(self.run_ms),
        };
        let Some(run_ms) = self.run_ms else { return Entry::Dropped(Reason::NoRunTime) };
        let Some(processors) = self.processors else { return Entry::Dropped(Reason::NoProcessors) };
        let Some(requested_ms) = requested_ms else { return Entry::Dropped(Reason::NoRequestedTime) };
        let request = Resources::new(processors.saturating_mul(1000), 0);
        Entry::Job(Job {
            limit: Some(Span(requested_ms)),
            owner: named('u', self.user),
            name: named('e', self.executable),
            ..Job::new(self.number, Timestamp(self.submit_ms), Span(run_ms.min(requested_ms)), request)
        })
    }
}

/// `u12`, or `u-` for nobody known.
fn named<N: FromStr<Err: std::fmt::Debug>>(letter: char, number: Option<u64>) -> N {
    let text = number.map_or_else(|| format!("{letter}-"), |number| format!("{letter}{number}"));
    text.parse().expect("a letter and digits are a name")
}

/// A field as a number; `None` when it is below zero or left out at the end of the line.
fn number_in(text: &str, number: usize, name: &'static str) -> Result<Option<f64>, LineError> {
    let value = if text.is_empty() { -1.0 } else { text.parse().unwrap_or(f64::NAN) };
    if !(-NUMBER_MAX..=NUMBER_MAX).contains(&value) {
        return Err(LineError::Field { number, name, text: text.chars().take(40).collect() });
    }
    Ok((value >= 0.0).then_some(value))
}

fn whole(value: Option<f64>) -> Option<u64> {
    value.map(|value| value as u64).filter(|value| *value > 0)
}

fn milliseconds(seconds: Option<f64>) -> Option<u64> {
    seconds.map(|seconds| (seconds * 1000.0).round() as u64).filter(|ms| *ms > 0)
}

#[cfg(test)]
mod tests {
    use quorate_types::JobName;

    use super::*;

    fn line(fields: &str) -> Result<Record, LineError> {
        Record::parse(fields.as_bytes())
    }

    #[test]
    fn a_line_is_a_job() {
        let record = line("7 100 12 95.5 4 -1 -1 8 200 -1 1 33 -1 2 -1 -1 -1 -1").unwrap();
        let Entry::Job(job) = record.clean(Requests::Required) else { panic!("dropped") };
        assert_eq!((job.id, job.submitted.0, job.run.0, job.limit), (7, 100_000, 95_500, Some(Span(200_000))));
        assert_eq!(job.request, Resources::new(4000, 0));
        assert_eq!((job.owner, job.name), ("u33".parse().unwrap(), "e2".parse::<JobName>().unwrap()));
    }

    #[test]
    fn the_cleaning_rules() {
        for (fields, expected) in [
            ("1 0 -1 0 4 -1 -1 4 10", Err(Reason::NoRunTime)),
            ("1 0 -1 -1 4 -1 -1 4 10", Err(Reason::NoRunTime)),
            ("1 0 -1 9 0 -1 -1 -1 10", Err(Reason::NoProcessors)),
            ("1 0 -1 9 4 -1 -1 4 -1", Err(Reason::NoRequestedTime)),
            ("1 0 -1 9 4 -1 -1 4 0", Err(Reason::NoRequestedTime)),
            // What ran longer than requested was ended then.
            ("1 0 -1 99 4 -1 -1 4 10", Ok(10_000)),
            // The requested processors stand for allocated ones that are unknown.
            ("1 0 -1 9 -1 -1 -1 4 10", Ok(9_000)),
        ] {
            let entry = line(fields).unwrap().clean(Requests::Required);
            let found = match entry {
                Entry::Job(job) => Ok(job.run.0),
                Entry::Dropped(reason) => Err(reason),
            };
            assert_eq!(found, expected, "{fields}");
        }
    }

    #[test]
    fn run_times_stand_for_requests_that_nobody_made() {
        let record = line("1 5094 -1 12072 16 -1 -1 -1 -1 -1 1 -1 -1 -1 0 -1 -1 -1").unwrap();
        let Entry::Job(job) = record.clean(Requests::RunTime) else { panic!("dropped") };
        assert_eq!(job.limit, Some(job.run));
    }

    #[test]
    fn bad_lines_say_which_field() {
        for (fields, reason) in [
            ("1 0 -1", "this one has 3"),
            ("1 0 -1 x 4 -1 -1 4 10", "field 4 (run time) is \"x\""),
            ("1 0 -1 NaN 4 -1 -1 4 10", "field 4"),
            ("1 1e13 -1 9 4 -1 -1 4 10", "field 2"),
            ("1 -1 -1 9 4 -1 -1 4 10", "field 2 (submit time) is missing"),
            ("-1 0 -1 9 4 -1 -1 4 10", "field 1 (job number) is missing"),
        ] {
            let error = line(fields).unwrap_err().to_string();
            assert!(error.contains(reason), "{fields}: {error}");
        }
    }

    #[test]
    fn the_header_tells_the_processors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.swf");
        for (text, processors) in [
            ("; MaxProcs: 100\n; MaxNodes: 50\n", Some(100)),
            ("; MaxNodes: 256 (2 idle)\n1 0 0 1 1 -1 -1 1 1\n; MaxProcs: 9\n", Some(256)),
            ("; MaxNodes: -1\n", None),
            ("", None),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(Header::read(&path).unwrap().processors, processors, "{text}");
        }
    }
}
