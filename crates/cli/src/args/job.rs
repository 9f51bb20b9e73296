//! `run` and `job`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use quorate_types::resources::{parse_bytes, parse_millis};
use quorate_types::status::{JobState, TaskState};
use quorate_types::{AttemptNumber, JobId, JobName, Name, Span, TaskIndex};

#[derive(Args, Debug)]
pub(crate) struct RunArgs {
    /// The command and its arguments, after `--`.
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
    /// Cores, 1 by default; 0.5 is half of one.
    #[arg(long, value_parser = millis, value_name = "CORES")]
    pub(crate) cpu: Option<u64>,
    /// Memory, such as 256MiB.
    #[arg(long, value_parser = parse_bytes, value_name = "SIZE")]
    pub(crate) memory: Option<u64>,
    /// How often a failed command is tried again.
    #[arg(long)]
    pub(crate) retries: Option<u32>,
    /// How long one attempt may take, such as 10m.
    #[arg(long, value_name = "DURATION")]
    pub(crate) timeout: Option<Span>,
    /// An environment variable; may be given several times.
    #[arg(long, value_parser = key_value, value_name = "K=V")]
    pub(crate) env: Vec<(String, String)>,
    /// A label of the job; may be given several times.
    #[arg(long, value_parser = label, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<(Name, String)>,
    /// The job's name; else the command's.
    #[arg(long)]
    pub(crate) name: Option<JobName>,
    /// The namespace, `default` by default.
    #[arg(long)]
    pub(crate) namespace: Option<Name>,
    /// 0 to 100, higher first; 50 by default.
    #[arg(long)]
    pub(crate) priority: Option<u8>,
    /// Only submit, and print the job's id.
    #[arg(short, long)]
    pub(crate) detach: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Submits a job from a file, or many from lines of JSON; prints their ids
    Submit(SubmitArgs),
    /// Lists jobs, newest first
    List(ListArgs),
    /// Shows one job
    Show { id: JobId },
    /// Lists a job's tasks
    Tasks(TasksArgs),
    /// Prints a task's output
    Logs(LogsArgs),
    /// Says why a job or task is where it is, and what would let it go on
    Explain(ExplainArgs),
    /// Waits until jobs have finished
    Wait {
        #[arg(required = true)]
        ids: Vec<JobId>,
        /// Give up after so long, with exit code 1.
        #[arg(long, value_name = "DURATION")]
        timeout: Option<Span>,
    },
    /// Ends jobs
    Cancel {
        #[arg(required = true)]
        ids: Vec<JobId>,
    },
    /// Ends what runs of a job and starts nothing more until it is resumed
    Pause {
        id: JobId,
        /// Stop what runs where it is, instead of ending it; it keeps its room on its worker.
        #[arg(long)]
        freeze: bool,
    },
    /// Lets a paused job go on
    Resume { id: JobId },
    /// Ends the attempt of a task, which is placed again; of an array the index has to be given
    Reassign(TaskArgs),
    /// Runs a finished job again
    Retry {
        id: JobId,
        /// Only the tasks that failed or were cancelled.
        #[arg(long)]
        failed: bool,
        /// Only this task, and what needs it.
        #[arg(long, value_name = "TASK", conflicts_with = "failed")]
        from: Option<Name>,
    },
    /// Within a task: adds tasks to its own job, when it succeeds
    Extend {
        /// A file with an array of tasks, or with one task after the other, or - for standard input.
        #[arg(default_value = "-")]
        file: PathBuf,
    },
    /// Shows when a schedule runs next, one RFC 3339 time a line
    Next {
        id: JobId,
        /// How many times to show.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
        count: u32,
    },
    /// Runs a schedule once, now; prints the run's id
    RunNow { id: JobId },
    /// Gives a schedule another specification, or a service or system job, whose elements go over to it in steps
    #[command(visible_alias = "update")]
    Change {
        id: JobId,
        /// A file with a job of the same kind, or - for standard input.
        file: PathBuf,
    },
    /// Forgets finished jobs
    Forget {
        #[arg(required = true)]
        ids: Vec<JobId>,
    },
}

