//! `resource` and `lock`.

use clap::{Args, Subcommand};
use quorate_types::gate::Claimant;
use quorate_types::{Fence, JobId, Name, Span, TaskIndex};

#[derive(Debug, Subcommand)]
pub(crate) enum ResourceCommand {
    /// Lists them
    List,
    /// Shows one, with who holds something of it
    Show { name: Name },
    /// Says how many there are; what is held beyond that is left alone
    Set {
        name: Name,
        #[arg(long, value_name = "N")]
        total: u32,
    },
    /// Removes one of which nothing is held
    Remove { name: Name },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LockCommand {
    /// Takes a lock for the task that this runs in, and prints its token
    Acquire {
        name: Name,
        #[command(flatten)]
        task: TaskArgs,
        /// How long to wait for it; without this as long as it takes.
        #[arg(long, value_name = "DURATION")]
        wait: Option<Span>,
    },
    /// Gives a lock back before the task ends
    Release {
        name: Name,
        #[command(flatten)]
        task: TaskArgs,
    },
    /// Runs a command while the task holds a lock, with its token in QUORATE_LOCK_TOKEN; exits with its exit code
    Run {
        name: Name,
        #[command(flatten)]
        task: TaskArgs,
        /// How long to wait for it; without this as long as it takes.
        #[arg(long, value_name = "DURATION")]
        wait: Option<Span>,
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<String>,
    },
    /// Lists the locks that somebody holds
    List {
        /// Only those of this namespace.
        #[arg(long)]
        namespace: Option<Name>,
    },
    /// Shows a lock that somebody holds
    Show {
        name: Name,
        #[arg(long)]
        namespace: Option<Name>,
    },
    /// Whether this is the token of the one who holds the lock; for what it protects
    Check {
        name: Name,
        /// The token that the holder was given.
        // The id `token` is that of the cluster, a global flag.
        #[arg(id = "lock_token", value_name = "TOKEN")]
        token: u64,
        #[arg(long)]
        namespace: Option<Name>,
    },
}

/// The attempt that this runs in. Each task finds these in its environment.
#[derive(Args, Clone, Debug)]
pub(crate) struct TaskArgs {
    #[arg(long, env = "QUORATE_JOB_ID", value_name = "ID")]
    job: JobId,
    #[arg(long, env = "QUORATE_TASK", value_name = "NAME")]
    task: Name,
    #[arg(long, env = "QUORATE_INDEX", value_name = "N")]
    index: u32,
    #[arg(long, env = "QUORATE_FENCE", value_name = "N")]
    fence: u64,
}

impl From<TaskArgs> for Claimant {
    fn from(TaskArgs { job, task, index, fence }: TaskArgs) -> Self {
        Self { job, task, index: TaskIndex(index), fence: Fence(fence) }
    }
}
