//! Why recorded work can't be read.

use std::io;
use std::path::PathBuf;

use quorate_types::problem::FieldError;

use super::wfformat::WfError;

/// Why recorded work can't be read.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("open {}: {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: line {line}: {source}", path.display())]
    Line { path: PathBuf, line: u64, source: LineError },
    #[error("{}: {source}", path.display())]
    Workflow { path: PathBuf, source: WfError },
    #[error("{}: its name says not what it holds: it should end in .swf, .json (WfFormat) or .ndjson", path.display())]
    Format { path: PathBuf },
    #[error("{} is larger than a recorded workflow can be", path.display())]
    TooLarge { path: PathBuf },
    #[error("{} has no job that could run on these machines", path.display())]
    Empty { path: PathBuf },
}

/// What is wrong with one line.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    #[error("a job has 18 fields, of which the first 9 are needed; this one has {found}")]
    TooFewFields { found: usize },
    #[error("field {number} ({name}) is {text:?}, which is no number from -1 to 10^12")]
    Field { number: usize, name: &'static str, text: String },
    #[error("field {number} ({name}) is missing, and without it the job has no place")]
    MissingField { number: usize, name: &'static str },
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("not a JSON object")]
    NotAnObject,
    #[error("{0:?} is missing")]
    Missing(&'static str),
    #[error("task {task:?} has no \"run\", and the job has none either")]
    NoRun { task: String },
    #[error("task {task:?} has {count} elements, and {runs} run times in \"runs\"")]
    Runs { task: String, count: u32, runs: usize },
    #[error("{}: {}", .0.pointer, .0.detail)]
    Job(FieldError),
    #[error("task {task:?} needs {needs} elements for each of its own, more than {max} in all")]
    TooManyNeeds { task: String, needs: usize, max: usize },
}