#[derive(Args, Debug)]
pub(crate) struct SubmitArgs {
    /// A file, or - for standard input. `.gz` is unpacked.
    pub(crate) file: PathBuf,
    /// Wait until what was submitted has finished.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Submit nothing: check the job, and say where its tasks would go now.
    #[arg(long, conflicts_with = "wait")]
    pub(crate) dry_run: bool,
    /// A second submission with the same key is the same job.
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    /// What the file holds.
    #[arg(long, value_enum, default_value_t = FileFormat::Json)]
    pub(crate) format: FileFormat,
    /// wfcommons: a task takes its recorded time times this.
    #[arg(long, default_value_t = 1.0, value_parser = scale, value_name = "FACTOR")]
    pub(crate) time_scale: f64,
    /// wfcommons: tasks use the CPU instead of sleeping.
    #[arg(long)]
    pub(crate) burn: bool,
    /// wfcommons: cores of each task instead of the recorded ones.
    #[arg(long, value_parser = millis, value_name = "CORES")]
    pub(crate) cores: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileFormat {
    /// A job as the API takes it, or one a line.
    Json,
    /// A recorded workflow in WfFormat 1.5.
    Wfcommons,
}

#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    /// Only jobs in this state.
    #[arg(long)]
    pub(crate) state: Option<JobState>,
    /// Only jobs of this namespace.
    #[arg(long)]
    pub(crate) namespace: Option<Name>,
    /// Only jobs of this name.
    #[arg(long)]
    pub(crate) name: Option<JobName>,
    /// Only runs of this schedule.
    #[arg(long, value_name = "ID")]
    pub(crate) schedule: Option<JobId>,
    /// Only jobs with this label.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Option<String>,
    /// The most jobs to list, at most 1000.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
    /// Where an earlier list ended.
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct TasksArgs {
    pub(crate) id: JobId,
    /// Only tasks in this state.
    #[arg(long)]
    pub(crate) state: Option<TaskState>,
    /// The most tasks to list, at most 1000.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: u32,
    /// Where an earlier list ended.
    #[arg(long)]
    pub(crate) cursor: Option<String>,
}

#[derive(Args, Debug)]
pub(crate) struct ExplainArgs {
    pub(crate) id: JobId,
    /// The task, as NAME or NAME/INDEX; without one, what of the job has not finished.
    pub(crate) task: Option<String>,
    /// The element of an array task.
    #[arg(long)]
    pub(crate) index: Option<TaskIndex>,
}

/// Which task is meant.
#[derive(Args, Debug)]
pub(crate) struct TaskArgs {
    pub(crate) id: JobId,
    /// The task, as NAME or NAME/INDEX; may be left out when the job has only one.
    pub(crate) task: Option<String>,
    /// The element of an array task; where nothing ends by it, the first one unless it is given.
    #[arg(long)]
    pub(crate) index: Option<TaskIndex>,
}

#[derive(Args, Debug)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    pub(crate) task: TaskArgs,
    /// Go on until the attempt ends.
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// An earlier attempt.
    #[arg(long)]
    pub(crate) attempt: Option<AttemptNumber>,
    /// Only so many bytes from the end.
    #[arg(long, value_parser = parse_bytes, value_name = "SIZE")]
    pub(crate) tail: Option<u64>,
    /// One of the streams only.
    #[arg(long, value_enum, default_value_t = StreamChoice::Both)]
    pub(crate) stream: StreamChoice,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StreamChoice {
    Stdout,
    Stderr,
    /// Each to where it belongs.
    Both,
}

/// Reads a number of cores or devices into thousandths.
pub(super) fn millis(text: &str) -> Result<u64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text:?} is not a number such as 2 or 0.5"))?;
    parse_millis(number)
}

fn scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(scale) if scale.is_finite() && scale >= 0.0 => Ok(scale),
        Ok(_) | Err(_) => Err(format!("{text:?} is not a factor of 0 or more")),
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err(format!("{text:?} is not of the form NAME=VALUE")),
    }
}

/// Reads `zone=a`.
pub(super) fn label(text: &str) -> Result<(Name, String), String> {
    let (key, value) = key_value(text)?;
    Ok((Name::new(&key).map_err(|e| format!("{key:?} {e}"))?, value))
}
