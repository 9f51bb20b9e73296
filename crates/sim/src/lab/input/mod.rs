//! Recorded work: what a replay reads.
//!
//! Layout: `swf`, `ndjson` and [`wfformat`] (one format each), `needs` (tasks after what they need), `lines` (text
//! files, packed or not), `order` (records in the order of submission), `survey` (what a first reading finds out),
//! `error`.
//!
//! A file is read once for the survey and once more for each run, a record at a time: what is in memory is what
//! was submitted but stands out of order in the file.

mod error;
mod lines;
mod ndjson;
mod needs;
mod order;
mod survey;
pub mod swf;
pub mod wfformat;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use error::{InputError, LineError};
pub use needs::in_order_of_needs;
pub use survey::{Dropped, Survey};

use self::lines::Lines;
use self::ndjson::NdjsonJobs;
use self::order::Ordered;
use self::swf::{Requests, SwfJobs};
use super::job::{Job, Machine};

/// A workflow is read as a whole; the largest recordings known have some ten megabytes.
const WORKFLOW_BYTES_MAX: u64 = 256 << 20;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Standard Workload Format of the Parallel Workloads Archive.
    Swf,
    /// A recorded workflow in WfFormat 1.5.
    WfFormat,
    /// A job of Quorate on each line, with run times.
    Ndjson,
}

impl Format {
    /// By the name's end: `.swf`, `.json`, `.ndjson` or `.jsonl`, each with or without `.gz`.
    ///
    /// # Errors
    /// [`InputError::Format`] when it ends otherwise.
    pub fn of(path: &Path) -> Result<Self, InputError> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        let ends = |suffix: &str| name.ends_with(suffix);
        match () {
            () if ends(".swf") => Ok(Self::Swf),
            () if ends(".json") => Ok(Self::WfFormat),
            () if ends(".ndjson") || ends(".jsonl") => Ok(Self::Ndjson),
            () => Err(InputError::Format { path: path.to_owned() }),
        }
    }
}

/// A record as a format yields it: a job, or why it is none.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one at a time, and nearly all of them are jobs")]
enum Entry {
    Job(Job),
    Dropped(Reason),
}

/// Why a record is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    NoRunTime,
    NoProcessors,
    NoRequestedTime,
    TooLarge,
    Unsuited,
}

type Entries = Box<dyn Iterator<Item = Result<Entry, InputError>>>;

/// Recorded work that can be read as often as there are runs, on several threads at once.
#[derive(Clone, Debug)]
pub struct Workload {
    source: Source,
    machines: Arc<[Machine]>,
    first: Option<u64>,
    survey: Survey,
}

#[derive(Clone, Debug)]
enum Source {
    Swf { path: PathBuf, requests: Requests },
    Ndjson { path: PathBuf },
    Jobs(Arc<[Job]>),
}

impl Workload {
    /// Surveys a file. Jobs that fit none of `machines` are dropped; only the `first` ones in the order of
    /// submission are kept.
    ///
    /// # Errors
    /// When the file can't be read, holds something else, or no job that could run.
    pub fn open(path: &Path, format: Format, machines: &[Machine], first: Option<u64>) -> Result<Self, InputError> {
        let source = match format {
            Format::Swf => Source::Swf { path: path.to_owned(), requests: Requests::Required },
            Format::Ndjson => Source::Ndjson { path: path.to_owned() },
            Format::WfFormat => Source::Jobs(read_workflow(path)?.into()),
        };
        let workload = Self::surveyed(source, machines, first)?;
        if workload.survey.jobs == 0 {
            return Err(InputError::Empty { path: path.to_owned() });
        }
        Ok(workload)
    }

    /// Work that is in memory already, if only none.
    ///
    /// # Errors
    /// None that memory could cause.
    pub fn of_jobs(jobs: Vec<Job>, machines: &[Machine], first: Option<u64>) -> Result<Self, InputError> {
        Self::surveyed(Source::Jobs(jobs.into()), machines, first)
    }

    fn surveyed(source: Source, machines: &[Machine], first: Option<u64>) -> Result<Self, InputError> {
        let mut workload = Self { source, machines: machines.into(), first, survey: Survey::default() };
        let mut survey = Survey::of(workload.entries()?)?;
        if let (Source::Swf { requests, .. }, true) = (&mut workload.source, survey.lacks_requests()) {
            *requests = Requests::RunTime;
            survey = Survey::of(workload.entries()?)?;
            survey.requests_are_run_times = true;
        }
        survey.limit(first);
        workload.survey = survey;
        Ok(workload)
    }

    /// What the first reading found.
    pub fn survey(&self) -> &Survey {
        &self.survey
    }

    /// The jobs in the order of their submission; of those submitted at one instant, by number.
    ///
    /// # Errors
    /// When the file can't be opened; each item, when it can't be read further.
    pub fn jobs(&self) -> Result<impl Iterator<Item = Result<Job, InputError>> + use<>, InputError> {
        let kept = self.entries()?.filter_map(|entry| match entry {
            Ok(Entry::Job(job)) => Some(Ok(job)),
            Ok(Entry::Dropped(_)) => None,
            Err(error) => Some(Err(error)),
        });
        let first = usize::try_from(self.first.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        Ok(Ordered::new(kept, self.survey.lateness).take(first))
    }

    fn entries(&self) -> Result<Entries, InputError> {
        let entries: Entries = match &self.source {
            Source::Swf { path, requests } => Box::new(SwfJobs::new(Lines::open(path)?, *requests)),
            Source::Ndjson { path } => Box::new(NdjsonJobs::new(Lines::open(path)?)),
            Source::Jobs(jobs) => {
                let jobs = jobs.clone();
                Box::new((0..jobs.len()).map(move |at| Ok(Entry::Job(jobs[at].clone()))))
            }
        };
        let machines = self.machines.clone();
        Ok(Box::new(entries.map(move |entry| entry.map(|entry| without_giants(entry, &machines)))))
    }
}

fn without_giants(entry: Entry, machines: &[Machine]) -> Entry {
    match entry {
        Entry::Job(job) if job.run.0 == 0 => Entry::Dropped(Reason::NoRunTime),
        Entry::Job(job) if !machines.iter().any(|machine| machine.is_large_enough(&job)) => {
            Entry::Dropped(Reason::TooLarge)
        }
        Entry::Job(job) if !machines.iter().any(|machine| machine.is_large_enough(&job) && machine.suits(&job)) => {
            Entry::Dropped(Reason::Unsuited)
        }
        Entry::Job(_) | Entry::Dropped(_) => entry,
    }
}

fn read_workflow(path: &Path) -> Result<Vec<Job>, InputError> {
    let mut text = Vec::new();
    let reader = lines::open(path)?.take(WORKFLOW_BYTES_MAX + 1).read_to_end(&mut text);
    reader.map_err(|source| InputError::Read { path: path.to_owned(), source })?;
    if text.len() as u64 > WORKFLOW_BYTES_MAX {
        return Err(InputError::TooLarge { path: path.to_owned() });
    }
    let unreadable = |source| InputError::Workflow { path: path.to_owned(), source };
    wfformat::Workflow::parse(&text).and_then(|workflow| workflow.jobs()).map_err(unreadable)
}

#[cfg(test)]
mod tests;
